#!/usr/bin/env bash
# From a fresh Debian 12 machine to a full run of the checks: installs what is missing, runs them.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/setup.sh
source scripts/setup.sh

setup_build
setup_tests
exec scripts/ci.sh
