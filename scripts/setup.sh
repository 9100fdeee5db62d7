# shellcheck shell=bash
# Installs what a fresh Debian 12 machine lacks: sourced, never run, since it may extend PATH.
# Nothing that is there already is touched, and each thing done is told.

tell() { printf '== %s\n' "$*" >&2; }

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    tell "this needs root, and there is no sudo: run as root: $*"
    return 1
  fi
}

# need_package PROBE PACKAGE...: installs the Debian packages unless the probe succeeds.
need_package() {
  local probe=$1
  shift
  if bash -c "$probe" >/dev/null 2>&1; then return 0; fi
  if ! command -v apt-get >/dev/null; then
    tell "missing: $* (Debian's names; there is no apt-get here)"
    return 1
  fi
  tell "installing $*"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# rust_is_enough VERSION: whether cargo and rustc are here and at least that old.
rust_is_enough() {
  local found
  command -v cargo >/dev/null && command -v rustc >/dev/null || return 1
  found=$(rustc --version | cut -d ' ' -f 2)
  [[ $(printf '%s\n' "$1" "$found" | sort -V | head -n 1) == "$1" ]]
}

# need_rust: a toolchain of at least the rust-version of Cargo.toml. Debian 12's own (1.63) is too
# old, so it comes from rustup, into the home directory.
need_rust() {
  local manifest wanted
  manifest=$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$manifest")
  # shellcheck disable=SC1091 # written by rustup
  if [[ -f $HOME/.cargo/env ]]; then source "$HOME/.cargo/env"; fi
  if rust_is_enough "$wanted"; then return 0; fi
  if command -v rustup >/dev/null; then
    tell "updating Rust to at least $wanted"
    rustup toolchain install stable --profile minimal
    rustup default stable
  else
    need_package 'command -v curl && test -e /etc/ssl/certs/ca-certificates.crt' curl ca-certificates
    tell "installing Rust with rustup (https://rustup.rs), into $HOME/.cargo and $HOME/.rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y --no-modify-path --profile minimal --default-toolchain stable
    # shellcheck disable=SC1091
    source "$HOME/.cargo/env"
  fi
  if rust_is_enough "$wanted"; then return 0; fi
  tell "Rust $wanted or newer is needed; $(command -v rustc) is $(rustc --version)"
  return 1
}

# setup_build: what compiling needs. glommio and mimalloc compile C, and glommio's build calls git.
setup_build() {
  need_package 'command -v git' git
  need_package 'command -v cc && test -e /usr/include/stdio.h' gcc libc6-dev
  need_rust
}

# setup_tests: what the tests need beyond that.
setup_tests() {
  need_package 'command -v redis-server && command -v redis-cli' redis-server
  need_package 'python3 -c "import venv, ensurepip"' python3 python3-venv
  need_package 'python3 -c "import yaml"' python3-yaml
  need_package 'command -v shellcheck' shellcheck
  # Opens the pages of reports, as a reader would.
  need_package 'command -v chromium' chromium
  if ! cargo fmt --version >/dev/null 2>&1 || ! cargo clippy --version >/dev/null 2>&1; then
    tell "adding rustfmt and clippy"
    rustup component add rustfmt clippy
  fi
}
