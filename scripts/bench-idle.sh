#!/usr/bin/env bash
# What an idle connection costs: memory of the server process and objects in the kernel, as slopes
# between two numbers of connections, so that what the server needs anyway drops out.
#
# The client's sockets live in the same kernel: a cache that both ends fill is halved, and the
# client's own epoll entry a connection is taken off. Needs root, for /proc/slabinfo.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"
# shellcheck source=scripts/memory.sh
source "$(dirname "$0")/memory.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-idle.sh [--server gateway] [--steps 4000,15000]
  --server  what to measure: gateway, floor, ring, tokio-tungstenite or fastwebsockets
  --steps   the two numbers of connections between which the slopes are taken
Wanted of the gateway: at most 200 bytes of user memory a connection, and one io_kiocb.
TEXT
}

SERVER=gateway
STEPS=4000,15000
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --server | --steps)
      (($# >= 2)) || bad_usage "$1 needs a value"
      if [[ $1 == --server ]]; then SERVER=$2; else STEPS=$2; fi
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
set_steps "$STEPS"
build_servers "$SERVER"
measure_idle "$SERVER"

machine_line
echo "Idle connections on the $SERVER, slopes from $LOW to $HIGH."
echo
awk -v low="$LOW" -v high="$HIGH" '
  BEGIN { printf "%-16s %12s %12s %16s\n", "user memory", "kB at " low, "kB at " high, "bytes/connection" }
  FNR == NR { before[$1] = $2; next }
  { printf "%-16s %12d %12d %16.1f\n", $1, before[$1], $2, ($2 - before[$1]) * 1024 / (high - low) }' \
  "$SCRATCH/user.$LOW" "$SCRATCH/user.$HIGH"
echo
kernel_slopes | awk -F '\t' '
  BEGIN { printf "%-36s %8s %12s %12s   %s\n", "kernel cache", "size", "objects/conn", "server B/conn", "whose" }
  { printf "%-36s %8d %12.3f %12.1f   %s\n", $2, $3, $4, $5, $6 }'

user_bytes=$(slope user Private_Dirty 1024)
kiocb=$(slope slab io_kiocb 1)
echo
if [[ $SERVER != gateway ]]; then
  echo "No verdict but on the gateway (user $user_bytes bytes a connection)."
  exit 0
fi
verdict=$(awk -v user="$user_bytes" -v kiocb="$kiocb" 'BEGIN {
  print (user <= 200 && kiocb >= 0.95 && kiocb <= 1.1) ? "PASS" : "FAIL" }')
echo "$verdict: user $user_bytes bytes a connection (Private_Dirty, at most 200)," \
  "io_kiocb $kiocb a connection (0.95 to 1.1)"
[[ $verdict == PASS ]]
