/* The multilayer perceptron: flatten, then linear layers with ReLU between.  As PyTorch's
 * Sequential(Flatten(), Linear(in, hidden), ReLU(), ..., Linear(hidden, classes)), names and all. */
#include <tenon.h>

enum { MOST = 64 };

tn_module *tn_mlp(int64_t in, int64_t hidden, int layers, int64_t classes)
{
    tn_module *child[2 + 2 * MOST];
    int n = 0;
    if (layers < 0 || layers > MOST)
        return tn_fail(TN_EARG, "mlp: %d hidden layers; 0 to %d are possible", layers, MOST);
    child[n++] = tn_flatten_layer();
    for (int i = 0; i < layers; i++, in = hidden) {
        child[n++] = tn_linear(in, hidden);
        child[n++] = tn_fn(tn_relu);
    }
    child[n++] = tn_linear(in, classes);
    return tn_seq_call(n, child);
}
