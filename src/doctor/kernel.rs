//! Whether the kernel runs a shard at all.

use std::io;

use super::{
    Check, Level,
    host::{Host, Unread},
};

/// `DEFER_TASKRUN` came with 6.1.
const KERNEL_MIN: (u32, u32) = (6, 1);

const RELEASE: &str = "/proc/sys/kernel/osrelease";
const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";
const GROUP: &str = "/proc/sys/kernel/io_uring_group";
const ALLOW: &str = "sysctl -w kernel.io_uring_disabled=0";

pub(super) fn checks(host: &Host, ring: &io::Result<Vec<&'static str>>) -> Vec<Check> {
    vec![release(host), made(ring), disabled(host)]
}

fn release(host: &Host) -> Check {
    let (major, minor) = KERNEL_MIN;
    let check = match host.text(RELEASE) {
        Err(why) => Check::unread("kernel", &why),
        Ok(text) => {
            let level = match version(&text) {
                Some(found) if found >= KERNEL_MIN => Level::Ok,
                Some(_) => Level::Fail,
                None => Level::Warn,
            };
            Check::new("kernel", level, text).fix("boot a newer kernel")
        }
    };
    check.wants(format!("{major}.{minor} or newer"))
}

/// `6.18.44-generic` → (6, 18).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|letter: char| !letter.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What became of the trial ring.
fn made(ring: &io::Result<Vec<&'static str>>) -> Check {
    let wanted = "DEFER_TASKRUN, multishot";
    let check = match ring {
        Ok(missing) if missing.is_empty() => {
            Check::new("io_uring", Level::Ok, "a trial ring works")
        }
        Ok(missing) => {
            let lacks = format!("lacks {}", missing.join(", "));
            Check::new("io_uring", Level::Fail, lacks).fix("boot a newer kernel")
        }
        Err(error) => {
            Check::new("io_uring", Level::Fail, format!("no ring: {error}")).fix(remedy(error))
        }
    };
    check.wants(wanted)
}

fn remedy(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => format!("{ALLOW}; in a container, a seccomp profile that allows it"),
        Some(libc::ENOSYS) => {
            "a kernel with CONFIG_IO_URING, or a seccomp profile that allows it".into()
        }
        Some(libc::EINVAL) => "boot a newer kernel".into(),
        Some(libc::ENOMEM) => "raise LimitMEMLOCK (ulimit -l)".into(),
        _ => "see io_uring_setup(2)".into(),
    }
}

fn disabled(host: &Host) -> Check {
    let name = "kernel.io_uring_disabled";
    let check = match host.number::<u64>(DISABLED) {
        // Before Linux 6.6 it could not be forbidden this way.
        Err(Unread::Absent) => Check::new(name, Level::Ok, "not there: allowed"),
        Err(why) => Check::unread(name, &why),
        Ok(0) => Check::new(name, Level::Ok, 0),
        Ok(1) => {
            let group = host.text(GROUP).unwrap_or_else(|why| why.to_string());
            Check::new(name, Level::Warn, format!("1, group {group}"))
                .note("only for that group and CAP_SYS_ADMIN")
                .fix(format!("{ALLOW}, or run the gateway in that group"))
        }
        Ok(other) => Check::new(name, Level::Fail, other).fix(ALLOW),
    };
    check.wants("0")
}
