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

# start_server KIND CORE CONNECTIONS: the floor, the ring engine alone, or the gateway; sets SERVER_PID and SERVER_PORT.
start_server() {
  local kind=$1 core=$2 connections=$3 admin_port
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
      free_port && admin_port=$FREE_PORT
      start gateway "${SERVER_WRAPPER[@]}" "$PROJECT/target/release/ringgate" serve --listen "127.0.0.1:$SERVER_PORT" \
        --admin "127.0.0.1:$admin_port" --cores "$core" --echo /echo --connections "$connections" "${SERVER_ARGS[@]}"
      ;;
    *) fail "no server called $kind (floor, ring or gateway)" ;;
  esac
  SERVER_PID=$STARTED_PID
  wait_listening "$kind" "$SERVER_PID" "$SERVER_PORT"
}

# build_servers KIND...: the release builds that measuring these needs.
build_servers() {
  say "building (release)"
  cd "$PROJECT" || return
  cargo build --release --locked --quiet --bins --examples
}

processor() { sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1; }

# machine_line: what a figure must be read with.
machine_line() {
  printf '%s, Linux %s, %s x %s, load average %s\n' "$(date -u +%FT%TZ)" "$(uname -r)" \
    "$(nproc)" "$(processor)" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
}
