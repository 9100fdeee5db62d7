# shellcheck shell=bash
# What perf-stat.sh, flame.sh and offcpu.sh share: sourced, after common.sh, and never run. They
# look at a process that runs, or at a gateway of their own on core 0 under the echo load from core 1.

# perf itself; another path where the distribution hides it.
PERF=${PERF:-perf}
# Draws flame graphs: installed there when it is first needed.
INFERNO_VERSION=0.12.8
INFERNO=${INFERNO:-$PROJECT/target/tools/bin}
# Where drawings go.
# shellcheck disable=SC2034 # the scripts read it
PROFILES_DIR=$PROJECT/target/profiles
# User stacks are unwound from this much of the stack: the release build has no frame pointers.
STACK_BYTES=8192

PID=
SECONDS_MEASURED=10
CONNECTIONS=100

# The options that all three have.
# shellcheck disable=SC2034 # the scripts read it
SUBJECT_USAGE='  --pid          the process to look at; without it a gateway is started, under the echo load
  --seconds      for how long (10)
  --connections  of that load (100)'

# number_within OPTION VALUE LOW HIGH
number_within() {
  [[ $2 =~ ^[0-9]{1,9}$ ]] || bad_usage "$1 is a number from $3 to $4, not $2"
  ((10#$2 >= $3 && 10#$2 <= $4)) || bad_usage "$1 is from $3 to $4, and not $2"
}

# take_option OPTION VALUE: one of SUBJECT_USAGE.
take_option() {
  case $1 in
    --pid) number_within "$1" "$2" 1 4194304 && PID=$2 ;;
    --seconds) number_within "$1" "$2" 1 600 && SECONDS_MEASURED=$2 ;;
    --connections) number_within "$1" "$2" 1 15000 && CONNECTIONS=$2 ;;
  esac
}

need_perf() {
  command -v "$PERF" >/dev/null || fail "no perf: apt-get install linux-perf (Debian), or set PERF to its path"
}

# has_event EVENT: whether this machine counts it.
has_event() {
  local said
  said=$("$PERF" stat -x, -e "$1" -- true 2>&1) && [[ $said != *"<not "* ]]
}

# kernel_is_shown: fails, with the fix, where perf may not look into the kernel.
kernel_is_shown() {
  local level=/proc/sys/kernel/perf_event_paranoid
  [[ -e $level ]] || fail "this kernel has no perf events (CONFIG_PERF_EVENTS): none of this works here"
  if "$PERF" record -q -e "$1" -c 1 -g -o "$SCRATCH/probe.data" -- sleep 0.01 >"$SCRATCH/probe.log" 2>&1; then
    return 0
  fi
  cat "$SCRATCH/probe.log" >&2
  fail "perf may not record $1 with the kernel's stacks (above is what it said): run as root, or" \
    "sysctl -w kernel.perf_event_paranoid=1 (it is $(cat "$level")); in a container also" \
    "--cap-add PERFMON and a seccomp profile that lets perf_event_open pass"
}

# start_subject: sets SUBJECT, the process to look at, and ADMIN where its metrics are known.
start_subject() {
  if [[ -n $PID ]]; then
    [[ -d /proc/$PID ]] || fail "--pid $PID: there is no such process"
    SUBJECT=$PID
    return 0
  fi
  # A descriptor for each connection, in the gateway and in the load.
  ulimit -n "$(ulimit -Hn)"
  build_servers gateway
  # No pings: the load is a closed loop.
  local -x RINGGATE_HEARTBEAT_PING=1h RINGGATE_HEARTBEAT_IDLE=2h
  start_server gateway 0 "$((CONNECTIONS + 100))"
  SUBJECT=$SERVER_PID
  ADMIN=127.0.0.1:$ADMIN_PORT
  start load "$PROJECT/target/release/examples/load" echo --path /echo --core 1 --rounds 60 \
    --window-ms 60000 --timeout-seconds 3600 --connections "$CONNECTIONS" \
    --server "gateway=127.0.0.1:$SERVER_PORT,$SERVER_PID"
  local load=$STARTED_PID
  for _ in {1..100}; do
    kill -0 "$load" 2>/dev/null || break
    (($(messages) < CONNECTIONS * 10)) || return 0
    sleep 0.1
  done
  cat "$SCRATCH/load.log" >&2
  fail "the load does not get going (its output is above)"
}

# messages: how many data messages the gateway has had so far, from its metrics.
messages() {
  curl -sf --max-time 5 "http://$ADMIN/metrics" |
    awk '/^ringgate_messages_received_total/ { sum += $2 } END { printf "%d", sum }'
}

subject_line() {
  printf '%s (process %s), %s s' "$(cat "/proc/$SUBJECT/comm")" "$SUBJECT" "$SECONDS_MEASURED"
  if [[ -z $PID ]]; then printf ', echo of 64 bytes on %s connections' "$CONNECTIONS"; fi
  printf '\n'
}

# record EVENT-OPTION...: what perf has of the process, in $SCRATCH/perf.data.
record() {
  "$PERF" record -q "$@" --call-graph "dwarf,$STACK_BYTES" -p "$SUBJECT" -o "$SCRATCH/perf.data" \
    -- sleep "$SECONDS_MEASURED" >"$SCRATCH/record.log" 2>&1 ||
    { cat "$SCRATCH/record.log" >&2 && fail "perf could not record process $SUBJECT (above is what it said)"; }
  if grep -qi 'lost' "$SCRATCH/record.log"; then
    say "perf could not keep up, the picture has holes: $(grep -i 'lost' "$SCRATCH/record.log" | head -n 1)"
  fi
}

# samples OPTION...: what was recorded, as text, on standard output.
samples() { "$PERF" script -i "$SCRATCH/perf.data" --no-inline "$@" 2>>"$SCRATCH/script.log"; }

# need_inferno: the flame graphs are drawn by the crate inferno, kept within target/.
need_inferno() {
  if [[ -x $INFERNO/inferno-flamegraph && -x $INFERNO/inferno-collapse-perf ]]; then return 0; fi
  say "installing inferno $INFERNO_VERSION, which draws flame graphs, into target/tools (once; a minute or two)"
  cargo install inferno --locked --quiet --version "$INFERNO_VERSION" --root "$PROJECT/target/tools" >&2 ||
    fail "could not install inferno: cargo install inferno --locked --root target/tools"
}

# draw FOLDED FILE TITLE UNIT: folded stacks as one SVG.
draw() {
  mkdir -p "$(dirname "$2")"
  # Colours tell the kernel's frames (orange) from the program's.
  "$INFERNO/inferno-flamegraph" --colors java --title "$3" --countname "$4" "$1" >"$2"
  say "wrote $2 ($(($(stat -c %s "$2") / 1024)) KiB); any browser shows it"
}
