#!/usr/bin/env bash
# What an echoed message costs the server's processor: the gateway against a bare epoll loop.
#
# For each number of connections floor and gateway run in turn, each with a fresh process, so that
# a drift of the machine meets both; the table has the medians. Absolute times don't travel from
# one machine to another; the ratio does. Nothing else should run meanwhile.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-echo.sh [--rounds N] [--seconds N] [--connections "100 1000"]
                             [--servers "floor gateway"] [--json FILE]
  --rounds       runs of each server at each number of connections (5, or $ROUNDS)
  --seconds      measured window of a run, at least 5 (5); a warm-up of 1 s comes before it
  --connections  numbers of connections ("100 1000")
  --servers      what to measure ("floor gateway")
  --json         file to add one JSON line a run to
The server runs on core 0, the load on core 1.
TEXT
}

ROUNDS=${ROUNDS:-5}
WINDOW_SECONDS=5
CONNECTIONS="100 1000"
SERVERS="floor gateway"
JSON=/dev/null
DISTURBED=0
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --seconds | --connections | --servers | --json)
      (($# >= 2)) || fail "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --seconds) WINDOW_SECONDS=$2 ;;
        --connections) CONNECTIONS=$2 ;;
        --servers) SERVERS=$2 ;;
        --json) JSON=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done

# number NAME: the values of that field in the JSON lines on standard input.
number() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }

# middle: the median of the numbers on standard input.
middle() {
  sort -g | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

# each SERVER CONNECTIONS FIELD: one number a round.
each() { grep "\"server\":\"$1\".*\"connections\":$2," "$SCRATCH/runs.json" | number "$3"; }

# median SERVER CONNECTIONS FIELD: over the rounds of this run.
median() { each "$@" | middle; }

# ratios SERVER CONNECTIONS: to the floor of the same round, so that a machine that drifts from
# round to round (the clock of a virtual core may) does not enter.
ratios() {
  paste <(each "$1" "$2" server_cpu_us_per_message) <(each floor "$2" server_cpu_us_per_message) |
    awk '{ printf "%.3f\n", $1 / $2 }'
}

# measure SERVER CONNECTIONS ROUND: one run, one JSON line.
measure() {
  local server=$1 connections=$2 round=$3 raw=() line
  if [[ $server != gateway ]]; then raw=(--raw); fi
  start_server "$server" 0 "$((connections + 100))"
  line=$("$PROJECT/target/release/examples/load" echo --server "127.0.0.1:$SERVER_PORT" \
    --path /echo "${raw[@]}" --connections "$connections" --seconds "$WINDOW_SECONDS" \
    --server-pid "$SERVER_PID" --core 1)
  stop "$SERVER_PID"
  printf '{"server":"%s","round":%s,"at":"%s","kernel":"%s","cpu":"%s",%s\n' "$server" "$round" \
    "$(date -u +%FT%TZ)" "$(uname -r)" "$(processor)" "${line#\{}" |
    tee -a "$JSON" >>"$SCRATCH/runs.json"
  # In a closed loop one side is always at work: if neither was, something else had the cores.
  if awk -v server="$(number server_utilisation <<<"$line")" \
    -v load="$(number load_utilisation <<<"$line")" 'BEGIN { exit !(server < 0.9 && load < 0.9) }'; then
    DISTURBED=$((DISTURBED + 1))
  fi
  say "round $round, $connections connections, $server:" \
    "$(number server_cpu_us_per_message <<<"$line") us a message"
}

# shellcheck disable=SC2086 # the lists are split on purpose
build_servers $SERVERS
for connections in $CONNECTIONS; do
  for ((round = 1; round <= ROUNDS; round++)); do
    for server in $SERVERS; do measure "$server" "$connections" "$round"; done
  done
done

machine_line
echo "Echo of 64 bytes, one message in flight a connection; medians of $ROUNDS rounds of" \
  "$WINDOW_SECONDS s. Processor times from /proc/PID/stat (ticks of 10 ms)."
printf '%-12s %-8s %14s %12s %12s %14s %12s\n' connections server 'server us/msg' 'messages/s' \
  'server busy' 'load us/msg' 'load busy'
for connections in $CONNECTIONS; do
  for server in $SERVERS; do
    printf '%-12s %-8s %14.2f %12.0f %12.2f %14.2f %12.2f\n' "$connections" "$server" \
      "$(median "$server" "$connections" server_cpu_us_per_message)" \
      "$(median "$server" "$connections" messages_per_second)" \
      "$(median "$server" "$connections" server_utilisation)" \
      "$(median "$server" "$connections" load_cpu_us_per_message)" \
      "$(median "$server" "$connections" load_utilisation)"
  done
  for server in $SERVERS; do
    if [[ $SERVERS == *floor* && $server != floor ]]; then
      printf '%-12s %-8s %14s  times the floor, server us/msg: %s\n' "$connections" "$server" \
        "$(ratios "$server" "$connections" | middle)" \
        "$(ratios "$server" "$connections" | sort -g | tr '\n' ' ')"
    fi
  done
done
if ((DISTURBED > 0)); then
  echo "CAUTION: in $DISTURBED runs other processes had part of the cores; run this on a quiet machine."
fi
