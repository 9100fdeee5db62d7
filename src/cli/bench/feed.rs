//! Profiles with a Redis of their own: what they are told, and how they are run.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, value_parser};
use serde::Serialize;

use crate::cli::Error;
use crate::{
    bench::{
        process::Process,
        spike,
        stages::Stages,
        target::{Sources, Target},
        topics,
    },
    limits::TOPICS_CONFLATE_MS_MAX,
    topics::ChannelPattern,
};

/// What every profile is told.
#[derive(Args, Clone, Debug)]
struct Common {
    /// Route of the server, ws://HOST:PORT/PATH
    #[arg(long, default_value = "ws://127.0.0.1:8080/ws/topics")]
    server: Target,
    /// Addresses to connect from, 127.0.0.0/24 or a list [default: the kernel's choice]
    #[arg(long)]
    source: Option<Sources>,
    /// Core to run on [default: any]
    #[arg(long)]
    core: Option<usize>,
    /// Seed of the users' choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON there
    #[arg(long)]
    json: Option<PathBuf>,
    /// Redis where the server's topics are published
    #[arg(long, default_value = "redis://127.0.0.1:6379/0")]
    redis: String,
    /// Channels of the route
    #[arg(long, default_value = "{topic}", value_parser = channel)]
    channel: ChannelPattern,
    /// Topics that tick
    #[arg(long, default_value_t = 500, value_parser = value_parser!(u32).range(1..=1_000_000))]
    topics: u32,
    /// Topics of one user
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u16).range(1..=256))]
    topics_per_user: u16,
    /// Messages a second of one topic
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    ticks: f64,
}

#[derive(Args, Clone, Debug)]
pub(super) struct TopicsArgs {
    #[command(flatten)]
    common: Common,
    /// Process id of the server, where it is on this machine: its processor time and memory
    #[arg(long)]
    server_pid: Option<u32>,
    /// Users
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// Exponent of the Zipf distribution of topics over users; 0: all topics alike
    #[arg(long, default_value_t = 1.0, value_parser = exponent)]
    zipf: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(..=16 << 20))]
    payload_bytes: u32,
    /// Conflation to ask for, in milliseconds; 0: none [default: the route's]
    #[arg(long, value_parser = value_parser!(u32).range(..=i64::from(TOPICS_CONFLATE_MS_MAX)))]
    conflate_ms: Option<u32>,
    /// Seconds to measure
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Further users who want all topics and do not read in every second window
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(..=10_000))]
    slow_readers: u32,
    /// Milliseconds of a window
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(100..=600_000))]
    window_ms: u64,
}

#[derive(Args, Clone, Debug)]
pub(super) struct SpikeArgs {
    #[command(flatten)]
    common: Common,
    /// Stages, LENGTH:USERS at their end
    #[arg(long, default_value = "3m:1000,1m:1000,30s:1500,1m:1500,10s:0")]
    stages: Stages,
    /// Milliseconds that a user stays
    #[arg(long, default_value_t = 12_500, value_parser = value_parser!(u64).range(1..=86_400_000))]
    stay_ms: u64,
    /// Divides all times of the stages and stays
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    time_scale: f64,
    /// Do not publish: somebody else does
    #[arg(long)]
    no_publish: bool,
}

impl TopicsArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        self.common.prepare()?;
        let report = topics::run(&self.options()).map_err(|error| self.common.failed(&error));
        self.common.print(&report?)
    }
}

impl SpikeArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        self.common.prepare()?;
        let report = spike::run(&self.options()).map_err(|error| self.common.failed(&error));
        self.common.print(&report?)
    }
}

impl Common {
    /// Descriptors as many as may be, and the core.
    fn prepare(&self) -> Result<(), Error> {
        crate::host::raise_descriptors();
        let Some(core) = self.core else { return Ok(()) };
        let mut cores = nix::sched::CpuSet::new();
        let pinned = cores
            .set(core)
            .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cores));
        pinned.map_err(|error| Error::Usage(format!("--core {core}: {error}; see nproc")))
    }

    fn failed(&self, error: &str) -> Error {
        Error::Failed(format!("bench of {}: {error}", self.server))
    }

    fn print(&self, report: &(impl std::fmt::Display + Serialize)) -> Result<(), Error> {
        write!(io::stdout(), "{report}").map_err(Error::Output)?;
        let Some(path) = &self.json else { return Ok(()) };
        let json = serde_json::to_string_pretty(report).unwrap_or_default();
        let written = fs::write(path, json + "\n");
        written.map_err(|error| Error::Failed(format!("--json {}: {error}", path.display())))
    }
}

impl TopicsArgs {
    fn options(&self) -> topics::Options {
        let common = self.common.clone();
        topics::Options {
            target: common.server,
            sources: common.source.unwrap_or_default(),
            server: self.server_pid.map(Process),
            redis: common.redis,
            channel: common.channel,
            users: self.users,
            topics: common.topics,
            topics_per_user: common.topics_per_user.into(),
            zipf: self.zipf,
            ticks_per_second: common.ticks,
            payload_bytes: self.payload_bytes as usize,
            conflate_ms: self.conflate_ms,
            duration: Duration::from_secs(self.seconds),
            slow_readers: self.slow_readers,
            window: Duration::from_millis(self.window_ms),
            seed: common.seed,
        }
    }
}

impl SpikeArgs {
    fn options(&self) -> spike::Options {
        let common = self.common.clone();
        spike::Options {
            target: common.server,
            sources: common.source.unwrap_or_default(),
            redis: (!self.no_publish).then_some(common.redis),
            channel: common.channel,
            stages: self.stages.compressed(self.time_scale),
            stay: Duration::from_millis(self.stay_ms).div_f64(self.time_scale),
            topics: common.topics,
            topics_per_user: common.topics_per_user.into(),
            ticks_per_second: common.ticks,
            seed: common.seed,
        }
    }
}

fn channel(text: &str) -> Result<ChannelPattern, String> {
    ChannelPattern::parse(text).ok_or_else(|| "it must have {topic} in it, once".to_owned())
}

fn exponent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=10.0).contains(number));
    number.ok_or_else(|| "it is not from 0 to 10".to_owned())
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=10_000.0).contains(number));
    number.ok_or_else(|| "it is not from 0.001 to 10000".to_owned())
}
