//! Chunks through a tasks route: as many sessions as it is told, a number of chunks in flight in
//! each, one window of time.
//!
//! It waits in the kernel where it has nothing to do, unlike the echo load: it shares a core with
//! another process, which would otherwise be slowed by a load that spins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum, value_parser};
use hdrhistogram::Histogram;
use ringgate::{
    ids::SocketId,
    metrics::ShardMetrics,
    ring::{Event, Ring, RingOptions},
};
use serde_json::json;

use crate::connect::{self, Endpoint};
use crate::machine::{self, ProcessClock};
use crate::session::Session;
use crate::{Deadline, Failure};

/// Longest wait in the kernel, so that the clock is looked at.
const WAIT: Duration = Duration::from_millis(1);
/// An ack or a result that takes longer than this is lost.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the tasks mode is told.
#[derive(Args)]
pub struct TasksArgs {
    /// Address of the gateway.
    #[arg(long)]
    server: SocketAddr,
    /// Path of the tasks route.
    #[arg(long, default_value = "/ws/asr")]
    path: String,
    /// Sessions, each on a connection of its own.
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    sessions: u32,
    /// Chunks of a session in flight.
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..=1_024))]
    inflight: u32,
    /// What ends the flight of a chunk.
    #[arg(long = "await", value_enum, default_value = "acks")]
    awaited: Awaited,
    /// Bytes of audio of a chunk, before base64.
    #[arg(long, default_value_t = 3_200, value_parser = value_parser!(u32).range(1..=32_768))]
    chunk_bytes: u32,
    /// Length of the window.
    #[arg(long, default_value_t = 3_000, value_parser = value_parser!(u64).range(10..=600_000))]
    window_ms: u64,
    /// Time in which the load gets going before it.
    #[arg(long, default_value_t = 300, value_parser = value_parser!(u64).range(0..=60_000))]
    warmup_ms: u64,
    /// A process whose processor time is to be measured: NAME=PID.
    #[arg(long = "process")]
    processes: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Awaited {
    /// The broker has it.
    Acks,
    /// A worker has answered.
    Results,
}

struct Connection {
    id: SocketId,
    session: Session,
    /// A write is in flight.
    writing: bool,
    spare: Vec<u8>,
}

struct Load {
    ring: Ring,
    events: Vec<Event>,
    /// By the slot of their sockets, which a new ring gives in order.
    connections: Vec<Connection>,
    awaited: Awaited,
    inflight: usize,
    started: u64,
    acks: u64,
    results: u64,
    ack_ns: Histogram<u64>,
    result_ns: Histogram<u64>,
    /// Nothing more is sent.
    ending: bool,
}

/// Runs one window and prints one JSON object.
pub fn run(args: &TasksArgs, deadline: Deadline) -> Result<(), Failure> {
    machine::allow_descriptors(args.sessions)?;
    let mut processes = vec![("load".to_owned(), ProcessClock::own()?)];
    for text in &args.processes {
        let (name, pid) = text.split_once('=').ok_or("--process takes NAME=PID")?;
        processes.push((name.to_owned(), ProcessClock::of(pid.parse()?)?));
    }
    let mut load = Load::open(args, deadline)?;
    load.start(args, deadline)?;
    load.go_on(|load| load.started >= u64::from(args.sessions), REPLY_TIMEOUT, deadline)?;
    for index in 0..load.connections.len() {
        load.send(index)?;
    }
    load.run_for(Duration::from_millis(args.warmup_ms), deadline)?;
    load.ack_ns.reset();
    load.result_ns.reset();
    let before: Vec<f64> = times(&processes)?;
    let (began, acks, results) = (Instant::now(), load.acks, load.results);
    load.run_for(Duration::from_millis(args.window_ms), deadline)?;
    let seconds = began.elapsed().as_secs_f64();
    let (acks, results) = (load.acks - acks, load.results - results);
    let after = times(&processes)?;
    let us = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) / 1_000;
    let latencies = [
        us(&load.ack_ns, 0.5),
        us(&load.ack_ns, 0.99),
        us(&load.result_ns, 0.5),
        us(&load.result_ns, 0.99),
    ];
    load.ending = true;
    load.go_on(Load::is_settled, REPLY_TIMEOUT, deadline)?;
    let mut report = json!({
        "sessions": args.sessions, "inflight": args.inflight, "seconds": seconds,
        "chunks_per_second": (acks as f64 / seconds).round(),
        "results_per_second": (results as f64 / seconds).round(),
        "ack_p50_us": latencies[0], "ack_p99_us": latencies[1],
        "result_p50_us": latencies[2], "result_p99_us": latencies[3],
        "chunks_in_window": acks, "chunks_in_all": load.acks, "results_in_all": load.results,
    });
    for (((name, _), before), after) in processes.iter().zip(before).zip(after) {
        report[format!("{name}_utilisation")] =
            (((after - before) / seconds * 1_000.0).round() / 1_000.0).into();
    }
    println!("{report}");
    Ok(())
}

fn times(processes: &[(String, ProcessClock)]) -> Result<Vec<f64>, Failure> {
    processes.iter().map(|(_, clock)| clock.now()).collect()
}

impl Load {
    fn open(args: &TasksArgs, deadline: Deadline) -> Result<Self, Failure> {
        let endpoint = Endpoint { server: args.server, raw: false, path: args.path.clone() };
        let options = RingOptions { registered_sockets: args.sessions, ..RingOptions::default() };
        let mut ring = Ring::new(&options, Arc::new(ShardMetrics::default()))?;
        let mut connections = Vec::new();
        for index in 0..args.sessions {
            deadline.check()?;
            let opened = connect::open(&endpoint, 1, index)?;
            let id = ring.adopt(opened.stream.into())?;
            let session = Session::new(&name(index), args.chunk_bytes as usize)?;
            connections.push(Connection { id, session, writing: false, spare: Vec::new() });
        }
        Ok(Self {
            ring,
            events: Vec::new(),
            connections,
            awaited: args.awaited,
            inflight: args.inflight as usize,
            started: 0,
            acks: 0,
            results: 0,
            ack_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            result_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            ending: false,
        })
    }

    fn start(&mut self, args: &TasksArgs, deadline: Deadline) -> Result<(), Failure> {
        for index in 0..args.sessions {
            deadline.check()?;
            let connection = &mut self.connections[index as usize];
            connection.writing = true;
            let start = Session::start(&name(index))?;
            self.ring.send(connection.id, start).map_err(|_| "a write was still in flight")?;
        }
        Ok(())
    }

    fn run_for(&mut self, time: Duration, deadline: Deadline) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
            deadline.check()?;
        }
        Ok(())
    }

    fn go_on(
        &mut self,
        until: impl Fn(&Self) -> bool,
        at_most: Duration,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let give_up = Instant::now() + at_most;
        while !until(self) {
            if Instant::now() > give_up {
                return Err(format!("no ack or result for {at_most:?}").into());
            }
            self.turn()?;
            deadline.check()?;
        }
        Ok(())
    }

    fn is_settled(&self) -> bool {
        let results = self.awaited == Awaited::Results;
        self.connections.iter().all(|connection| {
            let session = &connection.session;
            session.unacked() == 0 && (!results || session.unanswered() == 0)
        })
    }

    fn turn(&mut self) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut self.events);
        if self.ring.turn(&mut events)? == 0 {
            self.ring.wait(WAIT)?;
        }
        events.drain(..).try_for_each(|event| self.on_event(event))?;
        self.events = events;
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Received(id, mut received) => {
                let taken = self.receive(id.slot as usize, received.bytes_mut());
                self.ring.recycle(id, received);
                taken
            }
            Event::Sent(id, spare) => {
                let connection = &mut self.connections[id.slot as usize];
                (connection.spare, connection.writing) = (spare.into_buffer(), false);
                self.send(id.slot as usize)
            }
            other => connect::ended(&other),
        }
    }

    fn receive(&mut self, index: usize, received: &[u8]) -> Result<(), Failure> {
        let session = &mut self.connections[index].session;
        let now = Instant::now();
        let came = session
            .read(received, now, &mut self.ack_ns, &mut self.result_ns)
            .map_err(|error| format!("connection {}: {error}", index + 1))?;
        self.started += u64::from(came.started);
        self.acks += came.acks;
        self.results += came.results;
        if came.started { Ok(()) } else { self.send(index) }
    }

    /// Sends as many chunks as may be in flight, unless a write is, or nothing has started.
    fn send(&mut self, index: usize) -> Result<(), Failure> {
        let all_started = self.started >= self.connections.len() as u64;
        let connection = &mut self.connections[index];
        let session = &mut connection.session;
        let flying = match self.awaited {
            Awaited::Acks => session.unacked(),
            Awaited::Results => session.unanswered(),
        };
        if connection.writing || self.ending || !all_started || flying >= self.inflight {
            return Ok(());
        }
        let (mut wire, now) = (std::mem::take(&mut connection.spare), Instant::now());
        wire.reserve(session.chunk_bytes() * (self.inflight - flying));
        for _ in flying..self.inflight {
            session.write_chunk(now, &mut wire);
        }
        connection.writing = true;
        let sent = self.ring.send(connection.id, wire);
        sent.map_err(|_| format!("connection {}: a write was in flight", index + 1).into())
    }
}

/// Of this process and no other: what workers cached for another load is none of this one's.
fn name(index: u32) -> String {
    format!("load-{}-{index}", std::process::id())
}
