//! ▢ The figures of cost in a report, and the straight lines through them.

use serde::{Deserialize, Serialize};

/// Bytes that a server takes, by what takes them. Kernel memory counts the server's end only.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Its own memory (Private_Dirty of smaps_rollup).
    pub user_bytes: f64,
    /// `TCP` and `TCPv6` slabs: protocol state of the sockets.
    pub tcp_bytes: f64,
    /// `sock_inode_cache`, with what security modules add to an inode.
    pub socket_inode_bytes: f64,
    /// `filp`, with what security modules add to a file.
    pub file_bytes: f64,
    /// `dentry`.
    pub dentry_bytes: f64,
    /// `io_kiocb` and registered descriptors.
    pub io_uring_bytes: f64,
    /// `eventpoll_epi` and `eventpoll_pwq`.
    pub epoll_bytes: f64,
    /// Pages of TCP send and receive queues (sockstat).
    pub buffer_bytes: f64,
}

/// What was read while the number of users did not change.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Point {
    /// Open WebSockets, as the load counts them.
    pub connections: u64,
    /// Length of the time in which the rest was counted.
    pub seconds: f64,
    /// At its end, less what was there before the first connection where it is the kernel's.
    pub memory: Memory,
    /// Processor time of the server, user and system.
    pub cpu_seconds: f64,
    /// Messages that the server took and gave.
    pub messages: u64,
    /// System calls of the server, where they can be counted.
    pub system_calls: Option<u64>,
}

/// `fixed + slope × x`, by least squares.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// At nought.
    pub fixed: f64,
    /// For one more.
    pub slope: f64,
    /// Share of the variance that the line explains; 1 where there are no more than two points.
    pub r_squared: f64,
}

/// Coefficients of a server, for planning.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Fit {
    /// Bytes of the server's own memory, against connections.
    pub user_bytes: Line,
    /// Bytes of the kernel's memory without buffers, against connections.
    pub kernel_bytes: Line,
    /// Bytes of buffers, against connections.
    pub buffer_bytes: Line,
    /// Microseconds of processor time a second, against connections; only where there were next
    /// to no messages.
    pub idle_cpu_us: Option<Line>,
    /// Microseconds of processor time a message, where there were messages.
    pub cpu_us_per_message: Option<f64>,
    /// System calls a message, where they can be counted and there were messages.
    pub system_calls_per_message: Option<f64>,
}

/// Everything about cost in one report.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Cost {
    /// In the order of the run.
    pub points: Vec<Point>,
    /// Where there are points at two numbers of connections or more.
    pub fit: Option<Fit>,
    /// What could not be read, and why.
    pub unread: Vec<String>,
}
