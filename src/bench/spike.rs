//! Profile `spike`: users who ask for a session, connect with it, stay a while, leave, and begin
//! again; in stages.
//!
//! Availability is the share of connections that went well from the request to the goodbye. A
//! user who fails begins again like the others.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    fmt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet,
    choice::{Choices, topic_name},
    publisher::{Plan, Publisher},
    reading::{Item, Ledger, items},
    stages::Stages,
    target::{Sources, Target},
};
use crate::topics::ChannelPattern;

/// Users who begin in one turn: what is due besides waits for the next.
const BEGIN_MAX: usize = 64;
/// One sleep at most.
const NAP: Duration = Duration::from_millis(2);
/// For the last users to leave.
const END: Duration = Duration::from_secs(15);
/// Kinds of failures that are told apart.
const FAILURES_MAX: usize = 20;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topics route; its server has `/v1/sessions`.
    pub target: Target,
    /// Addresses to connect from.
    pub sources: Sources,
    /// Where to publish; `None`: somebody else does.
    pub redis: Option<String>,
    /// Channels of the route.
    pub channel: ChannelPattern,
    /// How many users there are when, compressed already.
    pub stages: Stages,
    /// How long a user stays connected, compressed already.
    pub stay: Duration,
    /// Topics that tick.
    pub topics: u32,
    /// Topics of one user.
    pub topics_per_user: usize,
    /// Messages a second of one topic.
    pub ticks_per_second: f64,
    /// Of all choices.
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections from request to goodbye, and those that failed somewhere.
    pub connections: u64,
    /// Those of them that went well.
    pub good: u64,
    /// Why the others did not, and how often.
    pub failures: BTreeMap<String, u64>,
    /// Connections that went well and brought no message meanwhile.
    pub silent: u64,
    /// Messages received.
    pub messages: u64,
    /// The most WebSockets at once.
    pub peak: usize,
    /// From the request of a session to the open WebSocket, in milliseconds.
    pub open_p50_ms: f64,
    /// The same.
    pub open_p99_ms: f64,
    /// How long it took.
    pub seconds: f64,
}

/// Runs the profile.
///
/// # Errors
/// Redis or io_uring are not there.
pub fn run(options: &Options) -> Result<Report, String> {
    let failed = |error: std::io::Error| format!("io_uring: {error}");
    let mut fleet = Fleet::new(options.sources.clone(), options.stages.peak()).map_err(failed)?;
    let epoch = Instant::now();
    let publisher = options.redis.clone().map(|redis| {
        Publisher::start(Plan {
            redis,
            channel: options.channel.clone(),
            topics: options.topics,
            ticks_per_second: options.ticks_per_second,
            payload_bytes: 64,
            epoch,
        })
    });
    let publisher = publisher.transpose()?;
    let mut visitors = Visitors::new(options)?;
    let end = epoch + options.stages.length();
    while Instant::now() < end || visitors.present > 0 {
        let now = Instant::now();
        visitors.begin_due(&mut fleet, options, now - epoch);
        visitors.leave_due(&mut fleet, now);
        if !fleet.turn(&mut visitors).map_err(failed)? {
            fleet.wait(NAP).map_err(failed)?;
        }
        if now > end + options.stay + END {
            visitors.failures.insert("still there at the end".into(), visitors.present as u64);
            break;
        }
    }
    if let Some(publisher) = publisher {
        publisher.stop()?;
    }
    Ok(visitors.report(epoch.elapsed()))
}

#[derive(Deserialize)]
struct Created {
    session_id: String,
}

/// Where a user is on its round.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Step {
    #[default]
    Away,
    /// Asks for a session.
    Asking,
    /// Connects with it.
    Connecting,
    Here,
}

#[derive(Clone, Debug)]
struct Visitor {
    step: Step,
    began: Instant,
    /// Counts its rounds.
    round: u64,
    /// Its connection; what is heard of an earlier one means nothing.
    client: Option<ClientId>,
}

struct Visitors {
    target: Target,
    stay: Duration,
    topics_per_user: usize,
    choices: Choices,
    users: Vec<Visitor>,
    /// Users who are away.
    away: Vec<u32>,
    present: usize,
    /// When, who, and on which of its rounds.
    leaving: BinaryHeap<Reverse<(Instant, u32, u64)>>,
    ledger: Ledger,
    open_ms: Vec<f64>,
    connections: u64,
    good: u64,
    silent: u64,
    peak: usize,
    messages: u64,
    failures: BTreeMap<String, u64>,
}

impl Visitors {
    fn new(options: &Options) -> Result<Self, String> {
        let peak = options.stages.peak();
        Ok(Self {
            target: options.target.clone(),
            stay: options.stay,
            topics_per_user: options.topics_per_user,
            choices: Choices::new(options.topics, 1.0, options.seed)?,
            users: vec![
                Visitor { step: Step::Away, began: Instant::now(), round: 0, client: None };
                peak as usize
            ],
            away: (0..peak).rev().collect(),
            present: 0,
            leaving: BinaryHeap::new(),
            ledger: Ledger::new(peak as usize),
            open_ms: Vec::new(),
            connections: 0,
            good: 0,
            silent: 0,
            peak: 0,
            messages: 0,
            failures: BTreeMap::new(),
        })
    }

    fn begin_due(&mut self, fleet: &mut Fleet, options: &Options, time: Duration) {
        let wanted = options.stages.users_at(time) as usize;
        for _ in 0..BEGIN_MAX {
            if self.present >= wanted {
                return;
            }
            let Some(user) = self.away.pop() else { return };
            let topics = self.choices.next_user(self.topics_per_user);
            let topics: Vec<String> = topics.into_iter().map(topic_name).collect();
            let body = serde_json::json!({"topics": topics, "user_id": format!("user-{user}")});
            self.connections += 1;
            self.present += 1;
            let visitor = &mut self.users[user as usize];
            (visitor.step, visitor.began) = (Step::Asking, Instant::now());
            visitor.round += 1;
            self.ledger.begin(user);
            let asked =
                fleet.request(&self.target, "POST", "/v1/sessions", &body.to_string(), user);
            match asked {
                Ok(client) => self.users[user as usize].client = Some(client),
                Err(error) => self.fail(user, format!("request: {error}")),
            }
        }
    }

    fn leave_due(&mut self, fleet: &mut Fleet, now: Instant) {
        while let Some(Reverse((at, user, round))) = self.leaving.peek().copied() {
            if at > now {
                return;
            }
            self.leaving.pop();
            let visitor = &self.users[user as usize];
            if visitor.step == Step::Here
                && visitor.round == round
                && let Some(client) = visitor.client
            {
                fleet.leave(client);
                self.silent += u64::from(!self.ledger.has_seen(user));
                self.good += 1;
                self.go(user);
            }
        }
    }

    fn fail(&mut self, user: u32, why: String) {
        if self.failures.len() < FAILURES_MAX || self.failures.contains_key(&why) {
            *self.failures.entry(why).or_default() += 1;
        } else {
            *self.failures.entry("others".into()).or_default() += 1;
        }
        self.go(user);
    }

    fn go(&mut self, user: u32) {
        let visitor = &mut self.users[user as usize];
        (visitor.step, visitor.client) = (Step::Away, None);
        self.present -= 1;
        self.away.push(user);
    }

    fn report(mut self, took: Duration) -> Report {
        self.open_ms.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let at = (self.open_ms.len() as f64 * share) as usize;
            self.open_ms.get(at.min(self.open_ms.len().saturating_sub(1))).copied().unwrap_or(0.0)
        };
        Report {
            connections: self.connections,
            good: self.good,
            silent: self.silent,
            messages: self.messages,
            peak: self.peak,
            open_p50_ms: quantile(0.5),
            open_p99_ms: quantile(0.99),
            seconds: took.as_secs_f64(),
            failures: self.failures,
        }
    }
}

impl Crowd for Visitors {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        let visitor = &mut self.users[client.user as usize];
        visitor.step = Step::Here;
        self.open_ms.push(visitor.began.elapsed().as_secs_f64() * 1e3);
        self.leaving.push(Reverse((Instant::now() + self.stay, client.user, visitor.round)));
        self.peak = self.peak.max(fleet.open);
    }

    fn on_message(&mut self, _: &mut Fleet, client: ClientId, payload: &[u8]) {
        self.messages += 1;
        for item in items(payload) {
            if let Item::Update { topic, number, at_ns } = item {
                self.ledger.update(client.user, topic, number, at_ns, at_ns);
            }
        }
    }

    fn on_answer(&mut self, fleet: &mut Fleet, client: ClientId, status: u16, body: &[u8]) {
        let user = client.user;
        let created = serde_json::from_slice::<Created>(body).ok().filter(|_| status == 201);
        let Some(Created { session_id }) = created else {
            return self.fail(user, format!("POST /v1/sessions: {status}"));
        };
        let path = format!("{}?session={session_id}&user_id=user-{user}", self.target.path);
        let target = Target { path, ..self.target.clone() };
        self.users[user as usize].step = Step::Connecting;
        match fleet.connect(&target, user) {
            Ok(client) => self.users[user as usize].client = Some(client),
            Err(error) => self.fail(user, format!("connect: {error}")),
        }
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        let visitor = &self.users[client.user as usize];
        // The request's own connection ends with its answer.
        if visitor.client == Some(client) && end != End::Answered {
            let why = format!("{:?}: {end:?}", visitor.step);
            self.fail(client.user, why);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connections, good, .. } = self;
        let availability = 100.0 * *good as f64 / (*connections).max(1) as f64;
        writeln!(out, "availability   {availability:.3} % ({good} of {connections} connections)")?;
        writeln!(out, "peak           {} at once, {:.1} s", self.peak, self.seconds)?;
        writeln!(out, "messages       {}, {} connections heard none", self.messages, self.silent)?;
        let (p50, p99) = (self.open_p50_ms, self.open_p99_ms);
        writeln!(out, "open           p50 {p50:.1} ms, p99 {p99:.1} ms from the request")?;
        self.failures
            .iter()
            .try_for_each(|(why, count)| writeln!(out, "failed         {count} x {why}"))
    }
}
