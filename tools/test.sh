#!/bin/sh
# Everything that can be checked: installs what is missing, builds and tests.
#   tools/test.sh           all: gcc and clang with warnings as errors, sanitizers, fuzzing, installed library
#   tools/test.sh --quick   one build and its tests
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
tools/packages.sh --test
export CTEST_OUTPUT_ON_FAILURE=1

build() { # folder, target, cmake arguments...
    folder=$1
    target=$2
    shift 2
    echo "== $folder: $*"
    cmake -S . -B "$folder" -G Ninja -DTN_WERROR=ON "$@" >/dev/null
    cmake --build "$folder" --target "$target" -- -k 0
}
check() { # folder, ctest arguments...
    folder=$1
    shift
    (cd "$folder" && ctest --no-tests=error "$@")
}

build build/gcc all
check build/gcc
[ "${1:-}" != --quick ] || exit 0

build build/clang all -DCMAKE_C_COMPILER=clang -DTN_CUDA=OFF
check build/clang -R 'test_(core|ops|optim|layout)'
build build/asan all -DTN_SANITIZE=address -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTN_CUDA=OFF
check build/asan -E 'test_(layout|install)'
build build/tsan all -DTN_SANITIZE=thread -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTN_CUDA=OFF
check build/tsan -R 'test_(core|data|train|optim)$'
build build/fuzz fuzz -DCMAKE_C_COMPILER=clang -DTN_FUZZ=ON -DTN_SANITIZE=address -DTN_CUDA=OFF
check build/fuzz -L fuzz
echo "all builds and tests passed"
