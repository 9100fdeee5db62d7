//! `ringgate plan`: what a number of connections needs, and which limit binds first.

use std::{
    fmt::Display,
    fs,
    io::{self, Write},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, ValueEnum, ValueHint, value_parser};

use super::{Error, process};
use crate::{
    config::Results,
    doctor::host::Host,
    limits::TOPICS_CONFLATE_MS_MAX,
    plan::{
        Question, Traffic,
        binding::Means,
        coefficients::{Coefficients, Origin},
        measured::Measured,
        plan,
        reconnect::Herd,
        traffic::{
            BYTES_MAX, CONNECTIONS_MAX, Echo, QueueMode, RATE_MAX, SHARDS_MAX, Tasks, Topics,
        },
    },
};

/// Bytes of a report that are read at most: a day of points is far below.
const REPORT_BYTES_MAX: u64 = 64 << 20;

/// Arguments of `ringgate plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanArgs {
    /// Open WebSockets
    #[arg(long, value_name = "N", default_value = "100_000", value_parser = whole(1..=CONNECTIONS_MAX))]
    connections: u64,
    /// Cores of the gateway, a shard each [default: as many as this process may use]
    #[arg(long, value_name = "N", value_parser = whole(1..=SHARDS_MAX))]
    cores: Option<u64>,
    /// Share of the connections that have the traffic below, 0 to 1; the others are idle
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = number(0.0..=1.0))]
    active_share: f64,
    /// Seconds between two pings of a connection
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = number(0.1..=3_600.0))]
    ping_seconds: f64,

    /// Messages a second of one active connection
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = number(0.0..=RATE_MAX),
          help_heading = "Messages that are answered")]
    messages_per_second: f64,
    /// Bytes of a message, and of an answer
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = number(0.0..=BYTES_MAX),
          help_heading = "Messages that are answered")]
    message_bytes: f64,
    /// Answers to a message, 0 to 1000
    #[arg(long, value_name = "N", default_value = "1", value_parser = number(0.0..=1_000.0),
          help_heading = "Messages that are answered")]
    replies: f64,

    /// Chunks a second of one active connection, which has one session
    #[arg(long, value_name = "RATE", default_value = "0", value_parser = number(0.0..=RATE_MAX),
          help_heading = "Tasks")]
    chunks_per_second: f64,
    /// Bytes of a chunk, before base64
    #[arg(long, value_name = "BYTES", default_value = "3200", value_parser = number(0.0..=BYTES_MAX),
          help_heading = "Tasks")]
    chunk_bytes: f64,
    /// Results a second of one active connection [default: as many as chunks]
    #[arg(long, value_name = "RATE", value_parser = number(0.0..=RATE_MAX), help_heading = "Tasks")]
    results_per_second: Option<f64>,
    /// Bytes of a result's text
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = number(0.0..=BYTES_MAX),
          help_heading = "Tasks")]
    result_bytes: f64,
    /// Seconds that a session lasts, before the connection begins another
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = number(0.1..=1e6),
          help_heading = "Tasks")]
    session_seconds: f64,
    /// Where tasks wait in Redis
    #[arg(long, value_enum, default_value = "list", help_heading = "Tasks")]
    queue: QueueArg,
    /// How results come back
    #[arg(long, value_enum, default_value = "per-session", help_heading = "Tasks")]
    results: ResultsArg,

    /// Topics that messages are published on; 0: none
    #[arg(long, value_name = "N", default_value = "0", value_parser = whole(0..=100_000_000),
          help_heading = "Topics")]
    topics: u64,
    /// Messages a second of one topic
    #[arg(long, value_name = "RATE", default_value = "1", value_parser = number(0.0..=RATE_MAX),
          help_heading = "Topics")]
    topic_messages_per_second: f64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value = "64", value_parser = number(0.0..=BYTES_MAX),
          help_heading = "Topics")]
    topic_bytes: f64,
    /// Topics that one active connection subscribes to
    #[arg(long, value_name = "N", default_value = "3", value_parser = whole(0..=100_000_000),
          help_heading = "Topics")]
    subscriptions: u64,
    /// Conflation in milliseconds; 0: every message at once
    #[arg(long, value_name = "MS", default_value = "0", help_heading = "Topics",
          value_parser = value_parser!(u32).range(..=i64::from(TOPICS_CONFLATE_MS_MAX)))]
    conflate_ms: u32,

    /// Upgrades a second that the gateway lets in, `limits.accepts_per_second`
    #[arg(long, value_name = "RATE", default_value = "20_000", value_parser = number(1.0..=1e6),
          help_heading = "When everyone comes back at once")]
    accepts_per_second: f64,
    /// Microseconds of processor time of an accept with its upgrade [default: measured, 25]
    #[arg(long, value_name = "US", value_parser = number(0.1..=1e6),
          help_heading = "When everyone comes back at once")]
    accept_us: Option<f64>,
    /// Seconds over which clients spread their first try
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = number(0.0..=3_600.0),
          help_heading = "When everyone comes back at once")]
    spread_seconds: f64,

    /// What to compare with: this machine, or none
    #[arg(long, value_enum, default_value = "this", help_heading = "Limits")]
    host: HostArg,
    /// Share of cores, Redis and network that may be busy, above 0 to 1; the rest is for bursts
    #[arg(long, value_name = "SHARE", default_value = "0.7", value_parser = number(0.01..=1.0),
          help_heading = "Limits")]
    load_share: f64,
    /// Gbit/s of the network card, each way [default: what the host says]
    #[arg(long, value_name = "GBIT", value_parser = number(0.001..=10_000.0), help_heading = "Limits")]
    nic_gbit: Option<f64>,
    /// Addresses that all clients come from, where they come through a proxy [default: directly]
    #[arg(long, value_name = "N", value_parser = whole(1..=1_000_000), help_heading = "Limits")]
    source_addresses: Option<u64>,
    /// Ports of one source address, as ip_local_port_range has them there
    #[arg(long, value_name = "N", default_value = "28_232", value_parser = whole(1..=65_535),
          help_heading = "Limits")]
    ports_per_address: u64,

    /// Report of `ringgate bench --json` to take measured costs from, also several; of an idle
    /// run memory, of an echo, tasks or topics run the cost of a message
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    from: Vec<PathBuf>,
    /// Print JSON, which docs/plan.md describes
    #[arg(long)]
    json: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum QueueArg {
    /// RPUSH and BLPOP
    List,
    /// XADD and XREADGROUP
    Stream,
}

#[derive(ValueEnum, Clone, Copy, Debug)]
enum ResultsArg {
    /// A subscription for each session
    PerSession,
    /// One for each shard
    PerShard,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum HostArg {
    /// The limits of this machine
    This,
    /// Only what flags say
    None,
}

/// Prints a plan to `out`. A plan that does not fit is a plan.
///
/// # Errors
/// Values that make no sense together, a report that can't be used, output that can't be written.
pub fn run(args: &PlanArgs, out: &mut dyn Write) -> Result<(), Error> {
    let host = (args.host == HostArg::This).then(Host::this);
    let nic_bits_per_second = args.nic_gbit.map(|gbit| gbit * 1e9);
    let answer = plan(&Question {
        traffic: args.traffic()?,
        coefficients: args.coefficients()?,
        means: Means {
            load_share: args.load_share,
            nic_bits_per_second,
            source_addresses: args.source_addresses,
            ports_per_address: args.ports_per_address,
        },
        herd: Herd {
            accepts_per_second: args.accepts_per_second,
            spread_seconds: args.spread_seconds,
            backlog: Herd::backlog_of(None),
            nic_bits_per_second,
        },
        host: host.as_ref(),
    });
    let text = match args.json {
        true => format!("{:#}\n", serde_json::json!(answer)),
        false => answer.to_string(),
    };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)
}

impl PlanArgs {
    fn traffic(&self) -> Result<Traffic, Error> {
        let shards = match self.cores {
            Some(cores) => cores,
            None => (process::cores_allowed().len() as u64).clamp(1, SHARDS_MAX),
        };
        let echo = (self.messages_per_second > 0.0).then_some(Echo {
            messages_per_second: self.messages_per_second,
            bytes: self.message_bytes,
            replies: self.replies,
        });
        Ok(Traffic {
            connections: self.connections,
            shards,
            active_share: self.active_share,
            ping_seconds: self.ping_seconds,
            echo,
            tasks: self.tasks(),
            topics: self.of_topics()?,
        })
    }

    fn tasks(&self) -> Option<Tasks> {
        let results_per_second = self.results_per_second.unwrap_or(self.chunks_per_second);
        (self.chunks_per_second > 0.0 || results_per_second > 0.0).then_some(Tasks {
            chunks_per_second: self.chunks_per_second,
            chunk_bytes: self.chunk_bytes,
            results_per_second,
            result_bytes: self.result_bytes,
            session_seconds: self.session_seconds,
            queue: match self.queue {
                QueueArg::List => QueueMode::List,
                QueueArg::Stream => QueueMode::Stream,
            },
            results: match self.results {
                ResultsArg::PerSession => Results::PerSession,
                ResultsArg::PerShard => Results::PerShard,
            },
        })
    }

    fn of_topics(&self) -> Result<Option<Topics>, Error> {
        let Self { topics, subscriptions, .. } = *self;
        if topics > 0 && subscriptions > topics {
            return Err(Error::Usage(format!(
                "--subscriptions {subscriptions}: there are --topics {topics}, and a connection \
                 has each of them once at most; give fewer subscriptions or more topics"
            )));
        }
        Ok((topics > 0).then_some(Topics {
            topics,
            messages_per_second: self.topic_messages_per_second,
            bytes: self.topic_bytes,
            subscriptions,
            conflate_ms: self.conflate_ms,
        }))
    }

    fn coefficients(&self) -> Result<Coefficients, Error> {
        let reports: Result<Vec<_>, Error> = self.from.iter().map(|path| read(path)).collect();
        let mut coefficients = Coefficients::from_measured(&reports?);
        if let Some(accept_us) = self.accept_us {
            coefficients.cpu.accept_us = accept_us;
            coefficients.origins.accept = Origin::Given;
        }
        Ok(coefficients)
    }
}

/// A report with its name.
fn read(path: &Path) -> Result<(String, Measured), Error> {
    let name = path.display().to_string();
    let bad = |why: String| Error::Usage(format!("--from {name}: {why}"));
    let text = text(path)
        .map_err(|error| bad(format!("{error}; give what `ringgate bench --json FILE` wrote")))?;
    let report: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        bad(format!("not JSON ({error}); give what `ringgate bench --json FILE` wrote"))
    })?;
    let measured = Measured::from_report(&report).map_err(|error| bad(error.to_string()))?;
    Ok((name, measured))
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let mut file = io::Read::take(fs::File::open(path)?, REPORT_BYTES_MAX + 1);
    io::Read::read_to_string(&mut file, &mut text)?;
    match text.len() as u64 > REPORT_BYTES_MAX {
        true => Err(io::Error::other(format!("longer than {REPORT_BYTES_MAX} bytes"))),
        false => Ok(text),
    }
}

/// Reads a whole number of that range.
fn whole(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<u64, String> + Clone {
    move |text| within(text, &range, "a whole number")
}

/// Reads a number of that range.
fn number(range: RangeInclusive<f64>) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| within(text, &range, "a number")
}

fn within<T: FromStr + PartialOrd + Display>(
    text: &str,
    range: &RangeInclusive<T>,
    kind: &str,
) -> Result<T, String> {
    let value = text.replace('_', "").parse().ok().filter(|value| range.contains(value));
    let (least, most) = (range.start(), range.end());
    value.ok_or_else(|| format!("it must be {kind} from {least} to {most}; give one"))
}
