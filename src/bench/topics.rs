//! Profiles `topics` and `slow-readers`: users who each subscribe to a few of many topics, while
//! every topic ticks.
//!
//! A user counts from the confirmation of its subscription on. Slow readers want all topics, and
//! stop reading in every second window, so that the windows tell what that costs the others.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet,
    choice::{Choices, Taste, topic_name},
    clock,
    ledger::{Ledger, Names},
    order::{Order, Share},
    publisher::Feed,
    reading::{Item, items},
    roster::Roster,
    script::Script,
    tally::Tally,
};

/// What the counts of those who read are called.
const READERS: Names = Names { missed: "missed", told: "told lost" };
/// And of the others.
const SLOW: Names = Names { missed: "slow missed", told: "slow told lost" };

/// What the users subscribe to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What is published; `None`: somebody else does.
    pub feed: Option<Feed>,
    /// Topics of the users.
    pub taste: Taste,
    /// Asked for with each subscribe; `None`: the route's.
    pub conflate_ms: Option<u32>,
    /// Those of the users who don't always read.
    pub slow: Option<Slow>,
    /// At the end nobody reads, answers or says goodbye, until the server whose admin port this is
    /// has no connection left.
    pub vanish: Option<SocketAddr>,
}

/// Slow readers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slow {
    /// The first so many of the users.
    pub readers: u32,
    /// They read in one window from the origin of the run, and don't in the next.
    pub window_ns: u64,
}

/// A user's subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Subscription {
    #[default]
    Absent,
    /// Asked for at this time.
    Asked(u64),
    InForce,
}

/// Users who subscribe and count what comes.
pub struct Users {
    job: Job,
    share: Share,
    origin_ns: u64,
    choices: Choices,
    roster: Roster,
    /// By place in the share.
    subscriptions: Vec<Subscription>,
    /// Users whose subscription is in force.
    subscribed: usize,
    readers: Ledger,
    slow: Ledger,
    /// Slow readers are asleep.
    is_stalled: bool,
    is_over: bool,
}

impl Users {
    /// Nobody yet.
    ///
    /// # Errors
    /// There is no such choice of topics.
    pub fn new(job: &Job, order: &Order) -> Result<Self, String> {
        let beat = job.feed.as_ref().map(|feed| feed.beat.beginning_at(order.origin_ns));
        // Where nothing is asked for, it is for a route's own conflation to be said: a message that
        // is missing counts as lost.
        let is_conflated = job.conflate_ms.is_some_and(|ms| ms > 0);
        Ok(Self {
            choices: Choices::new(job.taste.topics, job.taste.zipf, order.seed)?,
            job: job.clone(),
            share: order.share,
            origin_ns: order.origin_ns,
            roster: Roster::new(order.target.clone(), order.share),
            subscriptions: Vec::new(),
            subscribed: 0,
            readers: Ledger::new(beat, is_conflated, READERS),
            slow: Ledger::new(beat, is_conflated, SLOW),
            is_stalled: false,
            is_over: false,
        })
    }

    fn is_slow(&self, user: u32) -> bool {
        self.job.slow.is_some_and(|slow| user < slow.readers)
    }

    fn topics_of(&mut self, user: u32) -> Vec<u32> {
        if self.is_slow(user) {
            return (0..self.job.taste.topics).collect();
        }
        self.choices.of_user(user, 0, self.job.taste.per_user)
    }

    fn subscription(&mut self, user: u32) -> &mut Subscription {
        let place = self.share.local(user);
        if self.subscriptions.len() <= place {
            self.subscriptions.resize(place + 1, Subscription::Absent);
        }
        &mut self.subscriptions[place]
    }

    fn confirmed(&mut self, user: u32, now_ns: u64) {
        let Subscription::Asked(asked_ns) = *self.subscription(user) else { return };
        *self.subscription(user) = Subscription::InForce;
        self.subscribed += 1;
        self.roster.tally.time("subscribing", now_ns.saturating_sub(asked_ns));
        let (place, topics) = (self.share.local(user), self.topics_of(user));
        self.ledger(user).0.subscribed(place, &topics, now_ns);
    }

    /// The user has no subscription any more.
    fn dismiss(&mut self, user: u32) {
        let before = std::mem::take(self.subscription(user));
        self.subscribed -= usize::from(before == Subscription::InForce);
    }

    fn ledger(&mut self, user: u32) -> (&mut Ledger, &mut Tally) {
        let is_slow = self.is_slow(user);
        let ledger = if is_slow { &mut self.slow } else { &mut self.readers };
        (ledger, &mut self.roster.tally)
    }

    fn take(&mut self, user: u32, item: Item, now_ns: u64) {
        let (place, is_slow) = (self.share.local(user), self.is_slow(user));
        let (ledger, tally) = self.ledger(user);
        match item {
            Item::Update { topic, number, at_ns } => {
                // What slow readers read late, they read late by themselves.
                if ledger.update(place, topic, number, tally) && !is_slow {
                    tally.latency.record(now_ns.saturating_sub(at_ns));
                }
            }
            Item::Subscribed => self.confirmed(user, now_ns),
            Item::Lost { topic: Some(topic), count } => ledger.lost(place, topic, count),
            Item::Error(code) => tally.fail(&format!("told {code:.80}")),
            Item::Lost { topic: None, .. } | Item::Other => {}
        }
    }

    /// Slow readers fall asleep, or wake.
    fn stall(&mut self, fleet: &mut Fleet, is_stalled: bool) {
        self.is_stalled = is_stalled;
        let readers = self.job.slow.map_or(0, |slow| slow.readers);
        for place in 0..self.share.of_users(readers) {
            let user = self.share.user(place);
            let is_here = *self.subscription(user) == Subscription::InForce;
            match self.roster.client(user) {
                Some(client) if is_stalled && is_here => fleet.stall(client),
                Some(client) if !is_stalled => fleet.unstall(client),
                _ => {}
            }
        }
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        self.roster.connect(fleet, user, now_ns);
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        if let Some(client) = self.roster.forget(user) {
            fleet.unstall(client);
            fleet.leave(client);
            self.dismiss(user);
            let place = self.share.local(user);
            let (ledger, tally) = self.ledger(user);
            ledger.left(place, tally);
        }
    }

    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64> {
        let window_ns = self.job.slow.filter(|_| !self.is_over)?.window_ns.max(1);
        let nth = now_ns.saturating_sub(self.origin_ns) / window_ns;
        if self.is_stalled != (nth % 2 == 1) {
            self.stall(fleet, nth % 2 == 1);
        }
        Some(self.origin_ns + (nth + 1) * window_ns)
    }

    fn present(&self, _: &Fleet) -> usize {
        self.subscribed
    }

    fn stop(&mut self, fleet: &mut Fleet) {
        self.is_over = true;
        self.stall(fleet, false);
    }

    fn published(&mut self, messages: u64) {
        self.readers.published(messages);
        self.slow.published(messages);
    }

    fn under_way(&self) -> u64 {
        self.readers.behind() + self.slow.behind()
    }

    fn settled(&mut self) {
        self.readers.close(&mut self.roster.tally);
        self.slow.close(&mut self.roster.tally);
    }

    fn vanishes(&self) -> bool {
        self.job.vanish.is_some()
    }

    fn tally(&mut self) -> &mut Tally {
        self.readers.count_into(&mut self.roster.tally);
        self.slow.count_into(&mut self.roster.tally);
        &mut self.roster.tally
    }
}

impl Crowd for Users {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        if self.roster.client(client.user) != Some(client) {
            // It has left while it was being opened.
            return fleet.leave(client);
        }
        self.roster.opened(client);
        let topics = self.topics_of(client.user);
        let topics: Vec<String> = topics.into_iter().map(topic_name).collect();
        let mut wish = serde_json::json!({"op": "subscribe", "topics": topics});
        if let Some(conflate_ms) = self.job.conflate_ms {
            wish["conflate_ms"] = conflate_ms.into();
        }
        *self.subscription(client.user) = Subscription::Asked(clock::now_ns());
        fleet.send_text(client, &wish.to_string());
    }

    fn on_message(&mut self, _: &mut Fleet, client: ClientId, payload: &[u8]) {
        let now_ns = clock::now_ns();
        for item in items(payload) {
            self.take(client.user, item, now_ns);
        }
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        if self.roster.ended(client, &end) {
            self.dismiss(client.user);
            let place = self.share.local(client.user);
            let (ledger, tally) = self.ledger(client.user);
            ledger.gone(place, clock::now_ns(), tally);
        }
    }
}
