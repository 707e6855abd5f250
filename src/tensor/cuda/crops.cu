/* Crops of images on CUDA, a thread for each value.  The same on the CPU: ../ops/crops.c. */
#include "kdefs.h"
#include "launch.h"

typedef struct crops_args {
    const uint8_t *images;
    const int64_t *places;
    const float *table;
    float *out;
    int64_t n, count, h, w, c; /* crops, images */
    tn__cuda_watch watch;
} crops_args;

static __global__ void crops(const __grid_constant__ crops_args a)
{
    const int64_t total = a.n * a.h * a.w * a.c, step = (int64_t)gridDim.x * K_THREADS;
    for (int64_t i = (int64_t)blockIdx.x * K_THREADS + threadIdx.x; i < total; i += step) {
        const int64_t pixel = k_quotient(i, a.c), line = k_quotient(pixel, a.w), crop = k_quotient(line, a.h);
        const int64_t k = i - pixel * a.c, x = pixel - line * a.w, y = line - crop * a.h;
        const int64_t *place = a.places + 4 * crop, image = place[0];
        const int64_t row = y + place[1], col = (place[3] ? a.w - 1 - x : x) + place[2];
        const bool there = image >= 0 && image < a.count;
        if (!there)
            k_wrong(a.watch, TN_BAD_INDEX, image, 4 * crop, a.count - 1, 0);
        const bool shown = there && row >= 0 && row < a.h && col >= 0 && col < a.w;
        const int byte = shown ? a.images[((image * a.h + row) * a.w + col) * a.c + k] : 0;
        a.out[i] = there ? a.table[k * 256 + byte] : 0;
    }
}

int tn__cuda_crops(const tn_call *c, tn__cuda_work *w)
{
    const tn_tensor *images = c->in[0];
    const crops_args a = {(const uint8_t *)tn__cuda_data(images), (const int64_t *)tn__cuda_data(c->in[1]),
                          (const float *)tn__cuda_data(c->in[2]), (float *)tn__cuda_data(c->out[0]),
                          c->in[1]->shape[0], images->shape[0], images->shape[1], images->shape[2], images->shape[3],
                          w->watch};
    return K_LAUNCH(crops, k_blocks(tn__cuda_count(c->out[0]), K_THREADS), K_THREADS, w->stream, a);
}
