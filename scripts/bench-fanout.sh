#!/usr/bin/env bash
# What it costs the server's processor to send one message to everybody: the gateway's topics route
# against a bare epoll loop that sends the same bytes to the same number of sockets.
#
# As in bench-echo.sh all servers run at once, on one core, and the load, on the other, goes to each
# of them in turn; each round of windows gives a ratio to the floor, and the median of the ratios is
# the result. The next message is published when everybody has had the one before. Every delivery is
# awaited and compared byte for byte; one that is lost, repeated or out of order fails the run. The
# gateway is published to through Redis, which shares core 0 and whose own time is not counted.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-fanout.sh [--rounds N] [--subscribers "5000"] [--bytes N] [--inflight N]
                               [--window-ms MS] [--servers "floor gateway"] [--json FILE]
  --rounds       windows of each server at each number of subscribers (100, or $ROUNDS)
  --subscribers  numbers of subscribers of each server ("5000")
  --bytes        bytes of payload of a message (64)
  --inflight     messages that not everybody has had (1)
  --window-ms    length of a window (200), to which its last deliveries are added
  --servers      what to measure, of floor, ring and gateway ("floor gateway"); ratios are to the
                 first
  --json         file to add one JSON line a server and number of subscribers to
The servers and Redis run on core 0, the load on core 1.
Columns: cost, processor time of the server a delivery; spread, from the publication to the last
delivery of it.
TEXT
}

ROUNDS=${ROUNDS:-100}
SUBSCRIBERS=5000
BYTES=64
INFLIGHT=1
WINDOW_MS=200
SERVERS="floor gateway"
JSON=/dev/null
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --subscribers | --bytes | --inflight | --window-ms | --servers | --json)
      (($# >= 2)) || bad_usage "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --subscribers) SUBSCRIBERS=$2 ;;
        --bytes) BYTES=$2 ;;
        --inflight) INFLIGHT=$2 ;;
        --window-ms) WINDOW_MS=$2 ;;
        --servers) SERVERS=$2 ;;
        --json) JSON=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done

# start_subject KIND SUBSCRIBERS: a server under test; adds it to `targets` and `pids`.
start_subject() {
  local publisher
  if [[ $1 == gateway ]]; then
    SERVER_ARGS=(--redis "redis://127.0.0.1:$REDIS_PORT/0")
    publisher=redis=127.0.0.1:$REDIS_PORT
  else
    free_port
    SERVER_ARGS=(--publish "127.0.0.1:$FREE_PORT")
    publisher=raw=127.0.0.1:$FREE_PORT
  fi
  start_server "$1" 0 "$(($2 + 100))"
  pids+=("$SERVER_PID")
  targets+=(--server "$1=127.0.0.1:$SERVER_PORT,$SERVER_PID,$publisher")
}

# measure SUBSCRIBERS: all servers under load in turn; a line of the table for each.
measure() {
  local subscribers=$1 server targets=() pids=() line
  # No pings: the floor sends none.
  export RINGGATE_HEARTBEAT_PING=1h RINGGATE_HEARTBEAT_IDLE=2h
  for server in $SERVERS; do start_subject "$server" "$subscribers"; done
  "$PROJECT/target/release/examples/load" fanout "${targets[@]}" --core 1 --rounds "$ROUNDS" \
    --subscribers "$subscribers" --bytes "$BYTES" --inflight "$INFLIGHT" --window-ms "$WINDOW_MS" \
    --timeout-seconds 1800 >"$SCRATCH/lines.json" ||
    { tail -n 5 "$SCRATCH"/*.log >&2 && fail "the load failed; what the servers said is above"; }
  while read -r line; do
    printf '{"at":"%s","kernel":"%s","cpu":"%s",%s\n' "$(date -u +%FT%TZ)" "$(uname -r)" \
      "$(processor)" "${line#\{}" >>"$JSON"
    printf '%-12s %-8s %10.3f %8.3f  %-13s %12.0f %8.2f %8.2f %10.2f %10.2f\n' "$subscribers" \
      "$(server_of <<<"$line")" \
      "$(number server_cpu_us_per_delivery <<<"$line")" "$(number ratio <<<"$line")" \
      "$(number ratio_low <<<"$line")-$(number ratio_high <<<"$line")" \
      "$(number deliveries_per_second <<<"$line")" "$(number server_utilisation <<<"$line")" \
      "$(number load_utilisation <<<"$line")" "$(number spread_p50_ms <<<"$line")" \
      "$(number spread_p99_ms <<<"$line")"
  done <"$SCRATCH/lines.json"
  cat "$SCRATCH/lines.json" >>"$SCRATCH/all.json"
  for server in "${pids[@]}"; do stop "$server"; done
}

# Each server has a descriptor for each of its subscribers.
ulimit -n "$(ulimit -Hn)"
# shellcheck disable=SC2086 # the list is split on purpose
build_servers $SERVERS
if [[ " $SERVERS " == *" gateway "* ]]; then start_redis taskset -c 0; fi
machine_line
echo "One topic, payloads of $BYTES bytes, $INFLIGHT in flight; medians of $ROUNDS windows of" \
  "$WINDOW_MS ms, the ratio with its quartiles."
printf '%-12s %-8s %10s %8s  %-13s %12s %8s %8s %10s %10s\n' subscribers server 'cost us' ratio \
  quartiles 'deliveries/s' busy load 'spread p50' 'p99 ms'
for subscribers in $SUBSCRIBERS; do measure "$subscribers"; done
judge_quiet "$SCRATCH/all.json"
