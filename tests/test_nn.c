/* Modules: the tree and its paths, who frees what, running, loading and saving, devices, the summary.
 * What single layers compute is test_layers.c. */
#include "files.h"
#include "internal.h"

/* ---- a layer of our own: adds up its inputs ---- */

static tn_tensor *adder_forward(tn_module *m, int n, tn_tensor *const *x)
{
    tn_tensor *y = x[0];
    (void)m;
    for (int i = 1; i < n; i++)
        y = tn_add(y, x[i]);
    return y;
}

static int adders_freed;
static void adder_free(tn_module *m)
{
    (void)m;
    adders_freed++;
}

static const tn_module_class adder_class = {
    .name = "Adder", .size = sizeof(tn_module), .forward = adder_forward, .free = adder_free, .inputs = 3};

static tn_module *adder(void) { return tn_module_new(&adder_class); }

/* ---- the tree ---- */

static bool list_paths(void *arg, const char *path, tn_param *p)
{
    (void)p;
    strcat(strcat(arg, path), " ");
    return true;
}

static bool stop_at_second(void *arg, const char *path, tn_param *p)
{
    (void)path;
    (void)p;
    return ++*(int *)arg < 2;
}

static void test_paths(void **state)
{
    char paths[512] = "";
    int seen = 0;
    (void)state;
    tn_module *net = tn_seq(tn_conv2d(3, 4, 3), tn_residual(tn_seq(tn_linear(4, 4), tn_batch_norm2d(4))));
    assert_true(tn_each_param(net, list_paths, paths));
    assert_string_equal(paths, "0.weight 0.bias 1.body.0.weight 1.body.0.bias 1.body.1.weight 1.body.1.bias "
                               "1.body.1.running_mean 1.body.1.running_var 1.body.1.num_batches_tracked ");
    assert_false(tn_each_param(net, stop_at_second, &seen));
    assert_int_equal(seen, 2);
    assert_int_equal(tn_param_count(net), 4 * 27 + 4 + 16 + 4 + 8);

    assert_ptr_equal(tn_find_module(net, ""), net);
    assert_string_equal(tn_find_module(net, "1.body.1")->cls->name, "BatchNorm2d");
    assert_string_equal(tn_find_param(net, "1.body.1.running_var")->name, "running_var");
    assert_true(tn_find_param(net, "1.body.1.running_var")->buffer);
    assert_ptr_equal(tn_find_param(net, "0.bias")->owner, tn_find_module(net, "0"));
    static const char *const absent[] = {"2",         "0.", ".0", "0..weight", "weight", "0.weights",
                                         "1.body.0.weight.", "."};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        assert_null(tn_find_param(net, absent[i]));
        assert_null(tn_find_module(net, absent[i]));
    }
    assert_null(tn_find_param(NULL, "x"));
    assert_null(tn_find_module(net, NULL));
    assert_ok();
    tn_free(net);
}

static void test_names(void **state)
{
    char longest[300];
    (void)state;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const char *const bad[] = {"", "a.b", longest, NULL};
    for (int i = 0; i < 4; i++) {
        tn_module *m = adder();
        assert_null(tn_add_child(m, bad[i], adder()));
        expect_error(TN_EARG, "cannot be a name");
        assert_null(tn_param_new(m, bad[i], (tn_init){0}, TN_SHAPE(1)));
        expect_error(TN_EARG, "cannot be a name");
        tn_free(m);
    }
    tn_module *m = adder();
    assert_non_null(tn_add_child(m, "a", adder()));
    assert_null(tn_buffer_new(m, "a", TN_I64, 0, TN_SCALAR));
    expect_error(TN_EARG, "the name 'a' is taken");
    assert_null(tn_module_done(m));

    longest[200] = 0; /* fits alone, not twice */
    tn_module *deep = adder();
    tn_module *leaf = tn_add_child(tn_add_child(deep, longest, adder()), longest, adder());
    tn_param_new(leaf, "w", (tn_init){.kind = TN_INIT_ZEROS}, TN_SHAPE(1));
    assert_int_equal(tn_param_count(deep), 0);
    expect_error(TN_EARG, "is longer than 255 letters");
    tn_free(deep);
}

static void test_matching(void **state)
{
    static const struct {
        const char *pattern, *path;
        bool yes;
    } t[] = {
        {"*", "", true}, {"*", "a.b", true}, {"", "", true}, {"", "a", false}, {"?", "", false},
        {"*.bias", "layer1.0.bn1.bias", true}, {"*.bias", "bias", false}, {"*.bias", "fc.bias2", false},
        {"layer?.*", "layer1.0.conv1.weight", true}, {"layer?.*", "layer10.0", false},
        {"*bn*weight", "layer1.bn.weight.weight", true}, {"a*b*c", "abbbc", true}, {"a*b*c", "abbbd", false},
        {"**a", "bba", true}, {"a", "a.b", false}, {"[a]", "a", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        assert_int_equal(tn_match(t[i].pattern, t[i].path), t[i].yes);
    assert_false(tn_match(NULL, "a") || tn_match("a", NULL));
}

static void test_switches(void **state)
{
    (void)state;
    tn_module *net = tn_seq(tn_linear(2, 3), tn_seq(tn_batch_norm2d(3), tn_drop(.5)));
    assert_true(tn_find_module(net, "1.1")->training);
    tn_eval(net);
    assert_false(net->training || tn_find_module(net, "1")->training || tn_find_module(net, "1.1")->training);
    tn_train(net);
    assert_true(net->training && tn_find_module(net, "1.1")->training);
    assert_int_equal(tn_set_trained(net, "*.weight", false), 2);
    assert_int_equal(tn_param_count(net), 3 + 3);
    assert_false(tn_find_param(net, "0.weight")->t.requires_grad);
    assert_int_equal(tn_set_trained(net, "*", true), 4);
    assert_int_equal(tn_param_count(net), 6 + 3 + 6);
    assert_false(tn_find_param(net, "1.0.running_mean")->t.requires_grad);
    assert_int_equal(tn_set_trained(net, "nothing", true), 0);
    TN_SCOPE {
        tn_set_trained(net, "0.*", false);
        tn_backward(tn_sum(tn_square(tn_forward(net, tn_randn(0, 1, TN_SHAPE(4, 2)))), TN_ALL, false));
        assert_null(tn_find_param(net, "0.weight")->t.grad);
        assert_non_null(tn_find_param(net, "1.0.weight")->t.grad);
    }
    tn_train(NULL);
    assert_ok();
    tn_free(net);
}

/* ---- ownership ---- */

static void test_what_is_given_away_is_freed(void **state)
{
    (void)state;
    adders_freed = 0;
    tn_free(tn_seq(adder(), tn_residual(adder())));
    assert_int_equal(adders_freed, 2);

    assert_null(tn_seq(adder(), tn_residual(tn_linear(0, 3)), adder())); /* the middle one fails */
    expect_error(TN_EARG, "linear: 0 inputs");
    assert_int_equal(adders_freed, 4);
    assert_null(tn_add_child(NULL, "x", adder()));
    assert_int_equal(adders_freed, 5);
    assert_ok();

    tn_module *child = adder(), *net = tn_seq(child);
    tn_free(child);
    expect_error(TN_ESTATE, "free: Adder '0' belongs to a Sequential");
    assert_null(tn_seq(child));
    expect_error(TN_EARG, "is part of a network already");
    assert_null(tn_add_child(child, "loop", net));
    expect_error(TN_EARG, "is part of a network already");
    assert_null(tn_add_child(net, "self", net));
    expect_error(TN_EARG, "is part of a network already");
    tn_free(net);
    assert_int_equal(adders_freed, 6);
    child = adder();
    assert_null(tn_seq(child, child));
    expect_error(TN_EARG, "is part of a network already");
    assert_int_equal(adders_freed, 7);
    assert_null(tn_seq(adder(), NULL));
    expect_error(TN_EARG, "Sequential: the child '1' is NULL");
    assert_int_equal(adders_freed, 8);
    const tn_module_class small = {.name = "small", .size = 3, .forward = adder_forward};
    assert_null(tn_module_new(&small));
    expect_error(TN_EARG, "a class needs");
}

static tn_module *small_net(void)
{
    return tn_seq(tn_conv2d(2, 4, 3, .padding = 1), tn_batch_norm2d(4, .relu = true), tn_max_pool2d(2, 0, 0),
                  tn_residual(tn_seq(tn_layernorm(4), tn_linear(4, 4), tn_fn(tn_relu), tn_drop(.1))),
                  tn_global_avg_pool(), tn_linear(4, 3));
}

static void test_failing_allocations(void **state)
{
    (void)state;
    const size_t live = tn_memory_stats().live;
    adders_freed = 0;
    int made = 0;
    for (long n = 0;; n++) {
        assert_true(n < 2000);
        tn__fail_alloc_after(n);
        tn_module *a = adder();
        made += a != NULL;
        tn_module *net = tn_seq(a, small_net());
        tn__fail_alloc_after(-1);
        assert_true((net != NULL) == tn_ok());
        if (net) {
            tn_free(net);
            break;
        }
        expect_error(TN_ENOMEM, "out of memory");
        assert_int_equal(adders_freed, made);
    }
    assert_int_equal(tn_memory_stats().live, live);

    tn_module *net = small_net();
    const size_t held = tn_memory_stats().live;
    for (long n = 0; n < 2000; n++) {
        bool done = false;
        TN_SCOPE {
            tn_tensor *x = tn_ones(TN_SHAPE(1, 4, 4, 2));
            tn__fail_alloc_after(n);
            done = tn_forward(net, x) && tn_save(net, in_folder("oom")) &&
                   tn_load(net, in_folder("oom"), .strict = true);
            tn__fail_alloc_after(-1);
        }
        if (done)
            break;
        expect_error(TN_ENOMEM, "out of memory");
        assert_int_equal(tn_memory_stats().live, held);
    }
    assert_ok();
    tn_free(net);
}

/* ---- running ---- */

static void test_forward_scopes(void **state)
{
    (void)state;
    tn_module *net = tn_seq(adder(), adder());
    TN_SCOPE {
        tn_tensor *x = tn_ones(TN_SHAPE(2)), *y = NULL;
        const tn_scope *home = x->scope;
        TN_SCOPE {
            y = tn_forward(net, x);
            assert_ptr_equal(y, x); /* through two layers that return what they are given */
            assert_ptr_equal(x->scope, home);
        }
        assert_int_equal(tn_f32(x)[0], 1);
        const tn_module *sum = tn_find_module(net, "0");
        const size_t before = tn_memory_stats().live;
        y = tn_forward(sum, x, x, x);
        assert_ptr_equal(y->scope, home);
        assert_int_equal(tn_f32(y)[1], 3);
        assert_int_equal(tn_memory_stats().live - before, 64); /* one of the two sums is gone */
        assert_null(tn_forward(sum, x, x, x, x));
        expect_error(TN_EARG, "forward: Adder takes 1 to 3 inputs, was given 4 in 0");
        assert_null(tn_forward(net, x, x));
        expect_error(TN_EARG, "forward: Sequential takes 1 input, was given 2");
        assert_null(tn_forward(NULL, x));
        assert_null(tn_forward(net, NULL));
        assert_ok();
    }
    tn_free(net);
}

static tn_tensor *nothing(tn_tensor *x)
{
    (void)x;
    return NULL;
}

static void test_errors_name_the_path(void **state)
{
    (void)state;
    tn_module *net = tn_seq(tn_fn(tn_relu), tn_residual(tn_seq(tn_linear(3, 4), tn_linear(5, 3))));
    tn_module *bad = tn_fn(nothing);
    TN_SCOPE {
        assert_null(tn_forward(net, tn_ones(TN_SHAPE(2, 3))));
        expect_error(TN_ESHAPE, " in 1.body.1");
        assert_null(tn_relu(tn_reshape(tn_ones(TN_SHAPE(2)), TN_SHAPE(3))));
        assert_null(strstr(tn_error()->text, " in "));
        tn_error_clear();
        assert_null(tn_forward(bad, tn_ones(TN_SHAPE(2))));
        expect_error(TN_ESTATE, "Function returned nothing");
    }
    tn_free(net, bad);
}

/* ---- files ---- */

static void test_save_and_load(void **state)
{
    (void)state;
    tn_seed(1);
    tn_module *a = small_net(), *b = small_net();
    TN_SCOPE {
        tn_tensor *x = tn_randn(0, 1, TN_SHAPE(2, 6, 6, 2));
        float y[2][6];
        tn_forward(a, x); /* moves the running statistics */
        tn_eval(a);
        tn_eval(b);
        assert_true(tn_read_f32(tn_forward(a, x), y[0]) && tn_read_f32(tn_forward(b, x), y[1]));
        assert_memory_not_equal(y[0], y[1], sizeof *y);
        assert_true(tn_save(a, in_folder("net")) && tn_load(b, in_folder("net"), .strict = true));
        assert_true(tn_read_f32(tn_forward(b, x), y[1]));
        assert_memory_equal(y[0], y[1], sizeof *y);
        assert_true(tn_item(&tn_find_param(b, "1.num_batches_tracked")->t) == 1);

        /* [4,3,3,2] in memory, [4,2,3,3] in the file */
        tn_safetensors *f = tn_safetensors_open(in_folder("net"));
        tn_tensor *w = tn_safetensors_read(f, "0.weight");
        char s[TN_SHAPE_TEXT];
        assert_string_equal(tn_shape_text(w, s), "[4,2,3,3]");
        assert_true(tn_at(w, (const int64_t[]){3, 1, 2, 0}) ==
                    tn_at(&tn_find_param(a, "0.weight")->t, (const int64_t[]){3, 2, 0, 1}));
        tn_free(f);
        assert_ok();
    }
    tn_free(a, b);
}

static void test_load_tells_what_does_not_fit(void **state)
{
    char log[1024] = "";
    (void)state;
    tn_module *a = tn_seq(tn_linear(2, 3), tn_fn(tn_relu), tn_linear(3, 2), tn_conv2d(2, 4, 3));
    tn_module *b = tn_seq(tn_linear(2, 3), tn_linear(3, 3), tn_linear(3, 2), tn_conv2d(3, 4, 3));
    assert_true(tn_save(a, in_folder("a")));
    assert_true(tn_init_(&tn_find_param(b, "0.bias")->t, (tn_init){.kind = TN_INIT_CONST, .a = 9}));
    assert_false(tn_load(b, in_folder("a"), .strict = true));
    expect_error(TN_EFORMAT, "does not fit this Sequential: 2 missing, 0 unexpected, 1 of another shape or kind: "
                             "1.weight is missing; 1.bias is missing; 3.weight is f32 [4,2,3,3] in the file, "
                             "f32 [4,3,3,3] here");
    assert_true(tn_f32(&tn_find_param(b, "0.bias")->t)[2] == 9); /* nothing was touched */
    FILE *out = fmemopen(log, sizeof log, "w");
    assert_true(tn_load(b, in_folder("a"), .log = out));
    fclose(out);
    assert_non_null(strstr(log, "/a: 1.weight is missing\n"));
    assert_non_null(strstr(log, "/a: 3.weight is f32 [4,2,3,3] in the file, f32 [4,3,3,3] here\n"));
    float x[3], y[3];
    tn_read_f32(&tn_find_param(a, "0.bias")->t, x);
    tn_read_f32(&tn_find_param(b, "0.bias")->t, y);
    assert_memory_equal(x, y, sizeof x);

    tn_module *c = tn_residual(tn_linear(2, 2)), *d = tn_seq(tn_linear(2, 3));
    assert_false(tn_load(c, in_folder("a")));
    expect_error(TN_EFORMAT, "2 missing, 6 unexpected");
    assert_false(tn_load(d, in_folder("a"), .strict = true));
    expect_error(TN_EFORMAT, "2.weight is unexpected");
    assert_false(tn_load(d, in_folder("absent")));
    expect_error(TN_EIO, "No such file");
    assert_false(tn_save(d, in_folder("absent/x")));
    expect_error(TN_EIO, "No such file");
    assert_false(tn_load(NULL, "x") || tn_save(NULL, "x"));
    assert_ok();
    tn_free(a, b, c, d);
}

static void test_load_converts_floating_dtypes(void **state)
{
    (void)state;
    tn_module *net = tn_linear(2, 1, .no_bias = true);
    TN_SCOPE {
        tn_named w = {"weight", tn_from((const double[]){.5, -2}, TN_F64, TN_SHAPE(1, 2))};
        assert_true(tn_safetensors_save(in_folder("f64"), 1, &w, NULL));
        assert_true(tn_load(net, in_folder("f64"), .strict = true));
        assert_true(tn_f32(&tn_find_param(net, "weight")->t)[1] == -2);
        w.t = tn_cast(w.t, TN_I32);
        assert_true(tn_safetensors_save(in_folder("i32"), 1, &w, NULL));
        assert_false(tn_load(net, in_folder("i32"), .strict = true));
        expect_error(TN_EFORMAT, "weight is i32 [1,2] in the file, f32 [1,2] here");
    }
    tn_free(net);
}

/* ---- devices ---- */

static void test_to(void **state)
{
    (void)state;
    tn_module *net = small_net();
    assert_true(tn_to(net, tn_cpu()));
    const tn_storage *s = tn_find_param(net, "0.weight")->t.storage;
    assert_true(tn_to(net, tn_cpu()));
    assert_ptr_equal(tn_find_param(net, "0.weight")->t.storage, s); /* nothing to do */
    /* another "device": the CPU under another number */
    tn_param *w = tn_find_param(net, "0.weight"), *b = tn_find_param(net, "0.bias");
    float before[4], after[4];
    tn_read_f32(&b->t, before);
    tn_storage *slab = tn__storage_new(&tn__cpu, 0, (72 + 4) * sizeof(float));
    memcpy((float *)slab->data + 72, before, sizeof before);
    tn__storage_drop(w->t.storage);
    tn__storage_drop(b->t.storage);
    w->t.storage = slab;
    b->t.storage = tn__storage_ref(slab);
    b->t.offset = 72;
    assert_true(tn_to(net, (tn_device){&tn__cpu, 1}));
    assert_int_equal(w->t.storage->device, 1);
    assert_ptr_equal(w->t.storage, b->t.storage); /* still one slab */
    assert_int_equal(atomic_load(&w->t.storage->refs), 2);
    tn_read_f32(&b->t, after);
    assert_memory_equal(before, after, sizeof before);
    assert_int_equal(tn_find_param(net, "1.num_batches_tracked")->t.storage->device, 0);
    assert_false(tn_to(NULL, tn_cpu()));
    assert_ok();
    tn_free(net);
}

/* ---- the summary ---- */

static void test_summary(void **state)
{
    char text[2048] = "";
    (void)state;
    tn_module *net = tn_seq(tn_conv2d(3, 40, 3, .padding = 1), tn_batch_norm2d(40), tn_drop(.5), tn_global_avg_pool(),
                            tn_linear(40, 10));
    tn_eval(tn_find_module(net, "2"));
    tn_set_trained(net, "4.*", false);
    FILE *out = fmemopen(text, sizeof text, "w");
    TN_SCOPE {
        assert_true(tn_summary(net, tn_zeros(TN_SHAPE(1, 8, 8, 3)), out));
    }
    fclose(out);
    assert_string_equal(text, "path   class          output        parameters\n"
                              "(all)  Sequential     [1,10]                  \n"
                              "0      Conv2d         [1,8,8,40]         1,120\n"
                              "1      BatchNorm2d    [1,8,8,40]            80\n"
                              "2      Dropout        [1,8,8,40]              \n"
                              "3      GlobalAvgPool  [1,40]                  \n"
                              "4      Linear         [1,10]               410\n"
                              "1,610 parameters, 1,200 of them trained; 0.01 MB with buffers\n");
    assert_true(net->training && !tn_find_module(net, "2")->training); /* as before */
    assert_true(tn_item(&tn_find_param(net, "1.num_batches_tracked")->t) == 0);
    TN_SCOPE {
        assert_false(tn_summary(net, tn_zeros(TN_SHAPE(1, 8, 8, 4)), stdout));
        expect_error(TN_ESHAPE, " in 0");
        assert_false(tn_summary(NULL, NULL, NULL));
    }
    assert_true(net->training && tn_ok());
    tn_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_matching),
        cmocka_unit_test(test_switches),
        cmocka_unit_test(test_what_is_given_away_is_freed),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_forward_scopes),
        cmocka_unit_test(test_errors_name_the_path),
        cmocka_unit_test(test_save_and_load),
        cmocka_unit_test(test_load_tells_what_does_not_fit),
        cmocka_unit_test(test_load_converts_floating_dtypes),
        cmocka_unit_test(test_to),
        cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, folder_begin, folder_end);
}
