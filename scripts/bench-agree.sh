#!/usr/bin/env bash
# Whether `ringgate bench echo` measures what an independent tool does: wrk and the load generator in
# turn against the same bare epoll floor, same connections, same bytes, both in a closed loop.
#
# The floor sends back what it gets. wrk speaks HTTP, so its request is an HTTP response: what comes
# back is one, and wrk counts it.
#
# The floor is as fast as a tool: left alone it would be the tools that are compared. Valgrind without
# a tool makes its code slower and changes nothing else, so that the server bounds both.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "$0")/common.sh"

usage() {
  cat <<'TEXT'
usage: scripts/bench-agree.sh [--rounds N] [--seconds N] [--connections "10 100"]
  --rounds       runs of each tool at each number of connections (5)
  --seconds      length of a run (5)
  --connections  numbers of connections ("10 100")
The floor runs on core 0, the tools on core 1. Wanted: throughput, p50 and p99 of the load generator
within 10 % of wrk's, as medians of the rounds.
TEXT
}

ROUNDS=5
SECONDS_EACH=5
CONNECTIONS="10 100"
while (($#)); do
  case $1 in
    --help | -h) usage && exit 0 ;;
    --rounds | --seconds | --connections)
      (($# >= 2)) || fail "$1 needs a value"
      case $1 in
        --rounds) ROUNDS=$2 ;;
        --seconds) SECONDS_EACH=$2 ;;
        --connections) CONNECTIONS=$2 ;;
      esac
      shift 2
      ;;
    *) usage >&2 && exit 2 ;;
  esac
done
command -v wrk >/dev/null || fail "no wrk: apt-get install wrk"
command -v valgrind >/dev/null || fail "no valgrind: apt-get install valgrind"

# The first message is only checked by wrk, as a request, and never sent.
cat >"$SCRATCH/echo.lua" <<'LUA'
local message = "HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n" .. string.rep("x", 24)
local checked = false
request = function()
  if checked then return message end
  checked = true
  return "GET / HTTP/1.1\r\nHost: floor\r\n\r\n"
end
done = function(summary, latency)
  io.write(string.format("RESULT %.1f %.4f %.4f %d\n", summary.requests / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
LUA
MESSAGE_BYTES=63

# by_wrk CONNECTIONS: "messages/s p50 p99 errors".
by_wrk() {
  taskset -c 1 wrk -t 1 -c "$1" -d "${SECONDS_EACH}s" -s "$SCRATCH/echo.lua" \
    "http://127.0.0.1:$SERVER_PORT/" | sed -n 's/^RESULT //p'
}

# by_bench CONNECTIONS: the same.
by_bench() {
  "$PROJECT/target/release/ringgate" bench echo --raw --server "ws://127.0.0.1:$SERVER_PORT/" \
    --users "$1" --payload-bytes "$MESSAGE_BYTES" --ramp-seconds 1 --seconds "$SECONDS_EACH" \
    --cores 1 --json "$SCRATCH/report.json" >"$SCRATCH/report.txt" 2>&1 || {
    cat "$SCRATCH/report.txt" >&2
    fail "the load generator failed"
  }
  python3 - "$SCRATCH/report.json" <<'PYTHON'
import json, sys
report = json.load(open(sys.argv[1]))
plateau = report["plateaus"][-1]
print(plateau["received_per_second"], plateau["latency_p50_ms"], plateau["latency_p99_ms"],
      sum(report["failures"].values()) + report["totals"]["wrong"])
PYTHON
}

build_servers floor
machine_line
echo "Echo of $MESSAGE_BYTES bytes by the bare floor, closed loop; medians of $ROUNDS runs of $SECONDS_EACH s."
printf '%-12s %-6s %12s %9s %9s\n' connections tool messages/s 'p50 ms' 'p99 ms'
: >"$SCRATCH/verdicts"
for connections in $CONNECTIONS; do
  SERVER_WRAPPER=(valgrind -q --tool=none)
  start_server floor 0 "$connections"
  : >"$SCRATCH/runs"
  for ((round = 0; round < ROUNDS; round++)); do
    # Alternating order, so that a drift of the machine meets both alike.
    order="wrk bench"
    if ((round % 2)); then order="bench wrk"; fi
    for tool in $order; do echo "$tool $("by_$tool" "$connections")" >>"$SCRATCH/runs"; done
  done
  stop "$SERVER_PID"
  python3 - "$SCRATCH/runs" "$connections" "$SCRATCH/verdicts" <<'PYTHON'
import statistics, sys
runs = {"wrk": [], "bench": []}
for line in open(sys.argv[1]):
    tool, *values = line.split()
    runs[tool].append([float(value) for value in values])
median = {tool: [statistics.median(column) for column in zip(*rows)] for tool, rows in runs.items()}
for tool, (rate, p50, p99, errors) in median.items():
    print(f"{sys.argv[2]:12} {tool:6} {rate:12.0f} {p50:9.3f} {p99:9.3f}" + (f"  {errors:.0f} errors" if errors else ""))
ratios = [b / w for b, w in zip(median["bench"], median["wrk"][:3])]
print(f"{'':12} {'ratio':6} {ratios[0]:12.3f} {ratios[1]:9.3f} {ratios[2]:9.3f}")
with open(sys.argv[3], "a") as verdicts:
    good = all(0.9 <= ratio <= 1.1 for ratio in ratios) and not any(m[3] for m in median.values())
    verdicts.write("PASS\n" if good else "FAIL\n")
PYTHON
done
if grep -q FAIL "$SCRATCH/verdicts"; then
  echo "FAIL: a figure differs by more than 10 %"
  exit 1
fi
echo "PASS: throughput, p50 and p99 agree within 10 %"
