//! ▢ Sessions that are heard here and live on another shard.
//!
//! Every result of a worker is a message to the client, once and in the order published, and
//! two that are alike are two. So a session that changes its shard does not change where it
//! is heard: two subscriptions, one ending while the other begins, would hear something
//! twice or not at all, and nobody could tell. The shard that opened it is its *ear* as long
//! as it lives, and sends after it what comes, through a lane, which keeps the order:
//!
//! ```text
//!  owner A ──Pause──▶ ear E                  (A is to give the session to B)
//!  owner A ◀─Paused── ear E                  what comes from now on, E keeps
//!  owner A ────────────────────Moved──▶ B
//!                     ear E ◀──HearFor─ B    E sends what it kept, and what comes
//!                     ear E ──Overheard▶ B
//! ```
//!
//! What E keeps is bounded as what waits for a client is; past that, and where the lane is
//! full beyond its bound, the client is told how much it has missed.
//!
//! An entry goes when its session comes home or has ended, and counts as a session of this
//! shard until then.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::{RawTasks, reply};
use crate::broker::Command;
use crate::clock::Now;
use crate::ids::ShardId;
use crate::limits::{RAW_KEPT_FRAME_BYTES, RAW_KEPT_SHARD_BYTES};
use crate::tasks::Action;
use crate::tasks::cores::{self, PeerMessage, Tenure};
use crate::tasks::id::SessionId;

/// Where the results of a session are heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    /// Its first tenure: that shard hears it. `None` where there is one shard.
    pub ear: Option<Tenure>,
    /// How far it is with changing its shard.
    pub state: State,
}

/// See [`Heard`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// By the shard that has it.
    Here,
    /// By another.
    There,
    /// By another, which was asked to pause.
    Pausing,
    /// By another, which keeps what comes.
    Paused,
}

impl Heard {
    /// By the shard that opens it under `tenure`.
    pub fn here(tenure: Option<Tenure>) -> Self {
        Self { ear: tenure, state: State::Here }
    }
}

/// What is heard for one session.
#[derive(Debug)]
pub struct Ear {
    pub(super) id: SessionId,
    /// Its own, where it has one.
    pub(super) channel: Option<Arc<str>>,
    owner: ShardId,
    /// Nobody has it: what comes is kept.
    paused: bool,
    pub(super) kept: VecDeque<Vec<u8>>,
    kept_bytes: usize,
    /// What could not be kept, and its owner does not know of yet.
    pub(super) missed: u64,
}

/// By the number of the session's first tenure, which was this shard's, and by id.
#[derive(Default, Debug)]
pub struct Ears {
    by_number: HashMap<u64, Ear>,
    by_id: HashMap<SessionId, u64>,
    /// Those whose owner is to hear of what is missing.
    owing: Vec<u64>,
}

impl Ears {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }
}

impl RawTasks {
    /// Who has left that session here.
    pub(super) fn ear_of(&self, id: &str) -> Option<u64> {
        // A session that was opened here since, on any route, hears for itself.
        let number = *self.ears.by_id.get(id)?;
        (!self.open_ids.has(id)).then_some(number)
    }

    /// A session that is heard here leaves: it is heard for whoever says so.
    pub(super) fn keep_hearing(&mut self, ear: Tenure, id: SessionId, channel: Option<Arc<str>>) {
        self.ears.by_id.insert(id.clone(), ear.number);
        let (kept, kept_bytes) = (VecDeque::new(), 0);
        let new = Ear { id, channel, owner: ear.shard, paused: true, kept, kept_bytes, missed: 0 };
        self.ears.by_number.insert(ear.number, new);
        self.metrics.tasks.forwards.inc();
    }

    /// Takes an entry out: its session is here again, or has ended.
    pub(super) fn take_ear(&mut self, number: u64) -> Option<Ear> {
        let ear = self.ears.by_number.remove(&number)?;
        if self.ears.by_id.get(&ear.id) == Some(&number) {
            self.ears.by_id.remove(&ear.id);
        }
        self.metrics.tasks.forwards.dec();
        self.metrics.tasks.kept_bytes.sub(ear.kept_bytes as u64);
        Some(ear)
    }

    /// Something was published for a session that is not here.
    pub(super) fn overhear(
        &mut self,
        number: u64,
        payload: Vec<u8>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(ear) = self.ears.by_number.get_mut(&number) else { return };
        let metrics = &self.metrics.tasks;
        if ear.missed > 0 {
            return Self::miss(ear, metrics);
        }
        if !ear.paused {
            return self.send_after(number, payload, now, actions);
        }
        let cost_bytes = payload.len().saturating_add(RAW_KEPT_FRAME_BYTES);
        let session_bytes = ear.kept_bytes.saturating_add(cost_bytes);
        let shard_bytes = metrics.kept_bytes.get().saturating_add(cost_bytes as u64);
        if session_bytes > self.config.kept_bytes || shard_bytes > RAW_KEPT_SHARD_BYTES {
            return Self::miss(ear, metrics);
        }
        ear.kept_bytes = session_bytes;
        metrics.kept_bytes.add(cost_bytes as u64);
        ear.kept.push_back(payload);
    }

    fn miss(ear: &mut Ear, metrics: &crate::metrics::TaskMetrics) {
        ear.missed += 1;
        metrics.results.lost.inc();
    }

    fn send_after(&mut self, number: u64, payload: Vec<u8>, now: Now, actions: &mut Vec<Action>) {
        let Some((owner, id, ear)) = self.address(number) else { return };
        self.metrics.tasks.results_forwarded.inc();
        let payload = payload.into_boxed_slice();
        cores::tell(self, owner, PeerMessage::Overheard { id, ear, payload }, now, actions);
    }

    fn address(&self, number: u64) -> Option<(ShardId, SessionId, Tenure)> {
        let ear = self.ears.by_number.get(&number)?;
        let shard = self.cores.as_ref()?.me();
        Some((ear.owner, ear.id.clone(), Tenure { shard, number }))
    }

    /// Messages between an owner and an ear.
    pub(super) fn on_ear(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        match message {
            PeerMessage::Pause { id, ear } => {
                let Some(entry) = self.ears.by_number.get_mut(&ear.number) else { return };
                entry.paused = true;
                let owner = entry.owner;
                cores::tell(self, owner, PeerMessage::Paused { id, ear }, now, actions);
            }
            PeerMessage::Paused { id, ear } => self.on_paused(&id, ear, now, actions),
            PeerMessage::HearFor { ear, owner } => self.hear_for(ear.number, owner, now, actions),
            PeerMessage::Unhear { ear } => self.close_ear(ear.number, actions),
            PeerMessage::Overheard { id, ear, payload } => match self.heard_by(&id, ear) {
                Some(slot) => self.on_result(slot, &payload, now, actions),
                None => self.metrics.tasks.results.orphaned.inc(),
            },
            PeerMessage::Missed { id, ear, count } => {
                let Some(slot) = self.heard_by(&id, ear) else { return };
                self.on_missed(slot, count, now, actions);
            }
            _ => {}
        }
    }

    /// What could not be sent: a result is missing; an ear that has ended says nothing more.
    pub(super) fn on_ear_unsent(
        &mut self,
        message: PeerMessage,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        match message {
            PeerMessage::Overheard { ear, .. } => {
                let Some(entry) = self.ears.by_number.get_mut(&ear.number) else { return };
                Self::miss(entry, &self.metrics.tasks);
                self.ears.owing.push(ear.number);
            }
            PeerMessage::Pause { id, ear } => self.on_paused(&id, ear, now, actions),
            _ => {}
        }
    }

    fn hear_for(&mut self, number: u64, owner: ShardId, now: Now, actions: &mut Vec<Action>) {
        let Some(ear) = self.ears.by_number.get_mut(&number) else { return };
        ear.owner = owner;
        ear.paused = false;
        let kept = std::mem::take(&mut ear.kept);
        self.metrics.tasks.kept_bytes.sub(std::mem::take(&mut ear.kept_bytes) as u64);
        for payload in kept {
            self.send_after(number, payload, now, actions);
        }
        self.tell_missed_of(number, now, actions);
    }

    /// Every tick: owners hear of what is missing since a lane was too full.
    pub(super) fn tell_missed(&mut self, now: Now, actions: &mut Vec<Action>) {
        for number in std::mem::take(&mut self.ears.owing) {
            self.tell_missed_of(number, now, actions);
        }
    }

    fn tell_missed_of(&mut self, number: u64, now: Now, actions: &mut Vec<Action>) {
        let Some(ear) = self.ears.by_number.get_mut(&number).filter(|ear| !ear.paused) else {
            return;
        };
        let count = std::mem::take(&mut ear.missed);
        if count > 0
            && let Some((owner, id, ear)) = self.address(number)
        {
            cores::tell(self, owner, PeerMessage::Missed { id, ear, count }, now, actions);
        }
    }

    pub(super) fn on_missed(&mut self, slot: u32, count: u64, now: Now, actions: &mut Vec<Action>) {
        self.with(slot, now, actions, |session, cx| {
            session.tell_error(reply::lost(count, None), cx);
            None
        });
    }

    fn on_paused(&mut self, id: &SessionId, ear: Tenure, now: Now, actions: &mut Vec<Action>) {
        let Some(slot) = self.heard_by(id, ear) else { return };
        self.with(slot, now, actions, |session, _| {
            session.heard.state = State::Paused;
            None
        });
    }

    /// The session of that id, if it is the one that `ear` hears.
    fn heard_by(&self, id: &SessionId, ear: Tenure) -> Option<u32> {
        let slot = self.table.find(id.as_str())?;
        (self.table.get(slot)?.heard.ear == Some(ear)).then_some(slot)
    }

    /// A session that is heard elsewhere has ended.
    pub(super) fn stop_hearing(&mut self, heard: Heard, actions: &mut Vec<Action>) {
        let (Some(ear), Some(cores)) = (heard.ear, &self.cores) else { return };
        if heard.state == State::Here {
            return;
        }
        if ear.shard == cores.me() {
            return self.close_ear(ear.number, actions);
        }
        let message = PeerMessage::Unhear { ear };
        actions.push(Action::Tell { route: self.route, to: ear.shard, message });
    }

    fn close_ear(&mut self, number: u64, actions: &mut Vec<Action>) {
        let Some(ear) = self.take_ear(number) else { return };
        self.metrics.tasks.results.orphaned.add(ear.kept.len() as u64);
        // The channel of a session that was opened here since is that one's.
        let channel = ear.channel.filter(|_| !self.open_ids.has(ear.id.as_str()));
        actions.extend(channel.map(|channel| Action::Broker(Command::Unsubscribe { channel })));
    }
}
