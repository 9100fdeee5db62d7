#!/usr/bin/env bash
# What a process asks of the machine: processor time, context switches, page faults, system calls
# and, where the machine shows its counters, cycles and instructions; a second, and for the gateway
# a message.
#
# A counter that this machine doesn't have is named as missing, and never shown as zero.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=scripts/profiling.sh
source "$(dirname "$0")/profiling.sh"

usage() {
  cat <<TEXT
usage: scripts/perf-stat.sh [--pid PID [--admin HOST:PORT]] [--seconds S] [--connections N]
$SUBJECT_USAGE
  --admin        the admin port of the gateway that --pid names: costs a message are shown too
Needs perf; for system calls also tracefs, which is root's.
TEXT
}

SOFTWARE="task-clock context-switches cpu-migrations page-faults"
HARDWARE="cycles instructions branches branch-misses cache-references cache-misses"
# Of the gateway and of what it is compared with.
SYSTEM_CALLS="io_uring_enter epoll_wait epoll_ctl recvfrom sendto read write writev futex"

ADMIN=
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --pid | --seconds | --connections | --admin)
      (($# >= 2)) || bad_usage "$1 needs a value"
      if [[ $1 == --admin ]]; then ADMIN=$2; else take_option "$1" "$2"; fi
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
need_perf
start_subject

# choose_events: EVENTS, separated by commas, and what is MISSING and why.
choose_events() {
  local event missing=() calls=()
  EVENTS=() MISSING=()
  for event in $SOFTWARE; do EVENTS+=("$event"); done
  for event in $HARDWARE; do
    if has_event "$event"; then EVENTS+=("$event"); else missing+=("$event"); fi
  done
  if ((${#missing[@]} > 0)); then
    MISSING+=("${missing[*]}: this machine shows no such hardware counters. A virtual machine needs a PMU from its host (KVM: -cpu host,pmu=on), and most clouds give one on bare metal only.")
  fi
  if ! has_event raw_syscalls:sys_enter; then
    MISSING+=("system calls: no tracepoints here. As root: mount -t tracefs nodev /sys/kernel/tracing; a kernel without CONFIG_FTRACE_SYSCALLS has none.")
    return
  fi
  EVENTS+=(raw_syscalls:sys_enter)
  for event in $SYSTEM_CALLS; do
    if has_event "syscalls:sys_enter_$event"; then calls+=("syscalls:sys_enter_$event"); fi
  done
  EVENTS+=("${calls[@]}")
}

choose_events
messages_before=0 messages_after=0
if [[ -n $ADMIN ]]; then messages_before=$(messages) || fail "--admin $ADMIN: no metrics there"; fi
"$PERF" stat -x, -o "$SCRATCH/stat.csv" -e "$(IFS=, && echo "${EVENTS[*]}")" -p "$SUBJECT" \
  -- sleep "$SECONDS_MEASURED" >"$SCRATCH/stat.log" 2>&1 ||
  { cat "$SCRATCH/stat.log" >&2 && fail "perf could not count process $SUBJECT (above is what it said)"; }
if [[ -n $ADMIN ]]; then messages_after=$(messages); fi

machine_line
subject_line
if ((messages_after > messages_before)); then
  printf '%s messages, %s a second\n' "$((messages_after - messages_before))" "$(((messages_after - messages_before) / SECONDS_MEASURED))"
fi
echo
# Fields: count, unit, event, time that it was counted for, the share of that, and more.
awk -F, -v seconds="$SECONDS_MEASURED" -v messages="$((messages_after - messages_before))" '
  BEGIN { printf "%-28s %16s %14s %12s\n", "", "count", "a second", (messages > 0 ? "a message" : "") }
  /^#/ || NF < 5 { next }
  {
    name = $3
    sub(/^syscalls:sys_enter_/, "  ", name)
    sub(/^raw_syscalls:sys_enter$/, "system calls", name)
    if ($2 == "msec") name = name " (ms)"
    if ($1 !~ /^[0-9.]+$/) { refused[++refusals] = name; next }
    # None of the named calls: not worth a line.
    if (name ~ /^  / && $1 == 0) next
    value[name] = $1
    note = $5 < 99.5 ? sprintf("  counted %.0f %% of the time", $5) : ""
    printf "%-28s %16s %14.1f %12s%s\n", name, $1, $1 / seconds, (messages > 0 ? sprintf("%.4f", $1 / messages) : ""), note
  }
  END {
    if (value["cycles"] > 0) printf "%-28s %16.2f\n", "instructions a cycle", value["instructions"] / value["cycles"]
    for (index_ = 1; index_ <= refusals; index_++) printf "%s: not counted\n", refused[index_]
  }' "$SCRATCH/stat.csv"
if ((${#MISSING[@]} > 0)); then
  printf '\nNot shown:\n'
  printf '  %s\n' "${MISSING[@]}"
fi
