/* Shuffling, cropping, flipping; see augment.h.  loader.c calls this. */
#include "augment.h"

/* The two uses of a loader's seed must not meet each other's numbers, nor those of tn_seed(). */
static const uint64_t order_key = 0x9e3779b97f4a7c15u, crop_key = 0xd1b54a32d192ed03u;

void tn__shuffle(uint64_t seed, int64_t epoch, int64_t *order, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        uint32_t word[4];
        tn_random(seed ^ order_key, (uint64_t)epoch, (uint64_t)i, word);
        const int64_t j = (int64_t)(((uint64_t)word[0] << 32 | word[1]) % (uint64_t)(i + 1));
        const int64_t kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

static int below(uint32_t word, int n) { return (int)((uint64_t)word * (uint64_t)n >> 32); }

tn__crop tn__choose_crop(uint64_t seed, int64_t epoch, int64_t i, tn_augment how)
{
    uint32_t word[4];
    tn_random(seed ^ crop_key, (uint64_t)epoch, (uint64_t)i, word);
    const int places = 2 * how.crop_pad + 1;
    return (tn__crop){below(word[0], places), below(word[1], places), how.flip && word[2] >> 31};
}

void tn__fill_table(const tn_dataset *d, float table[4][256])
{
    for (int c = 0; c < 4; c++)
        for (int v = 0; v < 256; v++)
            table[c][v] = ((float)v / 255.0f - d->mean[c]) / d->std[c];
}

/* Pixels from .. to-1 of a row [w,c], through the table; flipped, it is written from its end. */
static void write_row(const uint8_t *row, int from, int to, int w, int c, bool flip,
                      const float table[4][256], float *out)
{
    for (int x = from; x < to; x++) {
        float *pixel = out + (flip ? w - 1 - x : x) * c;
        for (int k = 0; k < c; k++)
            pixel[k] = table[k][row ? row[(x - from) * c + k] : 0];
    }
}

void tn__crop_image(const uint8_t *image, int h, int w, int c, int pad, tn__crop crop,
                    const float table[4][256], float *out)
{
    const int dy = crop.y - pad, dx = crop.x - pad; /* out[y][x] = image[y + dy][x + dx] */
    const int left = dx < 0 ? -dx : 0, right = dx > 0 ? w - dx : w;
    for (int y = 0; y < h; y++, out += w * c) {
        if (y + dy < 0 || y + dy >= h) {
            write_row(NULL, 0, w, w, c, crop.flip, table, out);
            continue;
        }
        const uint8_t *row = image + ((y + dy) * w + left + dx) * c;
        write_row(NULL, 0, left, w, c, crop.flip, table, out);
        write_row(row, left, right, w, c, crop.flip, table, out);
        write_row(NULL, right, w, w, c, crop.flip, table, out);
    }
}
