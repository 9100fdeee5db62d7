# shellcheck shell=bash
# What the examples' scripts share, beside scripts/common.sh: sourced, never run.

# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../scripts/common.sh"

EXAMPLES=$PROJECT/examples
VENV=$PROJECT/target/examples/venv
NODE_MODULES=$EXAMPLES/clients/node_modules

# need COMMAND-LINE PACKAGE...: says how to install what the probe does not find.
need() {
  local probe=$1
  shift
  bash -c "$probe" >/dev/null 2>&1 || fail "missing: $*. Install it with: apt-get install $*"
}

# need_ringgate: sets RINGGATE to a binary of this project, building one where there is none.
need_ringgate() {
  local build
  if [[ -n ${RINGGATE:-} ]]; then return 0; fi
  for build in release debug; do
    RINGGATE=$PROJECT/target/$build/ringgate
    if [[ -x $RINGGATE ]]; then return 0; fi
  done
  need 'command -v cargo' cargo
  say "building ringgate"
  (cd "$PROJECT" && cargo build --locked --quiet)
}

# need_python FILE...: a virtual environment with what the requirement files name.
need_python() {
  local wanted
  need 'python3 -c "import venv, ensurepip"' python3 python3-venv
  wanted=$(cat "$@")
  if [[ -f $VENV/installed && $(<"$VENV/installed") == "$wanted" ]]; then return 0; fi
  say "installing the Python packages into a virtual environment"
  python3 -m venv "$VENV"
  timeout 300 "$VENV/bin/pip" install --quiet --disable-pip-version-check \
    "${@/#/--requirement=}" || fail "pip could not install them"
  printf '%s\n' "$wanted" >"$VENV/installed"
}

# need_node: Node with a WebSocket client; before Node 22 that is the package `ws`.
need_node() {
  need 'command -v node' nodejs
  if node -e 'process.exit(globalThis.WebSocket ? 0 : 1)'; then return 0; fi
  if [[ -d $NODE_MODULES/ws ]]; then return 0; fi
  need 'command -v npm' npm
  say "installing the npm package ws: this Node is older than 22"
  (cd "$EXAMPLES/clients" && timeout 120 npm install --silent --no-package-lock) ||
    fail "npm could not install it"
}

# start_redis: with nothing on disk, in the scratch directory; sets REDIS_PORT unless it is set.
start_redis() {
  need 'command -v redis-server && command -v redis-cli' redis-server
  if [[ -z ${REDIS_PORT:-} ]]; then free_port && REDIS_PORT=$FREE_PORT; fi
  start redis redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --dir "$SCRATCH"
  REDIS_PID=$STARTED_PID
  wait_listening redis "$REDIS_PID" "$REDIS_PORT"
}

# start_ringgate OPTION...: a gateway; sets GATEWAY_PID, and GATEWAY_PORT unless it is set.
start_ringgate() {
  if [[ -z ${GATEWAY_PORT:-} ]]; then free_port && GATEWAY_PORT=$FREE_PORT; fi
  start gateway "$RINGGATE" serve --listen "127.0.0.1:$GATEWAY_PORT" --admin off "$@"
  GATEWAY_PID=$STARTED_PID
  wait_listening gateway "$GATEWAY_PID" "$GATEWAY_PORT"
}

# wait_until SECONDS WHAT COMMAND...: until the command succeeds; fails after that time.
wait_until() {
  local seconds=$1 what=$2 end
  shift 2
  end=$((SECONDS + seconds))
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "not within $seconds s: $what"
    sleep 0.1
  done
}
