//! ▢ How much of the kernel's growth is the server's.
//!
//! - A socket has one object each of `sock_inode_cache`, `filp` and `dentry` (the kernel's
//!   `sock_alloc_file`), and of what security modules add to inodes and files. The sockets are
//!   counted by the first, which nothing else fills; counting the others would charge the
//!   server with every file that anyone on the machine opens or lists meanwhile.
//! - Where the load's sockets are in the same kernel, each connection has two, and what both
//!   ends fill is halved.
//! - What the server waits for its connections with, its rings and epolls tell ([`waits`]). Where
//!   they were not asked, all that grew is the server's but what the load has: it waits on a
//!   ring as well, with one request and one registered descriptor a connection, and has nothing
//!   in epoll. And a server registers all its connections with a ring, or with epoll, or none:
//!   fewer than one in two are others' objects in a merged cache (`eventpoll_epi` shares one
//!   with the ports of connecting sockets, `eventpoll_pwq` with the memory maps of processes).
//!
//! Rings keep for later as many requests as were once in flight at the same time. Whose those
//! are only the heuristic has to guess; it takes them for the server's.
//!
//! Not counted, for no cache has them by name: the table of descriptors (8 bytes each), the
//! ring's table of registered ones (8 bytes each, made at start), and what operations other
//! than a multishot poll keep besides their request.
//!
//! [`waits`]: super::waits

use super::{
    model::Memory,
    slab::{Cache, Slabs},
    waits::WaitsPerConnection,
};

/// Where the load's ends of the connections are.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Ends {
    /// In another kernel: what grows here is the server's.
    Server,
    /// In this one.
    Both {
        /// Requests (`io_kiocb`) that the load keeps for each connection, and as many
        /// registered descriptors.
        load_kiocb_per_connection: f64,
    },
}

/// What a [`Fleet`](crate::bench::Fleet) keeps for each connection: a multishot poll.
const FLEET_KIOCB_PER_CONNECTION: f64 = 1.0;

/// Registrations a connection below which there are none.
const REGISTERED_MIN: f64 = 0.5;

/// Share of the expected sockets by which the counted ones may be off.
const SOCKETS_OFF: f64 = 0.05;
/// And how many besides: those of the machine's daily life.
const SOCKETS_OFF_FIXED: f64 = 20.0;

/// What a connection is made of. Only these must be there.
const NEEDED: [&str; 7] =
    ["TCP", "sock_inode_cache", "filp", "dentry", "io_kiocb", "eventpoll_epi", "eventpoll_pwq"];

impl Ends {
    /// The server's and those of a [`Fleet`](crate::bench::Fleet), in one kernel.
    pub const FLEET: Self = Self::Both { load_kiocb_per_connection: FLEET_KIOCB_PER_CONNECTION };

    /// Sockets of this kernel a connection.
    pub fn sockets_per_connection(self) -> f64 {
        match self {
            Self::Server => 1.0,
            Self::Both { .. } => 2.0,
        }
    }

    fn load_kiocb_per_connection(self) -> f64 {
        match self {
            Self::Server => 0.0,
            Self::Both { load_kiocb_per_connection } => load_kiocb_per_connection,
        }
    }
}

/// Which of the caches of a connection the kernel has not, or not under a name that can be found.
pub fn missing(slabs: &Slabs) -> impl Iterator<Item = &'static str> {
    NEEDED.into_iter().filter(|name| slabs.get(name).is_none())
}

/// What the server's ends of so many connections take, as far as caches have it. The user's
/// memory and the buffers are left at nought.
pub fn of_server(
    before: &Slabs,
    now: &Slabs,
    connections: u64,
    ends: Ends,
    waits: Option<WaitsPerConnection>,
) -> Memory {
    let more = |name| Growth::of(before, now, name);
    let per_connection = ends.sockets_per_connection();
    let sockets = more("sock_inode_cache").objects / per_connection;
    let each = |name| sockets * more(name).object_bytes;

    let requests = more("io_kiocb");
    // Since Linux 6.13 a registered descriptor is a node of 24 bytes; before, it was none.
    let nodes = more("kmalloc-32");
    let (items, queues) = (more("eventpoll_epi"), more("eventpoll_pwq"));
    let grown = Registered {
        polls: requests.objects,
        descriptors: nodes.objects,
        epoll_items: items.objects.min(queues.objects),
    };
    let its_own = match waits {
        Some(waits) => grown.said_by_itself(waits, connections as f64),
        None => grown.without_the_load(ends, connections as f64),
    };
    Memory {
        tcp_bytes: (more("TCP").bytes() + more("TCPv6").bytes()) / per_connection,
        socket_inode_bytes: each("sock_inode_cache") + each("lsm_inode_cache"),
        file_bytes: each("filp") + each("lsm_file_cache"),
        dentry_bytes: each("dentry"),
        io_uring_bytes: its_own.polls * requests.object_bytes
            + its_own.descriptors * nodes.object_bytes,
        epoll_bytes: its_own.epoll_items * (items.object_bytes + queues.object_bytes),
        ..Memory::default()
    }
}

/// Objects by which something waits.
struct Registered {
    polls: f64,
    descriptors: f64,
    epoll_items: f64,
}

impl Registered {
    /// The part of it that the server says to have.
    fn said_by_itself(self, each: WaitsPerConnection, connections: f64) -> Self {
        Self {
            polls: self.polls.min(each.polls * connections),
            descriptors: self.descriptors.min(each.descriptors * connections),
            epoll_items: self.epoll_items.min(each.epoll_items * connections),
        }
    }

    fn without_the_load(self, ends: Ends, connections: f64) -> Self {
        let load = ends.load_kiocb_per_connection() * connections;
        let all_or_none = |registered: f64| {
            if registered < REGISTERED_MIN * connections { 0.0 } else { registered }
        };
        let polls = all_or_none((self.polls - load).max(0.0));
        Self {
            polls,
            descriptors: (self.descriptors - load).clamp(0.0, polls),
            epoll_items: all_or_none(self.epoll_items),
        }
    }
}

/// Says so where others opened or closed sockets meanwhile, so that what grew is not the
/// connections' alone.
pub fn disturbed(before: &Slabs, now: &Slabs, connections: u64, ends: Ends) -> Option<String> {
    let count = |slabs: &Slabs| slabs.get("sock_inode_cache").map_or(0, |cache| cache.objects);
    let came = count(now) as f64 - count(before) as f64;
    let expected = connections as f64 * ends.sockets_per_connection();
    let is_off = (came - expected).abs() > expected * SOCKETS_OFF + SOCKETS_OFF_FIXED;
    is_off.then(|| {
        format!(
            "at {connections} connections: the kernel has {came} sockets more than before them, \
             where they account for {expected}: its memory is not theirs alone"
        )
    })
}

/// What came to one cache.
struct Growth {
    objects: f64,
    object_bytes: f64,
}

impl Growth {
    fn of(before: &Slabs, now: &Slabs, name: &str) -> Self {
        let was = before.get(name).unwrap_or_default().objects;
        let Cache { objects, object_bytes } = now.get(name).unwrap_or_default();
        Self { objects: objects.saturating_sub(was) as f64, object_bytes }
    }

    fn bytes(&self) -> f64 {
        self.objects * self.object_bytes
    }
}

#[cfg(test)]
mod tests;
