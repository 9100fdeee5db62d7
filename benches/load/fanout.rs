//! What it costs the processor of servers to send a message to everybody who wants it.
//!
//! All servers run at once and are measured in turn, as in `echo`: a *round* is one window of
//! each, in alternating order, and gives each server's cost as a ratio to that of the first. A
//! window ends when everybody has had everything, and the bytes are the same for all servers.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use serde_json::json;

use crate::broadcast::{Broadcast, PAYLOAD_BYTES_MIN, Publisher, Shape};
use crate::connect::Endpoint;
use crate::machine::{self, ProcessClock};
use crate::stats::{quantile, rounded, sorted};
use crate::{Deadline, Failure};

/// How long a server may take, after the last delivery, for what it does about its own sends.
const SETTLE: Duration = Duration::from_millis(1);

/// What the fan-out is told.
#[derive(Args)]
pub struct FanoutArgs {
    /// A server: NAME=ADDRESS,PID,redis=ADDRESS, to be published to through that Redis, or
    /// NAME=ADDRESS,PID,raw=ADDRESS for one that sends whatever comes there to everybody. Give
    /// several to compare them; ratios are to the first.
    #[arg(long = "server", required = true)]
    servers: Vec<Target>,
    /// Path of the topics route.
    #[arg(long, default_value = "/ws/topics")]
    path: String,
    /// Topic, and channel of Redis.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// Subscribers of each server.
    #[arg(long, default_value_t = 5000, value_parser = value_parser!(u32).range(1..=20_000))]
    subscribers: u32,
    /// Bytes of payload.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(i64::from(PAYLOAD_BYTES_MIN)..=32_768))]
    bytes: u32,
    /// Messages that not everybody has had.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=64))]
    inflight: u32,
    /// Rounds: windows of each server.
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Length of a window, to which the last deliveries are added.
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u64).range(10..=60_000))]
    window_ms: u64,
    /// Time in which the loop gets going before each window.
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=60_000))]
    warmup_ms: u64,
}

#[derive(Clone, Debug)]
struct Target {
    name: String,
    server: SocketAddr,
    pid: i32,
    publisher: Publisher,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("{text:?} is not NAME=ADDRESS,PID,redis=ADDRESS nor ...,raw=ADDRESS");
        let (name, rest) = text.split_once('=').ok_or_else(wanted)?;
        let [server, pid, publisher] = rest.splitn(3, ',').collect::<Vec<_>>()[..] else {
            return Err(wanted());
        };
        let publisher = match publisher.split_once('=') {
            Some(("raw", address)) => Publisher::Raw(address.parse().map_err(|_| wanted())?),
            Some(("redis", address)) => Publisher::Redis(address.parse().map_err(|_| wanted())?),
            _ => return Err(wanted()),
        };
        let server = server.parse().map_err(|_| wanted())?;
        let pid = pid.parse().map_err(|_| wanted())?;
        Ok(Self { name: name.to_owned(), server, pid, publisher })
    }
}

/// One server under load, and what was measured of it.
struct Subject {
    name: String,
    clock: ProcessClock,
    broadcast: Broadcast,
    windows: Vec<Window>,
}

#[derive(Clone, Copy)]
struct Window {
    deliveries: u64,
    seconds: f64,
    server_seconds: f64,
    load_seconds: f64,
}

impl Window {
    fn us_per_delivery(&self) -> f64 {
        self.server_seconds * 1e6 / self.deliveries as f64
    }
}

/// Runs the load and prints one JSON object a server.
pub fn run(args: &FanoutArgs, deadline: Deadline) -> Result<(), Failure> {
    let shape = Shape {
        subscribers: args.subscribers,
        bytes: args.bytes,
        inflight: args.inflight,
        topic: args.topic.clone(),
    };
    let count = args.servers.len();
    machine::allow_descriptors((args.subscribers + 2).saturating_mul(count as u32))?;
    let mut subjects = Vec::new();
    for target in &args.servers {
        let raw = matches!(target.publisher, Publisher::Raw(_));
        let endpoint = Endpoint { server: target.server, raw, path: args.path.clone() };
        subjects.push(Subject {
            name: target.name.clone(),
            clock: ProcessClock::of(target.pid)?,
            broadcast: Broadcast::open(&endpoint, target.publisher, shape.clone(), deadline)
                .map_err(|error| format!("{}: {error}", target.name))?,
            windows: Vec::new(),
        });
    }
    for round in 0..args.rounds {
        for place in 0..count {
            let index = if round % 2 == 0 { place } else { count - 1 - place };
            let subject = &mut subjects[index];
            let measured = subject.measure(args, deadline);
            measured.map_err(|error| format!("{}: {error}", subject.name))?;
        }
    }
    let first_windows = subjects[0].windows.clone();
    for subject in &subjects {
        println!("{}", subject.report(&shape, &first_windows));
    }
    Ok(())
}

impl Subject {
    fn measure(&mut self, args: &FanoutArgs, deadline: Deadline) -> Result<(), Failure> {
        self.broadcast.run_for(Duration::from_millis(args.warmup_ms), deadline)?;
        self.broadcast.settle(SETTLE)?;
        let already = self.broadcast.deliveries;
        let (server, load) = (self.clock.now()?, ProcessClock::own()?);
        let (server_before, load_before, began) = (server, load.now()?, Instant::now());
        self.broadcast.run_for(Duration::from_millis(args.window_ms), deadline)?;
        self.broadcast.settle(SETTLE)?;
        let seconds = began.elapsed().as_secs_f64();
        self.windows.push(Window {
            deliveries: self.broadcast.deliveries - already,
            seconds,
            server_seconds: self.clock.now()? - server_before,
            load_seconds: load.now()? - load_before,
        });
        Ok(())
    }

    fn report(&self, shape: &Shape, first: &[Window]) -> serde_json::Value {
        let total = |of: fn(&Window) -> f64| self.windows.iter().map(of).sum::<f64>();
        let (deliveries, seconds) = (total(|w| w.deliveries as f64), total(|w| w.seconds));
        let cost = sorted(self.windows.iter().map(Window::us_per_delivery));
        let pairs = self.windows.iter().zip(first);
        let ratio =
            sorted(pairs.map(|(own, other)| own.us_per_delivery() / other.us_per_delivery()));
        let spread_ms =
            |quantile| rounded(self.broadcast.spread_ns.value_at_quantile(quantile) as f64 / 1e6);
        json!({
            "server": self.name, "subscribers": shape.subscribers, "inflight": shape.inflight,
            "bytes": shape.bytes, "rounds": self.windows.len(), "deliveries": deliveries,
            "deliveries_per_second": (deliveries / seconds).round(),
            "spread_p50_ms": spread_ms(0.5), "spread_p99_ms": spread_ms(0.99),
            "server_cpu_us_per_delivery": rounded(quantile(&cost, 0.5)),
            "server_utilisation": rounded(total(|w| w.server_seconds) / seconds),
            "load_utilisation": rounded(total(|w| w.load_seconds) / seconds),
            "ratio": rounded(quantile(&ratio, 0.5)),
            "ratio_low": rounded(quantile(&ratio, 0.25)),
            "ratio_high": rounded(quantile(&ratio, 0.75)),
        })
    }
}
