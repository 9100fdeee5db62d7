#!/usr/bin/env bash
# Spreads the packets of a network interface over the cores of the gateway: as many queues as
# cores, each queue's interrupt on a core of its own, RPS where there are too few queues, XPS.
set -euo pipefail

usage() {
  cat <<'TEXT'
usage: tuning/nic.sh --interface NAME --cores LIST [--dry-run]
  --interface NAME  eth0
  --cores LIST      cores of the shards: 0-3 or 0,2,4-7
  --dry-run         print the commands, run none
Prints every command; those that put back what was there are printed as comments first. Lasts until
the next reboot. irqbalance, where it runs, undoes it: stop it, or ban these interrupts.
Needs root. Exit codes: 0 done, 1 something could not be set, 2 bad usage.
TEXT
}

ROOT=${RINGGATE_TUNING_ROOT:-}
INTERFACE='' CORES='' DRY_RUN='' FAILED=0

bad_usage() {
  printf 'nic.sh: %s\n' "$*" >&2
  usage >&2
  exit 2
}

while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --dry-run) DRY_RUN=yes && shift ;;
    --interface | --cores)
      (($# >= 2)) || bad_usage "$1 needs a value"
      if [[ $1 == --cores ]]; then CORES=$2; else INTERFACE=$2; fi
      shift 2
      ;;
    *) bad_usage "unknown argument $1" ;;
  esac
done
[[ $INTERFACE =~ ^[A-Za-z0-9._@-]{1,15}$ ]] || bad_usage "--interface \"$INTERFACE\": no such name"
[[ $CORES =~ ^[0-9]{1,4}(-[0-9]{1,4})?(,[0-9]{1,4}(-[0-9]{1,4})?)*$ ]] || bad_usage "--cores \"$CORES\": a list like 0-3,6"
NIC=$ROOT/sys/class/net/$INTERFACE
[[ -d $NIC ]] || bad_usage "--interface $INTERFACE: there is none; there are: $(ls "$ROOT/sys/class/net")"

# expand LIST: its cores, one a line.
expand() {
  local part
  for part in ${1//,/ }; do seq "${part%-*}" "${part#*-}"; done
}

# mask CORE...: as the kernel wants it: words of 32 bits, the highest first.
mask() {
  local -a words=(0)
  local core index text=''
  for core in "$@"; do
    index=$((core / 32))
    while ((${#words[@]} <= index)); do words+=(0); done
    words[index]=$((words[index] | 1 << (core % 32)))
  done
  for ((index = ${#words[@]} - 1; index >= 0; index--)); do
    if [[ -z $text ]]; then
      text=$(printf '%x' "${words[index]}")
    else
      text+=$(printf ',%08x' "${words[index]}")
    fi
  done
  printf '%s' "$text"
}

# put FILE VALUE: writes it, unless it is there or this is a rehearsal.
put() {
  local was
  if ! was=$(cat "$1" 2>/dev/null); then
    printf '# %s: not there, or not to be read\n' "$1"
    return 0
  fi
  if [[ $was == "$2" ]]; then return 0; fi
  printf '# was: echo %s > %s\necho %s > %s\n' "$was" "$1" "$2" "$1"
  if [[ -z $DRY_RUN ]] && ! { printf '%s\n' "$2" >"$1"; } 2>/dev/null; then
    printf 'nic.sh: %s: could not be set\n' "$1" >&2
    FAILED=$((FAILED + 1))
  fi
}

# queues rx|tx: its queues in their order.
queues() { find "$NIC/queues" -maxdepth 1 -name "$1-*" | sort -V; }

# set_queues: as many as there are cores, or as the card has.
set_queues() {
  local have want=${#CORE[@]}
  have=$(queues rx | wc -l)
  if ((have == want)) || [[ -n $ROOT ]] || ! command -v ethtool >/dev/null; then return 0; fi
  local most
  most=$(ethtool -l "$INTERFACE" 2>/dev/null | awk '/^Combined:/ && $2 ~ /^[0-9]+$/ { print $2; exit }')
  if [[ -z $most ]]; then return 0; fi
  if ((want > most)); then want=$most; fi
  if ((have == want)); then return 0; fi
  printf '# was: ethtool -L %s combined %s\nethtool -L %s combined %s\n' "$INTERFACE" "$have" "$INTERFACE" "$want"
  if [[ -z $DRY_RUN ]] && ! ethtool -L "$INTERFACE" combined "$want"; then
    FAILED=$((FAILED + 1))
  fi
}

# interrupts: those that the device has, or, where it names none, those that drivers call after its
# queues, in their order: eth0-TxRx-0, virtio2-input.0.
interrupts() {
  local device
  if compgen -G "$NIC/device/msi_irqs/*" >/dev/null; then
    find "$NIC/device/msi_irqs" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -n
    return
  fi
  device=$(basename "$(readlink "$NIC/device" || true)")
  awk -v name="$INTERFACE" -v device="${device:-none}" '
    { number = $1; label = $NF; sub(/:$/, "", number) }
    index(label, name "-") == 1 || label == name ||
      index(label, device "-input") == 1 || index(label, device "-output") == 1 {
        print number
      }' "$ROOT/proc/interrupts"
}

mapfile -t CORE < <(expand "$CORES" | sort -nu)
set_queues

index=0
# An input and its output come one after the other with virtio; both belong on one core.
previous=
while read -r interrupt; do
  label=$(awk -v number="$interrupt:" '$1 == number { print $NF }' "$ROOT/proc/interrupts")
  pair=${label##*[!0-9]}
  if [[ $label == *-output* && -n $previous && $pair == "$previous" ]]; then index=$((index - 1)); fi
  put "$ROOT/proc/irq/$interrupt/smp_affinity_list" "${CORE[index % ${#CORE[@]}]}"
  previous=$pair
  index=$((index + 1))
done < <(interrupts)

mapfile -t receive < <(queues rx)
mapfile -t send < <(queues tx)
# With a queue a core, handing packets on would only cost.
all=0
if ((${#receive[@]} < ${#CORE[@]})); then all=$(mask "${CORE[@]}"); fi
for queue in "${receive[@]}"; do put "$queue/rps_cpus" "$all"; done

# XPS: cores are dealt out to the send queues, so that every core has one of its own, or shares.
for index in "${!send[@]}"; do
  mine=()
  for place in "${!CORE[@]}"; do
    if ((place % ${#send[@]} == index)); then mine+=("${CORE[place]}"); fi
  done
  if ((${#mine[@]} && ${#send[@]} > 1)); then put "${send[index]}/xps_cpus" "$(mask "${mine[@]}")"; fi
done

if pgrep -x irqbalance >/dev/null 2>&1; then
  printf '# irqbalance runs and will move the interrupts: systemctl stop irqbalance\n'
fi
if ((FAILED)); then exit 1; fi
