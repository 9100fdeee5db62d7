#!/usr/bin/env bash
# Very many idle connections on one machine: what each costs in memory, by component, and in
# processor time, with all of them held and their pings answered.
#
# A limit of descriptors holds for a process. Where it is below the number of connections, there are
# several gateways, each on a port of its own, and several processes of the load.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-many.sh [--connections N] [--hold SECONDS] [--gateways N] [--json FILE]
                             [--html FILE]
  --connections  how many (100000); a quarter and a half of them are measured on the way
  --hold         seconds for which all are measured, pings and all (65)
  --gateways     how many processes of the gateway, and of the load (as few as descriptors allow)
  --json         keep the report there
  --html         keep the page with its plots there
The gateways run on core 0, the load on core 1. Needs root for /proc/slabinfo.
TEXT
}

CONNECTIONS=100000
HOLD=65
PROCESSES=1
OUTPUT=()
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --connections | --hold | --gateways | --json | --html)
      (($# >= 2)) || fail "$1 needs a value"
      case $1 in
        --connections) CONNECTIONS=$2 ;;
        --hold) HOLD=$2 ;;
        --gateways) PROCESSES=$2 ;;
        *) OUTPUT+=("$1" "$2") ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
at_least() { if [[ ! $2 =~ ^[0-9]+$ ]] || (($2 < $3)); then fail "$1 $2: a number of at least $3"; fi; }
at_least --connections "$CONNECTIONS" 1000
at_least --hold "$HOLD" 2
at_least --gateways "$PROCESSES" 1

ulimit -n "$(ulimit -Hn)"
DESCRIPTORS=$(ulimit -n)
if [[ $DESCRIPTORS == unlimited ]]; then DESCRIPTORS=1048576; fi
# Of both as many as are needed, with some descriptors of each for other things.
NEEDED=$(((CONNECTIONS + DESCRIPTORS - 501) / (DESCRIPTORS - 500)))
if ((PROCESSES < NEEDED)); then PROCESSES=$NEEDED; fi

build_servers gateway
HOSTS=()
PIDS=()
# Huge pages move a process's memory by 2 MiB at a time, which is no property of a connection.
WITHOUT_HUGE_PAGES=(python3 -c 'import ctypes, os, sys
if ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) != 0: sys.exit("PR_SET_THP_DISABLE failed")
os.execv(sys.argv[1], sys.argv[1:])')
for ((nth = 0; nth < PROCESSES; nth++)); do
  free_port && PORT=$FREE_PORT
  HOSTS+=("127.0.0.1:$PORT")
  start "gateway-$nth" "${WITHOUT_HUGE_PAGES[@]}" "$PROJECT/target/release/ringgate" serve \
    --listen "127.0.0.1:$PORT" --admin off --cores 0 --echo /echo --log-level warn \
    --connections "$((DESCRIPTORS - 200))"
  PIDS+=("$STARTED_PID")
  wait_listening "gateway-$nth" "$STARTED_PID" "$PORT"
done

quarter=$((CONNECTIONS / 4)) half=$((CONNECTIONS / 2))
ramp=$((quarter / 2500 + 1))
# First a thousand, for the server's rings to be asked what one connection has. A connection is not
# pinged before 30 s: so long it costs less than it will.
HEAD=35
machine_line
echo "$CONNECTIONS idle connections: $PROCESSES gateways, as many processes of the load," \
  "$DESCRIPTORS descriptors a process."
"$PROJECT/target/release/ringgate" bench idle --server "ws://$(IFS=,; echo "${HOSTS[*]}")/echo" \
  --stages "1s:1000,5s:1000,${ramp}s:$quarter,$((HEAD + 15))s:$quarter,${ramp}s:$half,$((HEAD + 15))s:$half,$((2 * ramp))s:$CONNECTIONS,$((HEAD + HOLD))s:$CONNECTIONS" \
  --head-seconds "$HEAD" \
  --processes "$PROCESSES" --cores 1 --source 127.0.0.0/24 \
  --server-pid "$(IFS=,; echo "${PIDS[*]}")" "${OUTPUT[@]}"
