#!/usr/bin/env bash
# This gateway beside other servers, in one run: what an echoed message costs the processor, and
# what an idle connection costs in memory.
#
# echo: as in bench-echo.sh all servers run at once on one core, and the load, on the other, goes to
# each of them in turn, in windows of 100 ms; a ratio is the median over the rounds of windows, with
# its quartiles. idle: one server after another, slopes between two numbers of connections, as in
# bench-idle.sh. Nothing else should run meanwhile. benches/peers says how the others are built.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=scripts/memory.sh
source "$(dirname "$0")/memory.sh"

usage() {
  cat <<'TEXT'
usage: scripts/compare.sh [--rounds N] [--connections "100 1000"] [--steps 4000,15000]
                          [--servers "floor gateway tokio-tungstenite fastwebsockets"]
                          [--profiles "echo idle"] [--json DIRECTORY]
  --rounds       echo: windows of each server at each number of connections (60)
  --connections  echo: numbers of connections ("100 1000")
  --steps        idle: the two numbers of connections between which the slopes are taken
  --servers      what to compare, of floor (bare epoll, no WebSocket), ring (the gateway's engine
                 alone, no WebSocket), gateway, tokio-tungstenite and fastwebsockets
  --profiles     what to run
  --json         directory to write compare.json to
Ratios are to the floor and to the gateway, where they are among the servers. The servers run on
core 0, the load on core 1. idle needs root, for /proc/slabinfo.
TEXT
}

ROUNDS=60
CONNECTIONS="100 1000"
STEPS=4000,15000
SERVERS="floor gateway tokio-tungstenite fastwebsockets"
PROFILES="echo idle"
JSON=
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --connections | --steps | --servers | --profiles | --json)
      (($# >= 2)) || bad_usage "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --connections) CONNECTIONS=$2 ;;
        --steps) STEPS=$2 ;;
        --servers) SERVERS=$2 ;;
        --profiles) PROFILES=$2 ;;
        --json) JSON=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
[[ $ROUNDS =~ ^[1-9][0-9]*$ ]] || bad_usage "--rounds is a number of windows, not $ROUNDS"
[[ $CONNECTIONS =~ ^[0-9\ ]+$ ]] || bad_usage "--connections wants numbers, not $CONNECTIONS"
for server in $SERVERS; do
  case $server in
    floor | ring | gateway | tokio-tungstenite | fastwebsockets) ;;
    *) bad_usage "--servers: no server called $server" ;;
  esac
done
for profile in $PROFILES; do
  [[ $profile == echo || $profile == idle ]] || bad_usage "--profiles: no profile called $profile"
done
# Also raises the limit of descriptors, which all servers inherit.
set_steps "$STEPS"

# ratio_to SERVER LINE: "median (lower quartile-upper quartile)" of that JSON line.
ratio_to() {
  sed -n "s/.*\"ratio_to\":{[^}]*\"$1\":\[\([0-9.]*\),\([0-9.]*\),\([0-9.]*\)\].*/\2 (\1-\3)/p" <<<"$2"
}

# run_echo CONNECTIONS: a line of the table for each server.
run_echo() {
  local line floor gateway
  # shellcheck disable=SC2086 # the list is split on purpose
  measure_echo "$1" "$ROUNDS" $SERVERS
  cat "$SCRATCH/echo.json" >>"$SCRATCH/echo.all"
  while read -r line; do
    floor=$(ratio_to floor "$line") gateway=$(ratio_to gateway "$line")
    printf '%-12s %-18s %8.2f  %-22s %-22s %12.0f %6.2f %8.0f\n' "$1" "$(server_of <<<"$line")" \
      "$(number server_cpu_us_per_message <<<"$line")" "${floor:--}" "${gateway:--}" \
      "$(number messages_per_second <<<"$line")" "$(number server_utilisation <<<"$line")" \
      "$(number latency_p99_us <<<"$line")"
  done <"$SCRATCH/echo.json"
}

# kind_bytes KIND: of the last server, a connection.
kind_bytes() { kernel_slopes | awk -F '\t' -v kind="$1" '$1 == kind { sum += $5 } END { printf "%.1f", sum }'; }

# run_idle SERVER: adds what a connection to it takes to the JSON lines.
run_idle() {
  measure_idle "$1"
  printf '{"server":"%s","from_connections":%s,"to_connections":%s,"user_bytes":%s,"user_rss_bytes":%s,"io_kiocb_bytes":%s,"epoll_bytes":%s,"other_kernel_bytes":%s,"socket_bytes":%s}\n' \
    "$1" "$LOW" "$HIGH" "$(slope user Private_Dirty 1024)" "$(slope user Rss 1024)" \
    "$(kind_bytes io_kiocb)" "$(kind_bytes epoll)" "$(kind_bytes other)" "$(kind_bytes socket)" \
    >>"$SCRATCH/idle.all"
}

# quotient A B: to one place, or a dash where there is nothing to divide by.
quotient() { awk -v a="$1" -v b="${2:-0}" 'BEGIN { if (b < 1) print "-"; else printf "%.1f", a / b }'; }

# above_socket LINE: bytes that are there beside the bare socket; caches that are not judged left out.
above_socket() {
  awk -v user="$(number user_bytes <<<"$1")" -v kiocb="$(number io_kiocb_bytes <<<"$1")" \
    -v epoll="$(number epoll_bytes <<<"$1")" 'BEGIN { printf "%.1f", user + kiocb + epoll }'
}

idle_table() {
  local line gateway gateway_user='' gateway_above=''
  gateway=$(grep '"server":"gateway"' "$SCRATCH/idle.all" || true)
  if [[ -n $gateway ]]; then
    gateway_user=$(number user_bytes <<<"$gateway") gateway_above=$(above_socket "$gateway")
  fi
  printf '%-18s %12s %10s %10s %10s %12s %10s %10s %10s\n' server 'user B' '/ gateway' 'io_kiocb B' \
    'epoll B' 'the three B' '/ gateway' 'other B' 'socket B'
  while read -r line; do
    printf '%-18s %12.0f %10s %10.0f %10.0f %12.0f %10s %10.0f %10.0f\n' "$(server_of <<<"$line")" \
      "$(number user_bytes <<<"$line")" "$(quotient "$(number user_bytes <<<"$line")" "$gateway_user")" \
      "$(number io_kiocb_bytes <<<"$line")" "$(number epoll_bytes <<<"$line")" \
      "$(above_socket "$line")" "$(quotient "$(above_socket "$line")" "$gateway_above")" \
      "$(number other_kernel_bytes <<<"$line")" "$(number socket_bytes <<<"$line")"
  done <"$SCRATCH/idle.all"
}

# peer_version NAME: of that library, from the lock file.
peer_version() { grep -A 1 "^name = \"$1\"" "$PROJECT/benches/peers/Cargo.lock" | sed -n 's/^version = "\(.*\)"/\1/p'; }

# report: everything as one JSON object.
report() {
  printf '{"at":"%s","kernel":"%s","cpu":"%s","cores":%s,"commit":"%s",' "$(date -u +%FT%TZ)" \
    "$(uname -r)" "$(processor)" "$(nproc)" \
    "$(git -C "$PROJECT" describe --always --dirty 2>/dev/null || echo unknown)"
  printf '"versions":{"tokio-tungstenite":"%s","fastwebsockets":"%s"},' \
    "$(peer_version tokio-tungstenite)" "$(peer_version fastwebsockets)"
  printf '"echo":[%s],"idle":[%s]}\n' "$(paste -sd, "$SCRATCH/echo.all")" \
    "$(paste -sd, "$SCRATCH/idle.all")"
}

# shellcheck disable=SC2086 # the list is split on purpose
build_servers $SERVERS
touch "$SCRATCH/echo.all" "$SCRATCH/idle.all"
machine_line
echo "tokio-tungstenite $(peer_version tokio-tungstenite), fastwebsockets $(peer_version fastwebsockets)"
if [[ " $PROFILES " == *" echo "* ]]; then
  echo
  echo "Echo of 64 bytes, one message in flight a connection: processor time of the server a message;" \
    "medians of $ROUNDS windows of 100 ms, ratios with their quartiles."
  printf '%-12s %-18s %8s  %-22s %-22s %12s %6s %8s\n' connections server 'us/msg' '/ floor' \
    '/ gateway' 'messages/s' busy 'p99 us'
  for connections in $CONNECTIONS; do run_echo "$connections"; done
  judge_quiet "$SCRATCH/echo.all"
fi
if [[ " $PROFILES " == *" idle "* ]]; then
  for server in $SERVERS; do run_idle "$server"; done
  echo
  echo "Bytes of an idle connection: slopes from $LOW to $HIGH connections. \"The three\": user," \
    "io_kiocb and epoll; socket: what the bare socket takes; other: caches of unknown owner."
  idle_table
fi
if [[ -n $JSON ]]; then
  mkdir -p "$JSON"
  report >"$JSON/compare.json"
fi
