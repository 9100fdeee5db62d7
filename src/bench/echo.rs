//! Profile `echo`: every user sends messages, and has each of them sent back.
//!
//! With a rate it is an open loop: a message has its time whatever became of the one before, and
//! its latency counts from that time. Without one, each user sends when the answer is there.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet, clock,
    order::{Order, Share},
    roster::Roster,
    script::Script,
    tally::Tally,
};

/// The number of the message, at the head of its payload.
const NUMBER_BYTES: usize = 8;
/// Messages of one connection without an answer, past which no more are sent: a server that has
/// stopped answering is not fed without end. 8 bytes each.
const UNDER_WAY_MAX: usize = 1024;

/// What is sent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Bytes of a message's payload.
    pub bytes: usize,
    /// Messages a second of each user; `None`: the next when the answer is there.
    pub rate: Option<f64>,
    /// Bytes over TCP, without WebSocket, to a server that sends back whatever it gets.
    pub raw: bool,
}

/// One user's messages that are under way.
#[derive(Default)]
struct Talk {
    /// When the next one should leave; users who are gone have none.
    due_ns: Option<u64>,
    /// Times at which those without an answer should have left, oldest first.
    sent_ns: VecDeque<u64>,
    /// Number of the oldest of them.
    oldest: u64,
    /// Bytes of an answer that has not come whole, where there are no frames.
    partial: Vec<u8>,
}

/// Users who send and count what comes back.
pub struct Users {
    job: Job,
    share: Share,
    interval_ns: Option<u64>,
    random: StdRng,
    roster: Roster,
    /// By place in the share.
    talks: Vec<Talk>,
    /// Who sends when.
    due: BinaryHeap<Reverse<(u64, u32)>>,
    under_way: u64,
    message: Vec<u8>,
    is_over: bool,
}

impl Users {
    /// Nobody yet.
    pub fn new(job: &Job, order: &Order) -> Self {
        let bytes = job.bytes.max(NUMBER_BYTES);
        Self {
            interval_ns: job.rate.map(|rate| (1e9 / rate) as u64),
            job: job.clone(),
            share: order.share,
            random: StdRng::seed_from_u64(order.seed.wrapping_add(order.share.nth.into())),
            roster: Roster::new(order.target.clone(), order.share),
            talks: Vec::new(),
            due: BinaryHeap::new(),
            under_way: 0,
            message: (0..bytes).map(|index| index as u8).collect(),
            is_over: false,
        }
    }

    fn talk(&mut self, user: u32) -> &mut Talk {
        let local = self.share.local(user);
        if self.talks.len() <= local {
            self.talks.resize_with(local + 1, Talk::default);
        }
        &mut self.talks[local]
    }

    /// Sends the user's next message, which was due at `due_ns`.
    fn send(&mut self, fleet: &mut Fleet, client: ClientId, due_ns: u64, now_ns: u64) {
        let talk = self.talk(client.user);
        if talk.sent_ns.len() >= UNDER_WAY_MAX {
            self.roster.tally.withheld += 1;
            return;
        }
        talk.sent_ns.push_back(due_ns);
        let number = talk.oldest + talk.sent_ns.len() as u64 - 1;
        self.under_way += 1;
        let tally = &mut self.roster.tally;
        tally.send(due_ns, now_ns);
        tally.expected += 1;
        if let Some(head) = self.message.first_chunk_mut::<NUMBER_BYTES>() {
            *head = number.to_le_bytes();
        }
        fleet.send_binary(client, &self.message);
    }

    /// An answer, whole.
    fn answered(&mut self, fleet: &mut Fleet, client: ClientId, answer: &[u8], now_ns: u64) {
        let bytes = self.message.len();
        let talk = self.talk(client.user);
        let Some(sent_ns) = talk.sent_ns.pop_front() else {
            self.roster.tally.wrong += 1;
            return;
        };
        let number = talk.oldest;
        talk.oldest += 1;
        let is_right = answer.len() == bytes
            && answer.starts_with(&number.to_le_bytes())
            && answer.get(NUMBER_BYTES..) == self.message.get(NUMBER_BYTES..);
        self.under_way -= 1;
        let tally = &mut self.roster.tally;
        tally.received += 1;
        tally.wrong += u64::from(!is_right);
        tally.latency.record(now_ns.saturating_sub(sent_ns));
        if self.interval_ns.is_none() && !self.is_over {
            self.send(fleet, client, now_ns, now_ns);
        }
    }

    /// The user's connection, which is no business of this script any more.
    pub(super) fn abandon(&mut self, user: u32) -> Option<ClientId> {
        let client = self.roster.forget(user)?;
        self.forget(user);
        Some(client)
    }

    /// What was under way of the user will not be answered.
    fn forget(&mut self, user: u32) {
        let talk = std::mem::take(self.talk(user));
        let gone = talk.sent_ns.len() as u64;
        self.under_way -= gone;
        self.roster.tally.lost += gone;
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        if self.job.raw {
            self.roster.connect_raw(fleet, user, now_ns);
        } else {
            self.roster.connect(fleet, user, now_ns);
        }
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        if let Some(client) = self.abandon(user) {
            fleet.leave(client);
        }
    }

    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64> {
        while let Some(&Reverse((due_ns, user))) = self.due.peek() {
            if due_ns > now_ns || self.is_over {
                return Some(due_ns).filter(|_| !self.is_over);
            }
            self.due.pop();
            // One that left, or left and came back, since this was planned.
            if self.talk(user).due_ns != Some(due_ns) {
                continue;
            }
            if let (Some(interval_ns), Some(client)) = (self.interval_ns, self.roster.client(user))
            {
                self.send(fleet, client, due_ns, now_ns);
                let next_ns = due_ns + interval_ns;
                self.talk(user).due_ns = Some(next_ns);
                self.due.push(Reverse((next_ns, user)));
            }
        }
        None
    }

    fn stop(&mut self, _: &mut Fleet) {
        self.is_over = true;
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
        let now_ns = clock::now_ns();
        match self.interval_ns {
            _ if self.is_over => {}
            None => self.send(fleet, client, now_ns, now_ns),
            Some(interval_ns) => {
                // Anywhere in the interval, so that users who came together don't send together.
                let due_ns = now_ns + self.random.random_range(0..interval_ns.max(1));
                self.talk(client.user).due_ns = Some(due_ns);
                self.due.push(Reverse((due_ns, client.user)));
            }
        }
    }

    fn on_message(&mut self, fleet: &mut Fleet, client: ClientId, payload: &[u8]) {
        let now_ns = clock::now_ns();
        if !self.job.raw {
            return self.answered(fleet, client, payload, now_ns);
        }
        let bytes = self.message.len();
        let mut came = std::mem::take(&mut self.talk(client.user).partial);
        came.extend_from_slice(payload);
        let whole = came.len() - came.len() % bytes;
        came[..whole]
            .chunks_exact(bytes)
            .for_each(|answer| self.answered(fleet, client, answer, now_ns));
        came.drain(..whole);
        self.talk(client.user).partial = came;
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        if self.roster.ended(client, &end) {
            self.forget(client.user);
        }
    }
}
