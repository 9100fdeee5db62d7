//! A run: starts the processes of the load, hears their slices, reads the server's cost, and makes
//! the report of it.
//!
//! The load is in processes of their own also where there is one, so that what the report costs is
//! not the load's, and so that a limit of descriptors is one process's.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    beside::Beside,
    clock,
    crew::{Crew, Heard},
    order::{Job, Order, Share},
    probe,
    process::Process,
    report::{
        FORMAT, Figure, Moment, Report, Totals, host::Host, plateau, plateau::Sum, validity,
        windows,
    },
    stages::Stages,
    tally::Tally,
    target::{Sources, Target},
    topics,
    watch::{Used, Watch},
};

/// From the order to the first user: for the processes to start.
const LEAD_NS: u64 = 500_000_000;
/// Slices of the shortest plateau.
const PLATEAU_SLICES: u64 = 10;
/// Bounds of a slice, in milliseconds.
const SLICE_MS: std::ops::RangeInclusive<u64> = 100..=1_000;
/// Slices of a run, at most: each is a line of the report.
const SLICES_MAX: u64 = 2_000;
/// After the end of the stages and the last answers: for goodbyes, and some more.
const GRACE_NS: u64 = 20_000_000_000;
/// How often it is looked whether to stop.
const NAP: Duration = Duration::from_millis(50);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name, for the report.
    pub profile: String,
    /// What the users do.
    pub job: Job,
    /// The server's route.
    pub target: Target,
    /// Addresses to connect from.
    pub sources: Sources,
    /// How many users there are when, compressed already.
    pub stages: Stages,
    /// Processes of the load.
    pub processes: u32,
    /// Cores for them, taken in turn; none: any.
    pub cores: Vec<usize>,
    /// Processes of the server, where they are on this machine.
    pub servers: Vec<Process>,
    /// Its admin port, where it is a gateway.
    pub admin: Option<SocketAddr>,
    /// Of all choices.
    pub seed: u64,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Since the stages began.
    pub time: Duration,
    /// Of all stages.
    pub length: Duration,
    /// The last whole slice.
    pub moment: Moment,
}

/// Runs the load; what was measured, also where `stop` ended it.
///
/// # Errors
/// The server cannot be reached or does not speak WebSocket, the limits of this host are too low,
/// or a process of the load failed.
pub fn run(
    plan: &Plan,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<Report, String> {
    probe::limits(plan)?;
    if !plan.job.is_raw() {
        probe::server(&plan.target)?;
    }
    let slice_ms = slice_ms(plan);
    let origin_ns = clock::now_ns() + LEAD_NS;
    let end_ns = origin_ns + plan.stages.length().as_nanos() as u64;
    let mut beside = Beside::start(plan, origin_ns, end_ns)?;
    let began = jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string();
    let mut run = Run::new(plan, origin_ns, slice_ms)?;
    let mut crew = Crew::start(orders(plan, origin_ns, slice_ms))?;
    while run.is_going(&mut crew, &mut beside)? {
        run.watch_server();
        beside.turn(&mut crew, run.tally_now());
        if stop.load(Relaxed) && !run.interrupted {
            run.interrupted = true;
            beside.stop();
        }
        if run.interrupted && beside.may_stop() {
            crew.stop();
        }
        if clock::now_ns() > run.give_up_ns {
            return Err("a process of the load did not end in time".into());
        }
        progress(run.progress());
    }
    let mut report = run.report(began);
    beside.report(&plan.job, &mut report);
    Ok(report)
}

fn orders(plan: &Plan, origin_ns: u64, slice_ms: u64) -> Vec<Order> {
    let of = plan.processes.max(1);
    let order = |nth: u32| Order {
        job: plan.job.clone(),
        target: plan.target.clone(),
        sources: plan.sources.beginning_at(nth as usize),
        stages: plan.stages.clone(),
        share: Share { nth, of },
        origin_ns,
        slice_ms,
        core: plan.cores.get(nth as usize % plan.cores.len().max(1)).copied(),
        seed: plan.seed,
    };
    (0..of).map(order).collect()
}

fn slice_ms(plan: &Plan) -> u64 {
    let stages = &plan.stages;
    let shortest = stages.flats().iter().map(|flat| flat.to - flat.from).min();
    let shortest_ms = shortest.unwrap_or(stages.length()).as_millis() as u64;
    let few_enough = (stages.length().as_millis() as u64).div_ceil(SLICES_MAX);
    let wanted_ms = plan.job.slice_ms_max().unwrap_or(u64::MAX).min(shortest_ms / PLATEAU_SLICES);
    wanted_ms.clamp(*SLICE_MS.start(), *SLICE_MS.end()).max(few_enough)
}

/// What is known of a run so far.
struct Run<'p> {
    plan: &'p Plan,
    origin_ns: u64,
    slice_ms: u64,
    give_up_ns: u64,
    /// By number; those that not all processes have told yet are behind `whole`.
    sums: Vec<Sum>,
    /// How many processes have told each.
    told: Vec<u32>,
    /// Slices that all processes have told.
    whole: usize,
    /// What came after the last slice.
    rest: Tally,
    watch: Option<Watch>,
    /// Ends of slices at which the server was looked at, the origin first.
    looks: usize,
    interrupted: bool,
}

impl<'p> Run<'p> {
    fn new(plan: &'p Plan, origin_ns: u64, slice_ms: u64) -> Result<Self, String> {
        let length_ns = plan.stages.length().as_nanos() as u64;
        let slice = Duration::from_millis(slice_ms);
        let is_local = !plan.servers.is_empty();
        let watch = is_local.then(|| Watch::start(&plan.servers, plan.admin, &plan.stages, slice));
        Ok(Self {
            plan,
            origin_ns,
            slice_ms,
            give_up_ns: origin_ns
                + length_ns
                + plan.job.settle().as_nanos() as u64
                + GRACE_NS
                + Beside::grace_ns(plan),
            sums: Vec::new(),
            told: Vec::new(),
            whole: 0,
            rest: Tally::default(),
            watch: watch.transpose()?,
            looks: 0,
            interrupted: false,
        })
    }

    /// Hears what the processes say, for a moment; `false` when all are done.
    fn is_going(&mut self, crew: &mut Crew, beside: &mut Beside) -> Result<bool, String> {
        let reads_server = self.watch.is_some() && !self.interrupted;
        let at_most = if reads_server { self.until_slice_end().min(NAP) } else { NAP };
        match crew.hear(at_most)? {
            Heard::Nothing => {}
            Heard::Slice(slice) => {
                let nth = slice.nth as usize;
                if nth as u64 > SLICES_MAX * 2 {
                    return Err(format!("a process of the load told of slice {nth}"));
                }
                let mut tally = slice.tally;
                // Nobody asks for these slice by slice.
                let opening = std::mem::take(&mut tally.opening);
                let times = std::mem::take(&mut tally.times);
                self.rest.add(&Tally { opening, times, ..Tally::default() });
                let sum = self.sum_mut(nth);
                sum.tally.add(&tally);
                sum.wanted += u64::from(slice.wanted);
                sum.open += u64::from(slice.open);
                sum.load_seconds = sum.load_seconds.max(slice.processor_ns as f64 / 1e9);
                self.told[nth] += 1;
                let all = self.plan.processes.max(1);
                while self.told.get(self.whole) == Some(&all) {
                    self.whole += 1;
                }
            }
            Heard::Rest(slice) => {
                self.rest.add(&slice.tally);
                beside.on_rest();
            }
            Heard::AllDone => return Ok(false),
        }
        Ok(true)
    }

    fn sum_mut(&mut self, nth: usize) -> &mut Sum {
        if self.sums.len() <= nth {
            self.sums.resize_with(nth + 1, Sum::default);
            self.told.resize(nth + 1, 0);
        }
        &mut self.sums[nth]
    }

    /// What is counted at this moment, beside the load.
    fn tally_now(&mut self) -> &mut Tally {
        let time_ns = clock::now_ns().saturating_sub(self.origin_ns);
        let nth = time_ns / (self.slice_ms * 1_000_000);
        let slices = self.plan.stages.length().as_millis() as u64 / self.slice_ms;
        if nth < slices && !self.interrupted {
            &mut self.sum_mut(nth as usize).tally
        } else {
            &mut self.rest
        }
    }

    fn until_slice_end(&self) -> Duration {
        let end_ns = self.origin_ns + self.looks as u64 * self.slice_ms * 1_000_000;
        Duration::from_nanos(end_ns.saturating_sub(clock::now_ns()))
    }

    /// At the end of a slice: what the server has used meanwhile.
    fn watch_server(&mut self) {
        if self.interrupted || !self.until_slice_end().is_zero() {
            return;
        }
        let open = self.whole.checked_sub(1).map_or(0, |nth| self.sums[nth].open);
        let Some(watch) = &mut self.watch else { return };
        let used = watch.look(self.looks.checked_sub(1), open);
        self.looks += 1;
        if let Some(Used { slice, cpu, resident_bytes }) = used {
            let sum = self.sum_mut(slice);
            sum.server_seconds = Some(cpu.as_secs_f64());
            sum.server_resident_bytes = Some(resident_bytes);
        }
    }

    fn progress(&self) -> Progress {
        let time = Duration::from_nanos(clock::now_ns().saturating_sub(self.origin_ns));
        let last = self.whole.checked_sub(1);
        let moment = last.map(|nth| self.moment(nth)).unwrap_or_default();
        Progress { time, length: self.plan.stages.length(), moment }
    }

    fn moment(&self, nth: usize) -> Moment {
        let (sum, slice_s) = (&self.sums[nth], self.slice_ms as f64 / 1e3);
        let latency = &sum.tally.latency;
        let quantile = |share| (!latency.is_empty()).then(|| latency.quantile_ms(share));
        Moment {
            at_s: (nth + 1) as f64 * slice_s,
            wanted: sum.wanted,
            open: sum.open,
            sent_per_second: sum.tally.sent as f64 / slice_s,
            received_per_second: sum.tally.received as f64 / slice_s,
            latency_p50_ms: quantile(0.5),
            latency_p99_ms: quantile(0.99),
            server_cores: sum.server_seconds.map(|seconds| seconds / slice_s),
            server_resident_bytes: sum.server_resident_bytes,
            load_cores: sum.load_seconds / slice_s,
        }
    }

    fn report(mut self, began: String) -> Report {
        let slice_s = self.slice_ms as f64 / 1e3;
        let mut all = std::mem::take(&mut self.rest);
        // Where a run was ended early some have told of a slice that others have not.
        self.sums.drain(self.whole..).for_each(|sum| all.add(&sum.tally));
        self.sums.iter().for_each(|sum| all.add(&sum.tally));
        let (plateaus, latency) = plateau::plateaus(&self.plan.stages, slice_s, &self.sums);
        let (plan, slice) = (self.plan, Duration::from_millis(self.slice_ms));
        let server_gone = self.watch.as_ref().and_then(Watch::gone);
        let cost = self.watch.take().map(|watch| watch.cost(slice, &self.sums));
        let mut report = Report {
            format: FORMAT,
            profile: plan.profile.clone(),
            began,
            command: std::env::args().skip(1).map(without_password).collect(),
            host: Host::this(),
            server: plan.target.to_string(),
            stages: plan.stages.to_string(),
            processes: plan.processes.max(1),
            seconds: (clock::now_ns() - self.origin_ns.min(clock::now_ns())) as f64 / 1e9,
            interrupted: self.interrupted,
            totals: totals(&all),
            plateaus,
            slices: (0..self.sums.len()).map(|nth| self.moment(nth)).collect(),
            figures: Vec::new(),
            notes: Vec::new(),
            cost,
            invalid: Vec::new(),
            latency,
            failures: all.failures,
            counts: all.counts,
            times: all.times,
            opening: all.opening,
        };
        report.figures = plan.job.figures(&report);
        report.figures.extend(self.figures(slice_s));
        report.invalid = validity::objections(&report);
        report.invalid.extend(server_gone);
        report
    }

    /// What slow readers cost the others, where there are any.
    fn figures(&self, slice_s: f64) -> Vec<Figure> {
        let Job::Topics(topics::Job { slow: Some(slow), .. }) = &self.plan.job else {
            return Vec::new();
        };
        let window_s = slow.window_ns as f64 / 1e9;
        windows::figures(&windows::pairs(&self.plan.stages, slice_s, &self.sums, window_s))
    }
}

/// An argument as a report may show it: the password of a URL is nobody's business.
fn without_password(argument: String) -> String {
    let parts = argument.split_once("://").and_then(|(scheme, rest)| {
        let (user, host) = rest.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:***@{host}"))
    });
    parts.unwrap_or(argument)
}

fn totals(all: &Tally) -> Totals {
    Totals {
        begun: all.begun,
        opened: all.opened,
        sent: all.sent,
        expected: all.expected,
        received: all.received,
        lost: all.lost,
        told: all.told,
        wrong: all.wrong,
        pings: all.pings,
        late: all.late,
        withheld: all.withheld,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_reports() {
        let shown = |argument: &str| without_password(argument.to_owned());
        for kept in ["--json=a.json", "storm", "ws://127.0.0.1:80/echo", "--server-pid", "7"] {
            assert_eq!(shown(kept), kept);
        }
        for url in ["redis://u:secret@h:1/0", "--worker-redis=redis://:secret@h/2"] {
            assert!(!shown(url).contains("secret") && shown(url).contains('h'), "{}", shown(url));
        }
        assert_eq!(shown("redis://a:s3:c@ret@h:1/0"), "redis://a:***@h:1/0");
        assert_eq!(shown("--redis=redis://h/2"), "--redis=redis://h/2");
    }
}
