#!/usr/bin/env bash
# What an idle connection costs: memory of the server process and objects in the kernel, as slopes
# between two numbers of connections, so that what the server needs anyway drops out.
#
# The client's sockets live in the same kernel: a cache that both ends fill is halved, and the
# client's own epoll entry a connection is taken off. Needs root, for /proc/slabinfo.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-idle.sh [--server gateway|floor] [--steps 4000,15000]
  --server  what to measure (gateway)
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
      (($# >= 2)) || fail "$1 needs a value"
      if [[ $1 == --server ]]; then SERVER=$2; else STEPS=$2; fi
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
[[ $STEPS =~ ^([0-9]+),([0-9]+)$ ]] || fail "--steps wants two numbers, as in 4000,15000"
LOW=${BASH_REMATCH[1]} HIGH=${BASH_REMATCH[2]}
((LOW < HIGH)) || fail "--steps must ascend"
[[ -r /proc/slabinfo ]] || fail "cannot read /proc/slabinfo: run as root"
ulimit -n "$(ulimit -Hn)"
(($(ulimit -n) > HIGH + 100)) ||
  fail "$HIGH connections need $((HIGH + 100)) descriptors, and the hard limit is $(ulimit -Hn)"

# resident: the sampled sizes of the server, in kB, as one line.
resident() { awk '/^(Rss|Pss|Private_Dirty|Anonymous|AnonHugePages):/ { printf "%s ", $2 }' "/proc/$SERVER_PID/smaps_rollup"; }

# wait_quiet: until three samples of the server's memory, a second apart, are the same.
wait_quiet() {
  local previous='' same=0 now attempt
  for attempt in {1..60}; do
    sleep 1
    now=$(resident)
    if [[ $now == "$previous" ]]; then same=$((same + 1)); else same=0; fi
    ((same < 2)) || return 0
    previous=$now
  done
  say "the server's memory still moves after $attempt s; measuring all the same"
}

# sample STEP: files of "name kB" and "cache objects object-bytes".
sample() {
  local cache
  # What the caches of freed objects hold back is not in use.
  for cache in /sys/kernel/slab/{io_kiocb,TCP,filp,sock_inode_cache,eventpoll_epi,eventpoll_pwq}; do
    echo 1 2>/dev/null >"$cache/shrink" || true
  done
  awk '/^(Rss|Pss|Private_Dirty|Anonymous|AnonHugePages):/ { sub(":", "", $1); print $1, $2 }' \
    "/proc/$SERVER_PID/smaps_rollup" >"$SCRATCH/user.$1"
  awk 'NR > 2 { print $1, $2, $4 }' /proc/slabinfo >"$SCRATCH/slab.$1"
}

# aliases: "cache other-names", for the caches of one size that the kernel has merged; slabinfo has
# them under the name of the first.
aliases() {
  local link target name
  for link in /sys/kernel/slab/*; do
    [[ -L $link ]] || continue
    target=$(readlink "$link") name=${link##*/}
    printf '%s %s\n' "$target" "$name"
  done | awk 'FNR == NR { known[$1] = 1; next }
    $2 in known { shown[$1] = $2 }
    $2 ~ /^(eventpoll_epi|eventpoll_pwq|io_kiocb|sock_inode_cache|TCP|filp|dentry)$/ { names[$1] = names[$1] "," $2 }
    END { for (target in names) if (target in shown) print shown[target], substr(names[target], 2) }' \
    "$SCRATCH/slab.$LOW" -
}

# With transparent huge pages memory grows in steps of 2 MiB, and a slope over 11,000 connections
# says nothing. PR_SET_THP_DISABLE (41) is inherited over exec; the server sees 4 KiB pages.
SERVER_WRAPPER=(python3 -c 'import ctypes, os, sys
if ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) != 0: sys.exit("PR_SET_THP_DISABLE failed")
os.execv(sys.argv[1], sys.argv[1:])')
build_servers "$SERVER"
start_server "$SERVER" 0 "$((HIGH + 100))"
RAW=()
if [[ $SERVER == floor ]]; then RAW=(--raw); fi
coproc LOAD {
  exec "$PROJECT/target/release/examples/load" idle --server "127.0.0.1:$SERVER_PORT" \
    --path /echo "${RAW[@]}" --connections "$HIGH" --steps "$STEPS" --sources 4 --core 1 \
    --timeout-seconds 600
}
STARTED+=("$LOAD_PID")
for step in "$LOW" "$HIGH"; do
  say "opening up to $step connections"
  read -r -t 300 line <&"${LOAD[0]}" || fail "the load ended or hung before step $step"
  [[ $line == "step $step" ]] || fail "the load said: $line"
  wait_quiet
  sample "$step"
  if [[ $step == "$LOW" ]]; then echo >&"${LOAD[1]}"; fi
done

# slope FILE NAME UNIT: growth a connection.
slope() {
  awk -v name="$2" -v unit="$3" -v connections="$((HIGH - LOW))" '
    $1 == name { value[++n] = $2 } END { printf "%.3f", (value[2] - value[1]) * unit / connections }' \
    "$SCRATCH/$1.$LOW" "$SCRATCH/$1.$HIGH"
}

machine_line
echo "Idle connections on the $SERVER, slopes from $LOW to $HIGH."
echo
awk -v low="$LOW" -v high="$HIGH" '
  BEGIN { printf "%-16s %12s %12s %16s\n", "user memory", "kB at " low, "kB at " high, "bytes/connection" }
  FNR == NR { before[$1] = $2; next }
  { printf "%-16s %12d %12d %16.1f\n", $1, before[$1], $2, ($2 - before[$1]) * 1024 / (high - low) }' \
  "$SCRATCH/user.$LOW" "$SCRATCH/user.$HIGH"
echo
aliases >"$SCRATCH/aliases"
# Caches with less than one object in 20 connections are the noise of the machine.
awk -v connections="$((HIGH - LOW))" -v listed="$(slope slab proc_inode_cache 1)" '
  BEGIN { printf "%-36s %8s %12s %12s   %s\n", "kernel cache", "size", "objects/conn", "server B/conn", "whose" }
  FILENAME ~ /aliases$/ { alias[$1] = $2; next }
  FILENAME ~ /slab\.'"$LOW"'$/ { before[$1] = $2; next }
  {
    objects = ($2 - before[$1]) / connections
    if (objects < 0.05) next
    label = ($1 in alias && alias[$1] != $1) ? $1 " (" alias[$1] ")" : $1
    # Whoever lists /proc/PID/fd meanwhile gives every descriptor an inode and a dentry there.
    if ($1 == "proc_inode_cache") next
    if ($1 == "dentry" || $1 == "lsm_inode_cache") objects -= listed
    share = objects; whose = "both ends, or others: not judged"
    if ($1 == "io_kiocb") whose = "server"
    else if (label ~ /eventpoll/) { share = objects - 1; whose = "less one a connection of the load; other objects of this size may be in it" }
    else if ($1 ~ /^(TCP|sock_inode_cache|filp|dentry|lsm_.*)$/) { share = objects / 2; whose = "both ends: halved" }
    if (share < 0) share = 0
    printf "%-36s %8d %12.3f %12.1f   %s\n", label, $3, objects, share * $3, whose
  }' "$SCRATCH/aliases" "$SCRATCH/slab.$LOW" "$SCRATCH/slab.$HIGH"

user_bytes=$(slope user Private_Dirty 1024)
kiocb=$(slope slab io_kiocb 1)
echo
if [[ $SERVER == floor ]]; then
  echo "The floor has no ring and no frames: no verdict (user $user_bytes bytes a connection)."
else
  verdict=$(awk -v user="$user_bytes" -v kiocb="$kiocb" 'BEGIN {
    print (user <= 200 && kiocb >= 0.95 && kiocb <= 1.1) ? "PASS" : "FAIL" }')
  echo "$verdict: user $user_bytes bytes a connection (Private_Dirty, at most 200)," \
    "io_kiocb $kiocb a connection (0.95 to 1.1)"
fi
# Closing its input ends the load in good order.
LOAD_INPUT=${LOAD[1]}
exec {LOAD_INPUT}>&-
wait "$LOAD_PID" || fail "the load failed; see above"
[[ ${verdict:-PASS} == PASS ]]
