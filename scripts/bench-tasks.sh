#!/usr/bin/env bash
# How many chunks a second one shard brings to Redis, against what redis-benchmark brings there
# with the same command: RPUSH of the same payload, over one connection, at the same depth of its
# pipeline, to the same Redis with the same worker beside it.
#
# Redis has one core to itself. On the other runs what feeds it: either redis-benchmark, or the
# gateway's one shard together with the clients whose chunks it takes, which have nowhere else to
# be on a machine of two cores. So the gateway's figure is too low by what its clients cost. The
# table says how much of the core the gateway itself had, and, as the second ratio, what that would
# be with the whole core: extrapolated, not measured, and only as far as Redis has time left. The
# two are measured in turn, in short windows, because a virtual machine's speed drifts; each pair
# of windows gives a ratio.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-tasks.sh [--rounds N] [--window-ms MS] [--sessions N] [--inflight N]
                              [--workers "drop pop answer"] [--results per-session|per-shard]
                              [--depth N] [--json FILE]
  --rounds     pairs of windows for each kind of worker (7, or $ROUNDS)
  --window-ms  length of a window (3000)
  --sessions   sessions, each on a connection of its own (50)
  --inflight   chunks of a session in flight (8)
  --workers    what is at the other end of the queue ("drop pop answer"):
               drop    nobody: the list is emptied every 20 ms
               pop     takes tasks, 64 at a time, and does nothing
               answer  takes them likewise and answers each at once: PUBLISH, RPUSH, EXPIRE;
                       here the flight of a chunk ends with its result, not with its ack
  --depth      pipeline depth of redis-benchmark; by default what the gateway's turned out to be
  --json       file to add one JSON line a window of the gateway to
Chunks are of 3200 bytes. Redis runs on core 1, all else on core 0.
Columns: depth, commands in one write of the gateway; gateway, load, redis, shares of a core;
whole, the ratio that the gateway would have with the load's share of its core; rpush/ch and
cmds/ses, RPUSH of the gateway a chunk, and SUBSCRIBE and LRANGE a session.
Wanted: a ratio of at least 0.8, and one command a chunk beyond the worker's own.
TEXT
}

ROUNDS=${ROUNDS:-7}
WINDOW_MS=3000
SESSIONS=50
INFLIGHT=8
WORKERS="drop pop answer"
RESULTS=per-session
DEPTH=
JSON=/dev/null
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --window-ms | --sessions | --inflight | --workers | --results | --depth | --json)
      (($# >= 2)) || fail "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --window-ms) WINDOW_MS=$2 ;;
        --sessions) SESSIONS=$2 ;;
        --inflight) INFLIGHT=$2 ;;
        --workers) WORKERS=$2 ;;
        --results) RESULTS=$2 ;;
        --depth) DEPTH=$2 ;;
        --json) JSON=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
command -v redis-benchmark >/dev/null || fail "no redis-benchmark: install redis-tools"

QUEUE=bench_chunks
CHUNK_BYTES=3200

redis() { redis-cli -p "$REDIS_PORT" "$@"; }

# number NAME: the value of that field in the JSON line on standard input.
number() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }

# metric NAME: that counter of the gateway.
metric() { curl -sf "http://127.0.0.1:$ADMIN_PORT/metrics" | sed -n "s/^ringgate_$1{[^}]*} //p"; }

# calls COMMAND: how often Redis has carried it out since CONFIG RESETSTAT.
calls() {
  redis info commandstats | tr -d '\r' | sed -n "s/^cmdstat_$1:calls=\([0-9]*\),.*/\1/p" | grep . || echo 0
}

# quartiles: of the numbers on standard input: median, lower and upper quartile.
quartiles() {
  sort -g | awk '{ v[NR] = $1 }
    function at(q,  p, i) { p = 1 + q * (NR - 1); i = int(p)
      return i < NR ? v[i] + (v[i + 1] - v[i]) * (p - i) : v[NR] }
    END { printf "%.3f %.3f %.3f\n", at(0.5), at(0.25), at(0.75) }'
}

start_redis() {
  free_port && REDIS_PORT=$FREE_PORT
  start redis taskset -c 1 redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --save '' \
    --appendonly no --dir "$SCRATCH"
  REDIS_PID=$STARTED_PID
  wait_listening redis "$REDIS_PID" "$REDIS_PORT"
}

start_gateway() {
  local port
  free_port && port=$FREE_PORT
  free_port && ADMIN_PORT=$FREE_PORT
  # Nobody answers the chunks of some of the windows, and nobody is to miss that.
  cat >"$SCRATCH/ringgate.toml" <<TOML
listen = "127.0.0.1:$port"
admin = "127.0.0.1:$ADMIN_PORT"
cores = [0]
redis = "redis://127.0.0.1:$REDIS_PORT/0"
[heartbeat]
ping = "1h"
idle = "2h"
[[route]]
path = "/ws/asr"
kind = "tasks"
queue = { mode = "list", key = "$QUEUE" }
results = "$RESULTS"
resume_ms = 0
queue_high = 100_000_000
queue_low = 90_000_000
chunk_deadline = "1h"
inflight = 65_536
TOML
  start gateway "$PROJECT/target/release/ringgate" serve --config "$SCRATCH/ringgate.toml"
  GATEWAY_PID=$STARTED_PID
  GATEWAY_PORT=$port
  wait_listening gateway "$GATEWAY_PID" "$port"
  wait_listening gateway "$GATEWAY_PID" "$ADMIN_PORT"
}

# gateway_window MS: chunks through the gateway; the load's JSON line is in LINE.
gateway_window() {
  LINE=$("$PROJECT/target/release/examples/load" tasks --server "127.0.0.1:$GATEWAY_PORT" --core 0 \
    --sessions "$SESSIONS" --inflight "$INFLIGHT" --await "$AWAIT" --chunk-bytes "$CHUNK_BYTES" \
    --window-ms "$1" --process "gateway=$GATEWAY_PID" --process "redis=$REDIS_PID") ||
    { tail -n 5 "$SCRATCH"/*.log >&2 && fail "the load failed; what the servers said is above"; }
  redis unlink "$QUEUE" >/dev/null
}

# benchmark_window PUSHES: its pushes a second are in RATE.
benchmark_window() {
  RATE=$(taskset -c 0 redis-benchmark -p "$REDIS_PORT" -c 1 -P "$DEPTH" -n "$1" --csv \
    RPUSH "$QUEUE" "$PAYLOAD" | tail -n 1 | awk -F '","' '{ print $(NF - 6) }')
  redis unlink "$QUEUE" >/dev/null
}

# measure WORKER: a line of the table.
measure() {
  local worker=$1 worker_pid round pushes chunks=0 sessions=0 writes before_chunks
  AWAIT=acks
  if [[ $worker == answer ]]; then AWAIT=results; fi
  start worker "$PROJECT/target/release/examples/load" worker --core 0 --tasks "$worker" \
    --redis "redis://127.0.0.1:$REDIS_PORT/0" --queue "$QUEUE"
  worker_pid=$STARTED_PID
  gateway_window 1000
  writes=$(metric redis_writes_total) before_chunks=$(metric chunks_total)
  gateway_window 1000
  writes=$(($(metric redis_writes_total) - writes))
  local depth
  depth=$(awk -v c="$(($(metric chunks_total) - before_chunks))" -v w="$writes" \
    'BEGIN { d = int(c / w + 0.5); print d < 1 ? 1 : d }')
  local given=$DEPTH
  DEPTH=${DEPTH:-$depth}
  benchmark_window 20000
  redis config resetstat >/dev/null
  for ((round = 0; round < ROUNDS; round++)); do
    pushes=$(awk -v r="$RATE" -v ms="$WINDOW_MS" 'BEGIN { print int(r * ms / 1000) }')
    if ((round % 2)); then benchmark_window "$pushes"; fi
    redis config resetstat >/dev/null
    gateway_window "$WINDOW_MS"
    add_commands
    if ((round % 2 == 0)); then benchmark_window "$pushes"; fi
    printf '{"worker":"%s","benchmark_per_second":%s,%s\n' "$worker" "$RATE" "${LINE#\{}" |
      tee -a "$JSON" >>"$SCRATCH/$worker.lines"
  done
  stop "$worker_pid"
  report "$worker" "$depth"
  DEPTH=$given
}

# add_commands: what Redis did for the window that has just been, beyond the worker's own.
add_commands() {
  chunks=$((chunks + $(number chunks_in_all <<<"$LINE")))
  local cached=0
  if [[ $AWAIT == results ]]; then cached=$(number results_in_all <<<"$LINE"); fi
  pushed=$((${pushed:-0} + $(calls rpush) - cached))
  sessions=$((sessions + SESSIONS))
  subscribed=$((${subscribed:-0} + $(calls subscribe)))
  fetched=$((${fetched:-0} + $(calls lrange)))
}

# report WORKER DEPTH
report() {
  local lines=$SCRATCH/$1.lines ratio whole chunks_s benchmark_s used
  column() { number "$1" <"$lines" | quartiles | cut -d ' ' -f 1; }
  ratio=$(while read -r line; do
    awk -v g="$(number chunks_per_second <<<"$line")" -v b="$(number benchmark_per_second <<<"$line")" \
      'BEGIN { print g / b }'
  done <"$lines" | quartiles)
  whole=$(while read -r line; do
    awk -v g="$(number chunks_per_second <<<"$line")" -v b="$(number benchmark_per_second <<<"$line")" \
      -v u="$(number gateway_utilisation <<<"$line")" 'BEGIN { print g / u / b }'
  done <"$lines" | quartiles | cut -d ' ' -f 1)
  chunks_s=$(column chunks_per_second) benchmark_s=$(column benchmark_per_second)
  used=$(column gateway_utilisation)
  # shellcheck disable=SC2086 # three numbers
  printf '%-7s %5s %10.0f %10.0f %6.2f  %.2f-%.2f %6.2f %8.2f %6.2f %6.2f %10.0f %8.3f %8.2f\n' "$1" "$2" \
    "$chunks_s" "$benchmark_s" $ratio "$whole" "$used" "$(column load_utilisation)" \
    "$(column redis_utilisation)" "$(column ack_p99_us)" \
    "$(awk -v p="$pushed" -v c="$chunks" 'BEGIN { print p / c }')" \
    "$(awk -v s="$((subscribed + fetched))" -v n="$sessions" 'BEGIN { print s / n }')"
  pushed=0 subscribed=0 fetched=0
}

build_servers gateway
start_redis
start_gateway
PAYLOAD=$(awk -v bytes="$CHUNK_BYTES" 'BEGIN {
  printf "{\"session_id\":\"load-12345-10\",\"chunk_index\":12345,\"audio_data\":\""
  n = 4 * int((bytes + 2) / 3)
  for (i = 0; i < n; i++) printf "%c", 65 + i * 37 % 26
  printf "\",\"timestamp\":1700000000000}" }')
machine_line
echo "Chunks of $CHUNK_BYTES bytes, $SESSIONS sessions with $INFLIGHT in flight, results $RESULTS," \
  "one shard; medians of $ROUNDS windows of $WINDOW_MS ms, the ratio with its quartiles."
printf '%-7s %5s %10s %10s %6s  %-9s %6s %8s %6s %6s %10s %8s %8s\n' worker depth chunks/s 'RPUSH/s' ratio \
  quartiles whole gateway load redis 'ack p99us' rpush/ch cmds/ses
for worker in $WORKERS; do measure "$worker"; done
