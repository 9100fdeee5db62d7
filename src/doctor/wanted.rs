//! ▢ What a host must allow for a number of connections: the one place of this arithmetic.
//!
//! Connections and shards in, wanted values out. `ringgate doctor` compares a host with it,
//! `tuning/sysctls.table` holds the same numbers for the scripts in `tuning/` (a test compares
//! the two), and a capacity planner can start from it. The scripts evaluate the same form:
//! that is why every sysctl is a [`Need`] and not a function of its own.
//!
//! Must not: read the host.

use crate::host::reserved_descriptors;

/// A value that grows with the connections, within bounds:
/// `fixed + connections × per_thousand / 1000`, rounded up, at least `least`, at most `most`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// What no connection at all needs.
    pub fixed: u64,
    /// What a thousand connections add.
    pub per_thousand: u64,
    /// Never less; mostly the kernel's own default, so that nothing is asked for in vain.
    pub least: u64,
    /// Never more; `None` where more is never too much.
    pub most: Option<u64>,
}

impl Need {
    const fn flat(value: u64) -> Self {
        Self { fixed: value, per_thousand: 0, least: 0, most: None }
    }

    const fn growing(per_thousand: u64) -> Self {
        Self { fixed: 0, per_thousand, least: 0, most: None }
    }

    const fn beside(self, fixed: u64) -> Self {
        Self { fixed, ..self }
    }

    const fn least(self, least: u64) -> Self {
        Self { least, ..self }
    }

    const fn most(self, most: u64) -> Self {
        Self { most: Some(most), ..self }
    }

    /// The value for so many connections.
    pub fn at(&self, connections: u64) -> u64 {
        let grown = connections.saturating_mul(self.per_thousand).div_ceil(1000);
        let value = self.fixed.saturating_add(grown).max(self.least);
        self.most.map_or(value, |most| value.min(most))
    }
}

/// Which side of the wanted value is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// The value or more.
    Floor,
    /// The value or less.
    Ceiling,
}

impl Rule {
    /// Whether `found` is as good as `wanted`.
    pub fn is_met(self, found: u64, wanted: u64) -> bool {
        match self {
            Self::Floor => found >= wanted,
            Self::Ceiling => found <= wanted,
        }
    }

    /// The better of two values: what to set, so that nothing good is taken away.
    pub fn better(self, found: u64, wanted: u64) -> u64 {
        if self.is_met(found, wanted) { found } else { wanted }
    }
}

/// One sysctl, with a need for each of its numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sysctl {
    /// `net.core.somaxconn`.
    pub key: &'static str,
    /// Which side is better.
    pub rule: Rule,
    /// One for each number of the value, in its order.
    pub fields: &'static [Need],
}

impl Sysctl {
    /// Its wanted numbers.
    pub fn at(&self, connections: u64) -> Vec<u64> {
        self.fields.iter().map(|need| need.at(connections)).collect()
    }
}

const fn floor(key: &'static str, fields: &'static [Need]) -> Sysctl {
    Sysctl { key, rule: Rule::Floor, fields }
}

const fn ceiling(key: &'static str, fields: &'static [Need]) -> Sysctl {
    Sysctl { key, rule: Rule::Ceiling, fields }
}

/// Every sysctl that matters to the gateway. docs/doctor.md says of each what it costs.
pub const SYSCTLS: &[Sysctl] = &[
    // The most that any process may have as its limit of descriptors: a descriptor a connection,
    // and room for the gateway's own and for what else the unit runs. The kernel's default is 2²⁰.
    floor("fs.nr_open", &[Need::growing(1000).beside(65_536).least(1 << 20)]),
    // All open files of the host: a quarter of a million for everything but the gateway.
    floor("fs.file-max", &[Need::growing(1000).beside(262_144)]),
    // Connections that wait to be accepted, a listener. When everyone comes back at once
    // they need ten seconds anyway, and a shard that stands still for one of them must be able
    // to leave a tenth waiting. `limits::LISTEN_BACKLOG` is what the gateway asks for.
    floor("net.core.somaxconn", &[Need::growing(100).least(4096).most(65_535)]),
    // Handshakes that are not complete; only without cookies is it a hard bound.
    floor("net.ipv4.tcp_max_syn_backlog", &[Need::growing(100).least(4096).most(65_535)]),
    // Past both backlogs a cookie is sent, and nobody is turned away.
    floor("net.ipv4.tcp_syncookies", &[Need::flat(1)]),
    // Packets that wait for one core, from loopback and RPS: what an eighth of the clients
    // send in one interrupt.
    floor("net.core.netdev_max_backlog", &[Need::growing(125).least(1000).most(65_536)]),
    // Pages of all TCP buffers together: low, pressure, most. An idle socket has none; one
    // with anything to send and to read has a page for each. So: nobody is pressed before
    // every connection has both, and nothing is refused before each has three.
    floor("net.ipv4.tcp_mem", &[Need::growing(1000), Need::growing(2000), Need::growing(3000)]),
    // Buffers of one socket: least, at the start, most. The start is the kernel's own; the
    // most lets a client send 16 MiB messages at 20 MB/s over 100 ms.
    floor("net.ipv4.tcp_rmem", &[Need::flat(4096), Need::flat(131_072), Need::flat(4 << 20)]),
    floor("net.ipv4.tcp_wmem", &[Need::flat(4096), Need::flat(16_384), Need::flat(4 << 20)]),
    // Bounds of SO_RCVBUF and SO_SNDBUF, which the gateway does not use: the kernel's defaults.
    floor("net.core.rmem_max", &[Need::flat(212_992)]),
    floor("net.core.wmem_max", &[Need::flat(212_992)]),
    // A message after a pause would start with ten packets and wait for their acks. Idle and
    // then a burst is what WebSockets do.
    ceiling("net.ipv4.tcp_slow_start_after_idle", &[Need::flat(0)]),
    // Seconds for the FIN of a peer whose socket is closed here. The kernel's default.
    ceiling("net.ipv4.tcp_fin_timeout", &[Need::flat(60)]),
    // Connections closed by the gateway leave this for 60 s, and a drain closes all of them.
    floor("net.ipv4.tcp_max_tw_buckets", &[Need::growing(1000).least(131_072)]),
    // Tracked connections: those that are open, a quarter as many that are just closed, and
    // what else the host does. Past it packets are dropped.
    floor(CONNTRACK_MAX, &[Need::growing(1250).beside(65_536)]),
];

/// There only where nf_conntrack is loaded.
pub const CONNTRACK_MAX: &str = "net.netfilter.nf_conntrack_max";

/// Memory that glommio wants an executor to be allowed to lock, in bytes.
pub const EXECUTOR_MEMLOCK_BYTES: u64 = 512 << 10;
/// Bytes of an idle connection's slab objects, one kind each. Their sizes; of all of a bare socket
/// together docs/measurements.md found 3,642 bytes.
pub mod socket {
    /// `TCP`: the protocol's state.
    pub const TCP_BYTES: u64 = 2_521;
    /// `sock_inode_cache`.
    pub const INODE_BYTES: u64 = 862;
    /// `filp` 195, and 57 that security modules add.
    pub const FILE_BYTES: u64 = 195 + 57;
    /// `dentry`.
    pub const DENTRY_BYTES: u64 = 195;
    /// `io_kiocb` 262, registration with the ring 31 (docs/measurements.md).
    pub const IO_URING_BYTES: u64 = 262 + 31;
}
/// A bare TCP socket.
const SOCKET_BYTES: u64 =
    socket::TCP_BYTES + socket::INODE_BYTES + socket::FILE_BYTES + socket::DENTRY_BYTES;
/// The gateway's own memory for an idle connection (docs/measurements.md).
pub const USER_BYTES: u64 = 98;
/// The gateway's share of an idle connection.
const IDLE_CONNECTION_BYTES: u64 = socket::IO_URING_BYTES + USER_BYTES;
/// Buffers come in pages.
pub const PAGE_BYTES: u64 = 4096;
/// Buffers of a connection with something to read and something to send: a page each.
const BUSY_CONNECTION_BYTES: u64 = 2 * PAGE_BYTES;
/// Rings, receive buffers, lanes and spare outboxes of one shard.
pub const SHARD_BYTES: u64 = 16 << 20;
/// The program, its admin port and its broker thread.
pub const PROCESS_BYTES: u64 = 64 << 20;
/// Threads of a shard: its executor's, one of glommio's, one that dials Redis, one to spare.
const THREADS_PER_SHARD: u64 = 4;
/// Threads of the process: main, signals, admin port, broker, worker, to spare.
const THREADS_OF_PROCESS: u64 = 16;
/// Clients of Redis that are not the gateway: workers with their threads, tools.
const REDIS_OTHER_CLIENTS: u64 = 1_024;
/// Connections that a shard may have with Redis at once: its link, and one that is being made
/// anew while the old one lingers.
const REDIS_CLIENTS_PER_SHARD: u64 = 2;

/// What a gateway of so many connections and shards wants of its host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Open connections, `limits.connections`.
    pub connections: u64,
    /// Shards, one a core.
    pub shards: u64,
}

impl Wanted {
    /// Descriptors of the process: a limit below this does not hold the connections.
    pub fn descriptors(&self) -> u64 {
        let shards = usize::try_from(self.shards).unwrap_or(usize::MAX);
        self.connections.saturating_add(reserved_descriptors(shards))
    }

    /// Lockable memory, in bytes.
    pub fn memlock_bytes(&self) -> u64 {
        self.shards.saturating_mul(EXECUTOR_MEMLOCK_BYTES)
    }

    /// Memory while every connection is idle, in bytes; kernel and user together.
    pub fn memory_idle_bytes(&self) -> u64 {
        let connections = self.connections.saturating_mul(SOCKET_BYTES + IDLE_CONNECTION_BYTES);
        let shards = self.shards.saturating_mul(SHARD_BYTES);
        PROCESS_BYTES.saturating_add(shards).saturating_add(connections)
    }

    /// The same while every connection has something to read and something to send.
    pub fn memory_busy_bytes(&self) -> u64 {
        let buffers = self.connections.saturating_mul(BUSY_CONNECTION_BYTES);
        self.memory_idle_bytes().saturating_add(buffers)
    }

    /// Threads of the process, at most.
    pub fn threads(&self) -> u64 {
        THREADS_OF_PROCESS.saturating_add(self.shards.saturating_mul(THREADS_PER_SHARD))
    }

    /// `maxclients` of Redis.
    pub fn redis_clients(&self) -> u64 {
        REDIS_OTHER_CLIENTS.saturating_add(self.shards.saturating_mul(REDIS_CLIENTS_PER_SHARD))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits;

    fn sysctl(key: &str) -> &'static Sysctl {
        SYSCTLS.iter().find(|sysctl| sysctl.key == key).expect("in the table")
    }

    proptest! {
        #[test]
        fn more_connections_never_want_less(a: u64, b: u64, shards in 1..=1024_u64) {
            let (few, many) = (a.min(b), a.max(b));
            for sysctl in SYSCTLS {
                prop_assert!(sysctl.at(few) <= sysctl.at(many), "{}", sysctl.key);
            }
            let [few, many] = [few, many].map(|connections| Wanted { connections, shards });
            prop_assert!(few.descriptors() <= many.descriptors());
            prop_assert!(few.memory_idle_bytes() <= many.memory_idle_bytes());
            prop_assert!(few.memory_busy_bytes() <= many.memory_busy_bytes());
            prop_assert!(many.memory_idle_bytes() <= many.memory_busy_bytes());
        }

        #[test]
        fn more_shards_never_want_less(connections in 1..=10_000_000_u64, a: u32, b: u32) {
            let of = |shards: u32| Wanted { connections, shards: shards.into() };
            let (few, many) = (of(a.min(b)), of(a.max(b)));
            prop_assert!(few.descriptors() <= many.descriptors());
            prop_assert!(few.memlock_bytes() <= many.memlock_bytes());
            prop_assert!(few.memory_idle_bytes() <= many.memory_idle_bytes());
            prop_assert!(few.threads() <= many.threads());
            prop_assert!(few.redis_clients() <= many.redis_clients());
        }

        /// The kernel refuses (tcp_mem, tcp_rmem) what is not in order, also once merged with
        /// what a host has.
        #[test]
        fn numbers_of_one_sysctl_stay_in_order(
            connections in 1..=10_000_000_u64,
            mut found in prop::array::uniform3(0..u64::from(u32::MAX)),
        ) {
            found.sort_unstable();
            for sysctl in SYSCTLS.iter().filter(|sysctl| sysctl.fields.len() == 3) {
                let wanted = sysctl.at(connections);
                prop_assert!(wanted.is_sorted(), "{}: {wanted:?}", sysctl.key);
                let merged = found.iter().zip(&wanted).map(|(f, w)| sysctl.rule.better(*f, *w));
                prop_assert!(merged.is_sorted(), "{}: {found:?}", sysctl.key);
            }
        }

        #[test]
        fn what_is_set_is_met_and_takes_nothing_away(found: u64, wanted: u64) {
            for rule in [Rule::Floor, Rule::Ceiling] {
                let set = rule.better(found, wanted);
                prop_assert!(rule.is_met(set, wanted) && rule.is_met(set, found));
            }
        }

        #[test]
        fn descriptors_fit_under_what_the_host_is_asked_for(
            connections in 1..=10_000_000_u64,
            shards in 1..=1024_u64,
        ) {
            let descriptors = Wanted { connections, shards }.descriptors();
            for key in ["fs.nr_open", "fs.file-max"] {
                prop_assert!(sysctl(key).at(connections)[0] >= descriptors, "{key}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_connections() {
        let wanted = Wanted { connections: 100_000, shards: 4 };
        assert_eq!(wanted.descriptors(), 100_000 + 128 + 4 * 24);
        assert_eq!(wanted.memlock_bytes(), 2 << 20);
        assert_eq!(sysctl("net.core.somaxconn").at(100_000), [10_000]);
        assert_eq!(sysctl("net.ipv4.tcp_mem").at(100_000), [100_000, 200_000, 300_000]);
        assert_eq!(sysctl(CONNTRACK_MAX).at(100_000), [190_536]);
        assert_eq!(wanted.memory_idle_bytes() >> 20, 64 + 64 + 402);
    }

    #[test]
    fn a_need_is_rounded_up_and_kept_within_its_bounds() {
        let need = Need::growing(100).least(5).most(7);
        assert_eq!([1, 41, 51, 61, 1_000].map(|n| need.at(n)), [5, 5, 6, 7, 7]);
        assert_eq!(Need::growing(1).at(1), 1, "rounded up");
        assert_eq!(Need::growing(u64::MAX).beside(u64::MAX).at(u64::MAX), u64::MAX);
    }

    #[test]
    fn nothing_is_wanted_past_what_the_gateway_asks_the_kernel_for() {
        let most = sysctl("net.core.somaxconn").fields[0].most;
        assert_eq!(most, Some(limits::LISTEN_BACKLOG as u64));
    }
}
