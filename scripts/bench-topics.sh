#!/usr/bin/env bash
# The topics plane under the published load of the system that it replaces: 5,000 users with three
# of 500 topics each (Zipf), every topic once a second, which is 15,000 updates a second to users.
# Once with every message at once, once in batches every 500 ms; then what one slow reader among
# 1,000 costs the others.
#
# The gateway has core 0 to itself; the load generator and Redis share core 1.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-topics.sh [--users N] [--ticks N] [--seconds S] [--slow-seconds S]
                               [--parts "at-once batched slow-reader"] [--json DIRECTORY]
  --users         users of the first two parts (5000)
  --ticks         messages a second of each of the 500 topics (1)
  --seconds       length of a measurement (30)
  --slow-seconds  length of the last part, half of it with the slow reader asleep (120)
  --parts         what to run
  --json          directory for the reports
Latency is from the intended publish to the client's socket read. Server memory is Rss. A result
that would mislead says INVALID, and the exit code is 1.
TEXT
}

USERS=5000
TICKS=1
SECONDS_MEASURED=30
SLOW_SECONDS=120
PARTS="at-once batched slow-reader"
JSON=
INVALID=0
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --users | --ticks | --seconds | --slow-seconds | --parts | --json)
      (($# >= 2)) || bad_usage "$1 needs a value"
      case $1 in
        --users) USERS=$2 ;;
        --ticks) TICKS=$2 ;;
        --seconds) SECONDS_MEASURED=$2 ;;
        --slow-seconds) SLOW_SECONDS=$2 ;;
        --parts) PARTS=$2 ;;
        --json) JSON=$2 && mkdir -p "$JSON" ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
# start_gateway OUTBOX: with outboxes of that size.
start_gateway() {
  local admin
  free_port && PORT=$FREE_PORT
  free_port && admin=$FREE_PORT
  cat >"$SCRATCH/ringgate.toml" <<TOML
listen = "127.0.0.1:$PORT"
admin = "127.0.0.1:$admin"
cores = [0]
redis = "redis://127.0.0.1:$REDIS_PORT/0"
[limits]
connections = 10_000
outbox_bytes = "$1"
[[route]]
path = "/ws/topics"
kind = "topics"
topics_per_connection = 500
TOML
  start gateway "$PROJECT/target/release/ringgate" serve --config "$SCRATCH/ringgate.toml"
  GATEWAY_PID=$STARTED_PID
  wait_listening gateway "$GATEWAY_PID" "$PORT"
  for _ in {1..100}; do
    curl -sf "http://127.0.0.1:$admin/readyz" >/dev/null && return 0
    sleep 0.1
  done
  cat "$SCRATCH/gateway.log" >&2
  fail "the gateway does not become ready (its log is above)"
}

# load PROFILE NAME ARGUMENTS...: one run of the generator.
load() {
  local profile=$1 name=$2 json=()
  shift 2
  [[ -n $JSON ]] && json=(--json "$JSON/$name.json")
  printf '\n%s\n' "$name"
  "$PROJECT/target/release/ringgate" bench "$profile" --cores 1 --source 127.0.0.0/28 \
    --server "ws://127.0.0.1:$PORT/ws/topics" --server-pid "$GATEWAY_PID" \
    --redis "redis://127.0.0.1:$REDIS_PORT/0" --ramp-seconds 10 "${json[@]}" "$@" || INVALID=1
}

build_servers gateway
machine_line
start_redis taskset -c 1
for part in $PARTS; do
  case $part in
    at-once)
      start_gateway 256KiB
      load topics "at-once" --users "$USERS" --ticks "$TICKS" --conflate-ms 0 --seconds "$SECONDS_MEASURED"
      ;;
    batched)
      start_gateway 256KiB
      load topics "batched every 500 ms" --users "$USERS" --ticks "$TICKS" --conflate-ms 500 \
        --seconds "$SECONDS_MEASURED"
      ;;
    slow-reader)
      # A small outbox and large messages, so that one window is enough to overflow it.
      start_gateway 64KiB
      load slow-readers "one slow reader among 1,000" --users 1000 --slow-readers 1 --conflate-ms 0 \
        --ticks 4 --payload-bytes 1024 --window-ms 2500 --seconds "$SLOW_SECONDS"
      ;;
    *) fail "no part called $part (at-once, batched or slow-reader)" ;;
  esac
  stop "$GATEWAY_PID"
done
exit "$INVALID"
