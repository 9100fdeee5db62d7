#!/usr/bin/env bash
# The whole of it on one machine: a Redis of its own, the gateway, a speech worker, and a client
# that streams digits.wav; then the transcript, compared with what was spoken (digits.txt).
# Usage: run.sh [list|stream|both]   (the type of the queue; list if not given)
set -euo pipefail
# shellcheck source=examples/common.sh
source "$(dirname "$0")/../common.sh"
HERE=$EXAMPLES/asr

transcribe() { # MODE
  local mode=$1 config=$SCRATCH/$1.toml expected heard worker
  unset GATEWAY_PORT
  case $mode in
    list) queue='{ mode = "list", key = "asr_chunk_queue" }' ;;
    stream) queue='{ mode = "stream", key = "asr_tasks", group = "asr_workers" }' ;;
  esac
  printf '[[route]]\npath = "/ws/asr"\nkind = "tasks"\nqueue = %s\n' "$queue" >"$config"

  say "$mode: gateway and worker"
  start_ringgate --config "$config" --redis "redis://127.0.0.1:$REDIS_PORT/0"
  start "worker-$mode" "$VENV/bin/python" "$HERE/worker.py" --mode "$mode" \
    --redis "redis://127.0.0.1:$REDIS_PORT/0"
  worker=$STARTED_PID
  wait_until 20 "the worker is ready" grep -q ready "$SCRATCH/worker-$mode.log"

  say "$mode: client"
  if ! timeout 60 "$VENV/bin/python" "$EXAMPLES/clients/asr_client.py" \
    "ws://127.0.0.1:$GATEWAY_PORT/ws/asr" "$HERE/digits.wav" | tee "$SCRATCH/transcript"; then
    cat "$SCRATCH/gateway.log" "$SCRATCH/worker-$mode.log" >&2
    fail "the client failed; the logs of gateway and worker are above"
  fi
  stop "$worker"
  stop "$GATEWAY_PID"

  expected=$(tr '\n' ' ' <"$HERE/digits.txt")
  heard=$(sed -n 's/^final: //p' "$SCRATCH/transcript")
  if [[ $heard != "${expected% }" ]]; then
    printf 'spoken: %s\nheard:  %s\n' "$expected" "$heard"
    fail "$mode: these are not the words that were spoken"
  fi
  printf '%s: as spoken, %s words\n' "$mode" "$(wc -w <<<"$heard")"
}

case ${1:-list} in
  list | stream) modes=("${1:-list}") ;;
  both) modes=(list stream) ;;
  *) fail "list, stream or both, not $1" ;;
esac
need_ringgate
need_python "$HERE/requirements.txt" "$EXAMPLES/clients/requirements.txt"
start_redis
for mode in "${modes[@]}"; do transcribe "$mode"; done
