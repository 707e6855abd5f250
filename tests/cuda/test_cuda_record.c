/* TN_RECORD() on the emulated CUDA backend: bodies are done, recorded and replayed with the same results, inputs and
 * random ops of each turn in them; what cannot be recorded is done as it is written; nothing leaks.  Whole trainings:
 * test_cuda_train.c. */
#include "classes.h"
#include "emulated.h"

static tn_device device(void) { return (tn_device){gpu, 0}; }

static tn_tensor *there(double value, int64_t n) { return tn_on(tn_full(value, TN_F32, TN_SHAPE(n)), device()); }

static void expect_all(const tn_tensor *t, double value)
{
    double x[64];
    assert_true(tn_numel(t) <= 64 && tn_read_f64(t, x));
    for (int64_t i = 0; i < tn_numel(t); i++)
        assert_true(x[i] == value);
}

static void expect_counts(const tn_recorder *r, int64_t recorded, int64_t replayed)
{
    int64_t n, m;
    tn_recorder_counts(r, &n, &m);
    assert_int_equal(n, recorded);
    assert_int_equal(m, replayed);
}

/* sum += 2 x, with what it makes in between. */
static void add_twice(tn_tensor *sum, tn_tensor *x) { tn_copy_(sum, tn_add(sum, tn_mul_scalar(x, 2))); }

static void inputs_of_each_turn(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    IN_BOTH_ORDERS TN_SCOPE {
        tn_tensor *sums[] = {there(0, 5), there(0, 8)};
        for (int i = 0; i < 12; i++) {
            tn_tensor *in[] = {tn_full(i, TN_F32, TN_SHAPE(i % 2 ? 8 : 5)), NULL};
            TN_RECORD(r, reverse, 2, in) {
                assert_true(tn_device_of(in[0]).backend == gpu && !in[1]);
                add_twice(sums[i % 2], in[0]);
            }
        }
        expect_all(sums[0], 2 * (0 + 2 + 4 + 6 + 8 + 10));
        expect_all(sums[1], 2 * (1 + 3 + 5 + 7 + 9 + 11));
        expect_counts(r, 2 * (reverse + 1), 10 * (reverse + 1));
    }
    assert_null(tn_recorder_trouble(r));
    assert_ok();
    tn_free(r);
}

static void keys_tell_bodies_apart(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    TN_SCOPE {
        tn_tensor *x = there(1, 4);
        for (int i = 0; i < 4; i++) {
            TN_RECORD(r, 0, 0, NULL) {
                tn_copy_(x, tn_add_scalar(x, 1));
            }
            TN_RECORD(r, 1, 0, NULL) {
                tn_copy_(x, tn_mul_scalar(x, 2));
            }
        }
        expect_all(x, ((((1 + 1) * 2 + 1) * 2 + 1) * 2 + 1) * 2);
    }
    expect_counts(r, 2, 6);
    tn_free(r);
}

/* Of a turn's dropout, which the device draws: the same as without a recorder, and another each time. */
static void draws_of_each_turn(void **state)
{
    enum { TURNS = 5, N = 40 };
    float want[TURNS][N], got[TURNS][N];
    (void)state;
    for (int record = 0; record < 2; record++) TN_SCOPE {
        tn_recorder *r = tn_recorder_new(device());
        tn_tensor *x = there(1, N), *y = there(0, N);
        tn_seed(11);
        for (int i = 0; i < TURNS; i++) {
            tn_rand(0, 1, TN_SHAPE(3)); /* others draw in between */
            if (record)
                TN_RECORD(r, 0, 0, NULL) {
                    tn_copy_(y, tn_dropout(tn_dropout(x, .3), .3));
                }
            else
                tn_copy_(y, tn_dropout(tn_dropout(x, .3), .3));
            assert_true(tn_read_f32(y, record ? got[i] : want[i]));
        }
        assert_int_equal(tn_rng_state().step, 3 * TURNS);
        tn_free(r);
    }
    assert_memory_equal(want, got, sizeof want);
    assert_memory_not_equal(got[3], got[4], sizeof got[3]);
}

static void another_seed_is_another_body(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    TN_SCOPE {
        float first[40], second[40];
        tn_tensor *x = there(1, 40), *y = there(0, 40);
        for (int i = 0; i < 3; i++) {
            tn_seed(1);
            TN_RECORD(r, 0, 0, NULL) {
                tn_copy_(y, tn_dropout(x, .5));
            }
        }
        assert_true(tn_read_f32(y, first));
        tn_seed(2);
        TN_RECORD(r, 0, 0, NULL) {
            tn_copy_(y, tn_dropout(x, .5));
        }
        assert_true(tn_read_f32(y, second));
        assert_memory_not_equal(first, second, sizeof first);
    }
    expect_counts(r, 1, 2);
    tn_free(r);
}

static bool count(void *n)
{
    ++*(int *)n;
    return true;
}

static void what_the_host_counts(void **state)
{
    int counted = 0, done = 0;
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    for (int i = 0; i < 6; i++)
        TN_RECORD(r, 0, 0, NULL) {
            done++;
            assert_true(tn_each_time(count, &counted));
        }
    assert_int_equal(counted, 6);
    assert_int_equal(done, 2); /* once as it is, once recorded */
    tn_free(r);
}

static int told;

static void tell(const tn_err *e, void *arg)
{
    (void)e;
    (void)arg;
    told++;
}

/* The host must know a value in the middle: nothing is said, and everything happens once. */
static void what_cannot_be_recorded(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    tn_on_error(tell, NULL);
    TN_SCOPE {
        tn_tensor *x = there(1, 1);
        tn_seed(3);
        for (int i = 0; i < 5; i++)
            TN_RECORD(r, 0, 0, NULL) {
                tn_dropout(x, .5);
                tn_copy_(x, tn_add_scalar(x, tn_item(x)));
            }
        expect_all(x, 32);
        assert_int_equal(tn_rng_state().step, 5);
        for (int i = 0; i < 5; i++)
            TN_RECORD(r, 1, 0, NULL) {
                tn_copy_(x, tn_on(tn_full(i, TN_F32, TN_SHAPE(1)), device()));
            }
        expect_all(x, 4);
    }
    assert_ok();
    assert_int_equal(told, 0);
    tn_on_error(NULL, NULL);
    assert_string_equal(tn_recorder_trouble(r), "copy: the host and cuda:0 meet here, which cannot be recorded");
    expect_counts(r, 0, 0);
    tn_free(r);
}

static void errors_of_a_body(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    TN_SCOPE {
        tn_tensor *x = there(1, 4), *y = there(1, 5), *in[TN_RECORD_INPUTS + 1] = {NULL};
        for (int i = 0; i < 3; i++) {
            TN_RECORD(r, 0, 0, NULL) {
                tn_copy_(x, tn_add(x, i == 1 ? y : x));
            }
            if (i == 1)
                expect_error(TN_ESHAPE, "add: shapes do not fit");
        }
        expect_all(x, 4);
        int done = 0;
        tn_fail(TN_EARG, "an error");
        TN_RECORD(r, 1, 0, NULL) {
            done++;
        }
        expect_error(TN_EARG, "an error");
        TN_RECORD(r, 1, TN_RECORD_INPUTS + 1, in) {
            done++;
        }
        expect_error(TN_EARG, "record: 9 inputs; 0 to 8 are possible");
        TN_RECORD(NULL, 1, 0, NULL) {
            done++;
        }
        assert_int_equal(done, 0);
    }
    tn_free(r);
}

static void leave_in_the_middle(tn_recorder *r, tn_tensor *x)
{
    TN_RECORD(r, 0, 0, NULL) {
        tn_copy_(x, tn_add_scalar(x, 1));
        return;
    }
}

static void a_body_that_is_left(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(device());
    TN_SCOPE {
        tn_tensor *x = there(1, 4);
        for (int i = 0; i < 4; i++)
            leave_in_the_middle(r, x);
        expect_all(x, 4); /* the turn that was to be recorded has not happened */
    }
    assert_string_equal(tn_recorder_trouble(r), "record: left in its middle");
    assert_ok();
    expect_counts(r, 0, 0);
    tn_free(r);
}

/* Without memory for a recording a body is done as it is written, in what the pool has kept. */
static void no_memory(void **state)
{
    (void)state;
    if (!TN_POOLED)
        skip();
    tn_recorder *r = tn_recorder_new(device());
    TN_SCOPE {
        tn_tensor *x = there(1, 4);
        for (int i = 0; i < 3; i++) {
            emu_machine.blocks = i == 1 ? 0 : 1000000;
            TN_RECORD(r, 0, 0, NULL) {
                tn_copy_(x, tn_add_scalar(x, 1));
            }
            emu_machine.blocks = 1000000;
        }
        assert_ok();
        expect_all(x, 4);
    }
    expect_counts(r, 0, 0);
    tn_free(r);
}

static void memory_goes_back(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = there(1, 4);
        tn_recorder *r = tn_recorder_new(device());
        long before = 0;
        for (int i = 0; i < 3; i++) {
            TN_RECORD(r, 0, 0, NULL) {
                for (int k = 0; k < 100; k++)
                    tn_copy_(x, tn_mul_scalar(x, 2));
            }
            before = i ? before : emu_counts.blocks;
        }
        assert_true(emu_counts.blocks > before);
        tn_free(r);
        assert_int_equal(emu_counts.blocks, before);
        r = tn_recorder_new(device());
        tn_free(r);
    }
}

static void on_the_cpu(void **state)
{
    (void)state;
    tn_recorder *r = tn_recorder_new(tn_cpu());
    TN_SCOPE {
        tn_tensor *sum = tn_zeros(TN_SHAPE(4));
        for (int i = 0; i < 5; i++) {
            tn_tensor *in[] = {tn_full(i, TN_F32, TN_SHAPE(4))};
            TN_RECORD(r, 0, 1, in) {
                add_twice(sum, in[0]);
            }
        }
        expect_all(sum, 20);
    }
    expect_counts(r, 0, 0);
    tn_free(r);
}

/* Far more than the ring of pinned memory has room for; the host's memory is another by the time it is read. */
static void copies_from_the_host(void **state)
{
    enum { TURNS = 20, N = 3000 };
    (void)state;
    TN_SCOPE {
        tn_tensor *ours = tn_empty(TN_F32, TN_SHAPE(N)), *sum = there(0, N);
        float got[N];
        const long waits = emu_counts.waits;
        for (int i = 0; i < TURNS; i++) {
            tn_fill_(ours, i);
            tn_copy_(sum, tn_add(sum, tn_on(ours, device())));
        }
        assert_int_equal(emu_counts.waits, waits);
        assert_true(tn_read_f32(sum, got));
        for (int i = 0; i < N; i++)
            assert_true(got[i] == TURNS * (TURNS - 1) / 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_of_each_turn),
        cmocka_unit_test(keys_tell_bodies_apart),
        cmocka_unit_test(draws_of_each_turn),
        cmocka_unit_test(another_seed_is_another_body),
        cmocka_unit_test(what_the_host_counts),
        cmocka_unit_test(what_cannot_be_recorded),
        cmocka_unit_test(errors_of_a_body),
        cmocka_unit_test(a_body_that_is_left),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(memory_goes_back),
        cmocka_unit_test(on_the_cpu),
        cmocka_unit_test(copies_from_the_host),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
