/* Copies in bf16 (rounded.c): of what, how long they last, and that none outlives what it is a copy of. */
#include "emulated.h"

#include "classes.h"
#include "convert.h"
#include "launch.h"

static tn__cuda_work work_of_gpu(void)
{
    cudaStream_t stream;
    assert_true(tn__cuda_on(0, &stream));
    return (tn__cuda_work){.device = 0, .stream = stream, .half = true};
}

static tn_tensor *ramp(int64_t n, double from)
{
    tn_tensor *t = tn_empty(TN_F32, TN_SHAPE(n));
    for (int64_t i = 0; i < n; i++)
        tn_f32(t)[i] = (float)(from + (double)i * 0.37);
    return t;
}

/* That the copy of t holds its elements, and how many launches it took. */
static long check_copy(const tn_tensor *t)
{
    tn__cuda_work w = work_of_gpu();
    const long before = emu_counts.launches;
    const uint16_t *half = tn__cuda_rounded(t, &w);
    const long launches = emu_counts.launches - before;
    TN_SCOPE {
        tn_tensor *there = tn_empty(TN_F32, t->ndim, t->shape);
        assert_non_null(half);
        assert_true(tn_copy_(there, t)); /* waits for the copy, too */
        for (int64_t i = 0; i < tn_numel(t); i++)
            assert_int_equal(half[i], tn__to_bf16(tn_f32(there)[i]));
    }
    return launches;
}

static void made_once(void **state)
{
    (void)state;
    TN_SCOPE {
        tn_tensor *x = on_gpu(ramp(5000, 1)), *part = tn_slice(x, 0, 4000, 4500, 1);
        assert_int_equal(check_copy(x), 1);
        assert_int_equal(check_copy(x), 0);
        assert_int_equal(check_copy(part), 0);
        assert_true(tn_fill_(part, 3));
        assert_int_equal(check_copy(x), 1);
        assert_int_equal(check_copy(part), 0);
    }
}

static void not_where_it_is_not_wanted(void **state)
{
    (void)state;
    TN_SCOPE {
        tn__cuda_work w = work_of_gpu();
        tn_tensor *x = on_gpu(ramp(10, 0));
        w.half = false;
        assert_null(tn__cuda_rounded(x, &w));
        w.half = true;
        assert_null(tn__cuda_rounded(on_gpu(tn_empty(TN_F32, TN_SHAPE(0))), &w));
        emu_machine.blocks = 0;
        assert_null(tn__cuda_rounded(x, &w));
        emu_machine.blocks = 1000000;
        assert_int_equal(check_copy(x), 1);
    }
}

/* Other memory at the same address is another tensor. */
static void memory_that_is_used_again(void **state)
{
    const void *at = NULL;
    (void)state;
    for (int i = 0; i < 3; i++)
        TN_SCOPE {
            tn_tensor *x = on_gpu(ramp(777, i));
            if (TN_POOLED && i)
                assert_ptr_equal(x->storage->data, at);
            at = x->storage->data;
            assert_int_equal(check_copy(x), 1);
        }
}

/* A replay writes where the host does not see it. */
static void a_replay_ends_them(void **state)
{
    (void)state;
    TN_SCOPE {
        const tn_device d = {gpu, 0};
        tn_recorder *often = tn_recorder_new(d);
        tn_tensor *x = on_gpu(ramp(100, 0)), *y = on_gpu(ramp(100, 5));
        for (int i = 0; i < 5; i++) {
            TN_RECORD(often, 0, 0, NULL) {
                tn__cuda_work w = work_of_gpu();
                assert_non_null(tn__cuda_rounded(y, &w));
                assert_true(tn_copy_(x, tn_add_scalar(x, 1)));
            }
            assert_int_equal(check_copy(x), 1);
        }
        int64_t recordings, replays;
        tn_recorder_counts(often, &recordings, &replays);
        assert_int_equal(recordings, 1);
        assert_int_equal(replays, 4);
        tn_free(often);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(made_once),
        cmocka_unit_test(not_where_it_is_not_wanted),
        cmocka_unit_test(memory_that_is_used_again),
        cmocka_unit_test(a_replay_ends_them),
    };
    return cmocka_run_group_tests(tests, open_gpu, NULL);
}
