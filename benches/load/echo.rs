//! The closed loop: every connection has a fixed number of messages in flight, and each reply is
//! answered with the next message.
//!
//! Messages are framed once, before the clock runs. Replies are counted by length; the header of
//! every reply that starts a read is checked, and the whole of one in [`CHECK_EVERY`].

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::json;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::{Common, Deadline, Failure, connect, machine};

/// Events taken by one wait.
const WAIT_EVENTS: usize = 512;
/// The one receive buffer.
const BUFFER_BYTES: usize = 64 * 1024;
/// One wait at the most, so that the clock is looked at when nothing comes.
const WAIT_MS: u16 = 100;
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
    stream: TcpStream,
    /// Bytes of an unfinished reply.
    partial_bytes: usize,
    /// Send times of the messages in flight, oldest first.
    sent_at: VecDeque<Instant>,
}

struct Loop {
    epoll: Epoll,
    connections: Vec<Connection>,
    /// As many messages as may be in flight, framed and masked, one behind the other.
    messages_wire: Vec<u8>,
    message_bytes: usize,
    reply: Vec<u8>,
    buffer: Vec<u8>,
    messages: u64,
    latency_ns: Histogram<u64>,
}

impl Loop {
    fn open(args: &EchoArgs, deadline: Deadline) -> Result<Self, Failure> {
        let payload: Vec<u8> = (0..args.bytes).map(|index| index as u8).collect();
        let message = frame(&payload, Some(MASK))?;
        let reply = if args.common.raw { message.clone() } else { frame(&payload, None)? };
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::new();
        for index in 0..args.common.connections {
            deadline.check()?;
            let opened = connect::open(&args.common, 1, index)?;
            if !opened.surplus.is_empty() {
                return Err("the server sent something before it was asked".into());
            }
            let edges = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            epoll.add(&opened.stream, EpollEvent::new(edges, u64::from(index)))?;
            let sent_at = VecDeque::with_capacity(args.inflight as usize);
            connections.push(Connection { stream: opened.stream, partial_bytes: 0, sent_at });
        }
        Ok(Self {
            epoll,
            connections,
            messages_wire: message.repeat(args.inflight as usize),
            message_bytes: message.len(),
            reply,
            buffer: vec![0; BUFFER_BYTES],
            messages: 0,
            latency_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        })
    }

    fn start(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        for connection in &mut self.connections {
            send(&mut connection.stream, &self.messages_wire)?;
            let count = self.messages_wire.len() / self.message_bytes;
            connection.sent_at.extend(std::iter::repeat_n(now, count));
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.messages = 0;
        self.latency_ns.reset();
    }

    fn run_for(&mut self, time: Duration, deadline: Deadline) -> Result<(), Failure> {
        let end = Instant::now() + time;
        let mut events = [EpollEvent::empty(); WAIT_EVENTS];
        while Instant::now() < end {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::from(WAIT_MS)) {
                Ok(ready) => ready,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for event in &events[..ready] {
                self.receive(event.data() as usize)?;
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

    /// Takes what has come on one connection, and sends as many messages as it had replies.
    fn receive(&mut self, index: usize) -> Result<(), Failure> {
        let connection = &mut self.connections[index];
        loop {
            let received = match connection.stream.read(&mut self.buffer) {
                Ok(0) => return Err(format!("the server closed connection {}", index + 1).into()),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("connection {}: {error}", index + 1).into()),
            };
            let whole = connection.partial_bytes == 0 && received >= self.reply.len();
            if whole
                && !is_reply(&self.buffer, &self.reply, self.messages.is_multiple_of(CHECK_EVERY))
            {
                return Err(
                    format!("connection {}: not the echo of what was sent", index + 1).into()
                );
            }
            let bytes = connection.partial_bytes + received;
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
            if replies > 0 {
                send(&mut connection.stream, &self.messages_wire[..replies * self.message_bytes])?;
                connection.sent_at.extend(std::iter::repeat_n(now, replies));
            }
            // A short read emptied the socket: whatever comes later is a new edge.
            if received < self.buffer.len() {
                return Ok(());
            }
        }
    }
}

fn is_reply(received: &[u8], reply: &[u8], all: bool) -> bool {
    if all { received.starts_with(reply) } else { received[..2] == reply[..2] }
}

/// The socket's buffer holds what may be in flight, so less than everything is a fault.
fn send(stream: &mut TcpStream, wire: &[u8]) -> Result<(), Failure> {
    match stream.write(wire)? {
        sent if sent == wire.len() => Ok(()),
        sent => {
            Err(format!("sent {sent} of {} bytes: lower --bytes or --inflight", wire.len()).into())
        }
    }
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
