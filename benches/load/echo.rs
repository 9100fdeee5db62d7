//! What an echoed message costs the processor of one server, or of several side by side.
//!
//! A machine's speed drifts, a virtual one's by a third within seconds, so that two runs can't be
//! compared. Here all servers run at once and are measured in turn, in windows short enough for
//! the drift to meet all of them alike: a *round* is one window of each, in alternating order, and
//! each round gives each server's cost as a ratio to that of the first.
//!
//! It runs on the gateway's own ring engine because a load must cost less than what it measures:
//! with an epoll loop on this side the floor was faster than its load, idled, and was measured in
//! small and cheap batches while the gateway was measured in large ones.

use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use serde_json::json;

use crate::closed_loop::{Loop, Shape};
use crate::connect::Endpoint;
use crate::machine::{self, ProcessClock};
use crate::stats::{quantile, rounded, sorted};
use crate::{Deadline, Failure};

/// What the closed loop is told.
#[derive(Args)]
pub struct EchoArgs {
    /// A server: NAME=ADDRESS,PID or, for one that echoes plain bytes, NAME=ADDRESS,PID,raw.
    /// Give several to compare them; ratios are to the first.
    #[arg(long = "server", required = true)]
    servers: Vec<Target>,
    /// Path of the WebSocket route.
    #[arg(long, default_value = "/echo")]
    path: String,
    /// Connections to each server.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=20_000))]
    pub(crate) connections: u32,
    /// Bytes of payload.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=32_768))]
    bytes: u32,
    /// Messages in flight on a connection.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=64))]
    inflight: u32,
    /// Rounds: windows of each server.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Length of a window.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(10..=60_000))]
    window_ms: u64,
    /// Time in which the loop gets going before each window.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(0..=60_000))]
    warmup_ms: u64,
}

#[derive(Clone, Debug)]
struct Target {
    name: String,
    endpoint: Endpoint,
    pid: i32,
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is not NAME=ADDRESS,PID or NAME=ADDRESS,PID,raw");
        let (name, rest) = text.split_once('=').ok_or_else(wanted)?;
        let mut parts = rest.split(',');
        let mut next = || parts.next().ok_or_else(wanted);
        let server = next()?.parse().map_err(|_| wanted())?;
        let pid = next()?.parse().map_err(|_| wanted())?;
        let raw = match parts.next() {
            None => false,
            Some("raw") => true,
            Some(_) => return Err(wanted()),
        };
        let endpoint = Endpoint { server, raw, path: String::new() };
        Ok(Self { name: name.to_owned(), endpoint, pid })
    }
}

/// One server under load, and what was measured of it.
struct Subject {
    name: String,
    clock: ProcessClock,
    closed_loop: Loop,
    windows: Vec<Window>,
}

#[derive(Clone, Copy)]
struct Window {
    messages: u64,
    seconds: f64,
    server_seconds: f64,
    load_seconds: f64,
}

impl Window {
    fn us_per_message(&self) -> f64 {
        self.server_seconds * 1e6 / self.messages as f64
    }
}

/// Runs the load and prints one JSON object a server, with its ratios to the first and to each.
pub fn run(args: &EchoArgs, deadline: Deadline) -> Result<(), Failure> {
    let shape = Shape { connections: args.connections, bytes: args.bytes, inflight: args.inflight };
    machine::allow_descriptors(args.connections.saturating_mul(args.servers.len() as u32))?;
    let mut subjects = Vec::new();
    for target in &args.servers {
        let endpoint = Endpoint { path: args.path.clone(), ..target.endpoint.clone() };
        subjects.push(Subject {
            name: target.name.clone(),
            clock: ProcessClock::of(target.pid)?,
            closed_loop: Loop::open(&endpoint, shape, deadline)?,
            windows: Vec::new(),
        });
    }
    for round in 0..args.rounds {
        let count = subjects.len();
        for place in 0..count {
            let index = if round % 2 == 0 { place } else { count - 1 - place };
            subjects[index].measure(args, deadline)?;
        }
    }
    for subject in &subjects {
        println!("{}", subject.report(shape, &subjects));
    }
    Ok(())
}

impl Subject {
    fn measure(&mut self, args: &EchoArgs, deadline: Deadline) -> Result<(), Failure> {
        self.closed_loop.start()?;
        self.closed_loop.run_for(Duration::from_millis(args.warmup_ms), deadline)?;
        let already = self.closed_loop.messages;
        let (server, load) = (self.clock.now()?, ProcessClock::own()?);
        let (server_before, load_before, began) = (server, load.now()?, Instant::now());
        self.closed_loop.run_for(Duration::from_millis(args.window_ms), deadline)?;
        let seconds = began.elapsed().as_secs_f64();
        let window = Window {
            messages: self.closed_loop.messages - already,
            seconds,
            server_seconds: self.clock.now()? - server_before,
            load_seconds: load.now()? - load_before,
        };
        self.closed_loop.finish()?;
        if window.messages == 0 {
            return Err(format!("{}: no reply within a window", self.name).into());
        }
        self.windows.push(window);
        Ok(())
    }

    /// `all` are the servers of the run, of which the first is the one of `ratio`.
    fn report(&self, shape: Shape, all: &[Self]) -> serde_json::Value {
        let total = |of: fn(&Window) -> f64| self.windows.iter().map(of).sum::<f64>();
        let (messages, seconds) = (total(|w| w.messages as f64), total(|w| w.seconds));
        let cost = sorted(self.windows.iter().map(Window::us_per_message));
        let [ratio_low, ratio, ratio_high] = all.first().map_or([1.0; 3], |it| self.ratio_to(it));
        let ratio_to = all.iter().map(|other| (other.name.clone(), json!(self.ratio_to(other))));
        let latency_us = |quantile| {
            rounded(self.closed_loop.latency_ns.value_at_quantile(quantile) as f64 / 1e3)
        };
        json!({
            "server": self.name, "connections": shape.connections, "inflight": shape.inflight,
            "bytes": shape.bytes, "rounds": self.windows.len(), "messages": messages,
            "messages_per_second": (messages / seconds).round(),
            "latency_p50_us": latency_us(0.5), "latency_p99_us": latency_us(0.99),
            "server_cpu_us_per_message": rounded(quantile(&cost, 0.5)),
            "server_utilisation": rounded(total(|w| w.server_seconds) / seconds),
            "load_utilisation": rounded(total(|w| w.load_seconds) / seconds),
            "ratio": ratio, "ratio_low": ratio_low, "ratio_high": ratio_high,
            "ratio_to": ratio_to.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// What a message costs here over what it costs there, window by window: the lower quartile,
    /// the median and the upper quartile.
    fn ratio_to(&self, other: &Self) -> [f64; 3] {
        let pairs = self.windows.iter().zip(&other.windows);
        let ratio = sorted(pairs.map(|(own, other)| own.us_per_message() / other.us_per_message()));
        [0.25, 0.5, 0.75].map(|place| rounded(quantile(&ratio, place)))
    }
}
