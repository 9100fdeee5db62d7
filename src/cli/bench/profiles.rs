//! Profiles with settings of their own: storm, zombies, capacity, tasks.

use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};

use super::load::{LoadArgs, rate};
use crate::bench::{
    backoff::Backoff,
    capacity::{self, Options, Raise},
    echo,
    order::Job,
    report::Report,
    run,
    stages::{Flat, Stages},
    storm, tasks,
    worker::{Duty, Worker},
    zombies,
};
use crate::cli::Error;
use crate::config::RedisUrl;
use crate::limits::WORKER_CONCURRENCY_MAX;

#[derive(Args, Clone, Debug)]
pub(super) struct StormArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Seconds into each stage of constant users after which all drop the connection
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    at_seconds: f64,
    /// Storms in each such stage
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=storm::STORMS_MAX as i64))]
    times: u32,
    /// Seconds from one to the next
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    every_seconds: f64,
    /// Attempts of a user to come back
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    attempts: u32,
    /// Milliseconds before the second attempt at most, doubled before each further one; a
    /// Retry-After of the server comes on top
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(0..=3_600_000))]
    backoff_ms: u64,
    /// Milliseconds between two attempts at most
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u64).range(0..=3_600_000))]
    backoff_most_ms: u64,
}

impl StormArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let stages = self.load.stages(Duration::ZERO);
        let job = storm::Job {
            drops_ns: self.drops_ns(&stages)?,
            attempts: self.attempts,
            backoff: Backoff { first_ms: self.backoff_ms, most_ms: self.backoff_most_ms },
        };
        self.load.run("storm", Job::Storm(job))
    }

    fn drops_ns(&self, stages: &Stages) -> Result<Vec<u64>, Error> {
        let mut drops_ns = Vec::new();
        for flat in stages.flats() {
            for nth in 0..self.times {
                let into_s = self.at_seconds + self.every_seconds * f64::from(nth);
                let into = self.load.scaled(into_s);
                if flat.from + into >= flat.to {
                    return Err(too_short(flat, into, "--at-seconds, --times or --every-seconds"));
                }
                drops_ns.push((flat.from + into).as_nanos() as u64);
            }
        }
        match drops_ns.len() {
            0 => Err(Error::Usage(NO_FLAT.to_owned())),
            1..=storm::STORMS_MAX => Ok(drops_ns),
            count => Err(Error::Usage(format!(
                "--times: {count} storms are more than {}",
                storm::STORMS_MAX
            ))),
        }
    }
}

const NO_FLAT: &str = "--stages: there is none whose number of users does not change";

fn too_short(flat: Flat, needed: Duration, options: &str) -> Error {
    Error::Usage(format!(
        "the stage of {} users is {:.1} s long, and something happens {:.1} s into it: give it \
         more time (--seconds, --stages), or see {options}",
        flat.users,
        (flat.to - flat.from).as_secs_f64(),
        needed.as_secs_f64()
    ))
}

#[derive(Args, Clone, Debug)]
pub(super) struct ZombiesArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Seconds into the first stage of constant users after which some vanish
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    at_seconds: f64,
    /// Percent of the users who vanish
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=100))]
    percent: u32,
    /// Seconds that the server has to close their connections; --time-scale is not for these
    #[arg(long, default_value_t = 90.0, value_parser = rate)]
    patience_seconds: f64,
    /// Messages a second of each user that is there, sent back by the server
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(8..=1 << 20))]
    payload_bytes: u32,
    /// Users say nothing: for a server that does not echo
    #[arg(long, conflicts_with_all = ["rate", "payload_bytes"])]
    quiet: bool,
}

impl ZombiesArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let (into, patience) =
            (self.load.scaled(self.at_seconds), Duration::from_secs_f64(self.patience_seconds));
        let stages = self.load.stages(into + patience);
        let flat = stages.flats().first().copied();
        let flat = flat.ok_or_else(|| Error::Usage(NO_FLAT.to_owned()))?;
        // What is compressed and rounded need not fit to the nanosecond.
        if flat.from + into + patience > flat.to + Duration::from_millis(1) {
            return Err(too_short(flat, into + patience, "--at-seconds and --patience-seconds"));
        }
        let echo =
            echo::Job { bytes: self.payload_bytes as usize, rate: Some(self.rate), raw: false };
        let job = zombies::Job {
            echo: (!self.quiet).then_some(echo),
            percent: self.percent,
            vanish_ns: (flat.from + into).as_nanos() as u64,
            patience_ns: patience.as_nanos() as u64,
        };
        self.load.run_holding("zombies", Job::Zombies(job), into + patience)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum By {
    /// Their number, from --users
    Users,
    /// Their messages a second, from --rate of each of --users
    Rate,
}

#[derive(Args, Clone, Debug)]
pub(super) struct CapacityArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// What is raised
    #[arg(long, value_enum, default_value = "users")]
    by: By,
    /// Messages a second of each user, all sent back by the server
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    rate: f64,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(8..=1 << 20))]
    payload_bytes: u32,
    /// A load has not held whose 99th percentile of latency is over so many milliseconds
    #[arg(long, default_value_t = 50.0, value_parser = rate)]
    p99_ms: f64,
    /// Nor one of whose connections more than so many percent failed
    #[arg(long, default_value_t = 0.0, value_parser = percent)]
    failed_percent: f64,
    /// Nor one for which the server used more of the processor than so many cores; needs
    /// --server-pid
    #[arg(long, requires = "server_pid", value_parser = rate)]
    server_cores: Option<f64>,
    /// Percent by which the load that held and the next that did not may differ
    #[arg(long, default_value_t = 10.0, value_parser = rate)]
    precision: f64,
    /// No more users, or messages a second, than that
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..=10_000_000))]
    most: u64,
}

impl CapacityArgs {
    /// Searches and prints the report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let (users, ramp, hold) = self.load.steps()?;
        let echo =
            echo::Job { bytes: self.payload_bytes as usize, rate: Some(self.rate), raw: false };
        let first = match self.by {
            By::Users => u64::from(users),
            By::Rate => (f64::from(users) * self.rate).max(1.0) as u64,
        };
        if first > self.most {
            return Err(Error::Usage(format!(
                "--most {}: the first load is {first} already",
                self.most
            )));
        }
        let options = Options {
            raise: if self.by == By::Users { Raise::Users } else { Raise::Rate },
            first,
            most: self.most,
            users,
            ramp,
            hold,
            p99_ms: self.p99_ms,
            failed_percent: self.failed_percent,
            server_cores: self.server_cores,
            precision_percent: self.precision,
        };
        let plan = self.load.plan("capacity", Job::Echo(echo), Duration::ZERO)?;
        self.load
            .run_by(&plan, |plan, stop, progress| capacity::run(plan, &options, stop, progress))
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "it is not from 0 to 100".to_owned())
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Mode {
    List,
    Stream,
}

#[derive(Args, Clone, Debug)]
#[command(
    mut_arg("server", |server| server.default_value("ws://127.0.0.1:8080/ws/asr")),
    after_help = "500 users who come 10 ms apart, each with one session of 10 chunks of 3,200 \
                  bytes, unpaced, one worker at 205 ms a chunk:\n  ringgate bench tasks --stages \
                  5s:500,30s:500 --sessions 1 --worker-redis redis://127.0.0.1:6379/0 \
                  --worker-delay-ms 205\nOne stream of an hour: --users 1 --seconds 3600 --chunks \
                  37895 --chunk-ms 95 --sessions 1 --session-seconds 3700. A thousand who only \
                  keep a session open: --users 1000 --chunk-bytes 0 --chunk-ms 30000."
)]
pub(super) struct TasksArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Chunks of a session
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(1..=1_000_000))]
    chunks: u32,
    /// Bytes of audio of a chunk, before base64
    #[arg(long, default_value_t = 3_200, value_parser = value_parser!(u32).range(0..=32 << 20))]
    chunk_bytes: u32,
    /// Milliseconds between two chunks, whatever the server does [default: unpaced]
    #[arg(long, value_parser = value_parser!(u64).range(1..=3_600_000))]
    chunk_ms: Option<u64>,
    /// Chunks of a session without a result at most, where they are unpaced [default: all]
    #[arg(long, conflicts_with = "chunk_ms", value_parser = value_parser!(u32).range(1..))]
    in_flight: Option<u32>,
    /// Sessions of a user, who then leaves for good [default: until its stage ends]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    sessions: Option<u32>,
    /// Sessions on a connection, after which there is another one [default: all]
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    sessions_per_connection: Option<u32>,
    /// Seconds after which a session without a final result has failed; the run waits so long at
    /// its end
    #[arg(long, default_value_t = 120.0, value_parser = rate)]
    session_seconds: f64,
    /// Redis of the server's route, for a worker that ends with the run [default: no worker]
    #[arg(long)]
    worker_redis: Option<RedisUrl>,
    /// Key of the route's queue [default: asr_chunk_queue, or asr_tasks for a stream]
    #[arg(long, requires = "worker_redis")]
    worker_queue: Option<String>,
    /// Type of the queue
    #[arg(long, requires = "worker_redis", value_enum, default_value = "list")]
    worker_mode: Mode,
    /// Consumer group of a stream
    #[arg(long, requires = "worker_redis", default_value = "asr_workers")]
    worker_group: String,
    /// Milliseconds that the worker takes for a chunk at least
    #[arg(long, requires = "worker_redis", default_value_t = 0, value_parser = value_parser!(u64).range(0..=3_600_000))]
    worker_delay_ms: u64,
    /// Chunks that it works on at a time
    #[arg(long, requires = "worker_redis", default_value_t = 1, value_parser = value_parser!(u32).range(1..=WORKER_CONCURRENCY_MAX as i64))]
    worker_concurrency: u32,
}

impl TasksArgs {
    /// Runs the profile and prints its report.
    pub(super) fn run(&self) -> Result<(), Error> {
        let job = tasks::Job {
            chunks: self.chunks,
            bytes: self.chunk_bytes as usize,
            chunk_ns: self.chunk_ms.map(|ms| ms * 1_000_000),
            in_flight: self.in_flight.unwrap_or(u32::MAX),
            patience_ns: Duration::from_secs_f64(self.session_seconds).as_nanos() as u64,
            per_connection: self.sessions_per_connection,
            per_user: self.sessions,
        };
        let plan = self.load.plan("tasks", Job::Tasks(job), Duration::ZERO)?;
        let worker = self.duty().map(|duty| Worker::start(&duty)).transpose();
        let mut worker = worker.map_err(Error::Failed)?;
        self.load.run_by(&plan, |plan, stop, progress| {
            let mut report: Report = run::run(plan, stop, progress)?;
            report.invalid.extend(worker.as_mut().and_then(Worker::ended));
            Ok(report)
        })
    }

    fn duty(&self) -> Option<Duty> {
        let redis = self.worker_redis.as_ref()?.expose().to_owned();
        let is_stream = self.worker_mode == Mode::Stream;
        let queue = self
            .worker_queue
            .clone()
            .unwrap_or_else(|| if is_stream { "asr_tasks" } else { "asr_chunk_queue" }.to_owned());
        Some(Duty {
            redis,
            queue,
            group: is_stream.then(|| self.worker_group.clone()),
            delay_ms: self.worker_delay_ms,
            concurrency: self.worker_concurrency as usize,
        })
    }
}
