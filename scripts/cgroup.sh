# shellcheck shell=bash
# Shares of a core: sourced behind common.sh, never run. The groups go when the script ends.

GROUPS_MADE=()

# make_group NAME PERCENT PERIOD_US: a cgroup whose processes have that share of a core, given out anew
# in each period; its path is in GROUP. Needs root and the cpu controller, version 1 or 2.
make_group() {
  local quota_us=$(($3 * $2 / 100))
  if [[ -f /sys/fs/cgroup/cpu/cgroup.procs ]]; then
    GROUP=/sys/fs/cgroup/cpu/ringgate-bench-$$-$1
    mkdir "$GROUP" || fail "cannot make a cgroup: run as root"
    GROUPS_MADE+=("$GROUP")
    echo "$3" >"$GROUP/cpu.cfs_period_us"
    echo "$quota_us" >"$GROUP/cpu.cfs_quota_us"
  else
    GROUP=/sys/fs/cgroup/ringgate-bench-$$-$1
    mkdir "$GROUP" || fail "cannot make a cgroup: run as root"
    GROUPS_MADE+=("$GROUP")
    [[ -f $GROUP/cpu.max ]] || fail "the cpu controller of cgroups is not enabled at the root"
    echo "$quota_us $3" >"$GROUP/cpu.max"
  fi
}

remove_groups() {
  local group
  for group in "${GROUPS_MADE[@]}"; do rmdir "$group" 2>/dev/null || true; done
  GROUPS_MADE=()
}
trap 'clean_up; remove_groups' EXIT

# inside GROUP COMMAND...: in the place of this shell; an empty group: where it is.
inside() {
  if [[ -n $1 ]]; then echo "$BASHPID" >"$1/cgroup.procs"; fi
  shift
  exec "$@"
}
