/* The op table and the one way to apply an op: check, shape, allocate, run, record. */
#include <string.h>

#include "op.h"

/* `reads` of ops_map.def */
enum { READS_N = 0, READS_X = I0, READS_Y = O0, READS_XZ = I0 | I1, READS_XZY = I0 | I1 | O0 };

#define ROW(name, in, out, reads, flags, gradient, rule) \
    [TN_OP_##name] = {#name, in, out, reads, flags, gradient, TN_OP_##name, rule, NULL, NULL}

const tn_op tn__ops[TN_OP_COUNT] = {
#define MAP(name, P, reads, ...)                                                  \
    ROW(name, "f", "f", READS_##reads, STRIDED, RULE, tn__shape_map),             \
    ROW(name##_backward, "ff", "f", 0, STRIDED, TWICE, tn__shape_map_last),
#define BIN(name, reads, ...)                                                     \
    ROW(name, "ff", "f", READS_##reads, STRIDED, RULE, tn__shape_map2),           \
    ROW(name##_dx, "FFFf", "f", 0, STRIDED, TWICE, tn__shape_map_last),           \
    ROW(name##_dz, "FFFf", "f", 0, STRIDED, TWICE, tn__shape_map_last),
#define CMP(name, ...) ROW(name, "ff", "u", 0, STRIDED, NONE, tn__shape_map2),
#include "tenon/ops_map.def"
#define OP(name, in, out, reads, flags, gradient) ROW(name, in, out, reads, flags, gradient, tn__shape_##name),
#include "tenon/ops.def"
};

tn__op_hook *tn__on_op;

/* ---- kernels ---- */

static tn_kernel *const plain[TN_OP_COUNT][2] = {
#define PLAINS(name) [TN_OP_##name] = {tn__plain_##name##_f32, tn__plain_##name##_f64},
#define PLAIN_0(name) PLAINS(name)
#define PLAIN_STRIDED(name) PLAINS(name)
#define PLAIN_VIEW(name)
#define MAP(name, ...) PLAINS(name) PLAINS(name##_backward)
#define BIN(name, ...) PLAINS(name) PLAINS(name##_dx) PLAINS(name##_dz)
#define CMP(name, ...) PLAINS(name)
#include "tenon/ops_map.def"
#define OP(name, in, out, reads, flags, ...) PLAIN_##flags(name)
#include "tenon/ops.def"
};

tn_kernel *tn__cpu_plain(int op, tn_dtype t)
{
    return plain[op][t == TN_F64];
}

/* The dtype that chooses the kernel: that of the first floating input, else f32.  An input of any dtype is
 * moved, not computed with, so its halves need no kernel of their own. */
static tn_dtype working_dtype(const tn_call *c)
{
    for (int i = 0; i < c->n_in; i++)
        if (c->in[i] && tn_dtype_floating(c->in[i]->dtype) &&
            (c->op->in[i] != 'a' || tn_dtype_size(c->in[i]->dtype) > 2))
            return c->in[i]->dtype;
    return TN_F32;
}

static bool missing_kernel(const tn_call *c, tn_dtype t)
{
    return tn_fail(TN_EKERNEL, "%s: no kernel for %s on %s", c->op->name, tn_dtype_name(t),
                   c->out[0]->storage->backend->name), false;
}

static bool run_user_op(const tn_call *c, tn_dtype t)
{
    tn_kernel *k = c->out[0]->storage->backend != &tn__cpu ? NULL : t == TN_F64 ? c->op->cpu_f64 : c->op->cpu_f32;
    return k ? k(c) == TN_DONE : missing_kernel(c, t);
}

bool tn__run(const tn_call *c)
{
    const tn_backend *be = c->out[0]->storage->backend;
    const tn_dtype t = working_dtype(c);
    if (c->op->id >= TN_OP_COUNT)
        return run_user_op(c, t);
    if (be == &tn__cpu && t == TN_F32) {
        tn_kernel *fast = tn__cpu_fast(c->op->id);
        const tn_done done = fast ? fast(c) : TN_DECLINED;
        if (done != TN_DECLINED)
            return done == TN_DONE;
    }
    tn_kernel *k = be->kernel(c->op->id, t);
    return k ? k(c) == TN_DONE : missing_kernel(c, t);
}

/* ---- applying ---- */

typedef struct application {
    tn_call c;
    tn_tensor *temp[TN_MAX_IN]; /* converted or contiguous copies of inputs, ours to free */
    tn_tensor meta[TN_MAX_OUT];
} application;

static void finish(application *a, bool done)
{
    for (int i = 0; i < a->c.n_in; i++)
        tn__tensor_free(a->temp[i]);
    for (int i = 0; i < a->c.n_out && !done; i++)
        if (a->c.out[i] != &a->meta[i])
            tn__tensor_free(a->c.out[i]);
}

/* Replaces input i by what `op` (contiguous or cast) makes of it, unrecorded. */
static bool replace(application *a, int i, const tn_op *op, const void *attr, tn_dtype dtype)
{
    const tn_tensor *x = a->c.in[i];
    tn_tensor *y = tn__tensor_on(x->storage->backend, x->storage->device, dtype, x->ndim, x->shape);
    tn_call c = {.op = op, .n_in = 1, .n_out = 1, .in = {x}, .out = {y}, .attr = attr};
    if (!y || !tn__run(&c)) {
        tn__tensor_free(y);
        return false;
    }
    tn__tensor_free(a->temp[i]);
    a->c.in[i] = a->temp[i] = y;
    return true;
}

static bool wrong_dtype(const tn_op *op, int i, const char *wants, const tn_tensor *t)
{
    return tn_fail(TN_EDTYPE, "%s: input %d should be %s but is %s; use tn_cast()", op->name, i, wants,
                   tn_dtype_name(t->dtype)), false;
}

/* Rows that wait for something are brought up to date before they are read: all of an input, but of a table that is
 * looked up only what is taken out of it, once the indices are at hand. */
static bool looked_up(const tn_call *c, int i) { return c->op == TN_OP(embed) && i == 0 && tn_is_contiguous(c->in[0]); }

static void open_input(const tn_call *c, int i)
{
    if (!(c->op->flags & VIEW) && !looked_up(c, i))
        tn__open(c->in[i], false);
}

static void open_rows(const tn_call *c)
{
    tn__guard *g = c->in[0] ? c->in[0]->storage->guard : NULL;
    if (g && looked_up(c, 0) && !g->rows(g, c->in[0], tn_numel(c->in[1]), tn__data(c->in[1])))
        tn__open(c->in[0], false);
}

static bool check_input(application *a, int i, char kind, const tn_tensor **first_float)
{
    const tn_op *op = a->c.op;
    const tn_tensor *t = a->c.in[i], *first = *first_float;
    const bool floating = tn_dtype_floating(t->dtype);
    open_input(&a->c, i);
    if ((kind == 'f' || kind == 'F') && !floating)
        return wrong_dtype(op, i, "floating", t);
    if ((kind == 'f' || kind == 'F') && first && first->dtype != t->dtype)
        return wrong_dtype(op, i, tn_dtype_name(first->dtype), t);
    if (kind == 'u' && t->dtype != TN_U8)
        return wrong_dtype(op, i, "u8", t);
    if (kind == 'i' && floating)
        return wrong_dtype(op, i, "an integer dtype", t);
    if (floating && !first)
        *first_float = t;
    if (!(op->flags & (VIEW | STRIDED)) && !tn_is_contiguous(t) &&
        !replace(a, i, TN_OP(contiguous), NULL, t->dtype))
        return false;
    if (kind != 'i' || t->dtype == TN_I64)
        return true;
    if (!tn_is_contiguous(a->c.in[i]) && !replace(a, i, TN_OP(contiguous), NULL, t->dtype))
        return false;
    const tn__cast_attr to = {t->dtype, TN_I64};
    return replace(a, i, TN_OP(cast), &to, TN_I64);
}

static bool same_device(const tn_op *op, const tn_tensor *a, const tn_tensor *b)
{
    if (a->storage->backend == b->storage->backend && a->storage->device == b->storage->device)
        return true;
    return tn_fail(TN_EDEVICE, "%s: inputs are on %s and on %s; move one with tn_copy_() or tn_to()", op->name,
                   a->storage->backend->name, b->storage->backend->name), false;
}

static bool check_inputs(application *a, int n, tn_tensor *const *in)
{
    const tn_op *op = a->c.op;
    const tn_tensor *first_float = NULL;
    if (n < 1 || (size_t)n > strlen(op->in))
        return tn_fail(TN_EARG, "%s: %d inputs, at most %zu are possible", op->name, n, strlen(op->in)), false;
    for (int i = 0; i < n; i++)
        if (!in[i] && (op->in[i] != 'F' || !tn_ok()))
            return false; /* an earlier failure flows through */
    for (int i = 0; i < n; i++)
        a->c.in[i] = in[i];
    const tn_tensor *any = NULL;
    for (int i = 0; i < n; i++) {
        if (!in[i])
            continue;
        any = any ? any : in[i];
        if (!same_device(op, any, in[i]) || !check_input(a, i, op->in[i], &first_float))
            return false;
    }
    return any != NULL;
}

static bool make_outputs(application *a)
{
    tn_call *c = &a->c;
    const tn_tensor *like = c->in[0];
    for (int i = 0; i < c->n_in && !like; i++)
        like = c->in[i];
    for (int i = 0; i < c->n_out; i++) {
        const char kind = c->op->out[i];
        a->meta[i].dtype = kind == 'i' ? TN_I64 : kind == 'u' ? TN_U8 : kind == 'a' ? like->dtype : working_dtype(c);
        c->out[i] = &a->meta[i];
    }
    if (!c->op->shape(c))
        return false;
    if (c->op->flags & VIEW) {
        const tn_tensor *m = &a->meta[0];
        return (c->out[0] = tn__view(c->in[0], m->ndim, m->shape, m->stride, m->offset)) != NULL;
    }
    for (int i = 0; i < c->n_out; i++) {
        const tn_tensor *m = &a->meta[i];
        tn_tensor *t = tn__tensor_on(like->storage->backend, like->storage->device, m->dtype, m->ndim, m->shape);
        if (!t)
            return false;
        c->out[i] = t;
    }
    return true;
}

bool tn__apply(const tn_op *op, const void *attr, size_t size, int n, tn_tensor *const *in, tn_tensor **out)
{
    application a = {.c = {.op = op, .n_in = n < TN_MAX_IN ? n : TN_MAX_IN, .attr = attr}};
    if (!op)
        return false;
    if (size > TN_MAX_ATTR)
        return tn_fail(TN_EARG, "%s: %zu bytes of attributes, at most %d are possible", op->name, size, TN_MAX_ATTR);
    a.c.n_out = (int)strlen(op->out);
    for (int i = 0; i < TN_MAX_OUT; i++)
        a.c.out[i] = &a.meta[i];
    const bool ready = check_inputs(&a, n, in) && make_outputs(&a);
    if (ready)
        open_rows(&a.c);
    const bool done = ready && ((op->flags & VIEW) || tn__run(&a.c)) &&
                      (!tn__on_op || tn__on_op(&a.c, size, in));
    finish(&a, done);
    for (int i = 0; i < a.c.n_out; i++)
        out[i] = done ? a.c.out[i] : NULL;
    return done;
}

static bool fits(application *a, const tn_tensor *onto)
{
    tn_tensor *m = a->c.out[0] = &a->meta[0];
    m->dtype = working_dtype(&a->c);
    if (!a->c.op->shape(&a->c))
        return false;
    if (m->dtype == onto->dtype && tn_same_shape(m, onto) && tn_is_contiguous(onto))
        return true;
    char s[TN_SHAPE_TEXT], u[TN_SHAPE_TEXT];
    return tn_fail(TN_ESHAPE, "%s: a result %s is to be added to %s", a->c.op->name, tn_shape_text(m, s),
                   tn_shape_text(onto, u)), false;
}

bool tn__apply_onto(const tn_op *op, const void *attr, int n, tn_tensor *const *in, tn_tensor *onto)
{
    application a = {.c = {.op = op, .n_in = n, .attr = attr}};
    bool done = onto && check_inputs(&a, n, in) && fits(&a, onto);
    if (done) {
        tn__open(onto, true);
        onto->storage->version++;
        a.c.n_out = 1;
        a.c.out[0] = onto;
        done = tn__run(&a.c);
    }
    a.c.n_out = 0; /* onto is the caller's */
    finish(&a, done);
    return done;
}

tn_tensor *tn_apply(const tn_op *op, const void *attr, size_t size, int n, tn_tensor *const *in)
{
    tn_tensor *out[TN_MAX_OUT] = {NULL};
    if (!tn__apply(op, attr, size, n, in, out))
        return NULL;
    for (int i = 1; i < TN_MAX_OUT; i++)
        tn__tensor_free(out[i]);
    return out[0];
}

/* ---- ops of users ---- */

static tn_op **user_ops;
static int user_count;

static bool letters_ok(const char *letters, size_t most)
{
    return letters && *letters && strlen(letters) <= most && strspn(letters, "fFiua") == strlen(letters);
}

const tn_op *tn__register_op(const tn_op_def *def)
{
    if (!def || !def->name || !letters_ok(def->in, TN_MAX_IN) || !letters_ok(def->out, TN_MAX_OUT))
        return tn_fail(TN_EARG, "register_op: %s: name, in and out are needed, letters out of fFiua",
                       def && def->name ? def->name : "(no name)");
    if (!def->cpu_f32 && !def->cpu_f64)
        return tn_fail(TN_EARG, "register_op: %s: at least one kernel is needed", def->name);
    if (tn_op_named(def->name))
        return tn_fail(TN_EARG, "register_op: %s: there is an op of this name already", def->name);
    tn_op **grown = tn__alloc((size_t)(user_count + 1) * sizeof *grown);
    tn_op *op = tn__alloc(sizeof *op);
    if (!grown || !op) {
        tn__free(grown);
        tn__free(op);
        return NULL;
    }
    *op = (tn_op){def->name, def->in, def->out, def->reads, def->strided ? STRIDED : 0,
                  def->gradient ? RULE : NONE, TN_OP_COUNT + user_count,
                  def->shape ? def->shape : tn__shape_map, def->cpu_f32, def->cpu_f64};
    if (user_count)
        memcpy(grown, user_ops, (size_t)user_count * sizeof *grown);
    tn__free(user_ops);
    user_ops = grown;
    user_ops[user_count++] = op;
    return op;
}

const tn_op *tn_op_named(const char *name)
{
    for (int i = 0; i < TN_OP_COUNT; i++)
        if (!strcmp(tn__ops[i].name, name))
            return &tn__ops[i];
    for (int i = 0; i < user_count; i++)
        if (!strcmp(user_ops[i]->name, name))
            return user_ops[i];
    return NULL;
}

const char *tn_op_name(const tn_op *op) { return op ? op->name : "?"; }
