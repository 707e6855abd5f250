/* The CUDA backend over an emulator of CUDA threads (emu/): elementwise kernels against the CPU's
 * plain ones on operands that lie in memory in many ways, with threads in both orders; memory; what
 * is said when a machine has no usable GPU; which ops lack a kernel.  The samples of all ops:
 * test_cuda_samples.c. */
#include "check.h"
#include "emulated.h"

#include <math.h>
#include <stdlib.h>

#include "attrs.h"
#include "classes.h"
#include "planted.h"

/* Ops without a CUDA kernel, views aside.  It may only fall. */
enum { MISSING = 0 };

/* ---- tensors ---- */

static uint32_t draw;
static double uniform(double lo, double hi)
{
    const uint32_t w = tn__philox_at(3, 0, draw++);
    return lo + (hi - lo) * (double)tn__uniform(w);
}

typedef struct values {
    double lo, hi;
    bool coarse; /* multiples of 1/8, so that two of them are often equal */
} values;

static tn_tensor *filled(values v, int ndim, const int64_t *shape)
{
    tn_tensor *t = tn_empty(TN_F32, ndim, shape);
    float *p = tn_f32(t);
    for (int64_t i = 0, n = tn_numel(t); i < n; i++) {
        const double x = uniform(v.lo, v.hi);
        p[i] = (float)(v.coarse ? ceil(x * 8) / 8 : x);
    }
    return t;
}

/* How operands lie in memory: the view that is taken of contiguous ones, by operand number. */
#define VIEW_OF(name, ...) \
    static tn_tensor *name(tn_tensor *t, bool last) { return (void)last, __VA_ARGS__; }
VIEW_OF(whole, t)
VIEW_OF(inner_rows, tn_slice(t, 0, 1, 4, 1))
VIEW_OF(turned, last ? t : tn_transpose(tn_reshape(t, TN_SHAPE(7, 9)), 0, 1))
VIEW_OF(stepped, tn_slice(tn_slice(t, 1, 1, 9, 3), 0, 0, 6, 2))
VIEW_OF(stretched, last ? t : tn_slice(t, 1, 2, 3, 1))
VIEW_OF(swapped, tn_permute(t, 3, (const int64_t[]){0, 2, 1}))

static const struct layout {
    const char *what;
    int ndim;
    int64_t shape[3];
    tn_tensor *(*view)(tn_tensor *t, bool last);
} layouts[] = {
    {"many, contiguous", 1, {3500}, whole},
    {"some rows", 3, {6, 3, 5}, inner_rows},
    {"transposed", 2, {9, 7}, turned},
    {"every third column of every second row", 2, {6, 9}, stepped},
    {"broadcast", 3, {4, 5, 6}, stretched},
    {"scalars", 0, {0}, whole},
    {"no elements", 2, {3, 0}, whole},
    {"too many for one launch", 3, {2, 70, 60}, swapped},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts, EVERY_ROW = LAYOUTS - 1 };

/* ---- comparing ---- */

static double worst;

static void compare(const char *op, const char *what, const tn_tensor *cpu, const tn_tensor *cuda)
{
    const int64_t n = tn_numel(cpu);
    double *a = calloc((size_t)n + 1, sizeof *a), *b = calloc((size_t)n + 1, sizeof *b);
    if (!tn_ok())
        fail_msg("%s, %s: %s", op, what, tn_error()->text);
    assert_true(cuda->storage->backend == gpu);
    assert_true(cuda->dtype == cpu->dtype && tn_same_shape(cpu, cuda));
    assert_true(tn_read_f64(cpu, a) && tn_read_f64(cuda, b));
    for (int64_t i = 0; i < n; i++) {
        const double off = isnan(a[i]) && isnan(b[i]) ? 0 : fabs(a[i] - b[i]) / fmax(1, fabs(a[i]));
        if (!(off <= 1e-6))
            fail_msg("%s, %s, element %lld: CPU %.9g, CUDA %.9g", op, what, (long long)i, a[i],
                     b[i]);
        worst = fmax(worst, off);
    }
    free(a);
    free(b);
}

/* n inputs with values v, the last of them g; absent: a bit for each input that is not given. */
static void check(const tn_op *op, const tn__map_attr *attr, int n, values v, unsigned absent,
                  const struct layout *l)
{
    TN_SCOPE {
        tn_tensor *cpu[4] = {NULL}, *cuda[4] = {NULL};
        for (int i = 0; i < n; i++) {
            const bool last = n > 1 && i == n - 1;
            tn_tensor *t = filled(v, l->ndim, l->shape);
            if (absent >> i & 1)
                continue;
            cpu[i] = l->view(t, last);
            cuda[i] = l->view(on_gpu(t), last);
        }
        compare(op->name, l->what, tn_apply(op, attr, attr ? sizeof *attr : 0, n, cpu),
                tn_apply(op, attr, attr ? sizeof *attr : 0, n, cuda));
    }
}

/* ---- ops ---- */

/* inputs of a gradient that are absent */
enum { N = 7, X = 6, Z = 5, Y = 3, XZ = X & Z, XZY = X & Z & Y };

static void elementwise_kernels(void **state)
{
    (void)state;
    worst = 0;
    IN_BOTH_ORDERS for (const struct layout *l = layouts; l < layouts + EVERY_ROW; l++) {
#define MAP(name, P, reads, y, dx, lo, hi, a, b)                                                  \
        check(TN_OP(name), &(tn__map_attr){a, b}, 1, (values){lo, hi, false}, 0, l);              \
        check(TN_OP(name##_backward), &(tn__map_attr){a, b}, 2, (values){lo, hi, false}, 0, l);
#define BIN(name, reads, y, dx, dz, lo, hi)                                                       \
        check(TN_OP(name), NULL, 2, (values){lo, hi, true}, 0, l);                                \
        check(TN_OP(name##_dx), NULL, 4, (values){lo, hi, true}, reads, l);                       \
        check(TN_OP(name##_dz), NULL, 4, (values){lo, hi, true}, reads, l);
#define CMP(name, y) check(TN_OP(name), NULL, 2, (values){-1, 1, true}, 0, l);
#include "tenon/ops_map.def"
    }
    print_message("largest relative difference to the CPU: %.2g\n", worst);
}

static void long_walks_are_cut(void **state)
{
    const struct layout *l = &layouts[EVERY_ROW];
    (void)state;
    check(TN_OP(exp), &(tn__map_attr){0, 0}, 1, (values){-2, 2, false}, 0, l);
    check(TN_OP(div), NULL, 2, (values){.3, 2, false}, 0, l);
    check(TN_OP(div_dz), NULL, 4, (values){.3, 2, false}, XZ, l);
    check(TN_OP(lt), NULL, 2, (values){-1, 1, true}, 0, l);
    TN_SCOPE {
        tn_tensor *big = filled((values){-1, 1, false}, TN_SHAPE(3, 40, 50));
        tn_tensor *row = filled((values){-1, 1, false}, TN_SHAPE(50));
        compare("mul", "a long broadcast", tn_mul(big, row), tn_mul(on_gpu(big), on_gpu(row)));
    }
}

static void gradients_flow_on_the_device(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x[2], *z[2], *dy = filled((values){-1, 1, false}, TN_SHAPE(5, 7));
        x[0] = filled((values){-2, 2, false}, TN_SHAPE(5, 7));
        z[0] = filled((values){-2, 2, false}, TN_SHAPE(5, 7));
        x[1] = on_gpu(x[0]);
        z[1] = on_gpu(z[0]);
        for (int i = 0; i < 2; i++) {
            tn_want_grad(x[i]);
            tn_want_grad(z[i]);
            tn_tensor *y = tn_gelu(tn_add(tn_mul(x[i], z[i]), tn_tanh(x[i])));
            assert_true(tn_backward_from(y, i ? on_gpu(dy) : dy));
        }
        compare("gelu(x z + tanh x)", "dx", x[0]->grad, x[1]->grad);
        compare("gelu(x z + tanh x)", "dz", z[0]->grad, z[1]->grad);
    }
}

/* What arrives at many leaves is added together; at one of them twice, in its order. */
static void gradients_of_many_leaves(void **state)
{
    enum { LEAVES = 130, TIMES = 3 };
    (void)state;
    IN_BOTH_ORDERS TN_SCOPE {
        tn_tensor *leaf[2][LEAVES];
        for (int i = 0; i < LEAVES; i++) {
            leaf[0][i] = filled((values){-2, 2, false}, TN_SHAPE(1 + i % 7 * 171));
            leaf[1][i] = on_gpu(leaf[0][i]);
        }
        for (int k = 0; k < 2; k++)
            for (int time = 0; time < TIMES; time++) {
                tn_tensor *sum = tn_sum(leaf[k][0], 0, false);
                for (int i = 0; i < LEAVES; i++) {
                    tn_want_grad(leaf[k][i]);
                    sum = tn_add(sum, tn_sum(tn_square(leaf[k][i]), 0, false));
                    sum = i % 9 ? sum : tn_add(sum, tn_mul_scalar(tn_sum(leaf[k][i], 0, false), .3));
                }
                assert_true(tn_backward(sum));
            }
        for (int i = 0; i < LEAVES; i++)
            compare("many leaves", "gradient", leaf[0][i]->grad, leaf[1][i]->grad);
    }
}

static void dropout_draws_the_same_bits(void **state)
{
    static const int64_t sizes[] = {0, 1, 6, 4099};
    static const double ps[] = {.1, .5, 1};
    (void)state;
    IN_BOTH_ORDERS for (int i = 0; i < 12; i++) TN_SCOPE {
        tn_tensor *x = filled((values){1, 2, false}, 1, &sizes[i % 4]), *y[2];
        for (int k = 0; k < 2; k++) {
            tn_seed(11);
            y[k] = tn_dropout(k ? on_gpu(x) : x, ps[i / 4]);
        }
        tn_tensor *back = tn_like(y[0]);
        assert_true(tn_copy_(back, y[1]));
        assert_memory_equal(tn_f32(back), tn_f32(y[0]), (size_t)sizes[i % 4] * sizeof(float));
    }
}

static void casts_of_every_pair_give_the_same_bits(void **state)
{
    static const double number[] = {0, -0.0, 1, -1, .5, 2.5, -3.7, 255, 256, 300, 65519, 65520, 1e-7, 6e-8, 3e38, -3e38,
                                    2147483647, 2147483648., -2147483649., 9e18, 1e19, INFINITY, -INFINITY, NAN};
    enum { NUMBERS = sizeof number / sizeof *number };
    (void)state;
    for (int from = 0; from < TN_DTYPE_COUNT; from++)
        for (int to = 0; to < TN_DTYPE_COUNT; to++) TN_SCOPE {
            tn_tensor *x = tn_empty((tn_dtype)from, TN_SHAPE(NUMBERS));
            tn__convert(number, TN_F64, tn__data(x), x->dtype, NUMBERS);
            tn_tensor *y = tn_cast(x, (tn_dtype)to), *back = tn_like(y);
            assert_true(tn_copy_(back, tn_cast(on_gpu(x), (tn_dtype)to)));
            if (memcmp(tn__data(back), tn__data(y), y->storage->bytes))
                fail_msg("%s to %s differs", tn_dtype_name(x->dtype), tn_dtype_name(y->dtype));
        }
}

/* All but one are long enough for tiles. */
static const struct turn {
    tn_dtype dtype;
    int ndim;
    int64_t shape[4], order[4];
} turns[] = {
    {TN_F32, 2, {33, 95}, {1, 0}},        {TN_F32, 2, {32, 32}, {1, 0}},         {TN_F32, 2, {31, 70}, {1, 0}},
    {TN_U8, 3, {3, 37, 65}, {0, 2, 1}},   {TN_BF16, 3, {34, 3, 40}, {2, 1, 0}},  {TN_I64, 3, {40, 33, 2}, {1, 2, 0}},
    {TN_F32, 4, {2, 5, 7, 33}, {0, 3, 1, 2}}, {TN_F32, 4, {2, 33, 3, 34}, {3, 2, 0, 1}},
};

static void transposes_give_the_same_bytes(void **state)
{
    (void)state;
    IN_BOTH_ORDERS for (const struct turn *t = turns; t < turns + sizeof turns / sizeof *turns; t++)
        for (int cut = 0; cut < 2; cut++) TN_SCOPE {
            tn_tensor *x = tn_cast(filled((values){0, 200, false}, t->ndim, t->shape), t->dtype), *y[2];
            for (int k = 0; k < 2; k++) {
                tn_tensor *turned = tn_permute(tn_slice(k ? on_gpu(x) : x, -1, cut, t->shape[t->ndim - 1], 1), t->ndim,
                                               t->order);
                y[k] = tn_contiguous(cut && t->dtype == TN_F32 ? tn_concat(2, (tn_tensor *[]){turned, turned}, -1)
                                                               : turned);
            }
            tn_tensor *back = tn_like(y[0]);
            assert_true(tn_copy_(back, y[1]));
            if (memcmp(tn_data(back), tn_data(y[0]), y[0]->storage->bytes))
                fail_msg("transpose %d, %d cut off: other bytes", (int)(t - turns), cut);
        }
}

/* Of no queries, so that nothing is worked out. */
static void too_many_keys_for_dropout(void **state)
{
    const int64_t keys = TN__ATTENTION_KEYS + 1;
    (void)state;
    emu_reverse(0);
    TN_SCOPE {
        tn_tensor *q = on_gpu(tn_ones(TN_SHAPE(1, 1))), *kv = tn__tensor_on(gpu, 0, TN_F32, TN_SHAPE(keys, 2));
        tn_tensor *none = on_gpu(tn_from_i64((const int64_t[]){0, 0}, TN_SHAPE(1, 2)));
        tn_tensor *all = on_gpu(tn_from_i64((const int64_t[]){0, keys}, TN_SHAPE(1, 2)));
        double y;
        assert_false(tn_read_f64(tn_attention(q, kv, none, all, .heads = 1, .dropout = .5), &y));
        expect_error(TN_EARG, "attention: sequence 0 has 16777217 keys, with dropout it can have 16777216 at most");
    }
}

static tn_done do_nothing(const tn_call *c) { return (void)c, TN_DONE; }

static void what_has_no_kernel_says_so(void **state)
{
    const tn_op_def own = {.name = "of_a_user", .in = "f", .out = "f", .cpu_f32 = do_nothing};
    (void)state;
    TN_SCOPE {
        tn_tensor *x = on_gpu(tn_ones(TN_SHAPE(2, 3)));
        assert_null(tn_apply(tn_register_op(&own), NULL, 0, 1, &x));
        expect_error(TN_EKERNEL, "of_a_user: no kernel for f32 on cuda");
        assert_null(tn_add(x, tn_ones(TN_SHAPE(2, 3))));
        expect_error(TN_EDEVICE, "inputs are on cuda and on cpu");
        assert_null(tn_exp(tn__tensor_on(gpu, 0, TN_F64, TN_SHAPE(2))));
        expect_error(TN_EKERNEL, "exp: no kernel for f64 on cuda");
    }
}

static void coverage(void **state)
{
    static const char *const must[] = {
#define MAP(name, ...) #name, #name "_backward",
#define BIN(name, ...) #name, #name "_dx", #name "_dz",
#define CMP(name, ...) #name,
#include "tenon/ops_map.def"
    };
    int missing = 0;
    (void)state;
    for (size_t i = 0; i < sizeof must / sizeof *must; i++)
        if (!gpu->kernel(tn_op_named(must[i])->id, TN_F32))
            fail_msg("%s has no CUDA kernel", must[i]);
    print_message("ops without a CUDA kernel:");
    for (int i = 0; i < TN_OP_COUNT; i++)
        if (!(tn__ops[i].flags & VIEW) && !gpu->kernel(i, TN_F32))
            print_message("%s %s", missing++ ? "," : "", tn__ops[i].name);
    print_message("; %d\n", missing);
    if (missing > MISSING)
        fail_msg("%d ops have no CUDA kernel; there were %d", missing, MISSING);
    if (missing < MISSING)
        print_message("%d are enough: lower MISSING\n", missing);
}

/* ---- optimizers ---- */

enum { ARRAYS = 2 + TN_RULE_STATES };

static void step(const tn_backend *be, tn__rule_call c, tn_tensor *const *array)
{
    c.p = tn__data(array[0]);
    c.g = tn__data(array[1]);
    for (int i = 0; i < TN_RULE_STATES; i++)
        c.s[i] = tn__data(array[2 + i]);
    assert_true(be->rule(&c));
}

/* With many elements whose squares, or products with scalars below 1, are subnormal; some are themselves. */
static tn_tensor *of_all_sizes(double lo, int64_t n)
{
    static const int powers[] = {0, -60, -64, -121, -125};
    tn_tensor *t = filled((values){lo, 1, false}, 1, &n);
    for (int64_t i = 0; i < n; i++)
        tn_f32(t)[i] = ldexpf(tn_f32(t)[i], powers[(int)uniform(0, 5)]);
    return t;
}

static void optimizer_rules_give_the_same_bits(void **state)
{
    static const int64_t sizes[] = {0, 1, 255, 2000};
    (void)state;
    IN_BOTH_ORDERS for (int rule = 0; rule < TN_RULE_COUNT; rule++)
        for (int i = 0; i < 4; i++) TN_SCOPE {
            float k[TN_RULE_SCALARS];
            const tn__rule_call c = {.rule = rule, .n = sizes[i], .k = k};
            tn_tensor *cpu[ARRAYS], *cuda[ARRAYS];
            for (int j = 0; j < TN_RULE_SCALARS; j++)
                k[j] = (float)uniform(.01, .9);
            for (int j = 0; j < ARRAYS; j++) {
                cpu[j] = of_all_sizes(j < 2 ? -1 : 0, sizes[i] + 8);
                cuda[j] = on_gpu(cpu[j]);
            }
            for (int t = 0; t < 2; t++) {
                step(&tn__cpu, c, cpu);
                step(gpu, c, cuda);
            }
            for (int j = 0; j < ARRAYS; j++) {
                tn_tensor *back = tn_like(cpu[j]);
                assert_true(tn_copy_(back, cuda[j]));
                if (memcmp(tn_f32(back), tn_f32(cpu[j]), cpu[j]->storage->bytes))
                    fail_msg("rule %d, %lld elements: array %d differs", rule, (long long)sizes[i], j);
            }
        }
}

/* ---- memory and devices ---- */

static void memory(void **state)
{
    (void)state;
    void *a = gpu->alloc(0, 1000), *b = gpu->alloc(0, 1000), *none = gpu->alloc(0, 0);
    assert_true(a && b && none && a != b);
    gpu->release(0, a, 1000);
    void *again = gpu->alloc(0, TN_POOLED ? 1001 : 1000);
    if (TN_POOLED)
        assert_ptr_equal(again, a);
    gpu->release(0, again, 1000);
    gpu->release(0, none, 0);
    gpu->release(0, NULL, 5);

    emu_machine.blocks = 0; /* what is kept is given back, and is not enough */
    TN_SCOPE {
        assert_null(tn__tensor_on(gpu, 0, TN_F32, TN_SHAPE(1000000)));
        expect_error(TN_ENOMEM, "on cuda");
    }
    emu_machine.blocks = 1000000;
    gpu->release(0, b, 1000);
    TN_SCOPE {
        tn_tensor *one = on_gpu(tn_ones(TN_SHAPE(3)));
        assert_true(tn_item(tn_slice(tn_exp(one), 0, 0, 1, 1)) > 2.7);
        assert_null(gpu->alloc(0, SIZE_MAX / 2));
    }
}

static void copies_between_devices(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = filled((values){-1, 1, false}, TN_SHAPE(5, 3)), *back = tn_like(x);
        tn_tensor *y = tn__tensor_on(gpu, 1, TN_F32, 2, x->shape);
        assert_true(tn_copy_(y, on_gpu(x)) && tn_copy_(back, y));
        assert_memory_equal(tn_f32(back), tn_f32(x), 15 * sizeof(float));
        assert_null(tn_add(y, on_gpu(x)));
        tn_error_clear();
        assert_false(gpu->fill(2, NULL, "", 1, 4));
        expect_error(TN_EDEVICE, "cuda:2: invalid device ordinal");
    }
}

static const struct machine {
    struct emu_machine is;
    const char *words;
} machines[] = {
    {{0, 0, 0, 0}, "no NVIDIA driver"},
    {{12040, 1, 9, 0}, "too old: it is for CUDA 12.4, 13.0 is needed"},
    {{13000, 0, 0, 0}, "finds no GPU"},
    {{13000, 1, 7, 0}, "compute capability 8.0 is needed"},
};

static void unusable_machines_are_explained(void **state)
{
    const struct emu_machine usual = emu_machine;
    tn__host other = host;
    (void)state;
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        emu_machine = machines[i].is;
        trouble[0] = 0;
        assert_null(tn__cuda_backend(&host, trouble, sizeof trouble));
        if (!strstr(trouble, machines[i].words))
            fail_msg("'%s' is not in '%s'", machines[i].words, trouble);
    }
    emu_machine = usual;
    other.version = "0.0.1";
    assert_null(tn__cuda_backend(&other, trouble, sizeof trouble));
    assert_non_null(strstr(trouble, "0.0.1"));
    assert_ptr_equal(tn__cuda_backend(&host, trouble, sizeof trouble), gpu);
    assert_int_equal(gpu->devices(), 2);
}

/* ---- the emulator itself ---- */

static void the_emulator_sees_faults(void **state)
{
    float forward[64], reverse[64];
    (void)state;
    emu_reverse(0);
    assert_int_equal(planted_right(forward), 0);
    assert_int_equal(planted_race(reverse), 0);
    for (int i = 0; i < 64; i++)
        assert_true(forward[i] == (float)(63 - i) + 2016);
    emu_reverse(1);
    assert_int_equal(planted_right(reverse), 0);
    assert_memory_equal(forward, reverse, sizeof forward);
    emu_reverse(0);
    assert_int_equal(planted_race(forward), 0);
    emu_reverse(1);
    assert_int_equal(planted_race(reverse), 0);
    assert_memory_not_equal(forward, reverse, sizeof forward);
    assert_int_equal(planted_divergent(forward), cudaErrorLaunchFailure);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_emulator_sees_faults),
        cmocka_unit_test(elementwise_kernels),
        cmocka_unit_test(long_walks_are_cut),
        cmocka_unit_test(gradients_flow_on_the_device),
        cmocka_unit_test(gradients_of_many_leaves),
        cmocka_unit_test(dropout_draws_the_same_bits),
        cmocka_unit_test(casts_of_every_pair_give_the_same_bits),
        cmocka_unit_test(transposes_give_the_same_bytes),
        cmocka_unit_test(too_many_keys_for_dropout),
        cmocka_unit_test(what_has_no_kernel_says_so),
        cmocka_unit_test(coverage),
        cmocka_unit_test(optimizer_rules_give_the_same_bits),
        cmocka_unit_test(memory),
        cmocka_unit_test(copies_between_devices),
        cmocka_unit_test(unusable_machines_are_explained),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
