#!/usr/bin/env bash
# Where a process spends its processor time: perf record, and a flame graph of it as one SVG.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=scripts/profiling.sh
source "$(dirname "$0")/profiling.sh"

usage() {
  cat <<TEXT
usage: scripts/flame.sh [--pid PID] [--seconds S] [--connections N] [--frequency HZ] [--output FILE.svg]
$SUBJECT_USAGE
  --frequency    samples a second (499)
  --output       the drawing (target/profiles/flame.svg)
Needs perf, and the crate inferno, which it installs into target/tools if it is not there.
TEXT
}

FREQUENCY=499
OUTPUT=$PROFILES_DIR/flame.svg
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --pid | --seconds | --connections | --frequency | --output)
      (($# >= 2)) || bad_usage "$1 needs a value"
      case $1 in
        --frequency) number_within "$1" "$2" 1 10000 && FREQUENCY=$2 ;;
        --output) OUTPUT=$2 ;;
        *) take_option "$1" "$2" ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
need_perf
kernel_is_shown cpu-clock
need_inferno
start_subject

EVENT=cycles
if ! has_event cycles; then
  EVENT=cpu-clock
  say "no hardware counters here: sampling by the clock (what runs with interrupts off shows where they come on again)"
fi
record -e "$EVENT" -F "$FREQUENCY"
say "reading the samples"
samples -F comm,tid,time,event,ip,sym,dso | "$INFERNO/inferno-collapse-perf" --kernel >"$SCRATCH/folded" 2>>"$SCRATCH/script.log"
[[ -s $SCRATCH/folded ]] || fail "no samples: process $SUBJECT did not run in these $SECONDS_MEASURED s"

machine_line
subject_line
# Each line: frames from the outermost to the innermost with ";" between, then the samples.
awk -v event="$EVENT" '
  {
    samples = $NF
    sub(/ [0-9]+$/, "")
    count = split($0, frames, ";")
    total += samples
    own[frames[count]] += samples
    if (frames[count] ~ /_\[k\]$/) kernel += samples
  }
  END {
    printf "%d samples (%s), %.1f %% in the kernel\n\n", total, event, 100 * kernel / total
    print "   own  where"
    order = "sort -rn | head -n 15"
    for (name in own) printf "%5.1f %% %s\n", 100 * own[name] / total, name | order
    close(order)
  }' "$SCRATCH/folded"
draw "$SCRATCH/folded" "$OUTPUT" "On the processor: $(subject_line)" samples
