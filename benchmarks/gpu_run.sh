#!/usr/bin/env bash
# Runs every check that needs an NVIDIA GPU, the most telling ones first, without a network:
#
#   bash benchmarks/gpu_run.sh [OUT]        OUT: a folder for the results (benchmarks/out/gpu)
#
# Steps: 1 build, 2 each scan kernel against the plain one, 3 matchings and optimal transport against
# the CPU, 4 rates, 5 sizes up to ten million rows; all that in 300 s. Then 6 tests, 7 sanitizers, 8 a profile and peers.
# Each step has its own time limit, and each kernel a process of its own: one that fails does not
# stop the others, but is left out of the steps behind. Results are appended as they come, to at most
# 8 files. Needs CUDA's compiler, CMake, Ninja and Python with numpy, pybind11 and pytest. Installs
# nothing. The build stays in build/gpu, where the next run goes on with it. Before: `python
# tests/oracle_answers.py build/gpu/oracle.npz` stores the answers that step 6 compares with.
# Environment: GTN_GPU_SECONDS, for everything (840); GTN_GPU_STEPS, those to run ("1 2 3 4 5 6 7 8");
# GTN_GPU_PACKAGE, a folder with gtn_label built for this GPU and Python, in place of step 1;
# GTN_GPU_BUILD_SECONDS (120); GTN_GPU_REHEARSE=1, for tiny cases over the emulator of CUDA,
# with ten times the limits; GTN_COMMIT, of a copy without .git; PYTHON.
# Exit codes: 0 everything ran and passed, 1 something did not, 2 wrong usage, 130 interrupted.
set -uo pipefail

if [[ $# -gt 1 || ${1:-} == -* ]]; then
    sed -n '2,19s/^#\( \|$\)//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "${1:-$root/benchmarks/out/gpu}" || exit 2
out=$(cd "${1:-$root/benchmarks/out/gpu}" && pwd)
python=${PYTHON:-python3}
total=${GTN_GPU_SECONDS:-840}
steps=" ${GTN_GPU_STEPS:-1 2 3 4 5 6 7 8} "
quick=() first=300
if [[ -n ${GTN_GPU_REHEARSE:-} ]]; then # on a machine that may be busy
    quick=(--quick) first=3000 total=$((10 * total))
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/gtn-label-gpu.XXXXXX")
running=""
# timeout hands a TERM on to what it runs.
trap '[[ -z $running ]] || kill "$running" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$root" || exit 1
rm -f "$out"/{summary.txt,figures.jsonl,{build,steps,tests,sanitizer,profile}.log,throughput.json}
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
build=$root/build/gpu${GTN_GPU_REHEARSE:+-emulated}
export PATH PYTHONPATH=${GTN_GPU_PACKAGE:-$build/python} PYTHONDONTWRITEBYTECODE=1
export PYTHONUNBUFFERED=1 HYPOTHESIS_STORAGE_DIRECTORY=$work/hypothesis
# Else the tests ask the oracle, which takes longer than they have.
[[ ! -e $build/oracle.npz ]] || export GTN_ORACLE_ANSWERS=$build/oracle.npz
failed=0

say() {
    printf '%s\n' "$*" | tee -a "$out/summary.txt"
}

# What this machine has. Sets gpu, capability, and blocked: why nothing can be built.
look_around() {
    blocked=""
    gpu=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null |
        head -n 1)
    capability=$(cut -d, -f2 <<<"$gpu" | tr -d ' .')
    # 90a for wgmma; and where there is no GPU, to see that it builds.
    [[ -n $capability && $capability != 90 ]] || capability=90a
    local commit
    commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "${GTN_COMMIT:-unknown}")
    say "commit $commit; GPU: ${gpu:-none}; $(nproc) cores"
    local tool
    for tool in nvcc cmake ninja compute-sanitizer ncu "$python"; do
        say "$tool: $("$tool" --version 2>/dev/null | grep -iE 'release|version|^[0-9P]' | head -n 1 |
            grep . || echo missing)"
    done
    local name
    for name in numpy pybind11 pytest hypothesis click tqdm torch faiss; do
        "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$name') is None)" \
            2>/dev/null && continue
        case $name in
            numpy | pybind11) blocked="the Python package $name is missing" ;;
            pytest | hypothesis) say "$name is missing: tests that need it cannot run" ;;
            torch) say "torch is missing: rows come from the host, no greedy over torch" ;;
            faiss) say "faiss is missing: no rows of it" ;;
            *) say "$name is missing: not needed here but by tests of the command" ;;
        esac
    done
    for tool in nvcc cmake ninja; do
        command -v "$tool" >/dev/null || [[ $tool == nvcc && -n ${quick[*]} ]] ||
            blocked="$tool is missing"
    done
}

wanted() {
    [[ $steps == *" $1 "* ]]
}

# part NAME SECONDS LOG COMMAND...: run it within its limit, and say how it ended. Sets code; fails
# unless it passed. deadline: when the steps that run now must be over.
part() {
    local name=$1 share=$2 log=$out/$3.log left=$((deadline - SECONDS)) start=$SECONDS result
    shift 3
    [[ -z ${quick[*]} ]] || share=$((10 * share))
    share=$((share < left ? share : left))
    if [[ $share -lt 3 ]]; then
        code=124
        result="not run: no time left"
    else
        echo "=== $name" >>"$log"
        timeout --kill-after=5 "$share" "$@" >>"$log" 2>&1 </dev/null &
        running=$!
        wait "$running"
        code=$?
        running=""
        case $code in
            0) result=passed ;;
            124 | 137) result="ended: it took longer than its limit, $share s" ;;
            *) result="FAILED ($code): $(grep . "$log" | tail -n 1 | cut -c -200)" ;;
        esac
    fi
    [[ $code -eq 0 ]] || failed=1
    say "$(printf '%-34s %4d s  %s' "$name" $((SECONDS - start)) "$result")"
    return $code
}

# step SECONDS NAME ARGUMENTS...: a step of gpu_steps.py.
step() {
    local limit=$1 name=$2
    shift 2
    part "$name${1:+ ${1##*/}}" "$limit" steps "$python" -m benchmarks.gpu_steps "$name" "$@" \
        --figures "$out/figures.jsonl" ${quick[@]+"${quick[@]}"}
}

build() {
    set -e
    local how=(-DGTN_CUDA=ON "-DGTN_CUDA_CAPABILITIES=$capability")
    [[ -z ${GTN_GPU_REHEARSE:-} ]] || how=(-DGTN_CUDA=EMULATED)
    mkdir -p "$build/python"
    cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSKBUILD_PROJECT_VERSION=0 \
        -DPython_EXECUTABLE="$(command -v "$python")" \
        -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" -DGTN_FAISS=OFF "${how[@]}"
    cmake --build "$build" --target _core
    rm -rf "$build/python/gtn_label"
    cp -r python/gtn_label "$build/python/"
    rm -f "$build"/python/gtn_label/_core*.so # not the one of another machine
    cp "$build"/_core*.so "$build/python/gtn_label/"
}

# Versions here are not those of constraints.txt, so warnings are no errors. A run in which every
# test was skipped is a failure: there is a GPU.
tests() {
    "$python" -m pytest -q -p no:cacheprovider -p benchmarks.instant_tracebacks --tb=no -W default \
        --maxfail=10 "$@" | tee "$work/pytest.out"
    local code=$?
    grep -E '[0-9]+ passed' "$work/pytest.out" >/dev/null || {
        echo "no test ran"
        return 1
    }
    return $code
}

# With an allocation for each array, so that what lies behind one is out of bounds.
sanitize() {
    GTN_CUDA_ARENA=0 compute-sanitizer --tool "$1" --error-exitcode 1 "$python" \
        tests/sanitizer_cases.py
}

profile() {
    ncu --set full --kernel-name "regex:$1" --launch-count 1 --target-processes all "$python" -m \
        benchmarks.gpu_steps size 200000x100
}

throughput() {
    "$python" -m benchmarks throughput --budget "$1" --limit 10 --peers 'gtn_label:cuda*,*_gpu' \
        --out "$work/throughput"
    local code=$?
    cp "$work/throughput.json" "$out/" && cat "$work/throughput.md"
    return $code
}

# Files must not grow over 16 MB: the middle of a long log goes.
shorten() {
    local log
    for log in "$out"/*.log; do
        [[ -e $log && $(wc -c <"$log") -gt 15000000 ]] || continue
        { head -c 1000000 "$log" && echo "[...]" && tail -c 10000000 "$log"; } >"$work/log"
        mv "$work/log" "$log"
    done
}

finish() {
    shorten
    local log
    for log in tests sanitizer; do
        [[ ! -e $out/$log.log ]] ||
            say "$(grep -E '^[0-9]+ (passed|failed|error)|^--- |ERROR SUMMARY' "$out/$log.log" |
                head -n 30)"
    done
    say "$SECONDS s in all; results in $out"
    exit $failed
}

export -f build tests sanitize throughput profile
export root out work python build
deadline=$((total < first ? total : first))
look_around
export capability

if wanted 1 && [[ -z ${GTN_GPU_PACKAGE:-} ]]; then
    if [[ -n $blocked ]]; then
        failed=1
        say "nothing was built: $blocked"
        finish
    fi
    limit=${GTN_GPU_BUILD_SECONDS:-120}
    deadline=$((deadline > limit ? deadline : limit + 60))
    part "build" "$limit" build bash -c build || finish
fi

# What can run is known now: without a GPU this is where it ends.
if ! kernels=$("$python" -m benchmarks.gpu_steps kernels 2>"$work/refusal"); then
    failed=1
    say "nothing can run: $(grep . "$work/refusal" | tail -n 1)"
    finish
fi
read -ra kernels <<<"${kernels//$'\n'/ }"
say "kernels: ${kernels[*]}"
sound=()
for kernel in "${kernels[@]}"; do
    if wanted 2 && ! step 15 check "$kernel"; then
        say "$kernel is left out of what follows"
    else
        sound+=("$kernel")
    fi
done
if [[ ${#sound[@]} -eq 0 ]]; then
    say "no kernel is sound"
    finish
fi

if wanted 3 && step 40 answers "$work/answers.npz"; then
    for kernel in "${sound[@]}"; do step 12 match "$kernel" "$work/answers.npz"; done
fi
wanted 3 && step 30 optimal
if wanted 4; then
    step 10 rates device
    for kernel in "${sound[@]}"; do step 10 rates "$kernel"; done
fi
if wanted 5; then
    sizes=(200000x100:15 1000000x64:20 200000x4096:25 1281167x768:45 10000000x64:80)
    [[ -z ${quick[*]} ]] || sizes=(150x20:30 60x300:30)
    for size in "${sizes[@]}"; do step "${size#*:}" size "${size%:*}"; done
fi

deadline=$total
if wanted 6; then
    some="gpu and not slow and not exhaustive"
    # The emulated tests, which stand for those of a GPU in a rehearsal, are not marked.
    [[ -z ${quick[*]} ]] || some="not slow and not exhaustive"
    whole=(tests/label/test_gpu.py)
    [[ -z ${quick[*]} ]] || whole=(tests/label/test_cuda_faults.py)
    part "tests of no kernel" 60 tests bash -o pipefail -c \
        "tests -m '$some' -k 'not cuda:' ${whole[*]}"
    for kernel in "${sound[@]}"; do
        [[ -n ${quick[*]} ]] || part "tests of $kernel" 30 tests bash -o pipefail -c \
            "tests -m '$some' -k cuda:$kernel ${whole[*]}"
        few=""
        [[ -z ${quick[*]} ]] || few=" and 31x"
        part "differential tests of $kernel" 60 tests bash -o pipefail -c \
            "tests -m '$some' -k 'cuda:$kernel$few' tests/label/test_differential.py"
    done
fi
if wanted 7; then
    if command -v compute-sanitizer >/dev/null; then
        for tool in memcheck racecheck initcheck; do
            part "$tool" 40 sanitizer bash -c "sanitize $tool"
        done
    else
        failed=1
        say "sanitizers: not run: compute-sanitizer is missing"
    fi
fi
if wanted 8; then
    # The default is mma: is wide rows' other kernel faster?
    [[ " ${sound[*]} " != *" wgmma "* || -n ${quick[*]} ]] || step 45 size 1281167x768 wgmma
    if command -v ncu >/dev/null; then
        part "profile of a scan" 40 profile bash -c "profile scan_"
        part "profile of a search" 40 profile bash -c "profile search_kernel"
    else
        say "profile: not run: ncu is missing"
    fi
    left=$((total - SECONDS - 10))
    [[ $left -lt 40 || -n ${quick[*]} ]] ||
        part "peers" "$left" profile bash -c "throughput $((left - 25))"
fi
finish
