//! What every profile is told, and how it is run: the bar, Ctrl-C, and where the report goes.

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clap::{Args, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use signal_hook::{consts::SIGINT, flag};

use super::saved;
use crate::bench::{
    order::Job,
    process::Process,
    report::{Report, page::page},
    run::{self, Plan, Progress},
    stages::Stages,
    target::{Sources, Target},
};
use crate::cli::Error;

/// Exit code of whom Ctrl-C has ended (bash's 128 + 2).
const INTERRUPTED: i32 = 130;

/// Who comes when, from where, to which server, and where the report goes.
#[derive(Args, Clone, Debug)]
pub(super) struct LoadArgs {
    /// Route of the server, ws://HOST:PORT/PATH; of several alike ws://HOST:PORT,HOST:PORT/PATH,
    /// taken in turn [default: the profile's one of a gateway at
    /// 127.0.0.1:8080: /echo, /ws/asr or /ws/topics]
    #[arg(long)]
    server: Option<Target>,
    /// Users, each with one connection [default: 1000]
    #[arg(long, value_parser = value_parser!(u32).range(1..=10_000_000))]
    users: Option<u32>,
    /// Seconds in which the users come
    #[arg(long, default_value_t = 5.0, value_parser = rate)]
    ramp_seconds: f64,
    /// Seconds to measure when they are there
    #[arg(long, default_value_t = 20.0, value_parser = rate)]
    seconds: f64,
    /// Then twice as many users, and so on, so many times: gives the slope of cost
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=16))]
    doublings: u32,
    /// Stages instead: LENGTH:USERS at their end, as 3m:1000,1m:1000, or smoke, spike, capacity;
    /// measured are those whose number does not change
    #[arg(long, conflicts_with_all = ["users", "ramp_seconds", "seconds", "doublings"])]
    stages: Option<Stages>,
    /// Seconds at the beginning of each time of constant users that are not measured [default: 1,
    /// or a fifth of a short one]
    #[arg(long, value_parser = rate)]
    head_seconds: Option<f64>,
    /// Divides all times of the stages, and how long users stay, windows and moments in a plateau
    #[arg(long, default_value_t = 1.0, value_parser = rate)]
    time_scale: f64,
    /// Addresses to connect from, 127.0.0.0/24 or a list [default: the kernel's choice]
    #[arg(long)]
    source: Option<Sources>,
    /// Processes of the load, each with its share of the users
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=256))]
    processes: u32,
    /// Cores for them, in turn, as 2,3 [default: any]
    #[arg(long, alias = "core", value_delimiter = ',')]
    cores: Vec<usize>,
    /// Process ids of the server, where it is on this machine: its processor time and memory
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Admin port of the server, where it is a gateway: its own count of system calls serves where
    /// perf cannot count them
    #[arg(long)]
    server_admin: Option<SocketAddr>,
    /// Seed of the users' choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the report as JSON there
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report there as one HTML page with plots
    #[arg(long)]
    html: Option<PathBuf>,
}

/// Where a gateway is that was started without a word.
const SERVER: &str = "ws://127.0.0.1:8080";
/// How many users there are where nothing is said.
const USERS: u32 = 1_000;

impl LoadArgs {
    /// The same, in these stages where neither stages nor users were given.
    pub(super) fn or_stages(&self, stages: &str) -> Result<Self, Error> {
        let mut load = self.clone();
        if load.stages.is_none() && load.users.is_none() {
            load.stages = Some(stages.parse().map_err(Error::Failed)?);
        }
        Ok(load)
    }

    /// A time of the users, in nanoseconds, as long as it is in this run.
    pub(super) fn scaled_ns(&self, ms: u64) -> u64 {
        (ms as f64 * 1e6 / self.time_scale) as u64
    }

    /// Runs the load and prints its report.
    pub(super) fn run(&self, profile: &str, job: Job) -> Result<(), Error> {
        self.run_holding(profile, job, Duration::ZERO)
    }

    /// The same, with [`LoadArgs::stages`] that last so long.
    pub(super) fn run_holding(
        &self,
        profile: &str,
        job: Job,
        hold_least: Duration,
    ) -> Result<(), Error> {
        let plan = self.plan(profile, job, hold_least)?;
        self.run_by(&plan, |plan, stop, progress| run::run(plan, stop, progress))
    }

    /// The same for what is more than one run.
    pub(super) fn run_by(
        &self,
        plan: &Plan,
        run: impl FnOnce(&Plan, &AtomicBool, &mut dyn FnMut(Progress)) -> Result<Report, String>,
    ) -> Result<(), Error> {
        crate::host::raise_descriptors();
        // Before the run: it may take hours, and its report is all that is left of it.
        for (flag, path) in [("--json", &self.json), ("--html", &self.html)] {
            path.as_deref().map_or(Ok(()), |path| saved::is_writable(flag, path))?;
        }
        let profile = &plan.profile;
        let stop = stop_at_interrupt()?;
        let bar = Bar::new(plan);
        let report = run(plan, &stop, &mut |progress| bar.show(progress));
        bar.0.finish_and_clear();
        let report = report.map_err(|error| Error::Failed(format!("bench {profile}: {error}")))?;
        self.print(&report)?;
        match report.invalid.len() {
            0 => Ok(()),
            count => Err(Error::Failed(format!(
                "bench {profile}: the result is INVALID for {count} reason(s), see above"
            ))),
        }
    }

    /// The stages, compressed; where none are given they hold their users for `hold_least`, in
    /// the time of the run, at least.
    pub(super) fn stages(&self, hold_least: Duration) -> Stages {
        let seconds = Duration::from_secs_f64;
        let stages = self.stages.clone().unwrap_or_else(|| {
            let hold = seconds(self.seconds).max(hold_least.mul_f64(self.time_scale));
            Stages::doubling(
                self.users.unwrap_or(USERS),
                seconds(self.ramp_seconds),
                hold,
                self.doublings,
            )
        });
        stages.with_head(self.head_seconds.map(seconds)).compressed(self.time_scale)
    }

    /// So many seconds of the stages, compressed like them.
    pub(super) fn scaled(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds / self.time_scale)
    }

    /// Users, and how long they take to come and are held, for what makes its own stages.
    ///
    /// # Errors
    /// Stages are given.
    pub(super) fn steps(&self) -> Result<(u32, Duration, Duration), Error> {
        if self.stages.is_some() || self.doublings > 0 {
            return Err(Error::Usage(
                "--stages and --doublings mean nothing here: see --users, --ramp-seconds and \
                 --seconds"
                    .to_owned(),
            ));
        }
        Ok((self.users.unwrap_or(USERS), self.scaled(self.ramp_seconds), self.scaled(self.seconds)))
    }

    /// What is to be run.
    ///
    /// # Errors
    /// A core that this process may not use.
    pub(super) fn plan(
        &self,
        profile: &str,
        job: Job,
        hold_least: Duration,
    ) -> Result<Plan, Error> {
        let target = match &self.server {
            Some(server) => server.clone(),
            None => format!("{SERVER}{}", job.path()).parse().map_err(Error::Failed)?,
        };
        for core in &self.cores {
            let allowed = super::super::process::cores_allowed();
            if !allowed.contains(core) {
                return Err(Error::Usage(format!(
                    "--cores {core}: this process may use {allowed:?}; see nproc and taskset"
                )));
            }
        }
        Ok(Plan {
            profile: profile.to_owned(),
            job,
            target,
            sources: self.source.clone().unwrap_or_default(),
            stages: self.stages(hold_least),
            processes: self.processes,
            cores: self.cores.clone(),
            servers: self.server_pid.iter().copied().map(Process).collect(),
            admin: self.server_admin,
            seed: self.seed,
        })
    }

    fn print(&self, report: &Report) -> Result<(), Error> {
        write!(io::stdout(), "{report}").map_err(Error::Output)?;
        if let Some(path) = &self.json {
            let json =
                serde_json::to_string(report).map_err(|error| Error::Failed(error.to_string()))?;
            saved::write("--json", path, &(json + "\n"))?;
        }
        self.html.as_deref().map_or(Ok(()), |path| saved::write("--html", path, &page(report)))
    }
}

/// A positive number that is not out of all reason.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| (0.001..=10_000.0).contains(number));
    number.ok_or_else(|| "it is not from 0.001 to 10000".to_owned())
}

/// Set by Ctrl-C; the second one ends this process at once.
fn stop_at_interrupt() -> Result<Arc<AtomicBool>, Error> {
    let stop = Arc::new(AtomicBool::new(false));
    // In this order: the first one finds the flag not set yet, and sets it.
    let registered = flag::register_conditional_shutdown(SIGINT, INTERRUPTED, stop.clone())
        .and_then(|_| flag::register(SIGINT, stop.clone()));
    registered.map_err(|error| Error::Failed(format!("Ctrl-C: {error}")))?;
    Ok(stop)
}

/// This process to that core.
pub(super) fn pin_to(core: usize) -> Result<(), String> {
    let mut cores = nix::sched::CpuSet::new();
    let pinned = cores
        .set(core)
        .and_then(|()| nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &cores));
    pinned.map_err(|error| format!("--cores {core}: {error}; see nproc"))
}

/// The bar at the terminal; nothing where standard error is none.
struct Bar(ProgressBar);

impl Bar {
    fn new(plan: &Plan) -> Self {
        let bar = ProgressBar::new(plan.stages.length().as_millis() as u64);
        // The template is a constant; without a style the bar is only plainer.
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {msg}") {
            bar.set_style(style);
        }
        Self(bar)
    }

    fn show(&self, progress: Progress) {
        let Progress { time, length, moment } = progress;
        self.0.set_length(length.as_millis() as u64);
        self.0.set_position(time.as_millis() as u64);
        let p99 = moment.latency_p99_ms.map_or(String::new(), |ms| format!(", p99 {ms:.1} ms"));
        let server =
            moment.server_cores.map_or(String::new(), |cores| format!(", server {cores:.2}"));
        self.0.set_message(format!(
            "{:.0}/{:.0} s, {}/{} users, {:.0} messages/s{p99}{server}",
            time.as_secs_f64(),
            length.as_secs_f64(),
            moment.open,
            moment.wanted,
            moment.received_per_second,
        ));
    }
}
