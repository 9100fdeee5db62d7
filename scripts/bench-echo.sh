#!/usr/bin/env bash
# What an echoed message costs the server's processor: the gateway against a bare epoll loop.
#
# A machine's speed drifts, a virtual one's by a third within seconds. So all servers run at once,
# on one core, and the load, on the other, goes to each of them in turn, in windows of 100 ms; each
# round of windows gives a ratio to the floor, and the median of the ratios is the result. Absolute
# times don't travel from one machine to another; the ratio does. Nothing else should run meanwhile.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-echo.sh [--rounds N] [--connections "100 1000"]
                             [--servers "floor gateway"] [--json FILE]
  --rounds       windows of each server at each number of connections (200, or $ROUNDS)
  --connections  numbers of connections ("100 1000")
  --servers      what to measure, of floor, ring and gateway ("floor gateway"); ratios are to the
                 first
  --json         file to add one JSON line a server and number of connections to
The servers run on core 0, the load on core 1.
TEXT
}

ROUNDS=${ROUNDS:-200}
CONNECTIONS="100 1000"
SERVERS="floor gateway"
JSON=/dev/null
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --connections | --servers | --json)
      (($# >= 2)) || fail "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --connections) CONNECTIONS=$2 ;;
        --servers) SERVERS=$2 ;;
        --json) JSON=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done

# ticks PID: processor time of a process, user and system, in ticks of 10 ms (proc(5)).
ticks() { sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 12,13 | tr ' ' '+' | bc; }

# measure CONNECTIONS: all servers under load in turn; a line of the table for each.
measure() {
  local connections=$1 server targets=() pids=() before=() index line
  for server in $SERVERS; do
    # No pings: the floor sends none, and a closed loop has no use for them.
    export RINGGATE_HEARTBEAT_PING=1h RINGGATE_HEARTBEAT_IDLE=2h
    start_server "$server" 0 "$((connections + 100))"
    pids+=("$SERVER_PID")
    before+=("$(ticks "$SERVER_PID")")
    local raw=
    if [[ $server != gateway ]]; then raw=,raw; fi
    targets+=(--server "$server=127.0.0.1:$SERVER_PORT,$SERVER_PID$raw")
  done
  "$PROJECT/target/release/examples/load" echo "${targets[@]}" --path /echo --core 1 \
    --connections "$connections" --rounds "$ROUNDS" --timeout-seconds 1800 >"$SCRATCH/lines.json"
  index=0
  while read -r line; do
    printf '{"at":"%s","kernel":"%s","cpu":"%s","server_ticks":%s,%s\n' "$(date -u +%FT%TZ)" \
      "$(uname -r)" "$(processor)" "$(($(ticks "${pids[index]}") - before[index]))" "${line#\{}" >>"$JSON"
    printf '%-12s %-8s %14.2f %8.3f  %-13s %12.0f %8.2f %8.2f %12.0f\n' "$connections" \
      "$(sed -n 's/.*"server":"\([a-z]*\)".*/\1/p' <<<"$line")" \
      "$(number server_cpu_us_per_message <<<"$line")" "$(number ratio <<<"$line")" \
      "$(number ratio_low <<<"$line")-$(number ratio_high <<<"$line")" \
      "$(number messages_per_second <<<"$line")" "$(number server_utilisation <<<"$line")" \
      "$(number load_utilisation <<<"$line")" "$(number latency_p99_us <<<"$line")"
    if awk -v load="$(number load_utilisation <<<"$line")" 'BEGIN { exit !(load < 0.97) }'; then
      DISTURBED=$((DISTURBED + 1))
    fi
    index=$((index + 1))
  done <"$SCRATCH/lines.json"
  for index in "${!pids[@]}"; do stop "${pids[index]}"; done
}

# shellcheck disable=SC2086 # the list is split on purpose
build_servers $SERVERS
DISTURBED=0
machine_line
echo "Echo of 64 bytes, one message in flight a connection; medians of $ROUNDS windows of 100 ms," \
  "the ratio with its quartiles."
printf '%-12s %-8s %14s %8s  %-13s %12s %8s %8s %12s\n' connections server 'server us/msg' ratio \
  quartiles 'messages/s' 'busy' 'load' 'p99 us'
for connections in $CONNECTIONS; do measure "$connections"; done
if ((DISTURBED > 0)); then
  # The load spins: a core that it did not have was another's.
  echo "CAUTION: in $DISTURBED lines other processes had part of the load's core; run this on a quiet machine."
fi
