//! Why a gateway does not start, with the fix: for people.

use std::{fmt, io, net::SocketAddr};

/// Why a gateway did not start. The text names the option, the value and the fix.
#[derive(Debug)]
pub struct StartError(pub(super) String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Why the public port could not be bound.
pub(super) fn listen(address: SocketAddr, error: &io::Error) -> String {
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program has the port; end it, or choose another with `listen`"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE; grant it, or choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "no interface has this address; choose one that has",
        _ => "choose an address of this machine",
    };
    format!("listen = {address}: {error}: {fix}")
}

/// Why a shard could not be made.
pub(super) fn shard(core: usize, error: &io::Error) -> String {
    let fix = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "io_uring is forbidden here: set sysctl kernel.io_uring_disabled=0, and allow \
             io_uring_setup in the seccomp filter of the container"
        }
        Some(libc::ENOSYS | libc::EINVAL) => {
            "the kernel is too old for this use of io_uring: Linux 6.1 or newer is needed"
        }
        Some(libc::ENOMEM) => "not enough lockable memory: raise LimitMEMLOCK (ulimit -l)",
        Some(libc::EMFILE) => "no descriptors left: raise LimitNOFILE (ulimit -n)",
        _ => "check `cores` against the cores that this process may use",
    };
    format!("core {core}: {error}: {fix}")
}
