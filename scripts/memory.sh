# shellcheck shell=bash
# What idle connections take of memory: sourced, after common.sh, and never run. Slopes between two
# numbers of connections, LOW and HIGH, so that what the server needs anyway drops out.
#
# The client's sockets live in the same kernel: a cache that both ends fill is halved, and the
# client's own epoll entry a connection is taken off. Needs root, for /proc/slabinfo.

# With transparent huge pages memory grows in steps of 2 MiB, and a slope over 11,000 connections
# says nothing. PR_SET_THP_DISABLE (41) is inherited over exec; the server sees 4 KiB pages.
THP_OFF=(python3 -c 'import ctypes, os, sys
if ctypes.CDLL(None).prctl(41, 1, 0, 0, 0) != 0: sys.exit("PR_SET_THP_DISABLE failed")
os.execv(sys.argv[1], sys.argv[1:])')

# set_steps LOW,HIGH: what --steps says, and whether this process may measure it.
set_steps() {
  [[ $1 =~ ^([0-9]+),([0-9]+)$ ]] || bad_usage "--steps wants two numbers, as in 4000,15000, not $1"
  LOW=${BASH_REMATCH[1]} HIGH=${BASH_REMATCH[2]}
  ((LOW < HIGH)) || bad_usage "--steps must ascend, and $1 does not"
  [[ -r /proc/slabinfo ]] || fail "cannot read /proc/slabinfo: run as root"
  ulimit -n "$(ulimit -Hn)"
  (($(ulimit -n) > HIGH + 100)) ||
    fail "$HIGH connections need $((HIGH + 100)) descriptors, and the hard limit is $(ulimit -Hn)"
}

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

# measure_idle SERVER: starts it on core 0, opens LOW and then HIGH connections from core 1, takes a
# sample at each, and ends both. What was sampled stays until the next one.
measure_idle() {
  # shellcheck disable=SC2034 # start_server reads it
  local SERVER_WRAPPER=("${THP_OFF[@]}") raw=() step line load input
  if is_raw "$1"; then raw=(--raw); fi
  start_server "$1" 0 "$((HIGH + 100))"
  coproc LOAD {
    exec "$PROJECT/target/release/examples/load" idle --server "127.0.0.1:$SERVER_PORT" \
      --path /echo "${raw[@]}" --connections "$HIGH" --steps "$LOW,$HIGH" --sources 4 --core 1 \
      --timeout-seconds 600
  }
  # The shell forgets these names when the load ends.
  load=$LOAD_PID input=${LOAD[1]}
  STARTED+=("$load")
  for step in "$LOW" "$HIGH"; do
    say "$1: opening up to $step connections"
    read -r -t 300 line <&"${LOAD[0]}" || fail "the load ended or hung before step $step"
    [[ $line == "step $step" ]] || fail "the load said: $line"
    wait_quiet
    sample "$step"
    if [[ $step == "$LOW" ]]; then echo >&"$input"; fi
  done
  aliases >"$SCRATCH/aliases"
  # Closing its input ends the load in good order.
  exec {input}>&-
  wait "$load" || fail "the load failed; see above"
  stop "$SERVER_PID"
}

# slope FILE NAME UNIT: growth a connection.
slope() {
  awk -v name="$2" -v unit="$3" -v connections="$((HIGH - LOW))" '
    $1 == name { value[++n] = $2 } END { printf "%.3f", (value[2] - value[1]) * unit / connections }' \
    "$SCRATCH/$1.$LOW" "$SCRATCH/$1.$HIGH"
}

# kernel_slopes: the caches of the kernel that grew, a line each, with tabs between: kind (io_kiocb,
# epoll, socket or other), name, bytes of an object, objects a connection, bytes of the server a
# connection, whose they are. Caches with less than one object in 20 connections are the noise of
# the machine.
kernel_slopes() {
  awk -v connections="$((HIGH - LOW))" -v listed="$(slope slab proc_inode_cache 1)" '
    BEGIN { OFS = "\t" }
    FILENAME ~ /aliases$/ { alias[$1] = $2; next }
    FILENAME ~ /slab\.'"$LOW"'$/ { before[$1] = $2; next }
    {
      objects = ($2 - before[$1]) / connections
      if (objects < 0.05) next
      label = ($1 in alias && alias[$1] != $1) ? $1 " (" alias[$1] ")" : $1
      # Whoever lists /proc/PID/fd meanwhile gives every descriptor an inode and a dentry there.
      if ($1 == "proc_inode_cache") next
      if ($1 == "dentry" || $1 == "lsm_inode_cache") objects -= listed
      kind = "other"; share = objects; whose = "both ends, or others: not judged"
      if ($1 == "io_kiocb") { kind = $1; whose = "server" }
      else if (label ~ /eventpoll/) {
        kind = "epoll"; share = objects - 1
        whose = "less one a connection of the load; other objects of this size may be in it"
      }
      else if ($1 ~ /^(TCP|sock_inode_cache|filp|dentry|lsm_.*)$/) {
        kind = "socket"; share = objects / 2; whose = "both ends: halved"
      }
      if (share < 0) share = 0
      print kind, label, $3, objects, share * $3, whose
    }' "$SCRATCH/aliases" "$SCRATCH/slab.$LOW" "$SCRATCH/slab.$HIGH"
}
