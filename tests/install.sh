#!/bin/sh
# Installs a build into a fresh prefix and uses it as a stranger would: the examples by CMake package and by
# pkg-config, the static library, the program, the plug-in.   tests/install.sh SOURCE BUILD WORK
set -eu
source=$1 build=$2 work=$3
rm -rf "$work"
mkdir -p "$work"
cmake --install "$build" --prefix "$work/usr" >/dev/null
libdir=$(dirname "$(find "$work/usr" -name tenon.pc)")
export PKG_CONFIG_PATH="$libdir" LD_LIBRARY_PATH="$(dirname "$libdir")"

cmake -S "$source/examples" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/usr" >/dev/null
cmake --build "$work/cmake"
"$work/cmake/example_mlp"

cc -std=gnu11 -O2 -Wall -Wextra -Wpedantic -Werror "$source/examples/mlp.c" -o "$work/mlp" \
    $(pkg-config --cflags --libs tenon) -lm
"$work/mlp"
# constructors without their options are standard C
for noun in 'sgd(net)' 'adam(net)' 'radam(net, .lr = 0.1)' 'linear(2, 3)' 'conv2d(3, 16, 3)' 'layernorm(8)' \
            'resnet20(10)' 'transformer(9, 9)' 'transformer_lm(9)' 'loader(tn_cifar10("cifar", TN_TEST))'; do
    echo "#include <tenon.h>
void *f(tn_module *net); void *f(tn_module *net) { return net ? tn_$noun : NULL; }" >"$work/noun.c"
    cc -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "$work/noun.c" $(pkg-config --cflags tenon)
done
cc -std=gnu11 "$source/examples/mlp.c" -o "$work/mlp_static" $(pkg-config --cflags tenon) \
    -Wl,-Bstatic -L"$(dirname "$libdir")" -ltenon -Wl,-Bdynamic \
    $(pkg-config --static --libs tenon | sed 's/-ltenon//') -lm
"$work/mlp_static"
cc -shared -fPIC -std=gnu11 "$source/examples/plugin.c" -o "$work/plugin.so" $(pkg-config --cflags --libs tenon)
"$work/usr/bin/tenon" train "$source/experiments/quickstart.yaml" --plugin "$work/plugin.so" --out "$work/run" \
    --set model.name=logistic --set optim.name=signsgd --set train.max_steps=3 --quiet
"$work/usr/bin/tenon" train "$source/experiments/quickstart.yaml" --plugin "$work/plugin.so" --out "$work/stack" \
    --set model.name=stack --set 'model.stack=flatten, linear 3072 16, cube, linear 16 10' --set train.max_steps=3 \
    --quiet

# nothing but tn_* is visible
hidden=$(nm -D --defined-only "$(dirname "$libdir")/libtenon.so" | awk '{print $3}' | grep -v '^tn_\|^TENON_' || true)
[ -z "$hidden" ] || { echo "visible: $hidden"; exit 1; }
