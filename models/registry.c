/* Networks by name, for configs and plug-ins. */
#include <tenon.h>

#include <stdlib.h>
#include <string.h>

/* ---- those that come along ---- */

static bool is(const char *word, const char *what) { return word && !strcmp(word, what); }

static bool small(int64_t n) { return n >= 0 && n <= INT32_MAX; }

static tn_module *make_resnet(const tn_model_spec *s)
{
    const bool zero_pad = is(s->shortcut, "zero-pad");
    const int64_t channels = s->in_ndim == 3 ? s->in[2] : 0;
    if (s->in_ndim && s->in_ndim != 3)
        return tn_fail(TN_ESHAPE, "%s: images [H,W,C] are needed, the inputs have %d dims", s->name, s->in_ndim);
    if (s->shortcut && *s->shortcut && !zero_pad && !is(s->shortcut, "projection"))
        return tn_fail(TN_EARG, "%s: shortcut '%s'; there are projection and zero-pad", s->name, s->shortcut);
    if (!small(s->classes) || !small(s->width) || !small(channels))
        return tn_fail(TN_EARG, "%s: %lld classes, width %lld: negative or too large", s->name,
                       (long long)s->classes, (long long)s->width);
    return tn_resnet(atoi(s->name + strlen("resnet")), (int)s->classes, .channels = (int)channels,
                     .width = (int)s->width, .zero_pad = zero_pad);
}

/* Defaults: one hidden layer of 256. */
static tn_module *make_mlp(const tn_model_spec *s)
{
    int64_t in = 1;
    for (int i = 0; i < s->in_ndim && i < TN_MAX_DIMS; i++)
        if (s->in[i] < 0 || __builtin_mul_overflow(in, s->in[i], &in))
            return tn_fail(TN_ESHAPE, "mlp: the inputs are too large");
    if (!small(s->layers))
        return tn_fail(TN_EARG, "mlp: %lld layers are not possible", (long long)s->layers);
    return tn_mlp(in, s->hidden ? s->hidden : 256, s->layers ? (int)s->layers : 1, s->classes);
}

static tn_module *make_stack(const tn_model_spec *s) { return tn_stack(s->stack); }

/* What is 0 in the spec is as fairseq's architecture of that name has it; model.h's defaults are those of
 * transformer_iwslt_de_en. */
static tn_transformer_args transformer_args(const tn_model_spec *s)
{
    tn_transformer_args a = s->transformer;
    a.source = s->source;
    a.target = s->classes;
    return a;
}

static tn_module *make_transformer(const tn_model_spec *s) { return tn_transformer_call(transformer_args(s)); }

static tn_module *make_transformer_wmt(const tn_model_spec *s)
{
    tn_transformer_args a = transformer_args(s);
    a.ffn = a.ffn ? a.ffn : 2048;
    a.heads = a.heads ? a.heads : 8;
    a.share = a.share ? a.share : TN_SHARE_ALL;
    return tn_transformer_call(a);
}

static tn_module *make_transformer_lm(const tn_model_spec *s) { return tn_transformer_lm_call(transformer_args(s)); }

static tn_module *make_lstm_lm(const tn_model_spec *s)
{
    tn_lstm_lm_args a = s->lstm_lm;
    a.words = s->classes;
    return tn_lstm_lm_call(a);
}

#define ROW(name, make) {name, (void (*)(void))(make)}
static const tn_entry rows[] = {
    ROW("resnet20", make_resnet),  ROW("resnet32", make_resnet), ROW("resnet44", make_resnet),
    ROW("resnet56", make_resnet),  ROW("resnet110", make_resnet), ROW("resnet18", make_resnet),
    ROW("resnet34", make_resnet),  ROW("mlp", make_mlp),          ROW("stack", make_stack),
    ROW("transformer", make_transformer),
    ROW("transformer_iwslt_de_en", make_transformer),
    ROW("transformer_wmt_en_de", make_transformer_wmt),
    ROW("transformer_lm", make_transformer_lm),
    ROW("lstm_lm", make_lstm_lm),
};
static tn_registry models = {.what = "model", .rows = rows, .n_rows = sizeof rows / sizeof *rows};

bool tn_register_model(const char *name, tn_model_make *make)
{
    return tn_registry_add(&models, name, (void (*)(void))make);
}

const char *const *tn_models(int *n) { return tn_registry_names(&models, n); }

tn_module *tn_model_named(const tn_model_spec *spec)
{
    const int i = spec ? tn_registry_find(&models, spec->name) : -1;
    return i < 0 ? NULL : ((tn_model_make *)models.entry[i].make)(spec);
}
