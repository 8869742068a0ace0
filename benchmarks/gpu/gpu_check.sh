#!/usr/bin/env bash
# The check on a GPU: bash .gpu/gpu_check.sh, in the project's root. README.md beside this says what it does.
# PARTS: which parts, in this order. TOTAL: the seconds for all of them. SLOW: by what each part's limit is multiplied.
# What is done is in $OUT at every moment.
set -u
BEGAN=$(date +%s)
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export ROOT PYTHONUNBUFFERED=1
export TINY=${TINY:-0} DEVICE=${DEVICE:-cuda} PYTHON=${PYTHON:-python3} TOTAL=${TOTAL:-560} SLOW=${SLOW:-1} SEEDS=${SEEDS:-[0]}
export OUT=${OUT:-/tmp/out} DATA=${DATA:-/tmp/d} SITE=${SITE:-/tmp/site} WORK=${WORK:-/tmp/run}
export RESULTS=$OUT/results.jsonl RUNS=$WORK/runs SPARSIFY_DATA=$DATA
# SITE is where setup puts the wheels, this package among them, which is taken before that in ROOT
export PYTHONPATH=$SITE:$ROOT${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1 PATH=$SITE/bin:$PATH
PARTS=${PARTS:-"setup smoke tests correct capture bench study speed seeds profile vgg pack"}
mkdir -p "$OUT" "$WORK" "$DATA"
cd "$ROOT" || exit

say() { echo "== $*" | tee -a "$OUT/log.txt"; }
left() { echo $((TOTAL - ($(date +%s) - BEGAN))); }
# part NAME LIMIT RESERVE COMMAND…: at most SLOW·LIMIT seconds, so that RESERVE of TOTAL stay for what follows
part() {
    local name=$1 limit=$(($2 * SLOW)) reserve=$3 rest began
    shift 3
    rest=$(($(left) - reserve))
    [ "$rest" -lt "$limit" ] && limit=$rest
    if [ "$limit" -lt 8 ]; then
        say "$name: no time left"
        return 0
    fi
    say "$name: $(date +%T), $(left) s left, at most $limit s"
    began=$(date +%s)
    timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$OUT/log.txt" | cut -c1-400
    say "$name: exit ${PIPESTATUS[0]}, $(($(date +%s) - began)) s"
}

probe() { "$PYTHON" -m benchmarks.gpu.probe "$@"; }
setup() {
    if [ ! -d "$SITE/sparsify" ] && [ "$PYTHON" = python3 ]; then
        python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$SITE" .gpu/whl/*.whl || return
    fi
    if [ "$TINY" != 1 ] && [ ! -d "$DATA/MNIST" ]; then
        tar xJf .gpu/mnist.tar.xz -C "$DATA" &
        mkdir -p "$DATA/cifar10" && tar xJf .gpu/cifar10-images.tar.xz -C "$DATA/cifar10" || return
        wait $! || return
        ls "$DATA" "$DATA/cifar10"
    fi
    [ "$TINY" = 1 ] || nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm,power.limit --format=csv
    nproc
}
tests() { # those that need CUDA, wherever they are
    "$PYTHON" -m pytest -q -p no:cacheprovider -p no:benchmark -rfE --tb=short --durations=8 --continue-on-collection-errors -m cuda tests
}
alltests() { # with the GPU as the device "auto": a test that fails may assume a CPU
    local several=()
    "$PYTHON" -c "import xdist" 2>/dev/null && several=(-n "${TEST_PROCESSES:-8}")
    "$PYTHON" -m pytest -q -p no:cacheprovider -p no:benchmark -rfE --tb=line "${several[@]}" ${TESTS:-} 2>&1 | grep -vE '^\.+' | cut -c1-300
    return "${PIPESTATUS[0]}"
}
bench() { # each of the three goes on where one before it has failed
    local options=(--data-dir "$DATA" --device "$DEVICE" --results "$WORK/benchmarks") status=0
    if [ "$TINY" = 1 ]; then
        options+=(--threads 1 --turns 1 --tiny)
        "$PYTHON" -m benchmarks.run "${options[@]}" --only step,lenet || status=1
        "$PYTHON" -m benchmarks.sweep "${options[@]}" || status=1
    else
        options+=(--threads 4)
        "$PYTHON" -m benchmarks.run "${options[@]}" --images "$DATA/cifar10" --turns 3 --only step || status=1
        "$PYTHON" -m benchmarks.run "${options[@]}" --images "$DATA/cifar10" --turns 5 --only vgg,lenet || status=1
        "$PYTHON" -m benchmarks.sweep "${options[@]}" --turns 9 || status=1
    fi
    return $status
}
study() { # STUDY: more options
    local tiny=()
    [ "$TINY" = 1 ] && tiny=(--set data=digits --set epochs=1 --set batch_size=256 --set "seeds=[0]")
    time "$PYTHON" -m sparsify study lenet-mnist --data-dir "$DATA" --runs-dir "$RUNS" --device "$DEVICE" "${tiny[@]}" ${STUDY:-}
}
seeds() {
    probe seeds && CUDA_DEVICE_MAX_CONNECTIONS=32 probe seeds
}
vgg_settings() { # the images of a tiny run are those that the probe makes
    if [ "$TINY" = 1 ]; then
        SETTINGS=("data=folder:$WORK/images-40" "seeds=$SEEDS" epochs=1 batch_size=20 precision=exact)
    else
        SETTINGS=("data=folder:$DATA/cifar10" "seeds=$SEEDS")
    fi
}
vgg() { # vgg SECONDS
    vgg_settings
    SECONDS_LEFT=$1 probe vgg "${SETTINGS[@]}"
}
vgg_study() { # trains nothing where all the runs are there; otherwise it goes on until it is stopped
    vgg_settings
    "$PYTHON" -m sparsify study vgg-cifar10 "${SETTINGS[@]/#/--set=}" --data-dir "$DATA" --runs-dir "$RUNS" --device "$DEVICE"
}
pack() { # besides log.txt and results.jsonl at most five files, each of 15 MiB where it can be
    cd "$WORK" || return
    local found=() weights folder
    for folder in runs/studies benchmarks; do [ -d $folder ] && found+=($folder); done
    [ ${#found[@]} = 0 ] || tar cJf "$OUT/studies.tar.xz" "${found[@]}" || return
    [ -d runs ] || return 0
    find runs -mindepth 2 -type f ! -path 'runs/studies/*' ! -name checkpoint.safetensors ! -name .lock -size -3000k >small.txt
    tar cf - -T small.txt | xz -T0 -2 >"$OUT/runs.tar.xz" || return
    # the weights of one SLBI run of VGG
    weights=$(find runs -path '*vgg*slbi-s*' -name model.safetensors -size +3000k | head -1)
    [ -z "$weights" ] || tar cf - "$weights" | split -b 15m -d -a 1 - "$OUT/vgg-slbi.tar." || return
    ls -l "$OUT"
}
export -f probe setup tests alltests bench study seeds vgg_settings vgg vgg_study pack

for name in $PARTS; do
    case $name in
        setup) part setup 60 0 bash -c setup ;;
        smoke) part smoke 130 15 bash -c "probe smoke" ;;
        tests) part tests 110 15 bash -c tests ;;
        correct) part correct 60 15 bash -c "probe correct" ;;
        capture) part capture 25 15 bash -c "probe capture" ;;
        bench) part bench 110 15 bash -c bench ;;
        study) part study 110 15 bash -c study ;;
        speed) part speed 70 15 bash -c "probe speed" ;;
        seeds) part seeds 60 15 bash -c seeds ;;
        profile) part profile 45 15 bash -c "probe profile" ;;
        alltests) part alltests 200 15 bash -c alltests ;;
        vgg)
            part vgg 500 40 bash -c "vgg $(($(left) - 75))"
            part vgg-study 100 15 bash -c vgg_study
            ;;
        pack) part pack 40 0 bash -c pack ;;
        *) say "no part is called $name" ;;
    esac
done
say "all: $(($(date +%s) - BEGAN)) s"
