//! ▢ Sessions among the cores: whoever names a session gets it, on whichever core he is.
//!
//! The id decides which shard is its *home*; the home's directory says who owns the
//! session. A `start` is a claim at the home, which writes the claimant down at once, so
//! that claims that cross have one order, and tells the owner until then to hand over:
//!
//! ```text
//!  claimant A ──Claim──▶ home H ──HandOver──▶ owner O     (O closes its client with 4009)
//!      ▲ ▲                 │                    │
//!      │ └─────Vacant──────┘                    │ when no push of the session is unanswered
//!      └───────────────Moved or Vacant──────────┘
//! ```
//!
//! - O hands over when the broker has answered every push of the session, so no answer has
//!   to be forwarded. Until A hears the session's channel itself (`Heard`), and in any case
//!   what is published on the channel of O's shard, O forwards results to where the session
//!   went; lanes keep their order, so a result never overtakes its session. Then A reads
//!   the cache, as after any gap.
//! - A tenure (a claim, and what comes of it) has a name. A message that names one that is
//!   over finds nothing: a release that crosses with a claim, a hand-over of a session that
//!   has ended (answered `Vacant`).
//! - A shard that is told to hand over what it has only claimed passes it on when it comes.
//! - While a client waits for its claim it is not read, and what it had said already is
//!   held, in order. After [`TASKS_CLAIM_MS`] it is told `busy`; the session, when it
//!   comes, waits for it like any that was left.
//! - Ids that the gateway makes have their home on the shard that makes them.
//!
//! With one shard there is none of this. Here is what happens to a claim; `handover` has
//! the owner's part, `held` what clients say while they wait.

mod claims;
mod directory;
mod forwards;
mod handover;
mod held;
mod message;

use std::collections::HashMap;

use self::claims::{Claim, Claims};
use self::directory::Directory;
use self::forwards::Forwards;
use self::handover::unsubscribe;
pub use self::held::Held;
pub use self::message::{Parcel, PeerMessage, Relay, Tenure};
use super::command::Modes;
use super::id::SessionId;
use super::reply::{ErrorCode, SYSTEM_BUSY};
use super::session::Session;
use super::table::Named;
use super::{Action, Tasks};
use crate::clock::Now;
use crate::ids::{ShardId, SocketId};
use crate::limits::{TASKS_CLAIM_MS, TASKS_CLAIMS};
use crate::router::home_of;

/// One route's part, on one shard, in what the shards know of each other's sessions.
pub struct Cores {
    me: ShardId,
    shards: usize,
    directory: Directory,
    claims: Claims,
    /// Number of the next claim.
    next: u64,
    /// Sessions that are to go, by slot, and to whom.
    leaving: HashMap<u32, Tenure>,
    /// Sessions that came, by slot, whose results somebody else still hears for them.
    relayed: HashMap<u32, Relay>,
    forwards: Forwards,
}

impl Cores {
    fn home(&self, id: &SessionId) -> ShardId {
        home_of(id.as_str(), self.shards)
    }

    /// What there is of anything.
    #[cfg(test)]
    pub(super) fn left(&self) -> usize {
        let tables = [self.leaving.len(), self.relayed.len(), self.forwards.len()];
        tables.iter().sum::<usize>() + self.claims.len() + self.directory.len()
    }

    fn tenure(&mut self) -> Tenure {
        self.next += 1;
        Tenure { shard: self.me, number: self.next }
    }
}

impl Tasks {
    /// The same route, as shard `me` of so many. One shard alone has no peers.
    pub fn among(mut self, me: ShardId, shards: usize) -> Self {
        self.cores = (shards > 1).then(|| {
            Box::new(Cores {
                me,
                shards,
                directory: Directory::default(),
                claims: Claims::default(),
                next: 0,
                leaving: HashMap::new(),
                relayed: HashMap::new(),
                forwards: Forwards::default(),
            })
        });
        self
    }

    /// A message of another shard for this route.
    pub fn on_peer(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        match message {
            PeerMessage::Claim { id, tenure } => self.on_claim(id, tenure, now, actions),
            PeerMessage::Release { id, tenure } => {
                if let Some(cores) = &mut self.cores {
                    cores.directory.release(&id, tenure);
                }
            }
            PeerMessage::HandOver { id, from, to } => {
                self.on_hand_over(&id, from, to, now, actions);
            }
            PeerMessage::Vacant { tenure } => self.on_vacant(tenure, now, actions),
            PeerMessage::Moved(parcel) => self.on_moved(parcel, now, actions),
            PeerMessage::Heard { id, tenure } => self.on_heard(&id, tenure, actions),
            PeerMessage::Result { id, payload } => {
                self.on_forwarded(&id, payload, now, actions);
            }
        }
        self.set_core_gauges();
    }

    /// A message could not be sent: its shard has ended, or too many wait for it.
    pub fn on_unsent(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        let PeerMessage::Claim { tenure, .. } = message else { return };
        let Some(cores) = &mut self.cores else { return };
        let Some(claim) = cores.claims.remove(tenure.number) else { return };
        self.set_core_gauges();
        let Some(waiter) = claim.waiter else { return };
        self.stop_waiting(waiter);
        self.refuse(waiter, ErrorCode::Busy, SYSTEM_BUSY, Some(&claim.id), actions);
        self.replay(waiter, now, actions);
    }

    /// An id for a client that gave none. Its home is here: nobody has to be asked.
    pub(super) fn fresh_id(&self) -> SessionId {
        let mut id = SessionId::random();
        if let Some(cores) = &self.cores {
            // As many tries as there are shards, on average.
            while cores.home(&id) != cores.me {
                id = SessionId::random();
            }
        }
        id
    }

    /// A client starts a session that is not on this shard.
    pub(super) fn claim(
        &mut self,
        from: SocketId,
        id: SessionId,
        named: bool,
        modes: Modes,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(cores) = &mut self.cores else { return };
        let deadline_ms = now.ms.saturating_add(TASKS_CLAIM_MS);
        if let Some((number, claim)) = cores.claims.joinable(&id) {
            claim.modes = modes;
            claim.deadline_ms = deadline_ms;
            let before = claim.waiter.replace(from);
            self.wait(from, number, actions);
            return self.dismiss(before, actions);
        }
        if cores.claims.len() >= TASKS_CLAIMS {
            return self.refuse(from, ErrorCode::Busy, SYSTEM_BUSY, Some(&id), actions);
        }
        let (tenure, home) = (cores.tenure(), cores.home(&id));
        if home == cores.me && !cores.directory.has(&id) {
            cores.directory.claim(id.clone(), tenure);
            return self.open(from, id, named, modes, Some(tenure), now, actions);
        }
        let claim = Claim { id: id.clone(), waiter: Some(from), modes, deadline_ms, next: None };
        cores.claims.insert(tenure.number, claim);
        self.wait(from, tenure.number, actions);
        self.tell(home, PeerMessage::Claim { id, tenure }, now, actions);
    }

    /// The home's part: who had it hands over to who claims it.
    fn on_claim(&mut self, id: SessionId, to: Tenure, now: Now, actions: &mut Vec<Action>) {
        let Some(cores) = &mut self.cores else { return };
        match cores.directory.claim(id.clone(), to) {
            None => self.tell(to.shard, PeerMessage::Vacant { tenure: to }, now, actions),
            Some(from) => {
                self.tell(from.shard, PeerMessage::HandOver { id, from, to }, now, actions);
            }
        }
    }

    fn on_vacant(&mut self, tenure: Tenure, now: Now, actions: &mut Vec<Action>) {
        let Some(claim) = self.cores.as_mut().and_then(|c| c.claims.remove(tenure.number)) else {
            return;
        };
        if let Some(next) = claim.next {
            return self.tell(next.shard, PeerMessage::Vacant { tenure: next }, now, actions);
        }
        let waiter = claim.waiter.filter(|&waiter| self.stop_waiting(waiter));
        let Some(waiter) = waiter else { return self.release(claim.id, tenure, actions) };
        if !self.broker_up {
            let code = ErrorCode::BrokerUnavailable;
            self.refuse(waiter, code, SYSTEM_BUSY, Some(&claim.id), actions);
            self.release(claim.id, tenure, actions);
        } else if !self.has_room(actions) {
            self.refuse(waiter, ErrorCode::Busy, SYSTEM_BUSY, Some(&claim.id), actions);
            self.release(claim.id, tenure, actions);
        } else {
            self.open(waiter, claim.id, true, claim.modes, Some(tenure), now, actions);
        }
        self.replay(waiter, now, actions);
    }

    fn on_moved(&mut self, parcel: Parcel, now: Now, actions: &mut Vec<Action>) {
        let Parcel { tenure, mut session, relay } = parcel;
        let Some(cores) = &mut self.cores else { return };
        let claim = cores.claims.remove(tenure.number);
        if let Some(next) = claim.as_ref().and_then(|claim| claim.next) {
            let id = session.id().clone();
            self.forward_from_now_on(id, next, None, now, actions);
            let parcel = Parcel { tenure: next, session, relay };
            return self.tell(next.shard, PeerMessage::Moved(parcel), now, actions);
        }
        // Whatever went from here to there before, it is here now.
        let channel = cores.forwards.remove(session.id());
        let modes = claim.as_ref().map(|claim| claim.modes).unwrap_or_default();
        let waiter = claim.and_then(|claim| claim.waiter);
        let waiter = waiter.filter(|&waiter| self.stop_waiting(waiter));
        if !self.has_room(actions) {
            unsubscribe(channel, actions);
            return self.turn_away(session.id(), tenure, waiter, now, actions);
        }
        let metrics = &self.metrics.tasks;
        metrics.sessions.inc();
        metrics.sessions_moved_in.inc();
        metrics.text_bytes.add(session.text_bytes() as u64);
        self.text_bytes += session.text_bytes();
        let id = session.id().clone();
        self.open_ids.insert(id.clone(), self.route);
        let slot = self.table.insert(|key| {
            session.arrive(key, tenure, channel);
            *session
        });
        if let (Some(cores), Some(relay)) = (&mut self.cores, relay) {
            cores.relayed.insert(slot, relay);
        }
        match waiter {
            Some(waiter) if !self.has_other_binary(waiter, Some(slot), modes) => {
                self.give_to(slot, waiter, modes, now, actions);
                self.with(slot, now, actions, Session::subscribe);
                self.replay(waiter, now, actions);
            }
            waiter => {
                if let Some(waiter) = waiter {
                    self.refuse_other_binary(waiter, &id, actions);
                    self.replay(waiter, now, actions);
                }
                self.detach(slot, now, actions);
                self.with(slot, now, actions, Session::subscribe);
            }
        }
    }

    /// A session that comes to a shard that is full, and where no other gives way, ends. The
    /// workers' cache has its results for whoever comes back.
    fn turn_away(
        &mut self,
        id: &SessionId,
        tenure: Tenure,
        waiter: Option<SocketId>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.metrics.tasks.sessions_abandoned.inc();
        self.release(id.clone(), tenure, actions);
        if let Some(waiter) = waiter {
            self.refuse(waiter, ErrorCode::Busy, SYSTEM_BUSY, Some(id), actions);
            self.replay(waiter, now, actions);
        }
    }

    /// Every tick: clients that have waited too long, entries that are over.
    pub(super) fn on_core_tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        let Some(cores) = &mut self.cores else { return };
        let mut channels = Vec::new();
        cores.forwards.expire(now.ms, &mut channels);
        unsubscribe(channels, actions);
        for (waiter, id) in cores.claims.overdue(now.ms) {
            self.metrics.tasks.claims_timed_out.inc();
            if self.stop_waiting(waiter) {
                self.refuse(waiter, ErrorCode::Busy, SYSTEM_BUSY, Some(&id), actions);
                self.replay(waiter, now, actions);
            }
        }
        self.set_core_gauges();
    }

    fn release(&mut self, id: SessionId, tenure: Tenure, actions: &mut Vec<Action>) {
        let Some(cores) = &mut self.cores else { return };
        let home = cores.home(&id);
        if home == cores.me {
            cores.directory.release(&id, tenure);
        } else {
            let message = PeerMessage::Release { id, tenure };
            actions.push(Action::Tell { route: self.route, to: home, message });
        }
    }

    /// To a peer, or to oneself.
    fn tell(&mut self, to: ShardId, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        match &self.cores {
            Some(cores) if cores.me == to => self.on_peer(message, now, actions),
            Some(_) => actions.push(Action::Tell { route: self.route, to, message }),
            None => {}
        }
    }

    fn set_core_gauges(&self) {
        let Some(cores) = &self.cores else { return };
        let metrics = &self.metrics.tasks;
        metrics.claims.set(cores.claims.len() as u64);
        metrics.directory.set(cores.directory.len() as u64);
        metrics.forwards.set(cores.forwards.len() as u64);
    }
}
