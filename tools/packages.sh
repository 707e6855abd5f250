#!/bin/sh
# Installs what Tenon needs on Debian 12, when it is missing.
#   tools/packages.sh          to build and run
#   tools/packages.sh --test   and for the tests
set -eu
wanted="gcc libc6-dev cmake ninja-build pkg-config libopenblas0-pthread libjansson-dev libyaml-dev
        libarchive-dev zlib1g-dev gnuplot-nox"
[ "${1:-}" != --test ] || wanted="$wanted g++ clang libclang-rt-dev libcmocka-dev xz-utils libjpeg-dev"
missing=
for package in $wanted; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ]; then root=; elif command -v sudo >/dev/null; then root=sudo; else
    echo "missing packages:$missing" >&2
    echo "run as root: apt-get install$missing" >&2
    exit 1
fi
echo "installing:$missing"
$root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq --no-install-recommends $missing >/dev/null
