#!/usr/bin/env bash
# Every check, in the order of what fails fastest. Wants what scripts/test.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."

step() {
  printf '== %s\n' "$*"
  "$@"
}

step cargo fmt --check
step cargo clippy --all-targets --locked -- -D warnings
# Links are checked in what users read and in what contributors read.
RUSTDOCFLAGS='-D warnings' step cargo doc --no-deps --locked
RUSTDOCFLAGS='-D warnings' step cargo doc --no-deps --locked --document-private-items
step cargo build --release --locked --bins --examples
step scripts/conformance.sh
# Last, so that its totals close the output.
step cargo test --locked
