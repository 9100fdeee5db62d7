//! What a run does beside its load: publishes, and sees when the server knows that all users have
//! vanished.

use std::{net::SocketAddr, time::Duration};

use super::{
    clock,
    crew::Crew,
    generator::VANISH_NS,
    metrics,
    order::{Job, Word},
    publisher::Publisher,
    report::{Figure, Report},
    run::Plan,
    spike,
    tally::Tally,
};

/// Between two looks at the server's connections.
const LOOK_NS: u64 = 250_000_000;
/// The gauge of open connections.
const GAUGE: &str = "ringgate_connections{";

/// What goes on beside one load.
pub struct Beside {
    publisher: Option<Publisher>,
    /// Messages of it that have been taken account of, and the late ones of them.
    taken: (u64, u64),
    /// The generators know how many messages there were.
    has_told: bool,
    vanish: Option<Vanish>,
    objections: Vec<String>,
}

/// Users who have vanished, and the server that does not know.
struct Vanish {
    admin: SocketAddr,
    /// Generators whose users are still there.
    left: u32,
    since_ns: u64,
    look_ns: u64,
    /// How long the server took.
    took: Option<Duration>,
    is_over: bool,
}

impl Beside {
    /// Begins with whatever the plan has.
    ///
    /// # Errors
    /// Redis or the server's admin port is not there.
    pub fn start(plan: &Plan, origin_ns: u64, end_ns: u64) -> Result<Self, String> {
        let feed = plan.job.feed();
        let start = |feed| Publisher::start(feed, origin_ns..end_ns, &plan.cores);
        let publisher = feed.map(start).transpose()?;
        let vanish = plan.job.vanish().map(|admin| {
            connections(admin).map_err(|error| format!("--admin {admin}: {error}"))?;
            let left = plan.processes.max(1);
            let (since_ns, look_ns) = (0, 0);
            Ok::<_, String>(Vanish { admin, left, since_ns, look_ns, took: None, is_over: false })
        });
        Ok(Self {
            publisher,
            taken: (0, 0),
            has_told: false,
            vanish: vanish.transpose()?,
            objections: Vec::new(),
        })
    }

    /// How much longer than its load the run may take, in nanoseconds.
    pub fn grace_ns(plan: &Plan) -> u64 {
        plan.job.vanish().map_or(0, |_| VANISH_NS)
    }

    /// A generator has told the rest: its users have gone.
    pub fn on_rest(&mut self) {
        if let Some(vanish) = &mut self.vanish {
            vanish.left = vanish.left.saturating_sub(1);
            vanish.since_ns = clock::now_ns();
        }
    }

    /// Nothing more is published.
    pub fn stop(&mut self) {
        if let Some(publisher) = &self.publisher {
            publisher.stop();
        }
    }

    /// Whether the generators may be told to end.
    pub fn may_stop(&self) -> bool {
        self.publisher.is_none() || self.has_told
    }

    /// Goes on; what was published since the last turn is added to `tally`.
    pub fn turn(&mut self, crew: &mut Crew, tally: &mut Tally) {
        if let Some(publisher) = &mut self.publisher {
            let outcome = publisher.outcome();
            let (sent, late) = publisher.sent_and_late();
            tally.sent += sent - self.taken.0;
            tally.late += late - self.taken.1;
            self.taken = (sent, late);
            if let Some(Err(why)) = &outcome {
                self.objections.push(format!("the publisher ended after {sent} messages: {why}"));
            }
            if outcome.is_some() {
                crew.tell(Word::Published(sent));
                self.has_told = true;
            }
        }
        if let Some(vanish) = &mut self.vanish
            && vanish.is_over_now()
        {
            crew.stop();
        }
    }

    /// What there is to say about it in the report.
    pub fn report(self, job: &Job, report: &mut Report) {
        let mut figure = |name: &str, value, unit: &str| {
            let (name, unit) = (name.to_owned(), unit.to_owned());
            report.figures.push(Figure { name, value, unit });
        };
        if let Some(publisher) = &self.publisher {
            figure("published", self.taken.0 as f64, "");
            figure("latest publish", publisher.late_max().as_secs_f64() * 1e3, "ms");
        }
        let last = report.slices.iter().rev().find_map(|slice| slice.server_resident_bytes);
        if let Some(bytes) = last {
            figure("server memory", bytes as f64 / f64::from(1 << 20), "MiB");
        }
        if let Some(took) = self.vanish.as_ref().and_then(|vanish| vanish.took) {
            figure("all forgotten", took.as_secs_f64(), "s");
        }
        if matches!(job, Job::Spike(_)) {
            let good = report.counts.get(spike::GOOD).copied().unwrap_or(0);
            let share = good as f64 / report.totals.begun.max(1) as f64;
            figure("availability", share * 100.0, "%");
        }
        report.invalid.extend(self.objections);
        if self.publisher.is_some() && !self.has_told {
            report
                .invalid
                .push("the publisher was not done when the load was: Redis is slow".into());
        }
        if self.vanish.is_some_and(|vanish| vanish.is_over && vanish.took.is_none()) {
            let seconds = VANISH_NS / 1_000_000_000;
            report.invalid.push(format!("the server has connections {seconds} s after the end"));
        }
        let is_counted = matches!(job, Job::Topics(_) | Job::Spike(_));
        if is_counted && report.totals.wrong > 0 {
            let wrong = report.totals.wrong;
            report.invalid.push(format!("{wrong} messages came out of order or twice"));
        }
        if is_counted && report.totals.received == 0 && report.totals.opened > 0 {
            report.invalid.push("no message was received: is --channel that of the route?".into());
        }
    }
}

impl Vanish {
    /// Looks whether the server has noticed; `true` once, when it has or has had its time.
    fn is_over_now(&mut self) -> bool {
        let now_ns = clock::now_ns();
        if self.left > 0 || self.is_over || now_ns < self.look_ns {
            return false;
        }
        self.look_ns = now_ns + LOOK_NS;
        let after_ns = now_ns.saturating_sub(self.since_ns);
        if connections(self.admin) == Ok(0.0) {
            self.took = Some(Duration::from_nanos(after_ns));
        }
        // A look less than the generators wait themselves.
        self.is_over = self.took.is_some() || after_ns + 8 * LOOK_NS > VANISH_NS;
        self.is_over
    }
}

/// How many connections the server has by its metrics.
fn connections(admin: SocketAddr) -> Result<f64, String> {
    let text = metrics::text(admin).map_err(|error| error.to_string())?;
    let mut gauges = text
        .lines()
        .filter(|line| line.starts_with(GAUGE))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .peekable();
    match gauges.peek() {
        Some(_) => Ok(gauges.sum()),
        None => Err(format!("its /metrics has no {GAUGE}…}}")),
    }
}
