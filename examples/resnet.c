/* ResNet-20 on CIFAR-10 with RAdam: the program of the README.
 *
 *     example_resnet [FOLDER OR .tar.gz OF CIFAR-10'S BINARY VERSION] [EPOCHS]
 *
 * Without data it trains on generated images. */
#include <stdio.h>
#include <stdlib.h>
#include <tenon.h>

int main(int argc, char **argv)
{
    const int epochs = argc > 2 ? atoi(argv[2]) : 1;
    tn_seed(1);
    tn_dataset *images = argc > 1 ? tn_cifar10(argv[1], TN_TRAIN) : tn_shapes(TN_TRAIN, 1280, 1);
    tn_loader *train = tn_loader(images, .batch = 128, .shuffle = true, .augment = tn_crop_flip(4));
    tn_module *net = tn_resnet20(10);
    tn_optim *opt = tn_radam(net, .lr = 0.03, .decay = 1e-4);

    for (int epoch = 0; tn_ok() && epoch < epochs; epoch++) {
        double sum = 0;
        TN_EACH(b, train) { /* b.x [N,32,32,3]  b.y [N] */
            tn_tensor *loss = tn_cross_entropy(tn_forward(net, b.x), b.y);
            tn_backward(loss);
            tn_step(opt);
            sum += tn_item(loss);
        }
        printf("epoch %d: loss %.4f\n", epoch + 1, sum / (double)tn_loader_batches(train));
    }
    tn_save(net, "resnet20.safetensors");
    tn_free(opt, net, train);
    return tn_ok() ? 0 : 1;
}
