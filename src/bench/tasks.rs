//! Profile `tasks`: clients of a tasks route, each with one session after another: start, chunks,
//! finish (docs/tasks.md, dialect `asr`).
//!
//! A session is complete, partial, refused or failed, and each is a count of its own. Paced chunks
//! have their time, counted from the start's ack, and latency counts from it whatever became of
//! the chunk before; unpaced ones leave as soon as no more than so many have no result.

use std::{cmp::Reverse, collections::BinaryHeap};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet,
    backoff::Backoff,
    clock,
    order::{Order, Share},
    report::{Figure, Report},
    roster::Roster,
    script::Script,
    session::{Heard, Outcome, Session},
    tally::Tally,
};

/// Counts of this profile, in the report.
pub const COMPLETE: &str = "sessions complete";
/// A final result came, and something was missing.
pub const PARTIAL: &str = "sessions partial";
/// Not let in, or not started, because the server is busy.
pub const REFUSED: &str = "sessions refused";
/// No final result.
pub const FAILED: &str = "sessions failed";
/// Ended with their user, by its stage.
pub const CUT_SHORT: &str = "sessions cut short";
/// Users who have had all their sessions.
pub const DONE: &str = "users done";
/// Chunks that the server has, and those that it did not take.
const ACKED: &str = "chunks acked";
const REJECTED: &str = "chunks rejected";

/// Before a user who was refused or failed begins its next session, beside what the server asks.
const AGAIN: Backoff = Backoff { first_ms: 1_000, most_ms: 10_000 };

/// What a user does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Chunks of a session.
    pub chunks: u32,
    /// Bytes of audio of a chunk.
    pub bytes: usize,
    /// Between two chunks; `None`: unpaced.
    pub chunk_ns: Option<u64>,
    /// Chunks of a session without a result, at most.
    pub in_flight: u32,
    /// From the beginning of a session to its final result, at most.
    pub patience_ns: u64,
    /// Sessions on one connection; `None`: all of them.
    pub per_connection: Option<u32>,
    /// Sessions of a user; `None`: until its stage ends.
    pub per_user: Option<u32>,
}

impl Job {
    /// The share of the sessions that were complete, of all that came to an end of their own.
    pub fn figures(&self, report: &Report) -> Vec<Figure> {
        let count = |name: &str| report.counts.get(name).copied().unwrap_or(0);
        let all: u64 = [COMPLETE, PARTIAL, REFUSED, FAILED].into_iter().map(count).sum();
        let share = || Figure {
            name: "complete".to_owned(),
            value: count(COMPLETE) as f64 * 100.0 / all as f64,
            unit: "%".to_owned(),
        };
        (all > 0).then(share).into_iter().collect()
    }
}

/// One user.
#[derive(Default)]
struct Client {
    is_present: bool,
    /// Sessions so far, whatever became of them: also the number of the next.
    sessions: u32,
    on_connection: u32,
    /// Those in a row that were refused or failed.
    troubles: u32,
    session: Option<Box<Session>>,
    /// When there is something to do, as far as it is planned.
    due_ns: Option<u64>,
}

/// Users with sessions.
pub struct Users {
    job: Job,
    share: Share,
    origin_ns: u64,
    random: StdRng,
    roster: Roster,
    audio: String,
    /// By place in the share.
    clients: Vec<Client>,
    due: BinaryHeap<Reverse<(u64, u32)>>,
    under_way: u64,
    text: String,
    is_over: bool,
}

impl Users {
    /// Nobody yet.
    pub fn new(job: &Job, order: &Order) -> Self {
        let audio: Vec<u8> = (0..job.bytes).map(|place| (place * 37) as u8).collect();
        Self {
            job: job.clone(),
            share: order.share,
            origin_ns: order.origin_ns,
            random: StdRng::seed_from_u64(order.seed.wrapping_add(order.share.nth.into())),
            roster: Roster::new(order.target.clone(), order.share),
            audio: base64_simd::STANDARD.encode_to_string(audio),
            clients: Vec::new(),
            due: BinaryHeap::new(),
            under_way: 0,
            text: String::new(),
            is_over: false,
        }
    }

    fn client(&mut self, user: u32) -> &mut Client {
        let local = self.share.local(user);
        if self.clients.len() <= local {
            self.clients.resize_with(local + 1, Client::default);
        }
        &mut self.clients[local]
    }

    /// Something is to be done for the user then.
    fn plan(&mut self, user: u32, due_ns: u64) {
        self.client(user).due_ns = Some(due_ns);
        self.due.push(Reverse((due_ns, user)));
    }

    fn dial(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        self.client(user).on_connection = 0;
        self.roster.connect(fleet, user, now_ns);
        if self.roster.client(user).is_none() {
            self.session_over(fleet, user, FAILED, None, now_ns);
        }
    }

    fn start(&mut self, fleet: &mut Fleet, to: ClientId, now_ns: u64) {
        let user = to.user;
        let (origin_ns, job) = (self.origin_ns, self.job.clone());
        let client = self.client(user);
        // Nobody's but this run's: workers keep the results of an id for a while.
        let id = format!("bench-{origin_ns:x}-{user}-{}", client.sessions);
        fleet.send_text(to, &format!(r#"{{"action":"start","session_id":"{id}"}}"#));
        client.session = Some(Box::new(Session::new(id, &job, now_ns)));
        self.under_way += 1;
        self.plan(user, now_ns.saturating_add(self.job.patience_ns));
    }

    /// Sends what may be sent of the user's session, and plans when there is more.
    fn advance(&mut self, fleet: &mut Fleet, to: ClientId, now_ns: u64) {
        let user = to.user;
        let Some(mut session) = self.client(user).session.take() else { return };
        while let Some(next) = session.next_chunk(now_ns) {
            let tally = &mut self.roster.tally;
            // A server that takes no more holds it up, and not the load.
            tally.send(if next.is_held { now_ns } else { next.due_ns }, now_ns);
            tally.expected += 1;
            session.write_chunk(next.index, &self.audio, &mut self.text);
            fleet.send_text(to, &self.text);
        }
        if session.finish(now_ns) {
            let id = &session.id;
            fleet.send_text(to, &format!(r#"{{"action":"finish","session_id":"{id}"}}"#));
        }
        let next_ns = session.next_ns();
        self.client(user).session = Some(session);
        self.plan(user, next_ns);
    }

    /// The user's session has come to its end, and what comes after it.
    fn session_over(
        &mut self,
        fleet: &mut Fleet,
        user: u32,
        outcome: &'static str,
        retry_after_s: Option<u32>,
        now_ns: u64,
    ) {
        self.account(user, outcome);
        let job = (self.job.per_user, self.job.per_connection);
        let is_trouble = matches!(outcome, REFUSED | FAILED);
        let client = self.client(user);
        client.sessions = client.sessions.saturating_add(1);
        client.on_connection = client.on_connection.saturating_add(1);
        client.troubles = if is_trouble { client.troubles.saturating_add(1) } else { 0 };
        let (sessions, on_connection) = (client.sessions, client.on_connection);
        let troubles = client.troubles;
        let is_done = job.0.is_some_and(|most| sessions >= most);
        if is_done || is_trouble || job.1.is_some_and(|most| on_connection >= most) {
            client.due_ns = None;
            if let Some(client) = self.roster.forget(user) {
                fleet.leave(client);
            }
        }
        match self.roster.client(user) {
            _ if is_done => self.roster.tally.count(DONE, 1),
            _ if self.is_over => {}
            Some(to) => self.start(fleet, to, now_ns),
            None if is_trouble => {
                let wait_ns = AGAIN.wait_ns(troubles, retry_after_s, &mut self.random);
                self.plan(user, now_ns.saturating_add(wait_ns));
            }
            None => self.plan(user, now_ns),
        }
    }

    /// Counts what became of the user's session, and of its chunks.
    fn account(&mut self, user: u32, outcome: &'static str) {
        let session = self.client(user).session.take();
        let tally = &mut self.roster.tally;
        tally.count(outcome, 1);
        let Some(session) = session else { return };
        self.under_way -= 1;
        tally.lost += session.unanswered();
    }

    fn heard(&mut self, fleet: &mut Fleet, from: ClientId, payload: &[u8], now_ns: u64) {
        let user = from.user;
        let Some(mut session) = self.client(user).session.take() else { return };
        let heard = session.hear(payload, now_ns);
        let tally = &mut self.roster.tally;
        let outcome = match heard {
            Heard::Started { took_ns } => {
                tally.time("start", took_ns);
                None
            }
            Heard::Acked { took_ns } => {
                tally.count(ACKED, 1);
                tally.time("ack", took_ns);
                None
            }
            Heard::Rejected { why } => {
                tally.count(REJECTED, 1);
                // It will not come; whoever is owed it is told so.
                tally.lost += 1;
                tally.fail(&format!("chunk rejected: {why}"));
                None
            }
            Heard::Result { took_ns } => {
                tally.received += 1;
                tally.latency.record(took_ns);
                None
            }
            Heard::Odd => {
                tally.wrong += 1;
                None
            }
            Heard::Final { took_ns, outcome } => {
                tally.time("finish", took_ns);
                Some(match outcome {
                    Outcome::Complete => COMPLETE,
                    Outcome::Partial => PARTIAL,
                    Outcome::Empty => CUT_SHORT,
                })
            }
            Heard::Busy { why } => {
                tally.fail(&format!("session refused: {why}"));
                Some(REFUSED)
            }
            Heard::Error { why } => {
                tally.fail(&format!("session: {why}"));
                Some(FAILED)
            }
        };
        self.client(user).session = Some(session);
        match outcome {
            Some(outcome) => self.session_over(fleet, user, outcome, None, now_ns),
            None => self.advance(fleet, from, now_ns),
        }
    }

    /// What was planned for the user is due.
    fn due(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        let patience_ns = self.job.patience_ns;
        let client = self.client(user);
        client.due_ns = None;
        let overdue = |session: &Session| now_ns.saturating_sub(session.began_ns) >= patience_ns;
        let (is_overdue, is_present) =
            (client.session.as_deref().is_some_and(overdue), client.is_present);
        match self.roster.client(user) {
            Some(_) if is_overdue => {
                self.roster.tally.fail("session: no final result in time");
                self.session_over(fleet, user, FAILED, None, now_ns);
            }
            Some(to) => self.advance(fleet, to, now_ns),
            None if is_present && !self.is_over => self.dial(fleet, user, now_ns),
            None => {}
        }
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        let sessions = self.client(user).sessions;
        *self.client(user) = Client { is_present: true, sessions, ..Client::default() };
        if self.job.per_user.is_none_or(|most| sessions < most) {
            self.dial(fleet, user, now_ns);
        }
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        if self.client(user).session.is_some() {
            self.account(user, CUT_SHORT);
        }
        let sessions = self.client(user).sessions.saturating_add(1);
        *self.client(user) = Client { sessions, ..Client::default() };
        if let Some(client) = self.roster.forget(user) {
            fleet.leave(client);
        }
    }

    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64> {
        while let Some(&Reverse((due_ns, user))) = self.due.peek() {
            if due_ns > now_ns {
                return Some(due_ns);
            }
            self.due.pop();
            if self.client(user).due_ns == Some(due_ns) {
                self.due(fleet, user, now_ns);
            }
        }
        None
    }

    /// Sessions that have begun end with the chunks that they have.
    fn stop(&mut self, fleet: &mut Fleet) {
        self.is_over = true;
        let now_ns = clock::now_ns();
        for local in 0..self.clients.len() {
            let user = self.share.user(u32::try_from(local).unwrap_or(u32::MAX));
            if let Some(session) = self.client(user).session.as_deref_mut() {
                session.shorten();
                if let Some(client) = self.roster.client(user) {
                    self.advance(fleet, client, now_ns);
                }
            }
        }
    }

    fn under_way(&self) -> u64 {
        self.under_way
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.roster.tally
    }
}

impl Crowd for Users {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        self.roster.opened(client);
        if !self.is_over {
            self.start(fleet, client, clock::now_ns());
        }
    }

    fn on_message(&mut self, fleet: &mut Fleet, client: ClientId, payload: &[u8]) {
        self.heard(fleet, client, payload, clock::now_ns());
    }

    fn on_end(&mut self, fleet: &mut Fleet, client: ClientId, end: End) {
        if !self.roster.ended(client, &end) {
            return;
        }
        let (outcome, retry_after_s) = match end {
            End::Refused(_, retry_after_s) => (REFUSED, retry_after_s),
            _ => (FAILED, None),
        };
        self.session_over(fleet, client.user, outcome, retry_after_s, clock::now_ns());
    }
}
