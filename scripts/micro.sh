#!/usr/bin/env bash
# What the pure parts cost by themselves: the time and the instructions of one operation each.
#
# Instructions are counted by callgrind, once for N operations and once for twice as many: the
# difference is what N of them take, and neither the start of the process nor what was made before
# is in it. Times want a quiet machine; counts don't.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/micro.sh [--counts-only] [--iterations N] [--save FILE] [--compare FILE]
                        [--keep DIR] [BENCHMARK...]
  --counts-only   no times
  --iterations N  operations to count the instructions of, a multiple of 100 (1000)
  --save FILE     write the table to this file as well
  --compare FILE  say which counts differ by more than 2 % from those of that saved table; exit
                  code 1 where one has grown
  --keep DIR      keep callgrind's profiles there, for callgrind_annotate
  BENCHMARK       names, or how they begin (target/release/examples/micro --list); default: all
A table is to be compared with one of the same machine, compiler and C library: see
docs/measurements.md.
TEXT
}

TIMES=1
ITERATIONS=1000
SAVE=''
COMPARE=''
KEEP=''
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --counts-only) TIMES=0 && shift ;;
    --iterations | --save | --compare | --keep)
      (($# >= 2)) || fail "$1 needs a value"
      case $1 in
        --iterations) ITERATIONS=$2 ;;
        --save) SAVE=$2 ;;
        --compare) COMPARE=$2 ;;
        --keep) KEEP=$2 ;;
      esac
      shift 2
      ;;
    -*) usage >&2 && exit 2 ;;
    *) break ;;
  esac
done
if [[ ! $ITERATIONS =~ ^[1-9][0-9]*00$ ]]; then
  fail "--iterations $ITERATIONS: must be a multiple of 100, for a session has 100 chunks"
fi
[[ -z $COMPARE || -r $COMPARE ]] || fail "--compare $COMPARE: no such file; --save writes one"
command -v valgrind >/dev/null || fail "no valgrind: apt-get install valgrind"
[[ -z $KEEP ]] || mkdir -p "$KEEP"

say "building (release)"
(cd "$PROJECT" && cargo build --release --locked --quiet --example micro)
MICRO=$PROJECT/target/release/examples/micro
NAMES=$("$MICRO" --list "$@" | cut -d ' ' -f 1) || exit

# counted NAME OPERATIONS: the instructions of a whole run.
counted() {
  local log=$SCRATCH/$1-$2.log out=/dev/null instructions
  if [[ -n $KEEP ]]; then out=$KEEP/$1-$2.callgrind; fi
  valgrind --tool=callgrind --callgrind-out-file="$out" "$MICRO" "$1" --iterations "$2" \
    >"$log" 2>&1 || { cat "$log" >&2 && fail "callgrind failed on $1 (its output is above)"; }
  instructions=$(sed -n 's/.*Collected : *\([0-9]*\).*/\1/p' "$log")
  [[ -n $instructions ]] || { cat "$log" >&2 && fail "callgrind counted nothing for $1"; }
  echo "$instructions"
}

# nanoseconds NAME: the median, from the table that was measured before.
nanoseconds() {
  if ((TIMES)); then awk -v name="$1" '$1 == name { print $2 }' "$SCRATCH/times"; else echo -; fi
}

# table: a line of machine and compiler, and one for each benchmark.
table() {
  printf '# %s\n# %s, %s\n' "$(machine_line)" "$(rustc --version)" "$(valgrind --version)"
  printf '%-26s %12s %16s\n' benchmark ns/op instructions/op
  local name once twice
  for name in $NAMES; do
    once=$(counted "$name" "$ITERATIONS")
    twice=$(counted "$name" $((2 * ITERATIONS)))
    printf '%-26s %12s %16s\n' "$name" "$(nanoseconds "$name")" \
      "$(awk -v n="$ITERATIONS" -v d=$((twice - once)) 'BEGIN { printf "%.1f", d / n }')"
  done
}

# compare OLD NEW: what differs by more than 2 %; fails where a count has grown.
compare() {
  awk '
    /^#/ || $1 == "benchmark" { next }
    NR == FNR { old[$1] = $3; next }
    !($1 in old) { printf "%-26s %31s  new\n", $1, $3; next }
    {
      compared++
      change = old[$1] > 0 ? 100 * ($3 / old[$1] - 1) : 0
      if (change < -2 || change > 2) {
        printf "%-26s %14s -> %13s  %+.1f %%\n", $1, old[$1], $3, change
        changed++
        if (change > 0) grown++
      }
    }
    END {
      printf "%d of %d counts differ by more than 2 %%, %d have grown\n", changed, compared, grown
      exit grown > 0
    }
  ' "$1" "$2"
}

if ((TIMES)); then
  say "measuring times"
  # shellcheck disable=SC2086 # the list is split on purpose
  "$MICRO" $NAMES >"$SCRATCH/times"
fi
say "counting instructions"
table | tee "$SCRATCH/table"
if [[ -n $SAVE ]]; then cp "$SCRATCH/table" "$SAVE"; fi
if [[ -n $COMPARE ]]; then
  say "against $COMPARE"
  compare "$COMPARE" "$SCRATCH/table"
fi
