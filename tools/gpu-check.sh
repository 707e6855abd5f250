#!/bin/sh
# All that only a machine with a GPU can tell: builds from this checkout, runs every op and whole trainings on
# the GPU against the CPU, twice, stopped and resumed; then times training steps against the PyTorch that is
# installed there.  Needs nvcc, cmake and a C and C++ compiler; no network.
#   tools/gpu-check.sh [--libs FOLDER] [--build FOLDER] [--out FOLDER] [--only STEP]... [--seconds N]
#                      [--without-libraries] [--data FOLDER] [--jobs N] [--dry-run]
#     --libs     what tools/gpu-carry.sh packed, where Debian's packages are not
#     --build    default build/gpu         --out  results; default BUILD/check
#     --only     build, ops, train, bench, leak, memcheck or compiled (PyTorch's torch.compile); default all
#                of these.  And cifar, which is more than a check: the runs of CIFAR-10's suites, as many as there
#                is time for; the same command goes on with them
#     --seconds  for all steps together; each has a limit of its own, too
#     --without-libraries  cuDNN and cuBLASLt may be missing
#     --data     of cifar: holds cifar-10-batches-bin, and what an earlier cifar left, to go on from; default .
#     --jobs     of cifar: runs at once; default 4
#     --dry-run  says what would be run, and runs nothing
# A failed step is told and does not keep the others from running; the exit status is 1 then.  Results are copied
# to $OUT, too, where that is set.
set -eu
cd "$(dirname "$0")/.."
libs='' build=build/gpu out='' only='' seconds=7200 bare='' data=. jobs=4 dry=''
while [ $# -gt 0 ]; do
    case "$1" in
    --libs) libs=$(cd "$2" && pwd); shift ;;
    --build) build=$2; shift ;;
    --out) out=$2; shift ;;
    --only) only="$only $2"; shift ;;
    --seconds) seconds=$2; shift ;;
    --without-libraries) bare=1 ;;
    --data) data=$(cd "$2" && pwd); shift ;;
    --jobs) jobs=$2; shift ;;
    --dry-run) dry=1 ;;
    -h|--help) sed -n '2,21s/^# //p' "$0"; exit 0 ;;
    *) echo "gpu-check: there is no $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
only=${only:-build ops train bench leak memcheck compiled}
case "$build" in /*) ;; *) build=$PWD/$build ;; esac
out=${out:-$build/check}
case "$out" in /*) ;; *) out=$PWD/$out ;; esac
tenon=$build/experiments/tenon
[ -n "$dry" ] || mkdir -p "$out"

export TN_CUDA_MODULE="${TN_CUDA_MODULE:-$build/libtenon_cuda.so}"
# cuDNN and cuBLASLt are those of PyTorch, where they lie among the packages of Python
wheels=$(python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' 2>/dev/null)/nvidia || true
if [ -d "$wheels" ] && [ -z "${TENON_CUDA_LIBS:-}" ]; then
    export TENON_CUDA_LIBS="$wheels/cudnn/lib:$wheels/cu13/lib:$wheels/cublas/lib:$wheels/cuda_nvrtc/lib"
fi

# ---- steps: they end with 0, 77 (left out) or else (failed) ----

end=$(($(date +%s) + seconds)) failed='' left_out=''
left() { # seconds that the step has left; at least 1
    now=$(date +%s)
    echo $((until > now ? until - now : 1))
}
limited() { timeout -k 15 "$(left)" "$@"; }
run() { # a command, told before
    echo "+ $*"
    [ -n "$dry" ] || limited "$@"
}
kept() { # file, command: what it says goes there, too
    kept_in=$out/$1
    shift
    if [ -n "$dry" ]; then
        run "$@"
        return 0
    fi
    kept_status=0
    run "$@" >"$kept_in" 2>&1 || kept_status=$?
    cat "$kept_in"
    return $kept_status
}
share() { # what there is to read by now
    [ -n "${OUT:-}" ] && [ -z "$dry" ] || return 0
    for file in "$out"/*.txt "$out"/*.jsonl "$out"/*.tgz*; do
        [ ! -f "$file" ] || cp "$file" "$OUT/"
    done
}
step() { # name, its seconds, function
    case " $only " in *" $1 "*) ;; *) return 0 ;; esac
    until=$(($(date +%s) + $2))
    [ "$until" -le "$end" ] || until=$end
    echo "== $1, at most $(left) s"
    if [ "$(left)" -lt 5 ]; then
        status=77
    else
        # not in a condition, where the shell would go on after a failure
        set +e
        (set -e; "$3")
        status=$?
        set -e
    fi
    share
    case "$status" in
    0) ;;
    77) echo "== $1 left out, or part of it"; left_out="$left_out $1" ;;
    124|137) echo "== $1 FAILED: its time was up"; failed="$failed $1" ;;
    *) echo "== $1 FAILED"; failed="$failed $1" ;;
    esac
}

build_all() {
    command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || echo "there is no nvcc" >&2
    set -- -S . -B "$build" -DTN_CUDA=ON
    ! command -v ninja >/dev/null || set -- "$@" -G Ninja
    # for the card that is here alone, which takes a third of the time
    card=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader --id=0 2>/dev/null | tr -cd 0-9) || true
    [ -z "$card" ] || set -- "$@" "-DCMAKE_CUDA_ARCHITECTURES=$card-real"
    if [ -n "$libs" ]; then
        export PKG_CONFIG_LIBDIR="$libs/lib/pkgconfig"
        # an rpath of the old kind, which also serves what those libraries need themselves
        flags="-Wl,--disable-new-dtags -Wl,-rpath-link,$libs/lib"
        set -- "$@" "-DCMAKE_PREFIX_PATH=$libs" "-DZLIB_ROOT=$libs" "-DPKG_CONFIG_EXECUTABLE=$libs/bin/pkg-config" \
            "-DCMAKE_BUILD_RPATH=$libs/lib" "-DCMAKE_EXE_LINKER_FLAGS=$flags" "-DCMAKE_SHARED_LINKER_FLAGS=$flags" \
            "-DCMAKE_MODULE_LINKER_FLAGS=$flags"
    fi
    run cmake "$@"
    run cmake --build "$build" -j "$(nproc)" --target tenon_cuda tenon_program test_gpu
    kept info.txt "$tenon" info
    [ -z "$dry$bare" ] || return 0
    for library in cuDNN cuBLASLt; do
        grep -Eq "^$library +[0-9]" "$out/info.txt" || { echo "without $library, see above; it may be without with" \
            "--without-libraries"; return 1; }
    done
}

# Also where it is skipped for want of a GPU, this has failed.
ops() {
    kept ops.txt stdbuf -oL "$build/tests/test_gpu" || { ops_status=$?; return $((ops_status == 77 ? 1 : ops_status)); }
}

# A small network on drawn images, in each precision: the same weights from two runs, and from one that was killed
# with -9 and went on.
train() {
    run rm -rf "$out/train"
    for precision in f32 tf32 bf16; do
        runs=$out/train/$precision
        set -- train experiments/quickstart.yaml --device cuda --quiet --set "device.precision=$precision" \
            --set train.epochs=2 --set "train.checkpoint_every=20 steps"
        for name in once twice; do
            run "$tenon" "$@" --out "$runs-$name"
        done
        run cmp "$runs-once/model.safetensors" "$runs-twice/model.safetensors"
        echo "+ $tenon $* --out $runs-killed, killed"
        if [ -z "$dry" ]; then
            "$tenon" "$@" --out "$runs-killed" &
            while [ ! -e "$runs-killed/checkpoint.safetensors" ] && kill -0 $! 2>/dev/null && [ "$(left)" -gt 1 ]; do
                sleep 0.1
            done
            kill -9 $! 2>/dev/null || true
            wait $! 2>/dev/null || true
        fi
        run "$tenon" "$@" --out "$runs-killed" --resume
        run cmp "$runs-once/model.safetensors" "$runs-killed/model.safetensors"
    done
}

# Each step of ours is followed at once by PyTorch's, so that both meet the same machine.
ours() { limited "$tenon" bench "$@" --device cuda --json; }
pytorch() { limited python3 tests/bench/gpu.py "$@"; }
pytorch_compiled() { pytorch "$@" --compile; }

time_steps() { # functions of the above
    bad=0
    for work in resnet20: resnet18:16 resnet18:256 transformer: lstm:; do
        name=${work%%:*} batch=${work##*:}
        for precision in tf32 bf16; do
            options="--precision $precision --steps 50 --warmup 10${batch:+ --batch $batch}"
            for who; do
                echo "+ $who $name $options"
                [ -z "$dry" ] || continue
                [ "$(left)" -gt 5 ] || return 77
                # shellcheck disable=SC2086
                if line=$("$who" "$name" $options 2>"$out/bench.err"); then
                    printf '{"work": "%s", "precision": "%s", "result": %s}\n' "$name${batch:+, batch $batch}" \
                        "$precision" "$line" >>"$out/bench.jsonl"
                else
                    echo "failed: $(tail -n 1 "$out/bench.err")"
                    [ "$who" != ours ] || bad=1
                fi
            done
        done
        [ ! -s "$out/bench.jsonl" ] || kept bench.txt python3 tests/bench/table.py "$out/bench.jsonl"
        share
    done
    return $bad
}
bench() {
    run rm -f "$out/bench.jsonl"
    time_steps ours pytorch
}
compiled() { time_steps pytorch_compiled; }

# The memory in use on the GPU, once a second through a longer training: the second half of it takes no more than
# the first, but for what nvidia-smi rounds.
leak() {
    if ! command -v nvidia-smi >/dev/null; then
        echo "there is no nvidia-smi"
        return 77
    fi
    set -- train experiments/quickstart.yaml --device cuda --set train.epochs=4000 --quiet --out "$out/long"
    run rm -rf "$out/long"
    echo "+ $tenon $*, with nvidia-smi beside it for 25 s"
    [ -z "$dry" ] || return 0
    timeout -k 15 "$(left)" "$tenon" "$@" &
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
        sleep 1
        if ! kill -0 $! || [ "$(left)" -lt 5 ]; then break; fi
        nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --id=0
    done >"$out/memory.txt"
    kill "$!" || true
    wait $! || true # which says that it was stopped
    awk '{ mb[NR] = $1 } END {
         for (i = 2; i <= NR; i++) { half = i <= NR / 2 ? 1 : 2; if (mb[i] > most[half]) most[half] = mb[i] }
         printf "%d MB at most in the first half, %d MB in the second, of %d looks\n", most[1], most[2], NR
         exit NR < 8 ? 77 : most[2] > most[1] + 16 }' "$out/memory.txt"
}

# Our kernels read and write where they may, and their threads do not race; then, with the time that is left, the same
# reads and writes beside the libraries, whose kernels take a sanitizer minutes to load.
memcheck() {
    sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
    if [ ! -x "$sanitizer" ] && [ -z "$dry" ]; then
        echo "there is no compute-sanitizer"
        return 77
    fi
    run rm -f "$out/memcheck.txt"
    worst=0 all=$until
    # api errors: one test asks for more memory than there is
    set -- "$sanitizer" --error-exitcode 1 --report-api-errors no --tool
    sanitize 60 env TENON_CUDA_LIBS=none "$@" memcheck "$build/tests/test_gpu"
    sanitize 60 env TENON_CUDA_LIBS=none "$@" racecheck "$build/tests/test_gpu" samples_as_on_the_cpu
    sanitize 60 "$@" memcheck "$build/tests/test_gpu"
    return $worst
}
sanitize() { # its seconds, command
    until=$(($(date +%s) + $1))
    [ "$until" -le "$all" ] || until=$all
    shift
    sanitize_status=0
    kept sanitized "$@" || sanitize_status=$?
    [ -z "$dry" ] || return 0
    cat "$out/sanitized" >>"$out/memcheck.txt"
    # a machine may not let it look at the card; what was found before the time was up is in what it says
    if [ "$sanitize_status" != 0 ] && grep -Eqi 'device not supported|not supported on this' "$out/sanitized"; then
        sanitize_status=77
    fi
    case "$sanitize_status" in
    0) ;;
    77|124|137) [ "$worst" != 0 ] || worst=77 ;;
    *) worst=1 ;;
    esac
}

# The figure with three runs first, then the grids around it, all in one folder of runs.
cifar() {
    runs=$out/cifar10-full
    [ -n "$dry" ] || [ -d "$data/cifar-10-batches-bin" ] || { echo "$data holds no cifar-10-batches-bin"; return 1; }
    if [ ! -d "$runs" ] && [ -f "$data/cifar10-full.tgz" ]; then
        echo "+ going on with the runs of $data"
        [ -n "$dry" ] || cat "$data"/cifar10-full.tgz "$data"/cifar10-weights.tgz.* | tar -C "$out" -xzif -
    fi
    until=$((until - 20)) # for packing
    cifar_status=0
    for suite in fig5-cifar10 fig6 fig7 table1-cifar10; do
        [ "$(left)" -gt 5 ] || { cifar_status=77; break; }
        run env "TENON_DATA=$data" "$tenon" suite "experiments/$suite.yaml" --device cuda --jobs "$jobs" \
            --out "$runs" || cifar_status=$?
    done
    until=$((until + 20))
    [ "$cifar_status" != 124 ] || cifar_status=77
    # what a table is made of, and apart from it what is large: of runs that are done the weights, of others the state
    echo "+ tar, cifar10-full.tgz and cifar10-weights.tgz.*"
    [ -z "$dry" ] || return 0
    tar -C "$out" -czf "$out/cifar10-full.tgz" --exclude='*.safetensors' cifar10-full
    (cd "$out" && for run in cifar10-full/*/; do
        if [ -e "${run}model.safetensors" ]; then echo "${run}model.safetensors"; else ls "$run"*.safetensors; fi
    done 2>/dev/null | tar -czf - -T - | split -b 15000000 - cifar10-weights.tgz.)
    return $cifar_status
}

step build 300 build_all
step ops 120 ops
step train 120 train
step bench 200 bench
step leak 45 leak
step memcheck 180 memcheck
step compiled 400 compiled
step cifar 7200 cifar
[ -z "$left_out" ] || echo "left out, or part of them:$left_out"
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
echo "nothing failed"
