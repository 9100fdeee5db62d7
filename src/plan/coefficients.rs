//! ▢ What one of everything costs: measured on another machine, or by a bench report of this one.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    bench::cost::model::Line,
    doctor::wanted::{PROCESS_BYTES, SHARD_BYTES, USER_BYTES, socket},
};

/// Of an answered message, the share of receiving it. In the profile of an echo
/// (docs/measurements.md) reading is 13 % and sending 73 %; the rest is system calls, of both.
pub const RECEIVE_SHARE: f64 = 0.2;

/// Payload that the default costs of messages were measured with; what is longer costs
/// [`Cpu::byte_ns`] more.
const MEASURED_BYTES: f64 = 64.0;

/// Everything that an estimate is computed from.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Coefficients {
    /// Bytes.
    pub memory: Memory,
    /// Processor time.
    pub cpu: Cpu,
    /// Where each comes from.
    pub origins: Origins,
}

/// Bytes of memory.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Memory {
    /// The process without connections and without shards.
    pub process_bytes: f64,
    /// One shard, without connections.
    pub shard_bytes: f64,
    /// The kernel's, without connections: what a fitted line does not put down to them.
    pub kernel_fixed_bytes: f64,
    /// Of one connection, its own and the kernel's.
    pub connection: PerConnection,
    /// Buffers of TCP.
    pub buffers: Buffers,
    /// One open session of tasks. 0 where `connection` was measured with them.
    pub session_bytes: f64,
    /// One subscription. 0 likewise.
    pub subscription_bytes: f64,
    /// A connection that has any subscription, once. 0 likewise.
    pub subscriber_bytes: f64,
    /// One topic, once. 0 likewise.
    pub topic_bytes: f64,
    /// One topic, on each shard that wants it (docs/topics.md). 0 likewise.
    pub topic_on_shard_bytes: f64,
}

/// Bytes of one connection, by what takes them.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct PerConnection {
    /// The server's own memory.
    pub user_bytes: f64,
    /// `TCP`.
    pub tcp_bytes: f64,
    /// `sock_inode_cache`.
    pub socket_inode_bytes: f64,
    /// `filp`.
    pub file_bytes: f64,
    /// `dentry`.
    pub dentry_bytes: f64,
    /// `io_kiocb` and registered descriptors.
    pub io_uring_bytes: f64,
    /// `eventpoll_epi` and `eventpoll_pwq`, of servers that use epoll.
    pub epoll_bytes: f64,
}

/// What TCP holds of messages on their way.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Buffers {
    /// Of connections without traffic.
    pub idle: Line,
    /// Of active ones.
    pub busy: BusyBuffers,
}

/// What TCP holds for connections that have traffic.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BusyBuffers {
    /// Whole pages for the largest message each way, for each active connection: nothing is
    /// refused before all of them have something to read and something to send.
    Pages,
    /// As measured, against active connections.
    Measured(Line),
}

/// Processor time, in microseconds but for what says otherwise.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cpu {
    /// The process a second, without connections.
    pub process_us: f64,
    /// One shard a second, without connections.
    pub shard_us: f64,
    /// A ping and its pong.
    pub ping_us: f64,
    /// A message taken.
    pub receive_us: f64,
    /// A message given in answer.
    pub send_us: f64,
    /// A chunk taken, pushed to Redis and acked.
    pub chunk_us: f64,
    /// A result of a worker, brought to its client.
    pub result_us: f64,
    /// A session begun and ended.
    pub session_us: f64,
    /// A message of a topic, or a batch, written to one connection.
    pub frame_us: f64,
    /// Each further value of a batch.
    pub value_us: f64,
    /// A message of a topic from Redis, once.
    pub publication_us: f64,
    /// What it costs beside that to be woken, and to do little at a time.
    pub waking: Waking,
    /// Of a byte of payload, either way, in nanoseconds.
    pub byte_ns: f64,
    /// Bytes that the figures of a message include already.
    #[serde(skip)]
    pub included: Included,
    /// One accept, its handshake and upgrade.
    pub accept_us: f64,
}

/// Processor time of an idle shard for being woken, in microseconds a second, by what wakes it, at
/// most. Half of it is spent at [`Waking::HALF_PER_SECOND`] events a second; a shard that is busy
/// has less, for it is awake. 0 where the cost of a message was measured at its own rate.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Waking {
    /// Pongs, which come from a network one by one.
    pub pong_us: f64,
    /// Messages that are answered.
    pub echo_us: f64,
    /// Chunks, with the answers of Redis and of workers.
    pub tasks_us: f64,
    /// Messages of topics.
    pub topics_us: f64,
}

impl Waking {
    /// Events a second at which a shard spends half of it.
    pub const HALF_PER_SECOND: f64 = 300.0;
}

/// Payload bytes that are in the cost of a message already; `None`: all, for the run that it was
/// measured with had messages of the planned size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Included {
    /// Of messages and their answers.
    pub echo: Option<f64>,
    /// Of chunks.
    pub tasks: Option<f64>,
    /// Of what topics write.
    pub topics: Option<f64>,
}

/// Where a coefficient comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// docs/measurements.md, which is another machine.
    Default,
    /// A bench report: its name, as the caller gave it, and its profile.
    Report {
        /// The file.
        name: String,
        /// What ran.
        profile: String,
    },
    /// A flag.
    Given,
}

/// Where the coefficients come from, by kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Origins {
    /// Memory but for buffers.
    pub memory: Origin,
    /// Buffers.
    pub buffers: Origin,
    /// Processor time without messages.
    pub idle: Origin,
    /// Of messages that are answered.
    pub echo: Origin,
    /// Of chunks and results.
    pub tasks: Origin,
    /// Of what topics deliver.
    pub topics: Origin,
    /// Of accepts.
    pub accept: Origin,
}

impl Default for Coefficients {
    /// docs/measurements.md.
    fn default() -> Self {
        Self { memory: Memory::default(), cpu: Cpu::default(), origins: Origins::default() }
    }
}

impl Default for Memory {
    /// What doctor wants, and for sessions and subscriptions docs/topics.md.
    fn default() -> Self {
        Self {
            process_bytes: PROCESS_BYTES as f64,
            shard_bytes: SHARD_BYTES as f64,
            kernel_fixed_bytes: 0.0,
            connection: PerConnection::default(),
            buffers: Buffers { idle: Line::default(), busy: BusyBuffers::Pages },
            session_bytes: 1_150.0,
            subscription_bytes: 2.0 * 44.0,
            subscriber_bytes: 200.0,
            topic_bytes: 500.0,
            topic_on_shard_bytes: 100.0,
        }
    }
}

impl Default for Cpu {
    fn default() -> Self {
        let echo_us = 7.2;
        Self {
            process_us: 0.0,
            shard_us: 1_200.0,
            ping_us: 9.0,
            receive_us: echo_us * RECEIVE_SHARE,
            send_us: echo_us * (1.0 - RECEIVE_SHARE),
            chunk_us: 6.1,
            result_us: 3.9,
            session_us: 50.0,
            frame_us: 7.2,
            value_us: 1.5,
            publication_us: 8.0,
            waking: Waking::default(),
            byte_ns: 0.4,
            included: Included::default(),
            accept_us: 25.0,
        }
    }
}

impl Default for Waking {
    /// Echoes, chunks and topics at 50 to 10,000 a second (docs/measurements.md).
    fn default() -> Self {
        Self { pong_us: 85e3, echo_us: 85e3, tasks_us: 180e3, topics_us: 130e3 }
    }
}

impl Default for PerConnection {
    /// Of this gateway, idle.
    fn default() -> Self {
        Self {
            user_bytes: USER_BYTES as f64,
            tcp_bytes: socket::TCP_BYTES as f64,
            socket_inode_bytes: socket::INODE_BYTES as f64,
            file_bytes: socket::FILE_BYTES as f64,
            dentry_bytes: socket::DENTRY_BYTES as f64,
            io_uring_bytes: socket::IO_URING_BYTES as f64,
            epoll_bytes: 0.0,
        }
    }
}

impl PerConnection {
    /// Bytes of the kernel's memory.
    pub fn kernel_bytes(&self) -> f64 {
        let Self { tcp_bytes, socket_inode_bytes, file_bytes, dentry_bytes, .. } = self;
        let rings = self.io_uring_bytes + self.epoll_bytes;
        tcp_bytes + socket_inode_bytes + file_bytes + dentry_bytes + rings
    }

    /// The same kinds in the same shares, of the kernel's memory so many bytes.
    #[must_use]
    pub fn with_kernel_bytes(self, bytes: f64) -> Self {
        let whole = self.kernel_bytes();
        let scale = if whole > 0.0 { bytes / whole } else { 0.0 };
        Self {
            user_bytes: self.user_bytes,
            tcp_bytes: self.tcp_bytes * scale,
            socket_inode_bytes: self.socket_inode_bytes * scale,
            file_bytes: self.file_bytes * scale,
            dentry_bytes: self.dentry_bytes * scale,
            io_uring_bytes: self.io_uring_bytes * scale,
            epoll_bytes: self.epoll_bytes * scale,
        }
    }
}

impl Default for Included {
    /// Of the default costs: an echo and a delivery of 64 bytes, a chunk of 3,200 in base64.
    fn default() -> Self {
        let (text, chunk) = (Some(MEASURED_BYTES), Some(4_400.0));
        // A value has its topic's name and braces around it, and a batch has more than one.
        Self { echo: text, tasks: chunk, topics: Some(2.0 * MEASURED_BYTES) }
    }
}

impl Default for Origins {
    fn default() -> Self {
        let of = || Origin::Default;
        Self {
            memory: of(),
            buffers: of(),
            idle: of(),
            echo: of(),
            tasks: of(),
            topics: of(),
            accept: of(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default, of another machine"),
            Self::Report { name, profile } => write!(f, "measured, {name} ({profile})"),
            Self::Given => f.write_str("given"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
