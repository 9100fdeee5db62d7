#!/usr/bin/env bash
# How many chunks a second one shard brings to Redis, against what redis-benchmark brings there
# with the same command: RPUSH of the same payload, over one connection, at the same depth of its
# pipeline, to the same Redis with the same worker beside it.
#
# A shard is meant to have a core, Redis another, and clients and workers are to be somewhere else.
# A machine of two cores has no somewhere else, so there are two placements:
#
#   thirds  the shard has 60 % of core 0 and Redis 60 % of core 1, and no more; clients and workers
#           live on what is left. redis-benchmark, in the place of the shard, and its Redis have
#           the same 60 %. So the ratio is that of three cores of which each has its own, only
#           slower ones: this is the figure.
#   shared  Redis has core 1. Core 0 has redis-benchmark, or the shard together with its clients:
#           too low by what the clients cost.
#
# The two are measured in turn, in short windows, because a virtual machine's speed drifts; each
# pair of windows gives a ratio. A pair during which the hypervisor took much of the cores away is
# measured again, as far as there are tries left: who of the two is hit is chance.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=scripts/cgroup.sh
source "$(dirname "$0")/cgroup.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-tasks.sh [--rounds N] [--window-ms MS] [--sessions N] [--inflight N]
                              [--workers "drop pop answer"] [--results per-session|per-shard]
                              [--placements "thirds shared"] [--depth N] [--json FILE]
  --rounds      pairs of windows for each kind of worker (7, or $ROUNDS)
  --window-ms   length of a window (2000)
  --sessions    sessions, each on a connection of its own (200)
  --inflight    chunks of a session in flight (8)
  --workers     what is at the other end of the queue ("drop pop answer"):
                drop    nobody: the list is emptied every 20 ms
                pop     takes tasks, 64 at a time, and does nothing
                answer  takes them likewise and answers each at once: PUBLISH, RPUSH, EXPIRE;
                        here the flight of a chunk ends with its result, not with its ack
  --placements  who has which part of the two cores; see the head of this file. "thirds" needs
                root and the cpu controller of cgroups, version 1 or 2
  --depth       pipeline depth of redis-benchmark; by default what the gateway's turned out to be
  --json        file to add one JSON line a window of the gateway to
Chunks are of 3200 bytes.
Columns: depth, commands in one write of the gateway; gateway, load, redis: processor time in
microseconds a chunk, and push: Redis's for one RPUSH of redis-benchmark; own/ch and worker/ch:
commands that Redis carried out for the gateway and for the worker, a chunk; steal: the most that
the hypervisor took of the two cores in a pair that counts, in per cent; again: pairs that were
measured again for that.
Wanted: a ratio of at least 0.8, and one command of the gateway a chunk.
TEXT
}

ROUNDS=${ROUNDS:-7}
WINDOW_MS=2000
SESSIONS=200
INFLIGHT=8
WORKERS="drop pop answer"
RESULTS=per-session
PLACEMENTS="thirds shared"
DEPTH=
JSON=/dev/null
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --window-ms | --sessions | --inflight | --workers | --results | --placements | --depth | --json)
      (($# >= 2)) || bad_usage "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --window-ms) WINDOW_MS=$2 ;;
        --sessions) SESSIONS=$2 ;;
        --inflight) INFLIGHT=$2 ;;
        --workers) WORKERS=$2 ;;
        --results) RESULTS=$2 ;;
        --placements) PLACEMENTS=$2 ;;
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
# Of a core, in the placement "thirds". The period is short against what is in flight, so that
# neither side runs dry while the other has to pause.
SHARE_PERCENT=60
PERIOD_US=10000
# Of both cores during a pair of windows, past which it is measured again, and tries for each pair.
STEAL_PERCENT=3
TRIES=2

redis() { redis-cli -p "$REDIS_PORT" "$@"; }

# metric NAME: that counter of the gateway.
metric() { curl -sf "http://127.0.0.1:$ADMIN_PORT/metrics" | sed -n "s/^ringgate_$1{[^}]*} //p"; }

# stolen: jiffies that the hypervisor took, and all, of both cores.
stolen() { awk '/^cpu / { for (i = 2; i <= 9; i++) all += $i; print $9, all }' /proc/stat; }

# cpu_ticks PID: hundredths of a second of processor time.
cpu_ticks() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# quartiles: of the numbers on standard input: median, lower and upper quartile.
quartiles() {
  sort -g | awk '{ v[NR] = $1 }
    function at(q,  p, i) { p = 1 + q * (NR - 1); i = int(p)
      return i < NR ? v[i] + (v[i + 1] - v[i]) * (p - i) : v[NR] }
    END { printf "%.3f %.3f %.3f\n", at(0.5), at(0.25), at(0.75) }'
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
  start gateway inside "$FEEDER_GROUP" "$PROJECT/target/release/ringgate" serve \
    --config "$SCRATCH/ringgate.toml"
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
}

# benchmark_window PUSHES: its pushes a second are in RATE, Redis's time for each in PUSH_US.
benchmark_window() {
  local before
  before=$(cpu_ticks "$REDIS_PID")
  RATE=$(inside "$FEEDER_GROUP" taskset -c 0 redis-benchmark -p "$REDIS_PORT" -c 1 -P "$DEPTH" \
    -n "$1" --csv RPUSH "$QUEUE" "$PAYLOAD" | tail -n 1 | awk -F '","' '{ print $(NF - 6) }')
  PUSH_US=$(awk -v t="$(($(cpu_ticks "$REDIS_PID") - before))" -v n="$1" 'BEGIN { print t * 1e4 / n }')
  redis unlink "$QUEUE" >/dev/null
}

# measure PLACEMENT WORKER: a line of the table.
measure() {
  local placement=$1 worker=$2 worker_pid worker_core=0 round pushes writes before_chunks depth given=$DEPTH
  local chunks=0 own=0 workers=0 tries=$((ROUNDS * TRIES)) again=0 steal worst=0 before
  AWAIT=acks
  if [[ $worker == answer ]]; then AWAIT=results; fi
  if [[ $placement == thirds ]]; then worker_core=1; fi
  start worker "$PROJECT/target/release/examples/load" worker --core "$worker_core" \
    --tasks "$worker" --redis "redis://127.0.0.1:$REDIS_PORT/0" --queue "$QUEUE" --timeout-seconds 3600
  worker_pid=$STARTED_PID
  gateway_window 1000
  writes=$(metric redis_writes_total) before_chunks=$(metric chunks_total)
  gateway_window 1000
  writes=$(($(metric redis_writes_total) - writes))
  depth=$(awk -v c="$(($(metric chunks_total) - before_chunks))" -v w="$writes" \
    'BEGIN { d = int(c / w + 0.5); print d < 1 ? 1 : d }')
  DEPTH=${DEPTH:-$depth}
  benchmark_window 20000
  round=0
  while ((round < ROUNDS)); do
    pushes=$(awk -v r="$RATE" -v ms="$WINDOW_MS" 'BEGIN { print int(r * ms / 1000) }')
    before=$(stolen) tries=$((tries - 1))
    if ((round % 2)); then benchmark_window "$pushes"; fi
    redis config resetstat >/dev/null
    gateway_window "$WINDOW_MS"
    count_commands
    redis unlink "$QUEUE" >/dev/null
    if ((round % 2 == 0)); then benchmark_window "$pushes"; fi
    steal=$(echo "$before $(stolen)" | awk '{ printf "%.1f", 100 * ($3 - $1) / ($4 - $2) }')
    if ((tries >= ROUNDS - round)) && awk -v s="$steal" -v m="$STEAL_PERCENT" 'BEGIN { exit !(s > m) }'; then
      again=$((again + 1))
      continue
    fi
    round=$((round + 1))
    worst=$(awk -v a="$worst" -v b="$steal" 'BEGIN { print (a > b ? a : b) }')
    chunks=$((chunks + $(number chunks_in_all <<<"$LINE")))
    workers=$((workers + OF_WORKER)) own=$((own + OF_GATEWAY))
    printf '{"placement":"%s","worker":"%s","depth":%s,"steal_percent":%s,"benchmark_per_second":%s,"push_us":%s,%s\n' \
      "$placement" "$worker" "$DEPTH" "$steal" "$RATE" "$PUSH_US" "${LINE#\{}" |
      tee -a "$JSON" >>"$SCRATCH/$placement-$worker.lines"
  done
  stop "$worker_pid"
  report "$placement" "$worker" "$depth" "$worst" "$again"
  DEPTH=$given
}

# count_commands: what Redis carried out in the window that has just been for the worker and for the
# gateway, in OF_WORKER and OF_GATEWAY. The worker's are of kinds of their own but for RPUSH to the
# caches, one for each result; INFO and CONFIG are this script's.
count_commands() {
  local cached=0
  if [[ $AWAIT == results ]]; then cached=$(number results_in_all <<<"$LINE"); fi
  read -r OF_WORKER OF_GATEWAY < <(redis info commandstats | tr -d '\r' |
    sed -n 's/^cmdstat_\([^:]*\):calls=\([0-9]*\),.*/\1 \2/p' |
    awk -v cached="$cached" '$1 ~ /^(lpop|blpop|publish|expire|unlink)$/ { worker += $2; next }
      $1 !~ /^(info|config)/ { gateway += $2 } END { print worker + cached, gateway - cached }')
}

# report PLACEMENT WORKER DEPTH STEAL AGAIN
report() {
  local lines=$SCRATCH/$1-$2.lines ratio
  column() { number "$1" <"$lines" | quartiles | cut -d ' ' -f 1; }
  # us NAME: processor time of NAME a chunk.
  us() {
    while read -r line; do
      awk -v c="$(number chunks_per_second <<<"$line")" -v u="$(number "$1_utilisation" <<<"$line")" \
        'BEGIN { print 1e6 * u / c }'
    done <"$lines" | quartiles | cut -d ' ' -f 1
  }
  ratio=$(while read -r line; do
    awk -v g="$(number chunks_per_second <<<"$line")" -v b="$(number benchmark_per_second <<<"$line")" \
      'BEGIN { print g / b }'
  done <"$lines" | quartiles)
  # shellcheck disable=SC2086 # three numbers
  printf '%-7s %-7s %5s %9.0f %9.0f %6.2f  %.2f-%.2f %8.2f %6.2f %6.2f %6.2f %9.0f %8.4f %9.3f %6.1f %5s\n' \
    "$1" "$2" "$3" "$(column chunks_per_second)" "$(column benchmark_per_second)" $ratio \
    "$(us gateway)" "$(us load)" "$(us redis)" "$(column push_us)" "$(column ack_p99_us)" \
    "$(awk -v o="$own" -v c="$chunks" 'BEGIN { print o / c }')" \
    "$(awk -v o="$workers" -v c="$chunks" 'BEGIN { print o / c }')" "$4" "$5"
}

build_servers gateway
PAYLOAD=$(awk -v bytes="$CHUNK_BYTES" 'BEGIN {
  printf "{\"session_id\":\"load-12345-10\",\"chunk_index\":12345,\"audio_data\":\""
  n = 4 * int((bytes + 2) / 3)
  for (i = 0; i < n; i++) printf "%c", 65 + i * 37 % 26
  printf "\",\"timestamp\":1700000000000}" }')
machine_line
echo "Chunks of $CHUNK_BYTES bytes, $SESSIONS sessions with $INFLIGHT in flight, results $RESULTS," \
  "one shard; medians of $ROUNDS windows of $WINDOW_MS ms, the ratio with its quartiles."
printf '%-7s %-7s %5s %9s %9s %6s  %-9s %8s %6s %6s %6s %9s %8s %9s %6s %5s\n' place worker depth chunks/s \
  'RPUSH/s' ratio quartiles gateway load redis push 'ack p99us' own/ch worker/ch steal again
for placement in $PLACEMENTS; do
  REDIS_GROUP='' FEEDER_GROUP=''
  case $placement in
    thirds)
      make_group redis "$SHARE_PERCENT" "$PERIOD_US" && REDIS_GROUP=$GROUP
      make_group feeder "$SHARE_PERCENT" "$PERIOD_US" && FEEDER_GROUP=$GROUP
      ;;
    shared) ;;
    *) fail "no placement called $placement (thirds or shared)" ;;
  esac
  start_redis inside "$REDIS_GROUP" taskset -c 1
  start_gateway
  for worker in $WORKERS; do measure "$placement" "$worker"; done
  stop "$GATEWAY_PID"
  stop "$REDIS_PID"
  remove_groups
done
