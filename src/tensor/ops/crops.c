/* Crops of images: bytes cut out, flipped and given their values by a table. */
#include "op.h"
#include "sample.h"
#include "wrong.h"

/* Row, column and channel of an output pixel to the byte it shows; -1: outside of the image. */
static int64_t byte_at(const tn_tensor *images, const int64_t *place, int64_t y, int64_t x, int64_t k)
{
    const int64_t h = images->shape[1], w = images->shape[2], c = images->shape[3];
    const int64_t row = y + place[1], col = (place[3] ? w - 1 - x : x) + place[2];
    return row < 0 || row >= h || col < 0 || col >= w ? -1 : ((place[0] * h + row) * w + col) * c + k;
}

tn_done KERNEL(crops)(const tn_call *c)
{
    const tn_tensor *images = c->in[0];
    const uint8_t *bytes = tn__data(images);
    const int64_t *place = INDEX(1), n = c->in[1]->shape[0];
    const real *table = IN(2);
    real *out = OUT(0);
    for (int64_t i = 0; i < n; i++)
        if (place[4 * i] < 0 || place[4 * i] >= images->shape[0]) {
            tn_fail(TN_EARG, TN_WRONG_INDEX, "crops", (long long)place[4 * i], (long long)(4 * i),
                    (long long)images->shape[0] - 1);
            return TN_FAILED;
        }
    for (int64_t i = 0; i < n; i++, place += 4)
        for (int64_t y = 0; y < images->shape[1]; y++)
            for (int64_t x = 0; x < images->shape[2]; x++)
                for (int64_t k = 0; k < images->shape[3]; k++) {
                    const int64_t at = byte_at(images, place, y, x, k);
                    *out++ = table[k * 256 + (at < 0 ? 0 : bytes[at])];
                }
    return TN_DONE;
}

#if TN_WHOLE

bool tn__shape_crops(tn_call *c)
{
    const tn_tensor *images = c->in[0], *places = c->in[1], *table = c->in[2];
    char s[TN_SHAPE_TEXT];
    if (images->ndim != 4)
        return tn_fail(TN_ESHAPE, "crops: images are [N,H,W,C], not %s", tn_shape_text(images, s)), false;
    if (places->ndim != 2 || places->shape[1] != 4)
        return tn_fail(TN_ESHAPE, "crops: places are [n,4], image, row, column and flip of each crop, not %s",
                       tn_shape_text(places, s)), false;
    if (table->ndim != 2 || table->shape[0] != images->shape[3] || table->shape[1] != 256)
        return tn_fail(TN_ESHAPE, "crops: the table is [%lld,256], a value for each byte of each channel, not %s",
                       (long long)images->shape[3], tn_shape_text(table, s)), false;
    tn__set_shape(c->out[0], TN_SHAPE(places->shape[0], images->shape[1], images->shape[2], images->shape[3]));
    return true;
}

tn_tensor *tn_crops(tn_tensor *images, tn_tensor *places, tn_tensor *table)
{
    return tn_apply(TN_OP(crops), NULL, 0, 3, (tn_tensor *[]){images, places, table});
}

/* ---- samples ---- */

#define PLACES(n, ...) tn__beside(in[0], tn_from_i64((const int64_t[]){__VA_ARGS__}, TN_SHAPE(n, 4)))
#define BYTES(...) {TN_DIMS(__VA_ARGS__), .kind = 'u', .lo = 0, .hi = 256}

MAKE(crops, tn_crops(in[0], PLACES(4, 2, -2, 2, 0, 0, 0, 0, 0, 2, 2, -1, 1, 1, 0, 1, 1), in[1]))
MAKE(crops_far, tn_crops(in[0], PLACES(2, 1, 90, -70, 0, 0, 0, 3, 1), in[1]))
MAKE(crops_given, tn_crops(in[0], in[2], in[1]))
MAKE(crops_outside, tn_crops(in[0], PLACES(2, 1, 0, 0, 0, 3, 0, 0, 0), in[1]))
SAMPLES(crops) = {
    {.what = "over the border, flipped and not", .make = make_crops, .in = {BYTES(3, 5, 6, 3), CONSTS(3, 256)}},
    {.what = "nothing but border", .make = make_crops_far, .in = {BYTES(2, 4, 3, 2), CONSTS(2, 256)}},
    {.what = "no crops", .make = make_crops_given, .in = {BYTES(2, 4, 3, 2), CONSTS(2, 256), INTS(1, 0, 4)}},
    {.what = "an image that is not there", .make = make_crops_outside, .in = {BYTES(3, 4, 3, 2), CONSTS(2, 256)},
     .error = "crops: index 3, element 4 of the indices, is outside 0..2"},
    {.what = "one image", .make = make_crops, .in = {BYTES(4, 3, 2), CONSTS(2, 256)},
     .error = "crops: images are [N,H,W,C]"},
    {.what = "places of three", .make = make_crops_given, .in = {BYTES(2, 4, 3, 2), CONSTS(2, 256), INTS(1, 2, 3)},
     .error = "crops: places are [n,4]"},
    {.what = "a table of one channel", .make = make_crops, .in = {BYTES(3, 4, 3, 2), CONSTS(1, 256)},
     .error = "crops: the table is [2,256]"},
    {0},
};

#endif
