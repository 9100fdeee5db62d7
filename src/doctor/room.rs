//! What this host has of everything that runs out, as numbers: for `ringgate plan`.
//!
//! Must not: compare. What is needed stands in [`super::wanted`] and in [`crate::plan`].

use super::{
    cgroup::Cgroups,
    host::{Host, Unread, sysctl_path},
    memory, process,
    wanted::CONNTRACK_MAX,
};

const INTERFACES: &str = "/sys/class/net";

/// How much there is; `Ok(None)`: no limit.
pub type Found = Result<Option<u64>, Unread>;

/// What a host has.
#[derive(Debug)]
pub struct Room {
    /// Hard limit of descriptors of a process that is started from here.
    pub descriptors: Found,
    /// `fs.nr_open`.
    pub nr_open: Found,
    /// `fs.file-max`, less what is open now.
    pub files: Found,
    /// Bytes of memory that are free, or can be.
    pub memory_bytes: Found,
    /// Bytes that the control group allows.
    pub cgroup_memory_bytes: Found,
    /// Thousandths of a core that the control group allows.
    pub cgroup_cpu_thousandths: Found,
    /// Pages that TCP's buffers may have together: the last number of `net.ipv4.tcp_mem`.
    pub tcp_pages: Found,
    /// Connections that can be tracked; no limit where nothing is tracked.
    pub tracked: Found,
    /// `net.core.somaxconn`.
    pub somaxconn: Found,
    /// Ports of one address for outgoing connections.
    pub ports: Found,
    /// Bits a second of the fastest card that says so.
    pub nic_bits_per_second: Option<u64>,
}

impl Room {
    /// Reads it.
    pub fn of(host: &Host) -> Self {
        let sysctl = |key: &str| host.number(&sysctl_path(key)).map(Some);
        let cgroups = Cgroups::of(host);
        Self {
            descriptors: process::limits(host, "Max open files").map(|(_, hard)| hard),
            nr_open: sysctl("fs.nr_open"),
            files: files(host),
            memory_bytes: memory::meminfo(host, "MemAvailable").map(Some),
            cgroup_memory_bytes: cgroups.memory_bytes(),
            cgroup_cpu_thousandths: cgroups.cpu_thousandths(),
            tcp_pages: numbers(host, "net.ipv4.tcp_mem").map(|[_, _, most]| Some(most)),
            tracked: match sysctl(CONNTRACK_MAX) {
                Err(Unread::Absent) => Ok(None),
                found => found,
            },
            somaxconn: sysctl("net.core.somaxconn"),
            ports: numbers(host, "net.ipv4.ip_local_port_range")
                .map(|[first, last]| Some(last.saturating_sub(first).saturating_add(1))),
            nic_bits_per_second: nic_bits_per_second(host),
        }
    }
}

fn files(host: &Host) -> Found {
    let most: u64 = host.number(&sysctl_path("fs.file-max"))?;
    let open = host.numbers(&sysctl_path("fs.file-nr")).unwrap_or_default();
    Ok(Some(most.saturating_sub(open.first().copied().unwrap_or(0))))
}

fn numbers<const COUNT: usize>(host: &Host, key: &str) -> Result<[u64; COUNT], Unread> {
    let found = host.numbers(&sysctl_path(key))?;
    found.try_into().map_err(|_| Unread::Refused("not as many numbers".into()))
}

/// Cards say it in Mbit/s; those of virtual machines often say -1, or nothing.
fn nic_bits_per_second(host: &Host) -> Option<u64> {
    let has_device = |name: &String| host.has(&format!("{INTERFACES}/{name}/device"));
    let speed = |name: String| host.number::<i64>(&format!("{INTERFACES}/{name}/speed")).ok();
    let cards = host.names(INTERFACES).into_iter().filter(has_device);
    let fastest = cards.filter_map(speed).filter_map(|mbit| u64::try_from(mbit).ok()).max()?;
    (fastest > 0).then(|| fastest.saturating_mul(1_000_000))
}
