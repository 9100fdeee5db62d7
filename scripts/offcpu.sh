#!/usr/bin/env bash
# Where the threads of a process wait: time off the processor by what they waited in, and a flame
# graph of it as one SVG.
#
# From the context switches of the process alone (the software event, with stacks, and the kernel's
# switch records), which needs no tracepoints. A thread that is off the processor all the time
# switches never, and is not there.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=scripts/profiling.sh
source "$(dirname "$0")/profiling.sh"

usage() {
  cat <<TEXT
usage: scripts/offcpu.sh [--pid PID] [--seconds S] [--connections N] [--output FILE.svg]
$SUBJECT_USAGE
  --output       the drawing (target/profiles/offcpu.svg)
Needs perf with the kernel's stacks, and the crate inferno, which it installs into target/tools if it
is not there.
TEXT
}

OUTPUT=$PROFILES_DIR/offcpu.svg
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --pid | --seconds | --connections | --output)
      (($# >= 2)) || bad_usage "$1 needs a value"
      if [[ $1 == --output ]]; then OUTPUT=$2; else take_option "$1" "$2"; fi
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
need_perf
kernel_is_shown context-switches
need_inferno
start_subject

record -e context-switches -c 1 --switch-events
say "reading the switches"
# A switch is a sample with the stack, then a record OUT, and at the return a record IN. Folded:
# thread, why, frames from the outermost to the innermost; then microseconds and switches.
samples --show-switch-events -F comm,tid,time,event,ip,sym >"$SCRATCH/switches"
awk '
  function leave(thread, until,    key, us) {
    us = (until - left[thread]) * 1e6
    if (us > 0) { key = why[thread]; time_us[key] += us; switches[key]++ }
    delete left[thread]
  }
  # A name may have spaces: the thread is what stands before the time, which ends in a colon.
  /^[^ \t]/ {
    stacking = ""
    for (place = 2; place <= NF && $place !~ /^[0-9]+\.[0-9]+:$/; place++);
    if (place > NF) next
    thread = $(place - 1); at = $place + 0; last = at
    name = $1
    for (word = 2; word < place - 1; word++) name = name "_" $word
    if (/PERF_RECORD_SWITCH/) {
      if (/ IN/) { if (thread in left) leave(thread, at) }
      else if (/ OUT/) {
        left[thread] = at
        why[thread] = name (/preempt/ ? ";waits_for_a_core" : ";waits") stack[thread]
      }
    } else { stacking = thread; stack[thread] = "" }
    next
  }
  stacking != "" && NF >= 2 {
    frame = $2
    for (word = 3; word <= NF; word++) frame = frame "_" $word
    gsub(/;/, ":", frame)
    if ($1 ~ /^ffff/) frame = frame "_[k]"
    stack[stacking] = ";" frame stack[stacking]
  }
  END {
    # Who has not come back waits on.
    for (thread in left) leave(thread, last)
    for (key in time_us) printf "%s %d %d\n", key, time_us[key], switches[key]
  }' "$SCRATCH/switches" >"$SCRATCH/waits"
[[ -s $SCRATCH/waits ]] || fail "no thread of process $SUBJECT left its core in these $SECONDS_MEASURED s:" \
  "all of them ran throughout, or slept throughout"

machine_line
subject_line
printf '\n%-18s %12s %10s  %s\n' thread 'off core ms' switches 'waited in, innermost first'
# The innermost frames are the scheduler itself; what called it says what was waited for.
awk '
  {
    us = $(NF - 1); times = $NF
    sub(/ [0-9]+ [0-9]+$/, "")
    count = split($0, frames, ";")
    place = count
    while (place > 3 && frames[place] ~ /^(__schedule|schedule|schedule_timeout|schedule_hrtimeout_range(_clock)?|preempt_schedule.*|futex_(wait_queue|do_wait))_\[k\]$/) place--
    shown = ""
    for (deep = 0; deep < 3 && place - deep > 2; deep++) shown = shown (deep ? " < " : "") frames[place - deep]
    if (frames[2] != "waits") shown = "ready to run: others had the core"
    gsub(/_\[k\]/, "", shown)
    key = sprintf("%-18s", frames[1]) "\t" shown
    total_us[key] += us; total[key] += times
  }
  END {
    order = "sort -rn | head -n 12"
    for (key in total_us) {
      split(key, part, "\t")
      printf "%015d\t%s %12.1f %10d  %s\n", total_us[key], part[1], total_us[key] / 1000, total[key], part[2] | order
    }
    close(order)
  }' "$SCRATCH/waits" | cut -f 2-
sed 's/ [0-9]*$//' "$SCRATCH/waits" >"$SCRATCH/folded"
draw "$SCRATCH/folded" "$OUTPUT" "Off the processor: $(subject_line)" microseconds
