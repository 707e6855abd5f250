#!/bin/sh
# From a bare Debian 12 to a trained network: installs what is missing, builds, trains a small ResNet on
# generated images with SGD, Adam, Adam with warmup and RAdam, prints the table and where the figure is.
# Takes about three minutes on two cores.   tools/quickstart.sh [OUT]   (default: runs/quickstart)
set -eu
cd "$(dirname "$0")/.."
case "${1:-}" in -h|--help) sed -n '2,4s/^# //p' "$0"; exit 0 ;; esac
out=${1:-runs/quickstart}

tools/packages.sh
cmake -S . -B build -G Ninja -DTN_TESTS=OFF >/dev/null
cmake --build build
tenon=build/experiments/tenon
$tenon info

for run in "sgd optim.name=sgd optim.momentum=0.9 optim.lr=0.1" \
           "adam optim.name=adamw optim.lr=0.03" \
           "adam-warmup optim.name=adamw optim.lr=0.03 optim.warmup_steps=100" \
           "radam optim.name=radam optim.lr=0.03"; do
    set -- $run
    name=$1
    shift
    settings="--set name=$name"
    for s in "$@"; do settings="$settings --set $s"; done
    # shellcheck disable=SC2086
    $tenon train experiments/quickstart.yaml $settings --out "$out/$name" --force
done
$tenon plot "$out/sgd" "$out/adam" "$out/adam-warmup" "$out/radam" --out "$out/quickstart"
