/* Products of tiles of 32 rows in shared memory, which attention is made of: of the rows of two matrices, and of
 * weights and a matrix.  With HALF their operands are rounded to bf16 for tensor cores, and a thread's results are
 * elsewhere. */
#ifndef TN_ATTENTION_TILE_H
#define TN_ATTENTION_TILE_H

#include "mma.h"

enum {
    SIDE = 32,                 /* queries, and keys, of a tile; and terms that are in shared memory at a time */
    FOURS = SIDE / 4,          /* threads along a side: each has 4 x 4 scores */
    THREADS = FOURS * FOURS,
    LINE = FOURS + 1,          /* a row of a tile in shared memory, in fours */
    COLUMNS = 64,              /* of a block's results: 32 for each thread */
    WORDS = 4 * LINE,          /* a row of bf16 in shared memory: 2 SIDE terms and a gap */
    COLUMN_WORDS = SIDE / 2 + 4, /* a column of bf16: SIDE terms and a gap */
};

struct alignas(16) four {
    float v[4];
};

typedef struct rooms {
    four *a, *b;               /* factors, [term][row] */
    four *w, *u;               /* weights of rows, [term][row] */
    four *x;                   /* what they weigh, [term][column] */
    float *row;                /* a factor of each row */
} rooms;

#define ROOMS                                      \
    K_SHARED(four, room_a, (SIDE * LINE));         \
    K_SHARED(four, room_b, (SIDE * LINE));         \
    K_SHARED(four, room_w, (SIDE * LINE));         \
    K_SHARED(four, room_u, (SIDE * LINE));         \
    K_SHARED(four, room_x, (SIDE * COLUMNS / 4));  \
    K_SHARED(float, room_row, SIDE);               \
    const rooms room = {room_a, room_b, room_w, room_u, room_x, room_row};

static __device__ int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- to shared memory ---- */

/* Terms of rows, zeros where there are no more. */
static __device__ void stage_rows(const float *x, int64_t step, int64_t rows, int64_t terms, four *to)
{
    const int term = (int)threadIdx.x % SIDE;
    for (int row = (int)threadIdx.x / SIDE; row < SIDE; row += THREADS / SIDE)
        ((float *)to)[term * (4 * LINE) + row] = row < rows && term < terms ? x[row * step + term] : 0;
}

static __device__ void stage_columns(const float *x, int64_t step, int rows, int64_t columns, four *to)
{
    const int column = (int)threadIdx.x;
    for (int row = 0; row < rows; row++)
        ((float *)to)[row * COLUMNS + column] = column < columns ? x[row * step + column] : 0;
}

/* The same in bf16, for 2 SIDE terms: [row][term] */
static __device__ void stage_rows_half(const float *x, int64_t step, int64_t rows, int64_t terms, four *to)
{
    const int term = (int)threadIdx.x % SIDE * 2;
    K_UNROLL_BY(4) for (int row = (int)threadIdx.x / SIDE; row < SIDE; row += THREADS / SIDE) {
        const float *at = x + row * step + term;
        const bool first = row < rows && term < terms, second = row < rows && term + 1 < terms;
        ((uint32_t *)to)[row * WORDS + term / 2] = k_two(first ? at[0] : 0, second ? at[1] : 0);
    }
}

/* [column][term] */
static __device__ void stage_columns_half(const float *x, int64_t step, int rows, int64_t columns, four *to)
{
    const int column = (int)threadIdx.x;
    K_UNROLL_BY(4) for (int row = 0; row < SIDE; row += 2) {
        const float *at = x + row * step + column;
        const bool first = row < rows && column < columns, second = row + 1 < rows && column < columns;
        ((uint32_t *)to)[column * COLUMN_WORDS + row / 2] = k_two(first ? at[0] : 0, second ? at[step] : 0);
    }
}

/* Each warp makes half of the rows, and the sums change hands. */
static __device__ void dots_half(int64_t dim, const float *a, int64_t a_row, int64_t a_rows,
                                 const float *b, int64_t b_row, int64_t b_rows, const rooms &room, float (&sum)[4][4])
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS, g = k_g(), t = k_t();
    const int row = (int)threadIdx.x / 32 * 16 + g;
    const uint32_t *left = (const uint32_t *)room.a, *right = (const uint32_t *)room.b;
    float c[4][4] = {};
    for (int64_t term = 0; term < dim; term += 2 * SIDE) {
        __syncthreads();
        stage_rows_half(a + term, a_row, a_rows, dim - term, room.a);
        stage_rows_half(b + term, b_row, b_rows, dim - term, room.b);
        __syncthreads();
        K_UNROLL_BY(1) for (int k = 0; k < SIDE && term + 2 * k < dim; k += 8) {
            const uint32_t *at = left + row * WORDS + k + t;
            const k_left l = {{at[0], at[8 * WORDS], at[4], at[8 * WORDS + 4]}};
            for (int j = 0; j < 4; j++) {
                const uint32_t *of = right + (8 * j + g) * WORDS + k + t;
                k_mma(c[j], l, k_right{{of[0], of[4]}});
            }
        }
    }
    float *all = (float *)room.a;
    __syncthreads();
    for (int i = 0; i < 16; i++)
        all[(row + i % 4 / 2 * 8) * (4 * LINE) + i / 4 * 8 + 2 * t + i % 2] = c[i / 4][i % 4];
    __syncthreads();
    for (int i = 0; i < 4; i++) {
        const four s = room.a[(4 * y + i) * LINE + x];
        for (int j = 0; j < 4; j++)
            sum[i][j] = s.v[j];
    }
}

static __device__ void dots_float(int64_t dim, const float *a, int64_t a_row, int64_t a_rows,
                                  const float *b, int64_t b_row, int64_t b_rows, const rooms &room, float (&sum)[4][4])
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    for (int i = 0; i < 16; i++)
        sum[i / 4][i % 4] = 0;
    for (int64_t term = 0; term < dim; term += SIDE) {
        __syncthreads();
        stage_rows(a + term, a_row, a_rows, dim - term, room.a);
        stage_rows(b + term, b_row, b_rows, dim - term, room.b);
        __syncthreads();
        const int terms = (int)least(SIDE, dim - term);
        for (int k = 0; k < terms; k++) {
            const four u = room.a[k * LINE + y], v = room.b[k * LINE + x];
            for (int i = 0; i < 16; i++)
                sum[i / 4][i % 4] = fmaf(u.v[i / 4], v.v[i % 4], sum[i / 4][i % 4]);
        }
    }
}

/* sum[i][j] = the product of rows 4 y + i of a and 4 x + j of b */
template <bool HALF>
static __device__ void dots(int64_t dim, const float *a, int64_t a_row, int64_t a_rows, const float *b,
                            int64_t b_row, int64_t b_rows, const rooms &room, float (&sum)[4][4])
{
    if constexpr (HALF)
        dots_half(dim, a, a_row, a_rows, b, b_row, b_rows, room, sum);
    else
        dots_float(dim, a, a_row, a_rows, b, b_row, b_rows, room, sum);
}

/* Of the block's results, where number i of this thread's is. */
template <bool HALF> static __device__ int row_of(int i)
{
    return HALF ? (int)threadIdx.x / 32 * 16 + k_g() + i % 4 / 2 * 8 : 4 * ((int)threadIdx.x / FOURS) + i / 8;
}

template <bool HALF> static __device__ int column_of(int i)
{
    return HALF ? i / 4 * 8 + 2 * k_t() + i % 2 : i / 4 % 2 * (COLUMNS / 2) + 4 * ((int)threadIdx.x % FOURS) + i % 4;
}

static __device__ void mix_half(const four *w, int terms, const rooms &room, float (&sum)[32])
{
    const int row = row_of<true>(0), g = k_g(), t = k_t();
    const uint32_t *right = (const uint32_t *)room.x;
    K_UNROLL_BY(1) for (int k = 0; k < terms; k += 16) {
        const float *at = (const float *)w + (k + 2 * t) * (4 * LINE) + row, *next = at + 4 * LINE;
        enum { LATER = 8 * 4 * LINE };
        const k_left l = {{k_two(at[0], next[0]), k_two(at[8], next[8]), k_two(at[LATER], next[LATER]),
                           k_two(at[LATER + 8], next[LATER + 8])}};
        for (int j = 0; j < COLUMNS / 8; j++) {
            const uint32_t *of = right + (8 * j + g) * COLUMN_WORDS + k / 2 + t;
            k_mma(sum + 4 * j, l, k_right{{of[0], of[4]}});
        }
    }
}

static __device__ void mix_float(const four *w, int terms, const rooms &room, float (&sum)[32])
{
    const int x = (int)threadIdx.x % FOURS, y = (int)threadIdx.x / FOURS;
    for (int k = 0; k < terms; k++) {
        const four u = w[k * LINE + y], v[2] = {room.x[k * COLUMNS / 4 + x], room.x[k * COLUMNS / 4 + FOURS + x]};
        for (int i = 0; i < 32; i++)
            sum[i] = fmaf(u.v[i / 8], v[i / 4 % 2].v[i % 4], sum[i]);
    }
}

/* The sums, first times room.row where that is wanted, and the rows of x that are weighed by the columns of w. */
template <bool HALF>
static __device__ void mix(const four *w, const float *rows, int64_t step, int64_t n, int64_t columns,
                           const rooms &room, bool scaled, float (&sum)[32])
{
    const int terms = (int)least(SIDE, n);
    __syncthreads();
    for (int i = 0; i < 32 && scaled; i++)
        sum[i] *= room.row[row_of<HALF>(i)];
    if constexpr (HALF) {
        stage_columns_half(rows, step, terms, columns, room.x);
        __syncthreads();
        mix_half(w, terms, room, sum);
    } else {
        stage_columns(rows, step, terms, columns, room.x);
        __syncthreads();
        mix_float(w, terms, room, sum);
    }
}

#endif
