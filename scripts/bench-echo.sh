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
  --servers      what to measure, of floor, ring, gateway, tokio-tungstenite and fastwebsockets
                 ("floor gateway"); ratios are to the first
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
      (($# >= 2)) || bad_usage "$1 needs a value"
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

# measure CONNECTIONS: all servers under load in turn; a line of the table for each.
measure() {
  local line
  # shellcheck disable=SC2086 # the list is split on purpose
  measure_echo "$1" "$ROUNDS" $SERVERS
  while read -r line; do
    printf '%-12s %-8s %14.2f %8.3f  %-13s %12.0f %8.2f %8.2f %12.0f\n' "$1" \
      "$(server_of <<<"$line")" \
      "$(number server_cpu_us_per_message <<<"$line")" "$(number ratio <<<"$line")" \
      "$(number ratio_low <<<"$line")-$(number ratio_high <<<"$line")" \
      "$(number messages_per_second <<<"$line")" "$(number server_utilisation <<<"$line")" \
      "$(number load_utilisation <<<"$line")" "$(number latency_p99_us <<<"$line")"
  done <"$SCRATCH/echo.json"
  cat "$SCRATCH/echo.json" >>"$SCRATCH/all.json"
}

# shellcheck disable=SC2086 # the list is split on purpose
build_servers $SERVERS
machine_line
echo "Echo of 64 bytes, one message in flight a connection; medians of $ROUNDS windows of 100 ms," \
  "the ratio with its quartiles."
printf '%-12s %-8s %14s %8s  %-13s %12s %8s %8s %12s\n' connections server 'server us/msg' ratio \
  quartiles 'messages/s' 'busy' 'load' 'p99 us'
for connections in $CONNECTIONS; do measure "$connections"; done
judge_quiet "$SCRATCH/all.json"
cat "$SCRATCH/all.json" >>"$JSON"
