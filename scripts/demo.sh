#!/usr/bin/env bash
# From a fresh Debian 12 machine to the running demo: installs what is missing, builds, runs.
# Arguments go to `ringgate demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh

setup_build
tell "building (release); the first time takes some minutes"
cargo build --release --locked
exec target/release/ringgate demo "$@"
