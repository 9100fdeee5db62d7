//! Profile `spike`: users who ask for a session, connect with it, stay a while, leave, and begin
//! again.
//!
//! Availability is the share of rounds that went well from the request to the goodbye. A user who
//! fails begins again when it would have if all had gone well, so that a server that fails fast
//! has no more failures than one that fails slowly.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet,
    choice::{Choices, Taste, topic_name},
    clock,
    ledger::{Ledger, Names},
    order::{Order, Share},
    publisher::Feed,
    reading::{Item, items},
    script::Script,
    tally::Tally,
    target::Target,
};

/// Users who begin anew in one turn: what is due besides waits for the next.
const BEGIN_MAX: usize = 64;
/// Rounds that went well.
pub const GOOD: &str = "good";
/// Those of them that were whole and brought no message.
pub const SILENT: &str = "silent";

/// What the users do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What is published; `None`: somebody else does.
    pub feed: Option<Feed>,
    /// Topics of the users.
    pub taste: Taste,
    /// Asked for with each session; `None`: the route's.
    pub conflate_ms: Option<u32>,
    /// How long a user stays, compressed already.
    pub stay_ns: u64,
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

#[derive(Clone, Default, Debug)]
struct Visitor {
    step: Step,
    began_ns: u64,
    /// Counts its rounds.
    round: u32,
    /// Its connection; what is heard of an earlier one means nothing.
    client: Option<ClientId>,
    has_heard: bool,
    /// It goes on a further round after this one.
    is_wanted: bool,
}

/// Users on their rounds.
pub struct Users {
    job: Job,
    target: Target,
    share: Share,
    choices: Choices,
    /// By place in the share.
    visitors: Vec<Visitor>,
    /// Users on a round.
    present: usize,
    /// When whose round is over, by its number.
    due: BinaryHeap<Reverse<(u64, u32, u32)>>,
    ledger: Ledger,
    tally: Tally,
    is_over: bool,
}

impl Users {
    /// Nobody yet.
    ///
    /// # Errors
    /// There is no such choice of topics.
    pub fn new(job: &Job, order: &Order) -> Result<Self, String> {
        let beat = job.feed.as_ref().map(|feed| feed.beat.beginning_at(order.origin_ns));
        let names = Names { missed: "missed", told: "told lost" };
        Ok(Self {
            choices: Choices::new(job.taste.topics, job.taste.zipf, order.seed)?,
            job: job.clone(),
            target: order.target.clone(),
            share: order.share,
            visitors: Vec::new(),
            present: 0,
            due: BinaryHeap::new(),
            ledger: Ledger::new(beat, job.conflate_ms.is_some_and(|ms| ms > 0), names),
            tally: Tally::default(),
            is_over: false,
        })
    }

    fn visitor(&mut self, user: u32) -> &mut Visitor {
        let place = self.share.local(user);
        if self.visitors.len() <= place {
            self.visitors.resize_with(place + 1, Visitor::default);
        }
        &mut self.visitors[place]
    }

    fn topics_of(&mut self, user: u32) -> Vec<u32> {
        let round = self.visitor(user).round;
        self.choices.of_user(user, round, self.job.taste.per_user)
    }

    /// A round begins: asks for a session.
    fn ask(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        let visitor = self.visitor(user);
        visitor.round = visitor.round.wrapping_add(1);
        (visitor.step, visitor.began_ns, visitor.has_heard) = (Step::Asking, now_ns, false);
        let topics: Vec<String> = self.topics_of(user).into_iter().map(topic_name).collect();
        let mut body = serde_json::json!({"topics": topics, "user_id": format!("user-{user}")});
        if let Some(conflate_ms) = self.job.conflate_ms {
            body["conflate_ms"] = conflate_ms.into();
        }
        self.tally.begun += 1;
        self.present += 1;
        match fleet.request(&self.target, "POST", "/v1/sessions", &body.to_string(), user) {
            Ok(client) => self.visitor(user).client = Some(client),
            Err(error) => self.fail(user, &format!("request: {error}")),
        }
    }

    /// A round ends well.
    fn leave(&mut self, fleet: &mut Fleet, user: u32, is_whole: bool) {
        let visitor = self.visitor(user);
        let is_silent = is_whole && !visitor.has_heard;
        let Some(client) = visitor.client else { return };
        fleet.leave(client);
        self.tally.count(GOOD, 1);
        if is_silent {
            self.tally.count(SILENT, 1);
        }
        self.ledger.left(self.share.local(user), &mut self.tally);
        self.away(user);
    }

    /// A round ends badly; the next one begins when this one would have ended.
    fn fail(&mut self, user: u32, why: &str) {
        self.tally.fail(why);
        let stay_ns = self.job.stay_ns;
        let visitor = self.visitor(user);
        let due = (visitor.began_ns.saturating_add(stay_ns), user, visitor.round);
        self.due.push(Reverse(due));
        self.away(user);
    }

    fn away(&mut self, user: u32) {
        let visitor = self.visitor(user);
        (visitor.step, visitor.client) = (Step::Away, None);
        self.present -= 1;
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        self.visitor(user).is_wanted = true;
        // One that is still on its last round goes on another after it.
        if self.visitor(user).step == Step::Away {
            self.ask(fleet, user, now_ns);
        }
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        self.visitor(user).is_wanted = false;
        if self.visitor(user).step == Step::Here {
            self.leave(fleet, user, false);
        }
    }

    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64> {
        for _ in 0..BEGIN_MAX {
            let &Reverse((due_ns, user, round)) = self.due.peek()?;
            if due_ns > now_ns {
                return Some(due_ns);
            }
            self.due.pop();
            if self.visitor(user).round != round {
                continue;
            }
            if self.visitor(user).step == Step::Here {
                self.leave(fleet, user, true);
            }
            let Visitor { step, is_wanted, .. } = *self.visitor(user);
            if step == Step::Away && is_wanted && !self.is_over {
                self.ask(fleet, user, now_ns);
            }
        }
        Some(now_ns)
    }

    /// On a round, connected or on the way to it.
    fn present(&self, _: &Fleet) -> usize {
        self.present
    }

    fn stop(&mut self, fleet: &mut Fleet) {
        self.is_over = true;
        for place in 0..self.visitors.len() {
            let user = self.share.user(place as u32);
            if self.visitor(user).step == Step::Here {
                self.leave(fleet, user, false);
            }
        }
    }

    fn under_way(&self) -> u64 {
        self.present as u64
    }

    fn settled(&mut self) {
        (0..self.present).for_each(|_| self.tally.fail("still on the way at the end"));
    }

    fn tally(&mut self) -> &mut Tally {
        self.ledger.count_into(&mut self.tally);
        &mut self.tally
    }
}

impl Crowd for Users {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        let (user, now_ns, is_over) = (client.user, clock::now_ns(), self.is_over);
        let stay_ns = self.job.stay_ns;
        let visitor = self.visitor(user);
        visitor.step = Step::Here;
        let (is_leaving, took_ns) =
            (is_over || !visitor.is_wanted, now_ns.saturating_sub(visitor.began_ns));
        let due = (now_ns.saturating_add(stay_ns), user, visitor.round);
        self.tally.opened += 1;
        self.tally.opening.record(took_ns);
        if is_leaving {
            self.leave(fleet, user, false);
        } else {
            self.due.push(Reverse(due));
        }
    }

    fn on_message(&mut self, _: &mut Fleet, client: ClientId, payload: &[u8]) {
        let (now_ns, place) = (clock::now_ns(), self.share.local(client.user));
        for item in items(payload) {
            match item {
                Item::Update { topic, number, at_ns } => {
                    self.visitor(client.user).has_heard = true;
                    if self.ledger.update(place, topic, number, &mut self.tally) {
                        self.tally.latency.record(now_ns.saturating_sub(at_ns));
                    }
                }
                Item::Subscribed => {
                    let topics = self.topics_of(client.user);
                    self.ledger.subscribed(place, &topics, now_ns);
                }
                Item::Lost { topic: Some(topic), count } => self.ledger.lost(place, topic, count),
                Item::Error(code) => self.tally.fail(&format!("told {code:.80}")),
                Item::Lost { topic: None, .. } | Item::Other => {}
            }
        }
    }

    fn on_answer(&mut self, fleet: &mut Fleet, client: ClientId, status: u16, body: &[u8]) {
        let user = client.user;
        if self.visitor(user).client != Some(client) {
            return;
        }
        let created = serde_json::from_slice::<Created>(body).ok().filter(|_| status == 201);
        let Some(Created { session_id }) = created else {
            return self.fail(user, &format!("POST /v1/sessions: {status}"));
        };
        let path = format!("{}?session={session_id}&user_id=user-{user}", self.target.path);
        let target = self.target.with_path(path);
        self.visitor(user).step = Step::Connecting;
        match fleet.connect(&target, user) {
            Ok(client) => self.visitor(user).client = Some(client),
            Err(error) => self.fail(user, &format!("connect: {error}")),
        }
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        let (user, step) = (client.user, self.visitor(client.user).step);
        // The request's own connection ends with its answer.
        if self.visitor(user).client != Some(client) || end == End::Answered {
            return;
        }
        self.ledger.gone(self.share.local(user), clock::now_ns(), &mut self.tally);
        let at = match step {
            Step::Asking => "asking for a session",
            Step::Connecting => "connecting with a session",
            Step::Here | Step::Away => "staying",
        };
        self.fail(user, &format!("{at}: {end}"));
    }
}
