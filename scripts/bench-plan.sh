#!/usr/bin/env bash
# Whether `ringgate plan` predicts a run: costs out of the report of a small one, compared with what
# a larger one of as many processes has cost.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-plan.sh SMALL.json LARGE.json
Both are reports of `ringgate bench idle` with --server-pid (scripts/bench-many.sh --json). Wanted:
memory within 10 %, processor time within 25 %.
TEXT
}

case ${1:-} in
  --help | -h) usage && exit 0 ;;
  -*) usage >&2 && exit 2 ;;
esac
(($# == 2)) || { usage >&2 && exit 2; }
for report in "$1" "$2"; do [[ -r $report ]] || fail "cannot read $report"; done
SMALL=$(realpath "$1")
LARGE=$(realpath "$2")
build_servers gateway

CONNECTIONS=$(python3 -c 'import json, sys
print(json.load(open(sys.argv[1]))["cost"]["points"][-1]["connections"])' "$LARGE")
"$PROJECT/target/release/ringgate" plan --host none --connections "$CONNECTIONS" --cores 1 \
  --active-share 0 --from "$SMALL" --json >"$SCRATCH/plan.json"
python3 - "$SCRATCH/plan.json" "$SMALL" "$LARGE" <<'PYTHON'
import json, sys
plan, small, large = (json.load(open(path)) for path in sys.argv[1:])
memory, cpu = plan["estimate"]["memory"], plan["estimate"]["cpu"]
point = large["cost"]["points"][-1]
found = point["memory"]
kernel = ["tcp_bytes", "socket_inode_bytes", "file_bytes", "dentry_bytes", "io_uring_bytes", "epoll_bytes"]
user = sum(memory[name] for name in ("fixed_bytes", "connections_bytes", "sessions_bytes"))
rows = [
    ("user MB", user / 1e6, found["user_bytes"] / 1e6, 0.10),
    ("kernel MB", (sum(memory[name] for name in kernel) + memory["kernel_fixed_bytes"]) / 1e6,
     sum(found[name] for name in kernel) / 1e6, 0.10),
    ("buffers MB", memory["buffer_bytes"] / 1e6, found["buffer_bytes"] / 1e6, None),
]
rows.append(("memory MB", sum(row[1] for row in rows), sum(row[2] for row in rows), 0.10))
rows.append(("cores", sum(cpu.values()), point["cpu_seconds"] / point["seconds"], 0.25))
print(f"Measured with {small['cost']['points'][-1]['connections']} connections, predicted and measured for {point['connections']}:")
print(f"{'':12} {'predicted':>10} {'measured':>10} {'ratio':>7}")
good = True
for name, predicted, measured, off in rows:
    ratio = predicted / measured if measured else float("nan")
    print(f"{name:12} {predicted:10.3f} {measured:10.3f} {ratio:7.3f}")
    if name in ("memory MB", "cores"):
        good &= abs(ratio - 1) <= off
print("PASS: memory within 10 %, processor time within 25 %" if good else "FAIL")
sys.exit(not good)
PYTHON
