#!/usr/bin/env bash
# Tests, conformance, compute-sanitizer, the choice of kernels and benchmarks of foveate on this machine's first CUDA device, with the programs
# of programs.tar.gz beside this file: no Rust, no network, nothing installed. Leaves summary.json, log.txt, bench.json,
# bench.md, process.md, process.csv and process.json (this crate in PyTorch's process, all rounds; with peers also bench-f16.json and bench-f16.md: the ways of a selection in f16), and table.rs (the fastest kernels of the encoder's layers, for src/ops/conv2d/cuda) in a folder; exits 0 if every step that could run has passed, and at least one could.
#
#   ./run.sh [--steps tests,verify,example,sanitizer,tune,bench,process] [--cases FOLDER] [--out FOLDER] [--python PATH]
#            [--seconds N] [--tools memcheck,racecheck,initcheck,synccheck] [--emulator FOLDER] [--short]
#
#   --steps     what to do, in this order; all of it by default
#   --cases     a folder of further recorded cases (*.safetensors), replayed after those beside this file
#   --out       where results go; $OUT, or else the folder `results` here
#   --seconds   for how long the comparison in one process begins further cases (1500)
#   --python    the Python whose PyTorch is the benchmarks' peer (python3); without one, this crate is timed alone
#   --tools     tools of compute-sanitizer, each on small shapes
#   --emulator  the folder of the stand-in for the CUDA driver, for a machine without a GPU: no sanitizer there, and every
#               benchmark once in its smallest size
#   --short     a few tests and a short training run, to see that each step works
#
# A step that fails or takes too long does not stop the next one. One that cannot run is `skipped`, with the reason, and
# never `passed`.
set -u

here=$(cd "$(dirname "$0")" && pwd)
steps=tests,verify,example,sanitizer,tune,bench,process
tools=memcheck,racecheck,initcheck,synccheck
out=${OUT:-$here/results}
cases='' emulator='' short='' python=python3 seconds=1500

usage() {
    sed -n '2,/^set -u/ { /^#/ s/^# \{0,1\}//p; }' "$here/run.sh"
    exit "$1"
}

while [ $# -gt 0 ]; do
    case $1 in
        --short) short=yes ;;
        --help | -h) usage 0 ;;
        --steps | --tools | --cases | --seconds | --out | --python | --emulator)
            [ $# -gt 1 ] || usage 2
            printf -v "${1#--}" '%s' "$2"
            shift
            ;;
        *)
            echo "run.sh: no option $1" >&2
            usage 2
            ;;
    esac
    shift
done
for step in ${steps//,/ }; do
    case $step in tests | verify | example | sanitizer | tune | bench | process) ;; *) echo "run.sh: no step $step" >&2; exit 2 ;; esac
done
for tool in ${tools//,/ }; do
    case $tool in memcheck | racecheck | initcheck | synccheck) ;; *) echo "run.sh: no tool $tool" >&2; exit 2 ;; esac
done

case $seconds in '' | *[!0-9]*) echo "run.sh: --seconds $seconds is no number" >&2; exit 2 ;; esac

mkdir -p "$out" || exit 2
out=$(cd "$out" && pwd)
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
tar -C "$scratch" -xzf "$here/programs.tar.gz" || exit 2
# Steps run in a folder of their own: what is named here must be found from there.
[ -z "$cases" ] || cases=$(cd "$cases" && pwd) || exit 2
case $python in */*) python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python") ;; esac
if [ -n "$emulator" ]; then
    emulator=$(cd "$emulator" && pwd) || exit 2
    export LD_LIBRARY_PATH=$emulator${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
: >"$out/log.txt"
rm -f "$out"/bench.json "$out"/bench.md "$out"/bench-f16.json "$out"/bench-f16.md "$out"/table.rs "$out"/process.*
all='' passed=true ran=0 device=unknown started=$(date -u +%Y-%m-%dT%H:%M:%SZ)

# A text as a JSON string.
quoted() {
    printf '"%s"' "$(printf '%s' "$1" | tr '\n\t' '  ' | tr -d '\000-\037' | sed 's/[\\"]/\\&/g')"
}

# note NAME STATE [FIELD...]: one more entry of the summary; a field is a key and its JSON text.
note() {
    local entry="{\"step\": $(quoted "$1"), \"state\": \"$2\"" line="$1: $2"
    shift 2
    for field in "$@"; do
        entry+=", $field"
    done
    all+="${all:+,
    }$entry}"
    echo "$line${why:+ ($why)}${figures:+: $figures}"
}

# step NAME SECONDS READ COMMAND...: runs a command within a time. The function READ makes figures of the log, and says in
# $why what is wrong with a command that claims success.
step() {
    local name=$1 limit=$2 read=$3 log=$scratch/step.log rc=0 state=passed start=$SECONDS
    shift 3
    figures='' why=''
    printf '\n===== %s: %s\n' "$name" "$*" >>"$out/log.txt"
    (cd "$scratch" && exec timeout -k 10 "$limit" "$@") </dev/null >"$log" 2>&1 || rc=$?
    local seconds=$((SECONDS - start))
    cat "$log" >>"$out/log.txt"
    "$read" "$log"
    case $rc in
        0) [ -z "$why" ] || state=failed ;;
        124 | 137) state='timed out' why="more than $limit s" ;;
        *) state=failed why=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1) ;;
    esac
    [ "$state" = passed ] || passed=false
    ran=$((ran + 1))
    note "$name" "$state" "\"rc\": $rc" "\"seconds\": $seconds" "\"limit\": $limit" "\"figures\": {$figures}" \
        "\"why\": $(quoted "$why")"
    [ "$state" = passed ] || tail -n 30 "$log" | sed 's/^/    /'
}

skip() {
    figures='' why=$2
    note "$1" skipped "\"why\": $(quoted "$2")"
}

# Whether Python has a PyTorch that can be the peer.
has_peer() {
    local can='import numpy, torch'
    [ -n "$emulator" ] || can+='; torch.zeros(1, device="cuda")'
    (cd "$scratch" && timeout 120 "$python" -c "$can") >>"$out/log.txt" 2>&1
}

# How many lines of a file, which may not be there, are like this.
count() {
    local lines
    lines=$(grep -c "$1" "$2" 2>/dev/null)
    echo "${lines:-0}"
}

# Counts of the test harness, and of what its report says of the device: a test without one skips itself.
read_tests() {
    figures=$(sed -n 's/^test result: [a-zA-Z]*\. \([0-9]*\) passed; \([0-9]*\) failed; \([0-9]*\) ignored.*/"passed": \1, "failed": \2, "ignored": \3/p' "$1")
    local ran without
    # A test leaves a line for every check.
    grep '^cuda	' "$scratch/report.tsv" 2>/dev/null | cut -f 2,3 | sort -u >"$scratch/tests.tsv"
    ran=$(count '	ran$' "$scratch/tests.tsv")
    without=$(count '	skipped$' "$scratch/tests.tsv")
    figures+="${figures:+, }\"on_the_device\": $ran, \"without_it\": $without"
    [ "$ran" -gt 0 ] || why='no test ran on the device'
    [ "$without" -eq 0 ] || why="$without tests found no device: $(grep -m 1 '	skipped	' "$scratch/report.tsv" | cut -f 4)"
    rm -f "$scratch/report.tsv"
}

read_verify() {
    figures=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/"passed": \1, "failed": \2, "skipped": \3/p' "$1")
    [ -n "$figures" ] || why='the program gave no result'
    local named
    named=$(sed -n 's/^case .*verdict (\(.*\), f[0-9]*, [a-z0-9]* products)$/\1/p' "$1")
    device=${named:-$device}
}

read_example() {
    figures="\"steps\": $(count '^[0-9]' "$scratch/example/training.csv")"
    [ -s "$scratch/example/checkpoint.safetensors" ] || why='no checkpoint was written'
}

read_sanitizer() {
    figures=$(sed -n -e 's/^========= ERROR SUMMARY: \([0-9]*\) error.*/"errors": \1/p' \
        -e 's/^========= RACECHECK SUMMARY: \([0-9]*\) hazards.*/"hazards": \1/p' "$1" | tail -n 1)
    case $figures in
        '') why='the tool gave no summary' ;;
        *': 0') ;;
        *) why="the tool reports $figures" ;;
    esac
}

read_tune() {
    figures="\"ways\": $(count ' us$' "$1")"
    grep -q ' us$' "$1" || why='nothing was timed'
}

read_bench() {
    figures="\"rows\": $(count '"case":' "$out/bench.json")"
    [ -s "$out/bench.json" ] || why='no table was written'
}

read_ways() {
    figures="\"rows\": $(count '"case":' "$out/bench-f16.json")"
    [ -s "$out/bench-f16.json" ] || why='no table was written'
}

read_process() {
    figures="\"rows\": $(count '"case":' "$out/process.json"), \"timed\": $(count '"warm":' "$out/process.json")"
    grep -q '"warm":' "$out/process.json" 2>/dev/null || why='nothing was timed'
}

with_report() { # COMMAND...: tests of the device alone, each noted with where it ran
    tested=(env FOVEATE_DEVICES=cuda FOVEATE_TEST_REPORT="$scratch/report.tsv" "$@")
}

tests() {
    local filter=()
    [ -z "$short" ] || filter=(ops::softmax ops::matmul ops::unfold ops::top_m_merge ops::batch_norm)
    with_report "$scratch/bin/foveate-tests" ${filter[@]+"${filter[@]}"}
    step 'tests of the library' 900 read_tests "${tested[@]}"
    with_report "$scratch/bin/cuda-tests"
    step 'tests of the device' 300 read_tests "${tested[@]}"
}

verify() {
    step 'conformance' 300 read_verify "$scratch/bin/foveate-verify" --cases "$here/cases" --device cuda
    if [ -n "$cases" ]; then
        step 'conformance, further cases' 600 read_verify "$scratch/bin/foveate-verify" --cases "$cases" --device cuda
    fi
}

example() {
    local size=(--canvas 300 --train-images 640 --test-images 64 --epochs 2)
    [ -z "$short$emulator" ] || size=(--canvas 60 --patch 30 --digit 12 --memory 2 --train-images 4 --test-images 2 --batch 2 --epochs 1)
    rm -rf "$scratch/example"
    step 'a training run' 300 read_example "$scratch/bin/megapixel_mnist" --device cuda "${size[@]}" --out "$scratch/example"
}

# Recorded cases and tests against specifications cover every kernel in shapes of a few thousand elements. With a pool,
# one tensor's memory is another's next: then an access beyond a tensor, or a read of what nothing wrote, goes unseen.
sanitizer() {
    local found tool
    found=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
    for tool in ${tools//,/ }; do
        if [ -n "$emulator" ]; then
            skip "$tool" 'compute-sanitizer needs a GPU, and the device is the emulator'
        elif [ -z "$found" ]; then
            skip "$tool" 'there is no compute-sanitizer'
        else
            # The programs say themselves when a call of the driver fails.
            local under=("$found" --tool "$tool" --error-exitcode 99 --report-api-errors no) pool=off
            [ "$tool" != initcheck ] || pool=bare
            step "$tool of the recorded cases" 240 read_sanitizer env FOVEATE_POOL=$pool "${under[@]}" \
                "$scratch/bin/foveate-verify" --cases "$here/cases" --device cuda
            step "$tool of the tests" 300 read_sanitizer env FOVEATE_POOL=$pool FOVEATE_TEST_SIZE=small \
                FOVEATE_DEVICES=cuda "${under[@]}" "$scratch/bin/foveate-tests" specification
        fi
    done
}

tune() {
    local how=(--save "$out/table.rs")
    [ -z "$emulator" ] || how=(--smoke --only 64-64-3-1-1-13)
    step 'the choice of kernels' 300 read_tune "$scratch/bin/xtask" tune conv2d --device cuda "${how[@]}" \
        --bundled "$scratch/bin/ops"
}

bench() {
    local peer=(--alone) size=(--rounds 3 --min-time 0.1)
    if has_peer; then
        peer=(--peers --python "$(command -v "$python")")
    else
        echo "no PyTorch for $python: this crate is timed alone"
    fi
    [ -z "$emulator" ] || size=(--smoke)
    step "benchmarks ${peer[0]#--}" 540 read_bench "$scratch/bin/xtask" bench --device cuda "${peer[@]}" "${size[@]}" \
        --bundled "$scratch/bin/ops" "$here/BUILT" "$here/peers" --json "$out/bench.json" --save "$out/bench.md"
    # Without a peer these rows are in that table.
    [ "${peer[0]}" = --alone ] || step 'benchmarks of the ways in f16' 300 read_ways "$scratch/bin/xtask" bench f16/ --device cuda \
        --alone "${size[@]}" --bundled "$scratch/bin/ops" "$here/BUILT" "$here/peers" --json "$out/bench-f16.json" \
        --save "$out/bench-f16.md"
}

# This crate as a library in the process of Python, on PyTorch's tensors and stream if it has one.
process() {
    local how=(--rounds 30 --seconds "$seconds")
    if ! command -v "$python" >/dev/null; then
        skip 'benchmarks in one process' "there is no $python"
        return
    fi
    has_peer || how+=(--alone)
    # What the emulator ends in seconds: a case of each family, with a selection, a training step and constant patches skipped.
    [ -z "$emulator" ] || how+=(--smoke --rounds 2 --precisions f32 --only selection/sparse-skipping encoder/fused \
        encoder/training cross_attention unfold/50-50 top_m_merge gumbel_top_k/100)
    step 'benchmarks in one process' $((seconds + 600)) read_process "$python" "$here/peers/in_process.py" \
        --library "$scratch/bin/libfoveate_in_process.so" --built "$here/BUILT" --out "$out/process" "${how[@]}"
}

# The smallest case there is: whether the device opens, and what it is called. Compiling the kernels for it comes first.
opens() {
    step 'the device' 300 read_verify "$scratch/bin/foveate-verify" --cases "$here/cases" --device cuda --only relu
}

begin=$SECONDS
opens
for step in tests verify example sanitizer tune bench process; do
    case ,$steps, in *,$step,*) "$step" ;; esac
done
[ "$ran" -gt 0 ] || passed=false
built=$(while IFS= read -r line; do printf '%s%s' "${comma:-}" "$(quoted "$line")"; comma=', '; done <"$here/BUILT")
cat >"$out/summary.json" <<END
{
  "passed": $passed,
  "device": $(quoted "$device"),
  "emulated": $([ -n "$emulator" ] && echo true || echo false),
  "built": [$built],
  "started": "$started",
  "seconds": $((SECONDS - begin)),
  "steps": [
    $all
  ]
}
END
echo "results: $out"
[ "$passed" = true ]
