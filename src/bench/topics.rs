//! Profile `topics`: users who each subscribe to a few of many topics, while every topic ticks.
//!
//! Optionally some more users stop reading in every second window, so that the windows tell
//! what slow readers cost the others.

use std::{
    fmt,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    ClientId, Crowd, End, Fleet,
    choice::{Choices, topic_name},
    process::{Memory, Process},
    publisher::{Plan, Published, Publisher},
    reading::{Counts, Item, Ledger, items},
    target::{Sources, Target},
};
use crate::topics::ChannelPattern;

/// Connections that are being opened at once.
const OPENING_MAX: usize = 128;
/// How long everyone may take to be subscribed.
const SUBSCRIBE: Duration = Duration::from_secs(120);
/// Between the start of the ticks and that of the measurement.
const WARM_UP: Duration = Duration::from_secs(2);
/// For what is under way when the ticks end, beside the period of conflation.
const SETTLE: Duration = Duration::from_secs(3);
/// One sleep at most.
const NAP: Duration = Duration::from_millis(5);
/// At the head of a window, not measured: what the one before has left.
const HEAD: Duration = Duration::from_millis(500);
/// A publisher that is later than this has not kept the rate.
const LATE_MAX: Duration = Duration::from_millis(100);

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Options {
    /// The topics route.
    pub target: Target,
    /// Addresses to connect from.
    pub sources: Sources,
    /// The server's process, where it is on this machine.
    pub server: Option<Process>,
    /// Where to publish.
    pub redis: String,
    /// Channels of the route.
    pub channel: ChannelPattern,
    /// Users, each with one connection.
    pub users: u32,
    /// Topics that tick.
    pub topics: u32,
    /// Topics of one user.
    pub topics_per_user: usize,
    /// Exponent of the choice of topics.
    pub zipf: f64,
    /// Messages a second of one topic.
    pub ticks_per_second: f64,
    /// Bytes of a payload, at least.
    pub payload_bytes: usize,
    /// Asked for with each subscribe; `None`: the route's.
    pub conflate_ms: Option<u32>,
    /// How long is measured.
    pub duration: Duration,
    /// Further users, who want all topics and stop reading in every second window.
    pub slow_readers: u32,
    /// Length of a window, where there are slow readers.
    pub window: Duration,
    /// Of all choices.
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Connections that stayed to the end.
    pub users: usize,
    /// Messages that were published while it was measured, by their rate.
    pub published_per_second: f64,
    /// Messages that reached a user, a second.
    pub delivered_per_second: f64,
    /// Publish to socket, in milliseconds.
    pub latency_p50_ms: f64,
    /// The same.
    pub latency_p99_ms: f64,
    /// The same.
    pub latency_max_ms: f64,
    /// Out of order or twice: must be zero.
    pub disordered: u64,
    /// Not delivered, from the first message of each user and topic to the last that was
    /// published: replaced by later ones under conflation, else lost.
    pub skipped: u64,
    /// Losses that users were told of.
    pub told_lost: u64,
    /// Messages that the slow readers did not get, and what they were told.
    pub slow_skipped: u64,
    /// See `slow_skipped`.
    pub slow_told_lost: u64,
    /// 99th percentiles of the users in each pair of windows: all read, some do not.
    pub windows_p99_ms: Vec<(f64, f64)>,
    /// Processor time of the server over the measured time; 1 is one core.
    pub server_cores: Option<f64>,
    /// Of the server, per message that reached a user.
    pub server_us_per_delivery: Option<f64>,
    /// Of the server, at the end.
    pub server_memory: Option<(u64, u64)>,
    /// Why the result is of no use.
    pub invalid: Vec<String>,
}

/// Runs the profile.
///
/// # Errors
/// The server or Redis cannot be reached, or subscriptions do not come into force.
pub fn run(options: &Options) -> Result<Report, String> {
    let all = options.users + options.slow_readers;
    let mut fleet =
        Fleet::new(options.sources.clone(), all).map_err(|error| format!("io_uring: {error}"))?;
    let epoch = Instant::now();
    let mut audience = Audience::new(options, epoch)?;
    audience.gather(&mut fleet, options)?;
    let publisher = Publisher::start(Plan {
        redis: options.redis.clone(),
        channel: options.channel.clone(),
        topics: options.topics,
        ticks_per_second: options.ticks_per_second,
        payload_bytes: options.payload_bytes,
        epoch,
    })?;
    audience.listen(&mut fleet, WARM_UP)?;
    audience.others.clear_counts();
    let (begin, cpu) = (Instant::now(), options.server.map(Process::cpu).transpose()?);
    let windows = if options.slow_readers > 0 {
        audience.windows(&mut fleet, options)?
    } else {
        audience.listen(&mut fleet, options.duration)?;
        Vec::new()
    };
    let took = begin.elapsed().as_secs_f64();
    let used = match (options.server, cpu) {
        (Some(server), Some(before)) => Some((server.cpu()? - before).as_secs_f64()),
        _ => None,
    };
    let measured = audience.others.counts;
    let latency = audience.others.latency_ns.clone();
    let published = publisher.stop()?;
    audience.listen(
        &mut fleet,
        SETTLE + Duration::from_millis(options.conflate_ms.unwrap_or(0).into()),
    )?;
    let memory = options.server.map(Process::memory).transpose()?;
    let rate = options.ticks_per_second * f64::from(options.topics);
    Ok(Report {
        users: fleet.open,
        published_per_second: rate,
        delivered_per_second: measured.received as f64 / took,
        latency_p50_ms: ms(latency.value_at_quantile(0.5)),
        latency_p99_ms: ms(latency.value_at_quantile(0.99)),
        latency_max_ms: ms(latency.max()),
        disordered: audience.others.counts.disordered,
        skipped: audience.others.counts.skipped + audience.others.unseen(&published),
        told_lost: audience.others.counts.told_lost,
        slow_skipped: audience.slow.counts.skipped + audience.slow.unseen(&published),
        slow_told_lost: audience.slow.counts.told_lost,
        windows_p99_ms: windows,
        server_cores: used.map(|used| used / took),
        server_us_per_delivery: used.map(|used| used * 1e6 / measured.received.max(1) as f64),
        server_memory: memory.map(|Memory { resident, private_dirty }| (resident, private_dirty)),
        invalid: audience.objections(&published, measured, options),
    })
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The users, as the fleet tells of them.
struct Audience {
    epoch: Instant,
    /// By user: the subscribe message.
    wishes: Vec<String>,
    subscribed: usize,
    /// From here on users are slow readers.
    first_slow: u32,
    slow_clients: Vec<ClientId>,
    others: Ledger,
    slow: Ledger,
    problems: Vec<String>,
}

impl Audience {
    fn new(options: &Options, epoch: Instant) -> Result<Self, String> {
        let mut choices = Choices::new(options.topics, options.zipf, options.seed)?;
        let (users, slow) = (options.users as usize, options.slow_readers as usize);
        let wish = |topics: Vec<u32>| {
            let topics: Vec<String> = topics.into_iter().map(topic_name).collect();
            let mut wish = serde_json::json!({"op": "subscribe", "topics": topics});
            if let Some(conflate_ms) = options.conflate_ms {
                wish["conflate_ms"] = conflate_ms.into();
            }
            wish.to_string()
        };
        let mut wishes: Vec<String> =
            (0..users).map(|_| wish(choices.next_user(options.topics_per_user))).collect();
        wishes.extend((0..slow).map(|_| wish((0..options.topics).collect())));
        Ok(Self {
            epoch,
            wishes,
            subscribed: 0,
            first_slow: options.users,
            slow_clients: Vec::new(),
            others: Ledger::new(users),
            slow: Ledger::new(users + slow),
            problems: Vec::new(),
        })
    }

    /// Connects everyone and waits until all are subscribed.
    fn gather(&mut self, fleet: &mut Fleet, options: &Options) -> Result<(), String> {
        let (deadline, all) = (Instant::now() + SUBSCRIBE, self.wishes.len());
        let mut dialled = 0;
        while self.subscribed < all {
            while dialled < all && dialled < self.subscribed + OPENING_MAX {
                let opened = fleet.connect(&options.target, dialled as u32);
                opened.map_err(|error| format!("connection {}: {error}", dialled + 1))?;
                dialled += 1;
            }
            self.turn(fleet)?;
            if let Some(problem) = self.problems.first() {
                return Err(problem.clone());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{} of {all} users are subscribed after {SUBSCRIBE:?}",
                    self.subscribed
                ));
            }
        }
        Ok(())
    }

    fn listen(&mut self, fleet: &mut Fleet, time: Duration) -> Result<(), String> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn(fleet)?;
        }
        Ok(())
    }

    /// Windows in pairs; of each the 99th percentile of those who read.
    fn windows(&mut self, fleet: &mut Fleet, options: &Options) -> Result<Vec<(f64, f64)>, String> {
        let (end, mut pairs) = (Instant::now() + options.duration, Vec::new());
        let mut total = Histogram::new_from(&self.others.latency_ns);
        while Instant::now() < end {
            let mut window = |audience: &mut Self, fleet: &mut Fleet| -> Result<f64, String> {
                audience.listen(fleet, HEAD)?;
                audience.others.latency_ns.reset();
                audience.listen(fleet, options.window)?;
                let latency = &audience.others.latency_ns;
                total.add(latency).map_err(|error| error.to_string())?;
                Ok(ms(latency.value_at_quantile(0.99)))
            };
            let all_read = window(self, fleet)?;
            self.slow_clients.iter().for_each(|client| fleet.stall(*client));
            let some_stall = window(self, fleet)?;
            self.slow_clients.iter().for_each(|client| fleet.unstall(*client));
            pairs.push((all_read, some_stall));
        }
        self.others.latency_ns = total;
        Ok(pairs)
    }

    fn turn(&mut self, fleet: &mut Fleet) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("io_uring: {error}");
        if !fleet.turn(self).map_err(failed)? {
            fleet.wait(NAP).map_err(failed)?;
        }
        Ok(())
    }

    /// Why the result would mislead.
    fn objections(
        &self,
        published: &Published,
        measured: Counts,
        options: &Options,
    ) -> Vec<String> {
        let mut objections = self.problems.clone();
        if published.late_max > LATE_MAX {
            objections.push(format!(
                "the publisher was {:?} late: this generator is short of processor time, or Redis is",
                published.late_max
            ));
        }
        if self.others.counts.disordered > 0 {
            objections.push(format!("{} messages out of order", self.others.counts.disordered));
        }
        let conflated = options.conflate_ms.is_none_or(|ms| ms > 0);
        let missing = self.others.counts.skipped + self.others.unseen(published);
        if !conflated && missing != self.others.counts.told_lost {
            let told = self.others.counts.told_lost;
            objections.push(format!("{missing} messages are missing, {told} were told as lost"));
        }
        if measured.received == 0 {
            objections.push("no message was received".into());
        }
        objections
    }
}

impl Crowd for Audience {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        if client.user >= self.first_slow {
            self.slow_clients.push(client);
        }
        if let Some(wish) = self.wishes.get(client.user as usize) {
            fleet.send_text(client, wish);
        }
    }

    fn on_message(&mut self, _: &mut Fleet, client: ClientId, payload: &[u8]) {
        let is_slow = client.user >= self.first_slow;
        let now_ns = self.epoch.elapsed().as_nanos() as u64;
        let ledger = if is_slow { &mut self.slow } else { &mut self.others };
        for item in items(payload) {
            match item {
                Item::Update { topic, number, at_ns } => {
                    ledger.update(client.user, topic, number, at_ns, now_ns);
                }
                Item::Subscribed => self.subscribed += 1,
                Item::Lost(count) => ledger.lost(count),
                Item::Error(text) => self.problems.push(format!("user {}: {text}", client.user)),
                Item::Other => {}
            }
        }
    }

    fn on_answer(&mut self, _: &mut Fleet, _: ClientId, _: u16, _: &[u8]) {}

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        self.problems.push(format!("user {}: {end:?}", client.user));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "users          {}", self.users)?;
        writeln!(out, "published      {:.0}/s", self.published_per_second)?;
        writeln!(out, "delivered      {:.0}/s", self.delivered_per_second)?;
        let (p50, p99, max) = (self.latency_p50_ms, self.latency_p99_ms, self.latency_max_ms);
        writeln!(out, "latency        p50 {p50:.2} ms, p99 {p99:.2} ms, max {max:.2} ms")?;
        let (disordered, skipped, told) = (self.disordered, self.skipped, self.told_lost);
        writeln!(out, "out of order   {disordered}")?;
        writeln!(out, "not delivered  {skipped}, told as lost {told}")?;
        if !self.windows_p99_ms.is_empty() {
            writeln!(
                out,
                "slow readers   missed {}, told {}",
                self.slow_skipped, self.slow_told_lost
            )?;
            let (all, some) = medians(&self.windows_p99_ms);
            writeln!(
                out,
                "p99 of others  {all:.2} ms while all read, {some:.2} ms while some do not: ratio {:.3} \
                 over {} pairs of windows",
                some / all,
                self.windows_p99_ms.len()
            )?;
        }
        if let (Some(cores), Some(us)) = (self.server_cores, self.server_us_per_delivery) {
            writeln!(out, "server         {cores:.2} cores, {us:.2} us a delivery")?;
        }
        if let Some((resident, dirty)) = self.server_memory {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                out,
                "server memory  {:.1} MiB, {:.1} MiB of it its own",
                mib(resident),
                mib(dirty)
            )?;
        }
        self.invalid.iter().try_for_each(|why| writeln!(out, "INVALID        {why}"))
    }
}

fn medians(pairs: &[(f64, f64)]) -> (f64, f64) {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (all, some) = pairs.iter().copied().unzip();
    (median(all), median(some))
}
