#!/usr/bin/env bash
# The whole example on one machine: Redis on a port and in a directory of its own, the
# gateway, a worker, and a client. Ends them all; exit code 0 if the client was content.
#
# RINGGATE=PATH uses that program instead of building one.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/common.sh
source "$HERE/../../scripts/common.sh"

command -v redis-server >/dev/null || fail "needs redis-server: apt-get install redis-server"
command -v python3 >/dev/null || fail "needs python3: apt-get install python3 python3-venv"

if [[ -z ${RINGGATE:-} ]]; then
  say "building (release); the first time takes some minutes"
  (cd "$PROJECT" && cargo build --release --locked --quiet --bin ringgate)
  RINGGATE=$PROJECT/target/release/ringgate
fi

PYTHON=$HERE/.venv/bin/python
# The copy of the requirements is written last: a venv without it was not finished.
if ! cmp -s "$HERE/requirements.txt" "$HERE/.venv/requirements.txt"; then
  say "making a Python environment in ${HERE#"$PROJECT"/}/.venv"
  rm -rf "$HERE/.venv"
  python3 -m venv "$HERE/.venv"
  "$PYTHON" -m pip install --quiet --disable-pip-version-check -r "$HERE/requirements.txt"
  cp "$HERE/requirements.txt" "$HERE/.venv/requirements.txt"
fi

free_port && REDIS_PORT=$FREE_PORT
mkdir "$SCRATCH/redis"
start redis redis-server --port "$REDIS_PORT" --bind 127.0.0.1 --dir "$SCRATCH/redis" \
  --save '' --appendonly no
wait_listening redis "$STARTED_PID" "$REDIS_PORT"
REDIS=redis://127.0.0.1:$REDIS_PORT/0

free_port && GATEWAY_PORT=$FREE_PORT
start gateway "$RINGGATE" serve --config "$HERE/ringgate.toml" --redis "$REDIS" \
  --listen "127.0.0.1:$GATEWAY_PORT" --admin off
wait_listening gateway "$STARTED_PID" "$GATEWAY_PORT"

start worker "$PYTHON" "$HERE/worker.py" --redis "$REDIS"
WORKER_PID=$STARTED_PID

say "Redis on $REDIS_PORT, gateway on $GATEWAY_PORT; the client:"
if ! "$PYTHON" "$HERE/client.py" "ws://127.0.0.1:$GATEWAY_PORT/ws/raw"; then
  for name in gateway worker; do
    say "the log of the $name:"
    cat "$SCRATCH/$name.log" >&2
  done
  fail "the client failed; what it said is above"
fi
kill -0 "$WORKER_PID" || fail "the worker ended: $(cat "$SCRATCH/worker.log")"
say "done"
