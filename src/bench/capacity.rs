//! Profile `capacity`: the most that a server holds, searched for: twice as much after each load
//! that held, then halfway between the last that held and the first that did not.
//!
//! Each load is a run of its own, from nobody. What the search does with the outcomes is
//! [`Search`], which knows no server.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    cost::model::Cost,
    order::Job,
    report::{Figure, Report, validity},
    run::{self, Plan, Progress},
    stages::Stages,
};

/// Users who come in a second, at most: a ramp is as long as that needs.
const COMING_PER_SECOND: f64 = 1_000.0;
/// Loads of one search, at most.
pub const STEPS_MAX: usize = 64;
/// Share of the messages of a plateau that have to be answered in it.
const ANSWERED_SHARE_MIN: f64 = 0.98;

/// What is raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raise {
    /// The number of users, each with the rate that it has.
    Users,
    /// Messages a second of all users together, whose number stays.
    Rate,
}

/// What is searched for.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is raised.
    pub raise: Raise,
    /// The first load.
    pub first: u64,
    /// No more than that.
    pub most: u64,
    /// Users, where it is the rate that is raised.
    pub users: u32,
    /// How long the users of the first load take to come.
    pub ramp: Duration,
    /// How long each load is held.
    pub hold: Duration,
    /// A load has not held where the 99th percentile is over this.
    pub p99_ms: f64,
    /// Nor where more than this share of the connections failed, in percent.
    pub failed_percent: f64,
    /// Nor where the server used more of the processor than this; 1 is one core.
    pub server_cores: Option<f64>,
    /// How close the load that held has to come to one that did not, in percent.
    pub precision_percent: f64,
}

/// Why a load has not held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The server's.
    Server(String),
    /// The load itself could not make it.
    Load(String),
}

/// Looks for the highest load that holds.
#[derive(Clone, Debug)]
pub struct Search {
    next: Option<u64>,
    most: u64,
    precision: f64,
    held: Option<u64>,
    broke: Option<u64>,
    steps: usize,
}

impl Search {
    /// From `first`, up to `most`, until both ends are within `precision` (0.1: a tenth).
    pub fn new(first: u64, most: u64, precision: f64) -> Self {
        let next = Some(first.clamp(1, most.max(1)));
        Self { next, most: most.max(1), precision, held: None, broke: None, steps: 0 }
    }

    /// The load to be tried next; `None`: it is found.
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    /// The highest that held.
    pub fn held(&self) -> Option<u64> {
        self.held
    }

    /// What became of the load that was tried.
    pub fn tell(&mut self, held: bool) {
        let Some(load) = self.next.take() else { return };
        self.steps += 1;
        if held {
            self.held = Some(load);
        } else {
            self.broke = Some(load);
        }
        if self.steps >= STEPS_MAX {
            return;
        }
        self.next = match (self.held, self.broke) {
            (Some(held), None) if held < self.most => Some(held.saturating_mul(2).min(self.most)),
            (None, Some(broke)) if broke > 1 => Some(broke / 2),
            (Some(held), Some(broke)) => {
                let is_close = (broke - held) as f64 <= (held as f64 * self.precision).max(1.0);
                (!is_close).then_some(held + (broke - held) / 2)
            }
            _ => None,
        };
    }
}

/// Searches; all the loads are in one report.
///
/// # Errors
/// What kept the first load from being made.
pub fn run(
    plan: &Plan,
    options: &Options,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<Report, String> {
    let mut search = Search::new(options.first, options.most, options.precision_percent / 100.0);
    let mut whole: Option<Report> = None;
    let mut limit: Option<Fault> = None;
    while let Some(load) = search.next() {
        let step = run::run(&options.step(plan, load), stop, &mut progress);
        let fault = match (&step, &whole) {
            (Err(error), None) => return Err(error.clone()),
            // The server is gone or takes nobody; otherwise it is this host that has no more.
            (Err(error), Some(_)) if error.starts_with(&plan.target.to_string()) => {
                Some(Fault::Server(error.clone()))
            }
            (Err(error), Some(_)) => Some(Fault::Load(error.clone())),
            (Ok(report), _) => options.fault(report),
        };
        let is_over = stop.load(Relaxed);
        if let Ok(report) = step {
            whole = Some(match whole {
                None => report,
                Some(before) => joined(before, report),
            });
        }
        if is_over {
            break;
        }
        if let Some(whole) = &mut whole {
            whole.notes.push(options.line(load, fault.as_ref()));
        }
        search.tell(fault.is_none());
        limit = fault.or(limit);
    }
    let mut report = whole.ok_or("nothing was run")?;
    options.conclude(&search, limit, plan, &mut report);
    Ok(report)
}

impl Options {
    fn step(&self, plan: &Plan, load: u64) -> Plan {
        let users = match self.raise {
            Raise::Users => u32::try_from(load).unwrap_or(u32::MAX),
            Raise::Rate => self.users,
        };
        let coming = Duration::from_secs_f64(f64::from(users) / COMING_PER_SECOND);
        let mut job = plan.job.clone();
        if let (Job::Echo(echo), Raise::Rate) = (&mut job, self.raise) {
            echo.rate = Some(load as f64 / f64::from(users.max(1)));
        }
        let stages = Stages::doubling(users, self.ramp.max(coming), self.hold, 0);
        let stages = stages.with_head(plan.stages.head());
        Plan { job, stages, ..plan.clone() }
    }

    /// Why the load of that report has not held.
    fn fault(&self, report: &Report) -> Option<Fault> {
        if let Some(why) = validity::of_load(report).into_iter().next() {
            return Some(Fault::Load(why));
        }
        let Some(plateau) = report.plateaus.first() else {
            return Some(Fault::Load("it was ended early".to_owned()));
        };
        let failed: u64 = report.failures.values().sum();
        let failed_percent = failed as f64 * 100.0 / report.totals.begun.max(1) as f64;
        let cores = self.server_cores.zip(plateau.server_cores);
        let said = if failed_percent > self.failed_percent {
            let worst = report.failures.iter().max_by_key(|(_, times)| **times);
            let worst = worst.map_or("", |(why, _)| why.as_str());
            format!("{failed} of {} connections failed ({worst})", report.totals.begun)
        } else if report.totals.wrong > 0 {
            format!("{} answers were wrong", report.totals.wrong)
        } else if plateau.latency_p99_ms > self.p99_ms {
            format!("p99 {:.1} ms is over {} ms", plateau.latency_p99_ms, self.p99_ms)
        } else if (plateau.received as f64) < plateau.sent as f64 * ANSWERED_SHARE_MIN {
            format!("{} of {} messages were answered in time", plateau.received, plateau.sent)
        } else if let Some((limit, used)) = cores.filter(|(limit, used)| used > limit) {
            format!("the server used {used:.2} cores, which is over {limit}")
        } else {
            // Messages that never came, or were not sent because none came.
            return report.invalid.first().cloned().map(Fault::Server);
        };
        Some(Fault::Server(said))
    }

    fn unit(&self) -> &'static str {
        match self.raise {
            Raise::Users => "users",
            Raise::Rate => "messages/s",
        }
    }

    fn line(&self, load: u64, fault: Option<&Fault>) -> String {
        let unit = self.unit();
        match fault {
            None => format!("{load} {unit} held"),
            Some(Fault::Server(why)) => format!("{load} {unit} did not hold: {why}"),
            Some(Fault::Load(why)) => format!("{load} {unit} could not be made: {why}"),
        }
    }

    fn conclude(&self, search: &Search, limit: Option<Fault>, plan: &Plan, report: &mut Report) {
        let held = search.held().unwrap_or(0);
        report.profile.clone_from(&plan.profile);
        report.figures.push(Figure {
            name: "capacity".to_owned(),
            value: held as f64,
            unit: self.unit().to_owned(),
        });
        // What a single load would be blamed for is told by its line.
        report.invalid.clear();
        match limit {
            Some(Fault::Load(why)) => report.invalid.push(format!(
                "the limit that was found may be the load's and not the server's: {why}"
            )),
            Some(Fault::Server(_)) if held == 0 => {
                report.notes.push("not even the smallest load held".to_owned());
            }
            None if !report.interrupted => report.notes.push(format!(
                "{held} {} are the most that were to be tried: see --most",
                self.unit()
            )),
            _ => {}
        }
        if report.interrupted {
            report.notes.push("ended before the limit was found".to_owned());
        }
    }
}

/// Both as one, the second behind the first.
fn joined(mut before: Report, mut after: Report) -> Report {
    let shift_s = before.seconds;
    after.plateaus.iter_mut().for_each(|plateau| plateau.from_s += shift_s);
    after.slices.iter_mut().for_each(|moment| moment.at_s += shift_s);
    before.plateaus.append(&mut after.plateaus);
    before.slices.append(&mut after.slices);
    before.stages = format!("{},{}", before.stages, after.stages);
    before.seconds += after.seconds;
    before.interrupted |= after.interrupted;
    before.totals.add(&after.totals);
    let add = |to: &mut std::collections::BTreeMap<String, u64>, from| {
        for (name, count) in from {
            *to.entry(name).or_default() += count;
        }
    };
    add(&mut before.failures, after.failures);
    add(&mut before.counts, after.counts);
    for (name, times) in &after.times {
        before.times.entry(name.clone()).or_default().add(times);
    }
    before.cost = match (before.cost, after.cost) {
        (Some(before), Some(after)) => {
            // The second baseline has what the first load has left behind.
            let further = after.points.into_iter().filter(|point| point.connections > 0);
            let points = before.points.into_iter().chain(further).collect();
            Some(Cost::new(points, [before.unread, after.unread].concat()))
        }
        (before, after) => before.or(after),
    };
    before.latency.add(&after.latency);
    before.opening.add(&after.opening);
    before
}

#[cfg(test)]
mod tests;
