#!/usr/bin/env bash
# Runs every check that needs an NVIDIA GPU, in ten minutes, without a network:
#
#   bash benchmarks/gpu_run.sh [OUT]        OUT: a folder for the results (benchmarks/out/gpu)
#
# Builds the engine for the GPU's own architecture, then runs the tests that need one, the
# differential tests of the cuda backend, the sanitizers' cases and the throughput. Every part has a
# share of the time and a log; a part that fails or takes too long does not stop the others. Needs
# CUDA's compiler, CMake, Ninja and Python with numpy, pybind11 and pytest; says what is missing.
# Installs nothing, and works beside the tree. At most 8 files come out, none over 16 MB.
# Environment: GTN_GPU_SECONDS, for everything (570); GTN_COMMIT, of a copy without .git; PYTHON.
# Exit codes: 0 everything ran and passed, 1 something did not, 2 wrong usage, 130 interrupted.
set -uo pipefail

if [[ $# -gt 1 || ${1:-} == -* ]]; then
    sed -n '2,13s/^#\( \|$\)//p' "${BASH_SOURCE[0]}" >&2
    exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "${1:-$root/benchmarks/out/gpu}" || exit 2
out=$(cd "${1:-$root/benchmarks/out/gpu}" && pwd)
python=${PYTHON:-python3}
total=${GTN_GPU_SECONDS:-570}
work=$(mktemp -d "${TMPDIR:-/tmp}/gtn-label-gpu.XXXXXX")
running=""
# timeout hands a TERM on to what it runs.
trap '[[ -z $running ]] || kill "$running" 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$root" || exit 1
rm -f "$out"/{summary.txt,{build,tests,sanitizer,throughput}.log,throughput.{json,md,svg}}
command -v nvcc >/dev/null || PATH=$PATH:/usr/local/cuda/bin
export PATH PYTHONPATH=$work/python PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export HYPOTHESIS_STORAGE_DIRECTORY=$work/hypothesis
failed=0

say() {
    printf '%s\n' "$*" | tee -a "$out/summary.txt"
}

# What this machine has. Sets gpu, capability, and blocked: why nothing can be built or run.
look_around() {
    blocked=""
    gpu=$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null |
        head -n 1)
    capability=$(cut -d, -f2 <<<"$gpu" | tr -d ' .')
    [[ $capability != 90 ]] || capability=90a # for wgmma
    local commit
    commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo "${GTN_COMMIT:-unknown}")
    say "commit $commit; GPU: ${gpu:-none}; $(nproc) cores"
    local tool
    for tool in nvcc cmake ninja compute-sanitizer "$python"; do
        say "$tool: $("$tool" --version 2>/dev/null | grep -iE 'release|version|^[0-9P]' | head -n 1 |
            grep . || echo missing)"
    done
    local name
    for name in numpy pybind11 pytest hypothesis click tqdm torch matplotlib faiss; do
        "$python" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$name') is None)" \
            2>/dev/null && continue
        case $name in
            numpy | pybind11) blocked="the Python package $name is missing" ;;
            pytest | hypothesis) say "$name is missing: tests that need it cannot run" ;;
            torch) say "torch is missing: no rows that are on the device, no greedy over it" ;;
            matplotlib) say "matplotlib is missing: no plot" ;;
            faiss) say "faiss is missing: no rows of it" ;;
            *) say "$name is missing: not needed here but by tests of the command" ;;
        esac
    done
    for tool in nvcc cmake ninja; do
        command -v "$tool" >/dev/null || blocked="$tool is missing"
    done
    [[ -n $gpu ]] || blocked="no NVIDIA GPU here (nvidia-smi is missing or finds none)"
}

# part NAME SECONDS LOG COMMAND...: run it in its share of the time; the reason it cannot run, if
# there is one, is in blocked. Sets result.
part() {
    local name=$1 share=$2 log=$out/$3.log left=$((total - SECONDS)) start=$SECONDS code=0
    shift 3
    share=$((share < left ? share : left))
    result="not run: $blocked"
    if [[ -z $blocked && $share -lt 5 ]]; then
        result="not run: no time left"
    elif [[ -z $blocked ]]; then
        echo "=== $name" >>"$log"
        timeout --kill-after=5 "$share" "$@" >>"$log" 2>&1 </dev/null &
        running=$!
        wait "$running"
        code=$?
        running=""
        case $code in
            0) result=passed ;;
            124 | 137) result="ended: it took longer than its share, $share s" ;;
            *) result="FAILED ($code): $(grep . "$log" | tail -n 1 | cut -c -150)" ;;
        esac
    fi
    finish_part "$name" $((SECONDS - start))
}

finish_part() {
    [[ $result == passed* ]] || failed=1
    say "$(printf '%-24s %4d s  %s' "$1" "$2" "$result")"
}

build() {
    set -e
    mkdir -p "$work/python"
    cp -r python/gtn_label "$work/python/"
    rm -f "$work"/python/gtn_label/_core*.so # not the one of another machine
    cmake -S . -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSKBUILD_PROJECT_VERSION=0 \
        -DPython_EXECUTABLE="$(command -v "$python")" \
        -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" \
        -DGTN_FAISS=OFF -DGTN_CUDA=ON -DGTN_CUDA_CAPABILITIES="$capability"
    cmake --build "$work/build"
    cp "$work"/build/_core*.so "$work/python/gtn_label/"
    "$python" -c 'import gtn_label
for row in gtn_label.backends(): print(row)'
}

# Versions here are not those of constraints.txt, so warnings are no errors. A run in which every
# test was skipped is a failure: there is a GPU.
tests() {
    "$python" -m pytest -q -p no:cacheprovider -W default "$@" | tee "$work/pytest.out"
    local code=$?
    grep -E '[0-9]+ passed' "$work/pytest.out" >/dev/null || {
        echo "no test ran"
        return 1
    }
    return $code
}

sanitize() {
    compute-sanitizer --tool "$1" --error-exitcode 1 "$python" tests/sanitizer_cases.py
}

throughput() {
    "$python" -m benchmarks throughput --budget "$1" --limit 10 --out "$out/throughput"
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

export -f build tests sanitize throughput
export root out work python
look_around
export capability
part "build" 200 build bash -c build
if [[ -z $blocked && $result != passed ]]; then
    blocked="the build did not succeed"
fi
part "tests on the GPU" 90 tests bash -o pipefail -c \
    'tests -m "gpu and not slow and not exhaustive" --deselect tests/label/test_differential.py'
part "differential tests" 90 tests bash -o pipefail -c \
    'tests -m "gpu and not slow and not exhaustive" tests/label/test_differential.py'
if [[ -z $blocked ]] && ! command -v compute-sanitizer >/dev/null; then
    result="not run: compute-sanitizer is missing"
    finish_part memcheck 0
    finish_part racecheck 0
else
    part "memcheck" 60 sanitizer bash -c 'sanitize memcheck'
    part "racecheck" 60 sanitizer bash -c 'sanitize racecheck'
fi
left=$((total - SECONDS - 10))
part "throughput" "$left" throughput bash -c "throughput $((left > 40 ? left - 25 : 15))"
shorten

for log in tests sanitizer; do
    [[ ! -e $out/$log.log ]] ||
        say "$(grep -E '^[0-9]+ (passed|failed|error)|^FAILED|^ERROR|ERROR SUMMARY' "$out/$log.log" |
            head -n 30)"
done
[[ ! -e $out/throughput.md ]] || say "$(sed -n '/^## Targets/,$p' "$out/throughput.md")"
say "$SECONDS s in all; results in $out"
exit $failed
