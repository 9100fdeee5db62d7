#!/usr/bin/env bash
# Checks that the examples work: both clients against a gateway with everything inside, both
# through a refusal and the death of the gateway, and the speech worker on a list.
set -euo pipefail
# shellcheck source=examples/common.sh
source "$(dirname "$0")/common.sh"
RECORDING=$EXAMPLES/asr/digits.wav
CHUNKS=$(wc -l <"$EXAMPLES/asr/digits.txt")
PASSED=0

client() { # NAME: becomes that client
  local url=ws://127.0.0.1:$GATEWAY_PORT/ws/asr
  case $1 in
    python) exec timeout 60 "$VENV/bin/python" "$EXAMPLES/clients/asr_client.py" "$url" "$RECORDING" ;;
    node) exec timeout 60 node "$EXAMPLES/clients/asr_client.mjs" "$url" "$RECORDING" ;;
  esac
}

passed() {
  printf 'ok: %s\n' "$*"
  PASSED=$((PASSED + 1))
}

# expect_measures FILE: a measurement of each chunk, and all of them in order at the end.
expect_measures() {
  local results final
  results=$(grep -cE '^[0-9]+: [0-9.]+ s, -[0-9.]+ dBFS, [0-9]+ % speech$' "$1" || true)
  final=$(sed -n 's/^[0-9]*: //p' <(sort -n <(grep -E '^[0-9]' "$1")) | paste -sd ' ')
  if [[ $results != "$CHUNKS" || $(tail -n 1 "$1") != "final: $final" ]]; then
    cat "$1" >&2
    fail "wanted $CHUNKS results, each once, and a final line of all of them; got what is above"
  fi
}

both_clients_stream() {
  local name
  start_ringgate
  for name in python node; do
    (client "$name") >"$SCRATCH/$name.out"
    expect_measures "$SCRATCH/$name.out"
    passed "$name client, embedded broker"
  done
  cmp "$SCRATCH/python.out" "$SCRATCH/node.out" || fail "the two clients print different things"
  stop "$GATEWAY_PID"
}

queued() { (($(redis-cli -p "$REDIS_PORT" llen asr_chunk_queue) == $1)); }

# Refused while Redis is away; let in; the gateway killed when the chunks are in the queue; a new
# one in its place, which knows nothing of them; a worker only when the client has sent them again.
# Every chunk must have its answer, once.
both_clients_recover() {
  local name pid worker
  for name in python node; do
    unset GATEWAY_PORT REDIS_PORT
    free_port && REDIS_PORT=$FREE_PORT
    start_ringgate --redis "redis://127.0.0.1:$REDIS_PORT/0"
    start "$name-recovers" client "$name"
    pid=$STARTED_PID
    wait_until 10 "the client is refused" grep -q 'again in' "$SCRATCH/$name-recovers.log"
    if ! grep -q 503 "$SCRATCH/$name-recovers.log"; then say "$name does not see why: $(node --version)"; fi
    start_redis
    wait_until 30 "all chunks are in the queue" queued "$CHUNKS"
    kill -KILL "$GATEWAY_PID"
    wait "$GATEWAY_PID" 2>/dev/null || true
    start_ringgate --redis "redis://127.0.0.1:$REDIS_PORT/0"
    wait_until 30 "all chunks are in the queue again" queued $((2 * CHUNKS))
    start worker "$RINGGATE" worker --redis "redis://127.0.0.1:$REDIS_PORT/0"
    worker=$STARTED_PID
    if ! wait "$pid"; then
      cat "$SCRATCH/$name-recovers.log" >&2
      fail "the $name client gave up; its output is above"
    fi
    grep -E '^([0-9]+|final): ' "$SCRATCH/$name-recovers.log" >"$SCRATCH/$name.out"
    expect_measures "$SCRATCH/$name.out"
    passed "$name client, refused once and its gateway killed"
    stop "$worker" && stop "$GATEWAY_PID" && stop "$REDIS_PID"
  done
}

need_ringgate
need_python "$EXAMPLES/asr/requirements.txt" "$EXAMPLES/clients/requirements.txt"
need_node
both_clients_stream
both_clients_recover
"$EXAMPLES/asr/run.sh" list
passed "speech worker, list"
printf '%s passed, 0 failed\n' "$PASSED"
