//! The closed loop: every connection has a fixed number of messages in flight, and each reply is
//! answered with the next message.
//!
//! It runs on the gateway's own ring engine because a load must cost less than what it measures:
//! with an epoll loop on this side the floor was faster than its load, idled, and was measured in
//! small and cheap batches while the gateway was measured in large ones.
//!
//! Messages are framed once, before the clock runs. Replies are counted by length; the header of
//! every reply that starts a read is checked, and the whole of one in [`CHECK_EVERY`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use hdrhistogram::Histogram;
use ringgate::{
    ids::SocketId,
    metrics::ShardMetrics,
    ring::{Event, Ring, RingOptions},
};
use serde_json::json;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::{Common, Deadline, Failure, connect, machine};

/// One wait at the most, so that the clock is looked at when nothing comes.
const WAIT: Duration = Duration::from_millis(100);
/// One reply in so many is compared byte for byte.
const CHECK_EVERY: u64 = 1024;
/// Below this the clock tick of the processor times is no longer small beside the window.
const CPU_WINDOW_SECONDS_MIN: u64 = 5;
/// A reply that takes longer than this is lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);
/// The client's mask: any value costs the server the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the closed loop is told.
#[derive(Args)]
pub struct EchoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Bytes of payload.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=32_768))]
    bytes: u32,
    /// Messages in flight on a connection.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=64))]
    inflight: u32,
    /// Length of the measured window.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Time before it.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(0..=60))]
    warmup_seconds: u64,
    /// Process whose processor time is measured.
    #[arg(long)]
    server_pid: Option<u32>,
}

/// Runs the load and prints one JSON object.
pub fn run(args: &EchoArgs, deadline: Deadline) -> Result<(), Failure> {
    if args.server_pid.is_some() && args.seconds < CPU_WINDOW_SECONDS_MIN {
        return Err(format!("processor time is counted in ticks: --server-pid wants --seconds of at least {CPU_WINDOW_SECONDS_MIN}").into());
    }
    let mut closed_loop = Loop::open(args, deadline)?;
    closed_loop.start()?;
    closed_loop.run_for(Duration::from_secs(args.warmup_seconds), deadline)?;

    closed_loop.reset();
    let server = args.server_pid.map(|pid| pid.to_string());
    let server_cpu = || server.as_deref().map(machine::cpu_seconds).transpose();
    let (server_before, own_before) = (server_cpu()?, machine::cpu_seconds("self")?);
    let began = Instant::now();
    closed_loop.run_for(Duration::from_secs(args.seconds), deadline)?;
    let seconds = began.elapsed().as_secs_f64();
    let own = machine::cpu_seconds("self")? - own_before;
    let server = server_cpu()?.zip(server_before).map(|(after, before)| after - before);

    let messages = closed_loop.messages;
    if messages == 0 {
        return Err(format!("no reply within {} s", args.seconds).into());
    }
    let us_per_message = |cpu_seconds: f64| rounded(cpu_seconds * 1e6 / messages as f64);
    let latency_us =
        |quantile| rounded(closed_loop.latency_ns.value_at_quantile(quantile) as f64 / 1e3);
    let report = json!({
        "connections": args.common.connections, "inflight": args.inflight, "bytes": args.bytes,
        "raw": args.common.raw, "messages": messages, "seconds": rounded(seconds),
        "messages_per_second": (messages as f64 / seconds).round(),
        "latency_p50_us": latency_us(0.5), "latency_p99_us": latency_us(0.99),
        "server_cpu_us_per_message": server.map(us_per_message),
        "server_utilisation": server.map(|cpu| rounded(cpu / seconds)),
        "load_cpu_us_per_message": us_per_message(own),
        "load_utilisation": rounded(own / seconds),
        "cpu_tick_seconds": machine::tick_seconds()?,
    });
    println!("{report}");
    Ok(())
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

struct Connection {
    id: SocketId,
    /// Bytes of an unfinished reply.
    partial_bytes: usize,
    /// Send times of the messages in flight, oldest first.
    sent_at: VecDeque<Instant>,
    /// The buffer of the last write, to be used for the next.
    spare: Vec<u8>,
}

struct Loop {
    ring: Ring,
    /// By the slot of their sockets, which a new ring gives in order.
    connections: Vec<Connection>,
    /// As many messages as may be in flight, framed and masked, one behind the other.
    messages_wire: Vec<u8>,
    message_bytes: usize,
    reply: Vec<u8>,
    messages: u64,
    latency_ns: Histogram<u64>,
}

impl Loop {
    fn open(args: &EchoArgs, deadline: Deadline) -> Result<Self, Failure> {
        let payload: Vec<u8> = (0..args.bytes).map(|index| index as u8).collect();
        let message = frame(&payload, Some(MASK))?;
        let reply = if args.common.raw { message.clone() } else { frame(&payload, None)? };
        let options = RingOptions {
            tick: WAIT,
            registered_sockets: args.common.connections,
            ..RingOptions::default()
        };
        let mut ring = Ring::new(&options, Arc::new(ShardMetrics::default()))?;
        let mut connections = Vec::new();
        for index in 0..args.common.connections {
            deadline.check()?;
            let opened = connect::open(&args.common, 1, index)?;
            if !opened.surplus.is_empty() {
                return Err("the server sent something before it was asked".into());
            }
            let id = ring.adopt(opened.stream.into())?;
            let sent_at = VecDeque::with_capacity(args.inflight as usize);
            connections.push(Connection { id, partial_bytes: 0, sent_at, spare: Vec::new() });
        }
        Ok(Self {
            ring,
            connections,
            messages_wire: message.repeat(args.inflight as usize),
            message_bytes: message.len(),
            reply,
            messages: 0,
            latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        })
    }

    fn start(&mut self) -> Result<(), Failure> {
        let (now, count) = (Instant::now(), self.messages_wire.len() / self.message_bytes);
        (0..self.connections.len()).try_for_each(|index| self.send(index, count, now))
    }

    fn reset(&mut self) {
        self.messages = 0;
        self.latency_ns.reset();
    }

    fn run_for(&mut self, time: Duration, deadline: Deadline) -> Result<(), Failure> {
        let end = Instant::now() + time;
        let mut events = Vec::new();
        while Instant::now() < end {
            if self.ring.turn(&mut events)? == 0 {
                if self.ring.prepare_sleep()? {
                    self.ring.waker().block();
                }
                self.ring.awake();
            }
            for event in events.drain(..) {
                self.on_event(event)?;
            }
            deadline.check()?;
        }
        let now = Instant::now();
        let waits = |connection: &&Connection| {
            connection.sent_at.front().is_some_and(|sent| now - *sent > REPLY_TIMEOUT)
        };
        match self.connections.iter().filter(waits).count() {
            0 => Ok(()),
            count => {
                Err(format!("{count} connections have waited over {REPLY_TIMEOUT:?} for a reply")
                    .into())
            }
        }
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Received(id, mut received) => {
                let taken = self.receive(id.slot as usize, received.bytes_mut());
                self.ring.recycle(id, received);
                taken
            }
            Event::Sent(id, spare) => {
                self.connections[id.slot as usize].spare = spare;
                Ok(())
            }
            Event::PeerFinished(id) => {
                Err(format!("the server closed connection {}", id.slot + 1).into())
            }
            Event::Failed(id, error) => Err(format!("connection {}: {error}", id.slot + 1).into()),
            Event::Accepted(_) | Event::Freed(_) | Event::AcceptStopped(_) | Event::Tick => Ok(()),
        }
    }

    /// Takes what has come on one connection, and sends as many messages as it had replies.
    fn receive(&mut self, index: usize, received: &[u8]) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let whole = connection.partial_bytes == 0 && received.len() >= self.reply.len();
        if whole && !is_reply(received, &self.reply, self.messages.is_multiple_of(CHECK_EVERY)) {
            return Err(format!("connection {}: not the echo of what was sent", index + 1).into());
        }
        let bytes = connection.partial_bytes + received.len();
        let replies = bytes / self.reply.len();
        connection.partial_bytes = bytes % self.reply.len();
        if replies > connection.sent_at.len() {
            return Err(format!("connection {}: more replies than messages", index + 1).into());
        }
        let now = Instant::now();
        for sent_at in connection.sent_at.drain(..replies) {
            self.latency_ns.saturating_record((now - sent_at).as_nanos() as u64);
        }
        self.messages += replies as u64;
        if replies == 0 { Ok(()) } else { self.send(index, replies, now) }
    }

    /// Sends `count` messages. A reply comes after its message was written, so the connection has
    /// no write in flight.
    fn send(&mut self, index: usize, count: usize, now: Instant) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        let mut wire = std::mem::take(&mut connection.spare);
        wire.extend_from_slice(&self.messages_wire[..count * self.message_bytes]);
        connection.sent_at.extend(std::iter::repeat_n(now, count));
        self.ring
            .send(connection.id, wire)
            .map_err(|_| format!("connection {}: a write was still in flight", index + 1).into())
    }
}

fn is_reply(received: &[u8], reply: &[u8], all: bool) -> bool {
    if all { received.starts_with(reply) } else { received[..2] == reply[..2] }
}

fn frame(payload: &[u8], mask: Option<[u8; 4]>) -> Result<Vec<u8>, Failure> {
    let opcode = OpCode::Data(Data::Binary);
    let mut wire = Vec::new();
    FrameHeader { opcode, mask, ..FrameHeader::default() }
        .format(payload.len() as u64, &mut wire)?;
    let mask = mask.unwrap_or_default();
    wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    Ok(wire)
}
