/* A plug-in for the `tenon` program: a layer, a model and an optimizer that configs can then name.
 *
 *     cc -shared -fPIC plugin.c -o plugin.so $(pkg-config --cflags --libs tenon)
 *     tenon train config.yaml --plugin ./plugin.so --set model.name=logistic --set optim.name=signsgd
 *     tenon train config.yaml --plugin ./plugin.so --set model.name=stack \
 *           --set 'model.stack=flatten, linear 3072 64, cube, linear 64 10' */
#include <tenon.h>

bool tenon_plugin(void);

/* A layer without parameters, x^3. */
static tn_tensor *cube(tn_tensor *x) { return tn_mul(x, tn_square(x)); }

static tn_module *cube_layer(int n, const double *args)
{
    (void)args;
    return n ? tn_fail(TN_EARG, "cube: takes no numbers") : tn_fn(cube);
}

static tn_module *logistic(const tn_model_spec *spec)
{
    int64_t inputs = 1;
    for (int i = 0; i < spec->in_ndim; i++)
        inputs *= spec->in[i];
    return tn_seq(tn_flatten_layer(), tn_linear(inputs, spec->classes));
}

static bool sign_update(const tn_update *u)
{
    for (int64_t i = 0; i < u->n; i++)
        u->p[i] -= (float)u->h.lr * (float)((u->g[i] > 0) - (u->g[i] < 0));
    return true;
}

static const tn_optim_class signsgd = {.name = "signsgd", .defaults = {.lr = 1e-3}, .update = sign_update};

bool tenon_plugin(void)
{
    return tn_register_layer("cube", cube_layer) && tn_register_model("logistic", logistic) &&
           tn_register_optimizer(&signsgd);
}
