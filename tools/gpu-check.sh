#!/bin/sh
# All that only a machine with a GPU can tell: builds from this checkout, runs every op and whole trainings on
# the GPU against the CPU, twice, stopped and resumed; then times training steps against the PyTorch that is
# installed there.  Needs nvcc, cmake and a C compiler; no network.
#   tools/gpu-check.sh [--libs FOLDER] [--build FOLDER] [--out FOLDER] [--only STEP]... [--dry-run]
#     --libs     what tools/gpu-carry.sh packed, where Debian's packages are not
#     --build    default build/gpu         --out  results; default BUILD/check
#     --only     build, ops, train, leak, memcheck or bench; default all
#     --dry-run  says what would be run, and runs nothing
# A failed step is told and does not keep the others from running; the exit status is 1 then.
set -eu
cd "$(dirname "$0")/.."
libs= build=build/gpu out= only= dry=
while [ $# -gt 0 ]; do
    case "$1" in
    --libs) libs=$(cd "$2" && pwd); shift ;;
    --build) build=$2; shift ;;
    --out) out=$2; shift ;;
    --only) only="$only $2"; shift ;;
    --dry-run) dry=1 ;;
    -h|--help) sed -n '2,10s/^# //p' "$0"; exit 0 ;;
    *) echo "gpu-check: there is no $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
out=${out:-$build/check}
only=${only:-build ops train leak memcheck bench}
failures=0

run() { # a command, told before
    echo "+ $*"
    [ -n "$dry" ] || "$@"
}
step() { # name, function
    case " $only " in *" $1 "*) ;; *) return 0 ;; esac
    echo "== $1"
    # not in a condition, where the shell would go on after a failure
    set +e
    (set -e; "$2")
    status=$?
    set -e
    [ "$status" = 0 ] || { echo "== $1 FAILED"; failures=$((failures + 1)); }
}
nvcc_there() { command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; }

build_all() {
    nvcc_there || echo "there is no nvcc" >&2
    set -- -S . -B "$build" -DTN_CUDA=ON
    ! command -v ninja >/dev/null || set -- "$@" -G Ninja
    if [ -n "$libs" ]; then
        export PKG_CONFIG_LIBDIR="$libs/lib/pkgconfig"
        set -- "$@" "-DCMAKE_PREFIX_PATH=$libs" "-DZLIB_ROOT=$libs" "-DCMAKE_BUILD_RPATH=$libs/lib" \
            "-DCMAKE_EXE_LINKER_FLAGS=-Wl,-rpath-link,$libs/lib" "-DCMAKE_SHARED_LINKER_FLAGS=-Wl,-rpath-link,$libs/lib"
    fi
    run cmake "$@"
    run cmake --build "$build" -j "$(nproc)" --target tenon_cuda tenon_program test_gpu
    run "$build/experiments/tenon" info
}

ops() {
    (run cd "$build" && run ctest -L gpu --output-on-failure --no-tests=error)
}

# A small network on drawn images, in each precision: the same weights from two runs, and from one that was killed
# with -9 and went on.
train() {
    for precision in f32 tf32 bf16; do
        set -- train experiments/quickstart.yaml --device cuda --set data.name=shapes --set data.root= \
            --set "device.precision=$precision" --set train.epochs=2 --set "train.checkpoint_every=20 steps"
        for name in once twice; do
            run "$build/experiments/tenon" "$@" --out "$out/$precision-$name"
        done
        run cmp "$out/$precision-once/model.safetensors" "$out/$precision-twice/model.safetensors"
        echo "+ $build/experiments/tenon $* --out $out/$precision-killed, killed and resumed"
        [ -z "$dry" ] || continue
        "$build/experiments/tenon" "$@" --out "$out/$precision-killed" >/dev/null &
        while [ ! -e "$out/$precision-killed/checkpoint.safetensors" ] && kill -0 $! 2>/dev/null; do sleep 0.1; done
        kill -9 $! 2>/dev/null || true
        wait $! 2>/dev/null || true
        "$build/experiments/tenon" "$@" --out "$out/$precision-killed" --resume
        cmp "$out/$precision-once/model.safetensors" "$out/$precision-killed/model.safetensors"
    done
}

# The memory in use on the GPU, once a second through a longer training: the second half of it takes no more than
# the first, but for what nvidia-smi rounds.
leak() {
    if ! command -v nvidia-smi >/dev/null; then
        echo "there is no nvidia-smi: left out"
        return 0
    fi
    set -- train experiments/quickstart.yaml --device cuda --set train.epochs=40 --out "$out/long"
    echo "+ $build/experiments/tenon $*, with nvidia-smi beside it"
    [ -z "$dry" ] || return 0
    mkdir -p "$out"
    "$build/experiments/tenon" "$@" >/dev/null &
    while kill -0 $! 2>/dev/null; do
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --id=0
        sleep 1
    done >"$out/memory.txt"
    wait $!
    awk '{ mb[NR] = $1 } END { for (i = 2; i < NR; i++) { half = i <= NR / 2 ? 1 : 2; if (mb[i] > most[half]) most[half] = mb[i] }
         printf "%d MB at most in the first half, %d MB in the second, of %d seconds\n", most[1], most[2], NR
         exit NR < 8 || most[2] > most[1] + 16 }' "$out/memory.txt"
}

# Reads and writes out of bounds in all of the test; races of threads in the ops one by one, as that takes long.
memcheck() {
    if ! command -v compute-sanitizer >/dev/null; then
        echo "there is no compute-sanitizer: left out"
        return 0
    fi
    run compute-sanitizer --tool memcheck --error-exitcode 1 "$build/tests/test_gpu"
    run compute-sanitizer --tool racecheck --error-exitcode 1 "$build/tests/test_gpu" samples_as_on_the_cpu
}

# Each step of ours is followed at once by PyTorch's, so that both meet the same machine.
bench() {
    lines=$out/bench.jsonl
    run mkdir -p "$out"
    [ -n "$dry" ] || : >"$lines"
    for work in resnet20: resnet18:16 resnet18:256 transformer: lstm:; do
        name=${work%%:*} batch=${work##*:}
        for precision in tf32 bf16; do
            set -- --precision "$precision" ${batch:+--batch "$batch"} --steps 50 --warmup 10
            echo "+ $name $*"
            [ -z "$dry" ] || continue
            label="$name${batch:+, batch $batch}"
            for command in "$build/experiments/tenon bench $name --device cuda --json" "python3 tests/bench/gpu.py $name" \
                           "python3 tests/bench/gpu.py $name --compile"; do
                # shellcheck disable=SC2086
                if line=$($command "$@" 2>"$out/bench.err"); then
                    printf '{"work": "%s", "precision": "%s", "result": %s}\n' "$label" "$precision" "$line" >>"$lines"
                else
                    echo "$command $* failed: $(tail -n 1 "$out/bench.err")"
                fi
            done
        done
    done
    [ -n "$dry" ] || python3 tests/bench/table.py "$lines"
}

step build build_all
export TN_CUDA_MODULE="${TN_CUDA_MODULE:-$PWD/$build/libtenon_cuda.so}"
step ops ops
step train train
step leak leak
step memcheck memcheck
step bench bench
[ "$failures" = 0 ] || { echo "$failures steps failed"; exit 1; }
echo "all steps passed"
