//! The machine and the limits that a run was made under.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit};
use serde::{Deserialize, Serialize};

/// Longest text that is taken of a file.
const TEXT_BYTES_MAX: usize = 4096;

/// Who measured, and where.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Host {
    /// Version of this program.
    pub ringgate: String,
    /// The commit that it was built from, with `-dirty` where that had changes; `None` where it
    /// was not built in a clone.
    pub commit: Option<String>,
    /// An optimised build.
    pub optimised: bool,
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: u64,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Limit of descriptors, soft; `None`: without limit.
    pub nofile_soft: Option<u64>,
    /// The hard one.
    pub nofile_hard: Option<u64>,
    /// Lockable memory.
    pub memlock_bytes: Option<u64>,
    /// Other limits and settings that matter to a load, by name.
    pub sysctls: Vec<(String, String)>,
}

/// What a reader of a report asks for when figures differ.
const SYSCTLS: [&str; 7] = [
    "net/core/somaxconn",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/ip_local_port_range",
    "net/ipv4/tcp_rmem",
    "net/ipv4/tcp_wmem",
    "net/ipv4/tcp_mem",
    "kernel/io_uring_disabled",
];

impl Host {
    /// This one, as it is now.
    pub fn this() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let sysctl = |path: &&str| {
            let value = text(&format!("/proc/sys/{path}"))?;
            Some((path.replace('/', "."), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        };
        Self {
            ringgate: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("RINGGATE_COMMIT").map(str::to_owned),
            optimised: !cfg!(debug_assertions),
            kernel: crate::host::kernel_release(),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from) as u64,
            memory_bytes: memory_bytes().unwrap_or(0),
            nofile_soft: current,
            nofile_hard: maximum,
            memlock_bytes: getrlimit(Resource::Memlock).current,
            sysctls: SYSCTLS.iter().filter_map(sysctl).collect(),
        }
    }
}

fn memory_bytes() -> Option<u64> {
    let total = field("/proc/meminfo", "MemTotal")?;
    total.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The value of the first line `name: value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = text(path)?;
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
}

fn text(path: &str) -> Option<String> {
    let mut text = fs::read_to_string(path).ok()?;
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at))?;
    text.truncate(end);
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_says_who_it_is() {
        let host = Host::this();
        assert!(host.cores > 0 && host.memory_bytes > 64 << 20 && !host.kernel.is_empty());
        assert!(
            host.sysctls
                .iter()
                .any(|(name, value)| name == "net.core.somaxconn" && !value.is_empty())
        );
    }
}
