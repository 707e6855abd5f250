/* cuDNN plans every graph of this project's networks for an H200, on a machine without a GPU:
 * cuDNN gets the card's properties (h200.json) and a stand-in for the driver (driver.c).  Each plan
 * must be deterministic, as exact as asked and small.  What a kernel computes is not seen here:
 * test_gpu.c. */
#include "check.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "libs/graph.h"
#include "libs/libs.h"

static tn__graph_device h200;
static int64_t largest; /* workspace, bytes */
static int planned;

static bool describe_device(void)
{
    static char json[4096];
    const struct tn__nvidia *nv = &tn__nvidia;
    FILE *f = fopen(TN_SOURCE_DIR "/tests/cuda/h200.json", "r");
    const size_t n = f ? fread(json, 1, sizeof json - 1, f) : 0;
    if (f)
        fclose(f);
    strcpy(h200.name, "NVIDIA H200");
    return n && !nv->cudnnBackendCreateDescriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &h200.properties) &&
           !nv->cudnnBackendSetAttribute(h200.properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                         (int64_t)n + 1, json) &&
           !nv->cudnnBackendFinalize(h200.properties);
}

#define NOTE(name) (1u << CUDNN_NUMERICAL_NOTE_##name)

static void check_plan(const tn__graph *g, const char *what)
{
    const tn__plan p = tn__graph_plan(g, &h200);
    if (!p.plan)
        fail_msg("%s: no plan", what);
    if (p.notes & NOTE(NONDETERMINISTIC))
        fail_msg("%s: engine %lld is not deterministic", what, (long long)p.engine);
    if (g->precision == TN_PRECISION_F32 && (p.notes & NOTE(TENSOR_CORE)))
        fail_msg("%s: engine %lld computes with less than f32", what, (long long)p.engine);
    assert_true(p.workspace >= 0 && p.workspace <= TN_GRAPH_WORKSPACE);
    largest = p.workspace > largest ? p.workspace : largest;
    planned++;
    tn__nvidia.cudnnBackendDestroyDescriptor(p.plan);
}

/* ---- convolutions ---- */

typedef struct layer {
    const char *network;
    int64_t batch, c, size, oc;
    int kernel, stride;
} layer;

/* Every different convolution: size is the side of the image. */
static const layer layers[] = {
    {"ResNet-20", 128, 3, 32, 16, 3, 1},   {"ResNet-20", 128, 16, 32, 16, 3, 1},
    {"ResNet-20", 128, 16, 32, 32, 3, 2},  {"ResNet-20", 128, 16, 32, 32, 1, 2},
    {"ResNet-20", 128, 32, 16, 32, 3, 1},  {"ResNet-20", 128, 32, 16, 64, 3, 2},
    {"ResNet-20", 128, 32, 16, 64, 1, 2},  {"ResNet-20", 128, 64, 8, 64, 3, 1},
#define IMAGENET(batch)                                                                        \
    {"ResNet-18", batch, 3, 224, 64, 7, 2},   {"ResNet-18", batch, 64, 56, 64, 3, 1},          \
    {"ResNet-18", batch, 64, 56, 128, 3, 2},  {"ResNet-18", batch, 64, 56, 128, 1, 2},         \
    {"ResNet-18", batch, 128, 28, 128, 3, 1}, {"ResNet-18", batch, 128, 28, 256, 3, 2},        \
    {"ResNet-18", batch, 128, 28, 256, 1, 2}, {"ResNet-18", batch, 256, 14, 256, 3, 1},        \
    {"ResNet-18", batch, 256, 14, 512, 3, 2}, {"ResNet-18", batch, 256, 14, 512, 1, 2},        \
    {"ResNet-18", batch, 512, 7, 512, 3, 1}
    IMAGENET(16), IMAGENET(256),
};
enum { LAYERS = sizeof layers / sizeof *layers };

static tn__window_attr window_of(const layer *l)
{
    tn__window_attr a = {.n = l->batch, .h = l->size, .w = l->size, .c = l->c, .oc = l->oc, .kh = l->kernel,
                         .kw = l->kernel, .sh = l->stride, .sw = l->stride, .ph = l->kernel / 2, .pw = l->kernel / 2,
                         .dh = 1, .dw = 1, .groups = 1};
    a.oh = a.ow = tn__window_count(l->size, l->kernel, l->stride, a.ph, 1);
    return a;
}

static const char *const precisions[] = {"f32", "tf32", "bf16"};

static void convolutions(void **state)
{
    static const char *const kinds[] = {"forward", "backward data", "backward weight"};
    (void)state;
    for (int p = TN_PRECISION_F32; p <= TN_PRECISION_BF16; p++)
        for (const layer *l = layers; l < layers + LAYERS; l++)
            for (int kind = TN_NODE_CONV; kind <= TN_NODE_CONV_WEIGHT; kind++) {
                char what[128];
                const tn__window_attr a = window_of(l);
                if (p == TN_PRECISION_BF16 && l->c == 3 && kind == TN_NODE_CONV)
                    continue; /* no plan from three channels of bf16 to f32: conv.c takes tf32 */
                const tn__graph g = tn__conv_graph(kind, &a, false, (tn_precision)p);
                snprintf(what, sizeof what, "%s, %lldx%lldx%lldx%lld -> %lld, %dx%d, stride %d, %s, %s", l->network,
                         (long long)l->batch, (long long)l->size, (long long)l->size, (long long)l->c,
                         (long long)l->oc, l->kernel, l->kernel, l->stride, kinds[kind], precisions[p]);
                check_plan(&g, what);
            }
}

static void a_convolution_with_bias(void **state)
{
    const tn__window_attr a = window_of(&layers[1]);
    (void)state;
    for (int p = TN_PRECISION_F32; p <= TN_PRECISION_BF16; p++) {
        const tn__graph g = tn__conv_graph(TN_NODE_CONV, &a, true, (tn_precision)p);
        check_plan(&g, precisions[p]);
    }
}

/* ---- batch norm ---- */

static const int64_t images[][4] = {
    {128, 32, 32, 16}, {128, 16, 16, 32}, {128, 8, 8, 64},
    {256, 112, 112, 64}, {256, 56, 56, 64}, {256, 28, 28, 128}, {256, 14, 14, 256}, {256, 7, 7, 512},
};

static void batch_norms(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++)
        for (int form = 0; form < 3; form++) { /* alone, with ReLU, with add and ReLU */
            char what[128];
            tn_tensor x = {.ndim = 4};
            memcpy(x.shape, images[i], sizeof images[i]);
            const tn__graph forward = tn__norm_graph(&x, true, form == 2, form > 0);
            const tn__graph backward = tn__norm_backward_graph(&x, form > 0, form == 2);
            snprintf(what, sizeof what, "batch norm of %lldx%lldx%lldx%lld, form %d", (long long)x.shape[0],
                     (long long)x.shape[1], (long long)x.shape[2], (long long)x.shape[3], form);
            check_plan(&forward, what);
            strcat(what, ", backward");
            check_plan(&backward, what);
        }
}

/* ---- the store of plans ---- */

static const char *the_file(void)
{
    static char name[4096];
    FILE *p = popen("ls $XDG_CACHE_HOME/tenon/plans/*", "r");
    if (!fgets(name, sizeof name, p))
        *name = 0;
    name[strcspn(name, "\n")] = 0;
    assert_null(fgets(name + strlen(name), 2, p)); /* one file, no temporary one */
    pclose(p);
    return name;
}

/* bytes of the file, and optionally the file after a change of one byte at each of several places */
static size_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

static void rewrite(const char *path, size_t at, int xor_with, size_t size)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)at, SEEK_SET);
    const int c = fgetc(f);
    fseek(f, (long)at, SEEK_SET);
    fputc(c ^ xor_with, f);
    fclose(f);
    assert_int_equal(truncate(path, (off_t)size), 0);
}

static void found(const tn__graph *g, tn__plan like)
{
    const tn__plan p = tn__plan_find(g, &h200);
    assert_non_null(p.plan);
    assert_int_equal(p.workspace, like.workspace);
    tn__nvidia.cudnnBackendDestroyDescriptor(p.plan);
}

static void plans_are_kept(void **state)
{
    const tn__window_attr a = window_of(&layers[1]);
    const tn__graph g = tn__conv_graph(TN_NODE_CONV, &a, false, TN_PRECISION_TF32);
    (void)state;
    setenv("XDG_CACHE_HOME", folder, 1);
    const tn__plan first = tn__plan_find(&g, &h200);
    assert_non_null(first.plan);
    const char *file = the_file();
    const size_t size = size_of(file);
    assert_true(size > sizeof g);
    struct stat before, after;
    assert_int_equal(stat(file, &before), 0);
    found(&g, first);
    assert_int_equal(stat(file, &after), 0);
    assert_int_equal(before.st_ino, after.st_ino); /* read, not written anew */

    const size_t places[] = {0, 20, 40, size / 2, size - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        rewrite(file, places[i], 4, size);
        found(&g, first);
        assert_int_equal(stat(file, &after), 0);
        assert_int_not_equal(before.st_ino, after.st_ino);
        before = after;
    }
    rewrite(file, 0, 0, size / 3);
    found(&g, first);
    assert_int_equal(size_of(the_file()), size);
    rewrite(file, 0, 0, 0);
    found(&g, first);
    assert_int_equal(size_of(the_file()), size);

    tn__graph_device other = h200; /* another card has a plan of its own */
    strcpy(other.name, "NVIDIA H100");
    remove(file);
    found(&g, first);
    file = the_file();
    remove(file);
    tn__nvidia.cudnnBackendDestroyDescriptor(tn__plan_find(&g, &other).plan);
    assert_string_not_equal(file, "");
    tn__nvidia.cudnnBackendDestroyDescriptor(first.plan);
}

static void no_place_for_plans_is_no_error(void **state)
{
    const tn__window_attr a = window_of(&layers[1]);
    const tn__graph g = tn__conv_graph(TN_NODE_CONV, &a, false, TN_PRECISION_TF32);
    (void)state;
    setenv("XDG_CACHE_HOME", "/proc/none", 1);
    const tn__plan p = tn__plan_find(&g, &h200);
    assert_non_null(p.plan);
    tn__nvidia.cudnnBackendDestroyDescriptor(p.plan);
    assert_ok();
}

static tn__graph impossible(void)
{
    tn__window_attr a = window_of(&layers[1]);
    a.oh = 7; /* not what the window gives */
    return tn__conv_graph(TN_NODE_CONV, &a, false, TN_PRECISION_F32);
}

static void what_cannot_be_planned_has_no_plan(void **state)
{
    const tn__graph g = impossible();
    (void)state;
    assert_null(tn__graph_plan(&g, &h200).plan);
    assert_ok();
}

/* ---- engines that a checkpoint holds ---- */

static int asked; /* cuDNN's heuristics, how often */
static __typeof__(tn__nvidia.cudnnBackendCreateDescriptor) create;

static cudnnStatus_t create_and_count(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *d)
{
    asked += type == CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR;
    return create(type, d);
}

typedef struct kept {
    int n;
    struct { tn__graph g; char *text; size_t size; } row[4];
} kept;

static void keep(void *arg, const void *key, size_t key_size, const void *engine, size_t size)
{
    kept *k = arg;
    assert_true(k->n < 4 && key_size == sizeof(tn__graph));
    memcpy(&k->row[k->n].g, key, key_size);
    k->row[k->n].text = calloc(1, size + 1);
    if (size)
        memcpy(k->row[k->n].text, engine, size);
    k->row[k->n++].size = size;
}

/* From one device to another, which asks for a plan only where it has none; a cache on disk is not there. */
static void plans_are_given_and_taken_back(void **state)
{
    enum { FROM, TO, REFUSING };
    const tn__window_attr a = window_of(&layers[1]);
    const tn__graph some = tn__conv_graph(TN_NODE_CONV, &a, false, TN_PRECISION_TF32), none = impossible();
    kept given = {0}, again = {0};
    (void)state;
    setenv("XDG_CACHE_HOME", "/proc/none", 1);
    assert_non_null(tn__plan_of(&some, FROM, &h200)->plan);
    assert_null(tn__plan_of(&none, FROM, &h200)->plan);
    tn__cudnn_engines.each(FROM, keep, &given);
    assert_int_equal(given.n, 2);

    create = tn__nvidia.cudnnBackendCreateDescriptor;
    tn__nvidia.cudnnBackendCreateDescriptor = create_and_count;
    for (int i = 0; i < 4; i++)
        assert_true(tn__plan_take(&given.row[i % 2].g, TO, &h200, given.row[i % 2].text, given.row[i % 2].size));
    const tn__plan *p = tn__plan_of(&some, TO, &h200);
    assert_non_null(p->plan);
    assert_int_equal(p->workspace, tn__plan_of(&some, FROM, &h200)->workspace);
    assert_null(tn__plan_of(&none, TO, &h200)->plan);
    assert_int_equal(asked, 0);
    tn__cudnn_engines.each(TO, keep, &again);
    assert_int_equal(again.n, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(again.row[i].size, given.row[i].size);
        assert_memory_equal(again.row[i].text, given.row[i].text, given.row[i].size);
    }

    assert_false(tn__plan_take(&some, REFUSING, &h200, "{}", 3));
    assert_non_null(tn__plan_of(&some, REFUSING, &h200)->plan);
    assert_true(asked > 0);
    assert_ok();
    tn__nvidia.cudnnBackendCreateDescriptor = create;
    for (int i = 0; i < 2; i++) {
        free(given.row[i].text);
        free(again.row[i].text);
    }
}

static void print_row(void *arg, const char *what, const char *text)
{
    (void)arg;
    printf("%s: %s\n", what, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions),
        cmocka_unit_test(a_convolution_with_bias),
        cmocka_unit_test(batch_norms),
        cmocka_unit_test(plans_are_kept),
        cmocka_unit_test(no_place_for_plans_is_no_error),
        cmocka_unit_test(what_cannot_be_planned_has_no_plan),
        cmocka_unit_test(plans_are_given_and_taken_back),
    };
    tn_on_error(NULL, NULL);
    tn__cuda_libraries(print_row, NULL);
    if (!tn__library(TN_LIB_CUDNN) || tn__nvidia.cudnnGetVersion() < 91100) {
        printf("cuDNN 9.11 or later is not here: skipped\n");
        return 77;
    }
    if (!describe_device()) {
        printf("cuDNN does not take tests/cuda/h200.json\n");
        return 1;
    }
    const int failed = cmocka_run_group_tests(tests, folder_begin, folder_end);
    printf("%d plans; the largest workspace is %.1f MB\n", planned, (double)largest / (1 << 20));
    return failed;
}
