/* Matrix products in strict f32 on CUDA, of factors with any steps.  The tiles: tile.h; what else makes products, and
 * who calls: gemm.c. */
#include "launch.h"
#include "tile.h"

/* A factor as rows of terms; of the right one, columns of terms. */
template <bool RUN> struct strided {
    static const bool terms_run = RUN;
    typedef const float *row;
    typedef int64_t term;
    const float *p;
    int64_t rows, row_step, term_step, batch_step;

    __device__ void begin(int64_t batch) { p += batch * batch_step; }
    __device__ row row_at(int64_t r) const { return r < rows ? p + r * row_step : NULL; }
    __device__ term term_at(int64_t k) const { return k * term_step; }
    __device__ float value(const row &r, const term &k) const { return r ? r[k] : 0; }
};

static tile_extent extent(const tn__cuda_product *p) { return tile_cut(p->batch, p->m, p->n, p->k, p->split); }

int64_t tn__cuda_gemm_room(const tn__cuda_product *p) { return tile_room(extent(p)); }

template <bool RUN_A, bool RUN_B> static int gemm(const tn__cuda_product *p, float *room, void *stream)
{
    const strided<RUN_A> a = {p->a, p->m, p->a_row, p->a_col, p->a_batch};
    const strided<RUN_B> b = {p->b, p->n, p->b_col, p->b_row, p->b_batch};
    const tile_sink to = {p->c, p->bias, p->c_row, p->c_batch, 0, p->add, 0};
    return tile_launch(a, b, to, extent(p), room, stream);
}

int tn__cuda_gemm(const tn__cuda_product *p, float *room, void *stream)
{
    if (p->a_col == 1)
        return p->b_row == 1 ? gemm<true, true>(p, room, stream) : gemm<true, false>(p, room, stream);
    return p->b_row == 1 ? gemm<false, true>(p, room, stream) : gemm<false, false>(p, room, stream);
}
