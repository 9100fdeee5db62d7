# shellcheck shell=bash
# What apply, check and revert share: sourced, never run.
#
# RINGGATE_TUNING_ROOT stands before every path that is read or written, for rehearsals and
# tests; without it the machine itself is meant.

ROOT=${RINGGATE_TUNING_ROOT:-}
ROOT=${ROOT%/}
TUNING=$(dirname "${BASH_SOURCE[0]}")
# The most that `limits.connections` takes.
CONNECTIONS_MAX=10000000
CONNECTIONS=100000
STATE=$ROOT/var/lib/ringgate-tuning
PERSIST=
PROGRAM=$(basename "$0")

tell() { printf '%s\n' "$*"; }

complain() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }

# bad_usage MESSAGE: exit code 2, as that of ringgate.
bad_usage() {
  complain "$*"
  usage >&2
  exit 2
}

# parse_arguments ARGUMENT...: sets CONNECTIONS, STATE and PERSIST; wants a function `usage`.
parse_arguments() {
  while (($#)); do
    case $1 in
      --help | -h) usage && exit 0 ;;
      --persist)
        [[ $PROGRAM == apply ]] || bad_usage "--persist is for apply alone"
        # shellcheck disable=SC2034 # apply reads it
        PERSIST=yes
        shift
        ;;
      --connections | --state)
        (($# >= 2)) || bad_usage "$1 needs a value"
        case $1 in
          --connections) CONNECTIONS=$2 ;;
          --state) STATE=$2 ;;
        esac
        shift 2
        ;;
      *) bad_usage "unknown argument $1" ;;
    esac
  done
  if ! [[ $CONNECTIONS =~ ^[1-9][0-9]{0,7}$ ]] || ((CONNECTIONS > CONNECTIONS_MAX)); then
    bad_usage "--connections $CONNECTIONS: must be 1 to $CONNECTIONS_MAX"
  fi
  [[ -n $STATE ]] || bad_usage "--state needs a directory"
}

# sysctl_file KEY
sysctl_file() { printf '%s/proc/sys/%s' "$ROOT" "${1//./\/}"; }

# read_sysctl KEY: its value, as the kernel writes it, without the end of line.
read_sysctl() { cat "$(sysctl_file "$1")" 2>/dev/null; }

# write_sysctl KEY VALUE: whether the kernel took it, and nothing else.
write_sysctl() {
  local file
  file=$(sysctl_file "$1")
  { printf '%s\n' "$2" >"$file"; } 2>/dev/null && same_numbers "$(read_sysctl "$1")" "$2"
}

# same_numbers A B: whether only the space between them differs.
same_numbers() {
  local -a a b
  read -ra a <<<"$1"
  read -ra b <<<"$2"
  [[ ${a[*]} == "${b[*]}" ]]
}

# is_less A B: whether a whole number is less than another, whatever their size (fs.file-max
# does not fit into the shell's own).
is_less() {
  local a b
  a=$(strip_zeros "$1")
  b=$(strip_zeros "$2")
  if ((${#a} != ${#b})); then ((${#a} < ${#b})); else [[ $a < $b ]]; fi
}

strip_zeros() {
  local number=${1#"${1%%[!0]*}"}
  printf '%s' "${number:-0}"
}

# wanted_number FIXED PER_THOUSAND LEAST MOST: what that makes of CONNECTIONS.
wanted_number() {
  local value=$(($1 + (CONNECTIONS * $2 + 999) / 1000))
  if ((value < $3)); then value=$3; fi
  if [[ $4 != - ]] && ((value > $4)); then value=$4; fi
  printf '%s' "$value"
}

# load_wanted: fills KEYS, and by key WANTED (numbers) and RULE, out of the table.
load_wanted() {
  KEYS=()
  declare -gA WANTED=() RULE=()
  local key field rule fixed per_thousand least most
  while read -r key field rule fixed per_thousand least most; do
    if [[ -z $key || $key == \#* ]]; then continue; fi
    if ((field == 1)); then KEYS+=("$key"); fi
    RULE[$key]=$rule
    WANTED[$key]+="${WANTED[$key]:+ }$(wanted_number "$fixed" "$per_thousand" "$least" "$most")"
  done <"$TUNING/sysctls.table"
}

# is_optional KEY: whether a host without it lacks nothing.
is_optional() { [[ $1 == net.netfilter.* ]]; }

# is_whole KEY VALUE: whether a value has as many numbers as are wanted, and nothing else.
is_whole() {
  local -a have wanted
  read -ra have <<<"$2"
  read -ra wanted <<<"${WANTED[$1]}"
  ((${#have[@]} == ${#wanted[@]})) && [[ ${have[*]} =~ ^[0-9\ ]+$ ]]
}

# better KEY VALUE: of each number the better one: what to set, so that nothing good is lost.
better() {
  local -a have wanted best=()
  local index
  read -ra have <<<"$2"
  read -ra wanted <<<"${WANTED[$1]}"
  for index in "${!wanted[@]}"; do
    if is_met "${RULE[$1]}" "${have[index]}" "${wanted[index]}"; then
      best+=("${have[index]}")
    else
      best+=("${wanted[index]}")
    fi
  done
  printf '%s' "${best[*]}"
}

# is_met RULE FOUND WANTED
is_met() {
  case $1 in
    floor) ! is_less "$2" "$3" ;;
    ceiling) ! is_less "$3" "$2" ;;
  esac
}

# The state: one line `sysctl KEY VALUE` or `file PATH absent|saved` for each thing that was
# changed, written before it is. What was there first stays, however often apply runs.

state_file() { printf '%s/state' "$STATE"; }

# lock_state: one of us at a time; until the script ends.
lock_state() {
  exec 9>"$STATE/lock"
  if ! flock -n 9; then
    complain "another apply or revert is at work in $STATE"
    exit 1
  fi
}

# remembers KIND NAME: whether the state has it.
remembers() {
  local kind name rest
  [[ -f $(state_file) ]] || return 1
  while read -r kind name rest; do
    if [[ $kind == "$1" && $name == "$2" ]]; then return 0; fi
  done <"$(state_file)"
  return 1
}

# remember KIND NAME VALUE: on the disk before it returns; whole, or not at all.
remember() {
  remembers "$1" "$2" && return
  local file
  file=$(state_file)
  {
    if [[ -f $file ]]; then cat "$file" || return 1; fi
    printf '%s %s %s\n' "$1" "$2" "$3"
  } >"$file.new" && sync "$file.new" && mv "$file.new" "$file"
}
