//! ▢ What a [`Traffic`] takes of the gateway's machine: descriptors, memory, processor time.
//!
//! Plain sums of products; nothing here is less for more connections.

use serde::Serialize;

use super::{
    coefficients::{BusyBuffers, Coefficients, Cpu, Memory, Waking},
    network::{self, Network},
    redis::{self, Redis},
    traffic::{Flows, Stream, Traffic},
};
use crate::doctor::wanted::{PAGE_BYTES, Wanted};

const US_PER_SECOND: f64 = 1e6;
const NS_PER_US: f64 = 1e3;

/// What a traffic takes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Estimate {
    /// Open descriptors of the process.
    pub descriptors: u64,
    /// Bytes of memory.
    pub memory: MemoryUse,
    /// Cores.
    pub cpu: CpuUse,
    /// What Redis has to do.
    pub redis: Redis,
    /// What passes the network card.
    pub network: Network,
}

/// Bytes of memory, by what takes them. A bench report measures the same: [`Self::user_bytes`] is
/// its `user_bytes`, [`Self::kernel_bytes`] the sum of its kernel's, and so on.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct MemoryUse {
    /// The process and its shards, without connections.
    pub fixed_bytes: f64,
    /// The gateway's own for connections.
    pub connections_bytes: f64,
    /// Its own for sessions of tasks, subscriptions and topics.
    pub sessions_bytes: f64,
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
    /// epoll's, of servers that use it.
    pub epoll_bytes: f64,
    /// The kernel's that does not grow with connections, where that was measured.
    pub kernel_fixed_bytes: f64,
    /// TCP's send and receive queues.
    pub buffer_bytes: f64,
}

/// Cores, by what they are busy with.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct CpuUse {
    /// Clocks, pings and pongs.
    pub idle: f64,
    /// Taking messages that are answered.
    pub receive: f64,
    /// Answering them.
    pub send: f64,
    /// Chunks, acks and results.
    pub tasks: f64,
    /// Fan-out of topics.
    pub topics: f64,
    /// Being woken, and doing little at a time: what shards that have little to do spend besides.
    pub waking: f64,
}

/// What `traffic` takes, at what `coefficients` say that one of everything costs.
pub fn estimate(traffic: &Traffic, coefficients: &Coefficients) -> Estimate {
    let flows = traffic.flows();
    let wanted = Wanted { connections: traffic.connections, shards: traffic.shards };
    Estimate {
        descriptors: wanted.descriptors(),
        memory: memory(traffic, &coefficients.memory, &flows),
        cpu: cpu(traffic, &coefficients.cpu, &flows),
        redis: redis::estimate(traffic, &flows),
        network: network::estimate(&flows),
    }
}

impl MemoryUse {
    /// The process's own memory.
    pub fn user_bytes(&self) -> f64 {
        (self.fixed_bytes + self.connections_bytes + self.sessions_bytes).max(0.0)
    }

    /// The kernel's, without buffers.
    pub fn kernel_bytes(&self) -> f64 {
        let Self { tcp_bytes, socket_inode_bytes, file_bytes, dentry_bytes, .. } = self;
        let rings = self.io_uring_bytes + self.epoll_bytes + self.kernel_fixed_bytes;
        (tcp_bytes + socket_inode_bytes + file_bytes + dentry_bytes + rings).max(0.0)
    }

    /// All of it.
    pub fn total_bytes(&self) -> f64 {
        self.user_bytes() + self.kernel_bytes() + self.buffer_bytes
    }
}

impl CpuUse {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.idle + self.receive + self.send + self.tasks + self.topics + self.waking
    }
}

fn memory(traffic: &Traffic, memory: &Memory, flows: &Flows) -> MemoryUse {
    let (connections, shards) = (traffic.connections as f64, traffic.shards as f64);
    let one = &memory.connection;
    let subscribers = if traffic.topics.is_some() { traffic.active() } else { 0.0 };
    let sessions_bytes = traffic.sessions() * memory.session_bytes
        + traffic.subscriptions() * memory.subscription_bytes
        + subscribers * memory.subscriber_bytes
        + traffic.live_topics() * (memory.topic_bytes + memory.topic_on_shard_bytes * shards);
    MemoryUse {
        fixed_bytes: memory.process_bytes + memory.shard_bytes * shards,
        connections_bytes: one.user_bytes * connections,
        sessions_bytes,
        tcp_bytes: one.tcp_bytes * connections,
        socket_inode_bytes: one.socket_inode_bytes * connections,
        file_bytes: one.file_bytes * connections,
        dentry_bytes: one.dentry_bytes * connections,
        io_uring_bytes: one.io_uring_bytes * connections,
        epoll_bytes: one.epoll_bytes * connections,
        kernel_fixed_bytes: memory.kernel_fixed_bytes,
        buffer_bytes: buffer_bytes(traffic, memory, flows),
    }
}

fn buffer_bytes(traffic: &Traffic, memory: &Memory, flows: &Flows) -> f64 {
    let (all, active) = (traffic.connections as f64, traffic.active());
    let idle = memory.buffers.idle;
    let bytes = match memory.buffers.busy {
        BusyBuffers::Pages => {
            let pages = pages(&[flows.messages, flows.chunks])
                + pages(&[flows.replies, flows.acks, flows.results, flows.fan_out]);
            idle.fixed + idle.slope * all + active * pages * PAGE_BYTES as f64
        }
        BusyBuffers::Measured(busy) => {
            busy.fixed + busy.slope * active + idle.slope * (all - active)
        }
    };
    bytes.max(0.0)
}

/// Pages of the largest message of one direction; a ping has one too.
fn pages(streams: &[Stream]) -> f64 {
    let largest = streams.iter().map(|stream| stream.bytes).fold(0.0, f64::max);
    (largest / PAGE_BYTES as f64).ceil().max(1.0)
}

fn cpu(traffic: &Traffic, cpu: &Cpu, flows: &Flows) -> CpuUse {
    let shards = traffic.shards as f64;
    let idle = cpu.process_us + cpu.shard_us * shards + flows.pings.per_second * cpu.ping_us;
    let of = |stream: &Stream, one_us: f64, included: Option<f64>| {
        stream.per_second * (one_us + bytes_us(stream.bytes, included, cpu.byte_ns))
    };
    let included = cpu.included;
    let topics = of(&flows.fan_out, cpu.frame_us, included.topics)
        + (flows.deliveries.per_second - flows.fan_out.per_second).max(0.0) * cpu.value_us
        + flows.publications.per_second * cpu.publication_us;
    // Of a result the bytes are few, and counted as those of an answer.
    let tasks = of(&flows.chunks, cpu.chunk_us, included.tasks)
        + of(&flows.results, cpu.result_us, included.tasks)
        + flows.session_starts * cpu.session_us;
    let work = CpuUse {
        idle: idle / US_PER_SECOND,
        receive: of(&flows.messages, cpu.receive_us, included.echo) / US_PER_SECOND,
        send: of(&flows.replies, cpu.send_us, included.echo) / US_PER_SECOND,
        tasks: tasks / US_PER_SECOND,
        topics: topics / US_PER_SECOND,
        waking: 0.0,
    };
    CpuUse { waking: waking(traffic, &cpu.waking, flows, work.total()), ..work }
}

/// What shards that have `work` cores of other work spend on being woken. Each kind of event
/// has its own curve: together they cost less, and more of one must never look like less of all.
fn waking(traffic: &Traffic, waking: &Waking, flows: &Flows, work: f64) -> f64 {
    let shards = traffic.shards as f64;
    let share = |events_per_second: f64| {
        let of_a_shard = events_per_second / shards;
        of_a_shard / (of_a_shard + Waking::HALF_PER_SECOND)
    };
    // A message of a topic wakes every shard that has a subscriber.
    let live = traffic.live_topics();
    let shards_of_a_topic =
        if live > 0.0 { (traffic.subscriptions() / live).clamp(1.0, shards) } else { 0.0 };
    let one_us = waking.pong_us * share(flows.pings.per_second)
        + waking.echo_us * share(flows.messages.per_second)
        + waking.tasks_us * share(flows.chunks.per_second.max(flows.results.per_second))
        + waking.topics_us * share(flows.publications.per_second * shards_of_a_topic);
    let asleep = (1.0 - work / shards).max(0.0);
    shards * one_us / US_PER_SECOND * asleep
}

/// For what a message is longer than those that were measured.
fn bytes_us(bytes: f64, included: Option<f64>, byte_ns: f64) -> f64 {
    let more = included.map_or(0.0, |included| (bytes - included).max(0.0));
    more * byte_ns / NS_PER_US
}
