# shellcheck shell=bash
# What the scripts share: sourced, never run. A script that sources this ends, on every way out,
# exactly the processes that it started with `start`.

PROJECT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/ringgate-XXXXXX")
STARTED=()
# What servers are started through; empty: as they are.
SERVER_WRAPPER=()
# More arguments for the next server.
SERVER_ARGS=()

say() { printf '== %s\n' "$*" >&2; }

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# bad_usage WHAT: ends a script that was called wrongly.
bad_usage() {
  printf '%s: %s; see --help\n' "$(basename "$0")" "$*" >&2
  exit 2
}

# stop PID: ends one process that was started here, and waits for it.
stop() {
  kill "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

clean_up() {
  local pid
  for pid in "${STARTED[@]}"; do stop "$pid"; done
  rm -rf "$SCRATCH"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# start NAME COMMAND...: runs it in the background with its output in $SCRATCH/NAME.log; its pid
# is in STARTED_PID.
start() {
  local name=$1
  shift
  "$@" >"$SCRATCH/$name.log" 2>&1 </dev/null &
  STARTED_PID=$!
  STARTED+=("$STARTED_PID")
}

# answers PORT: whether something listens there on the loopback address.
answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port: sets FREE_PORT to a loopback port that nothing listens on; below the ephemeral range,
# so that no client's socket takes it in the meantime.
free_port() {
  local attempt
  for attempt in {1..100}; do
    FREE_PORT=$((20000 + (RANDOM + attempt) % 10000))
    answers "$FREE_PORT" || return 0
  done
  fail "found no free port in 100 attempts"
}

# wait_listening NAME PID PORT: until the process answers there, at most 10 s; its log is shown if
# it does not.
wait_listening() {
  local attempt
  for attempt in {1..100}; do
    kill -0 "$2" 2>/dev/null || break
    if answers "$3"; then return 0; fi
    sleep 0.1
  done
  cat "$SCRATCH/$1.log" >&2
  fail "$1 does not listen on port $3 (looked $attempt times; its output is above)"
}

# number NAME: the value of that field in the JSON line on standard input.
number() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }

# start_redis COMMAND...: a Redis of the script's own, without a disk, through that command (taskset
# and the like); sets REDIS_PORT and REDIS_PID.
start_redis() {
  command -v redis-server >/dev/null || fail "no redis-server: apt-get install redis-server"
  free_port && REDIS_PORT=$FREE_PORT
  start redis "$@" redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' --appendonly no \
    --dir "$SCRATCH"
  REDIS_PID=$STARTED_PID
  wait_listening redis "$REDIS_PID" "$REDIS_PORT"
}

# start_server KIND CORE CONNECTIONS: the floor, the ring engine alone, the gateway, or an echo server
# on another library; sets SERVER_PID, SERVER_PORT and, for the gateway, ADMIN_PORT.
start_server() {
  local kind=$1 core=$2 connections=$3
  free_port && SERVER_PORT=$FREE_PORT
  case $kind in
    floor)
      start floor "${SERVER_WRAPPER[@]}" "$PROJECT/target/release/examples/epoll_floor" \
        --listen "127.0.0.1:$SERVER_PORT" --core "$core" "${SERVER_ARGS[@]}"
      ;;
    ring)
      start ring "${SERVER_WRAPPER[@]}" "$PROJECT/target/release/examples/ring_echo" \
        --listen "127.0.0.1:$SERVER_PORT" --core "$core" "${SERVER_ARGS[@]}"
      ;;
    gateway)
      free_port && ADMIN_PORT=$FREE_PORT
      start gateway "${SERVER_WRAPPER[@]}" "$PROJECT/target/release/ringgate" serve --listen "127.0.0.1:$SERVER_PORT" \
        --admin "127.0.0.1:$ADMIN_PORT" --cores "$core" --echo /echo --connections "$connections" "${SERVER_ARGS[@]}"
      ;;
    tokio-tungstenite | fastwebsockets)
      start "$kind" "${SERVER_WRAPPER[@]}" "$PROJECT/target/peers/release/${kind//-/_}_echo" \
        --listen "127.0.0.1:$SERVER_PORT" --core "$core" "${SERVER_ARGS[@]}"
      ;;
    *) fail "no server called $kind (floor, ring, gateway, tokio-tungstenite or fastwebsockets)" ;;
  esac
  SERVER_PID=$STARTED_PID
  wait_listening "$kind" "$SERVER_PID" "$SERVER_PORT"
}

# is_raw KIND: whether that server echoes plain bytes, without frames.
is_raw() { [[ $1 == floor || $1 == ring ]]; }

# build_servers KIND...: the release builds that measuring these needs.
build_servers() {
  say "building (release)"
  cd "$PROJECT" || return
  cargo build --release --locked --quiet --bins --examples
  if [[ " $* " == *" tokio-tungstenite "* || " $* " == *" fastwebsockets "* ]]; then
    (cd benches/peers && cargo build --release --locked --quiet)
  fi
}

# ticks PID: processor time of a process, user and system, in ticks of 10 ms (proc(5)).
ticks() { sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 12,13 | tr ' ' '+' | bc; }

# measure_echo CONNECTIONS ROUNDS SERVER...: all of them at once, on core 0, under the echo load from
# core 1 in turn; a JSON line each, with what it must be read with, in $SCRATCH/echo.json.
measure_echo() {
  local connections=$1 rounds=$2 server targets=() pids=() before=() index=0 line raw
  shift 2
  # No pings: the floor sends none, and a closed loop has no use for them.
  local -x RINGGATE_HEARTBEAT_PING=1h RINGGATE_HEARTBEAT_IDLE=2h
  for server in "$@"; do
    start_server "$server" 0 "$((connections + 100))"
    pids+=("$SERVER_PID")
    before+=("$(ticks "$SERVER_PID")")
    raw=
    if is_raw "$server"; then raw=,raw; fi
    targets+=(--server "$server=127.0.0.1:$SERVER_PORT,$SERVER_PID$raw")
  done
  "$PROJECT/target/release/examples/load" echo "${targets[@]}" --path /echo --core 1 \
    --connections "$connections" --rounds "$rounds" --timeout-seconds 1800 >"$SCRATCH/lines.json"
  while read -r line; do
    printf '{"at":"%s","kernel":"%s","cpu":"%s","server_ticks":%s,%s\n' "$(date -u +%FT%TZ)" \
      "$(uname -r)" "$(processor)" "$(($(ticks "${pids[index]}") - before[index]))" "${line#\{}"
    index=$((index + 1))
  done <"$SCRATCH/lines.json" >"$SCRATCH/echo.json"
  for index in "${!pids[@]}"; do stop "${pids[index]}"; done
}

# server_of: the server of the JSON line on standard input.
server_of() { sed -n 's/.*"server":"\([a-z-]*\)".*/\1/p'; }

# judge_quiet FILE...: says so if a load did not have its core to itself in some of the JSON lines.
judge_quiet() {
  local disturbed
  # The load spins: a core that it did not have was another's.
  disturbed=$(cat "$@" | number load_utilisation | awk '$1 < 0.97 { n++ } END { print n + 0 }')
  ((disturbed == 0)) || echo "CAUTION: in $disturbed lines other processes had part of the load's" \
    "core; run this on a quiet machine."
}

processor() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; }

# machine_line: what a figure must be read with.
machine_line() {
  printf '%s, Linux %s, %s x %s, load average %s\n' "$(date -u +%FT%TZ)" "$(uname -r)" \
    "$(nproc)" "$(processor)" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
}
