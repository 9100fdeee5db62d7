//! ▢ What this dialect does when a session changes its shard, and while a client waits for
//! one.

use super::ears::State;
use super::reply::{self, ErrorCode};
use super::session::Session;
use super::{RawConfig, RawTasks};
use crate::clock::Now;
use crate::ids::{ShardId, SocketId};
use crate::metrics::TaskMetrics;
use crate::tasks::Action;
use crate::tasks::cores::{
    self, Cores, Host, Moving, Parcel, PeerMessage, Refusal, Tenure, Travels, Wish,
};
use crate::tasks::flow::Flow;
use crate::tasks::id::SessionId;
use crate::tasks::table::{Named, Table};
use crate::tasks::ticket::SESSIONS_MAX;
use crate::ws::{CloseCode, Kind};

impl Travels for Session {
    fn tenure(&self) -> Option<Tenure> {
        self.tenure
    }
}

impl Session {
    /// From now on it is nobody's, and not waiting for anybody either.
    fn release(&mut self) {
        self.owner = None;
        self.away_until_ms = None;
        self.paused = false;
        self.flow = Flow::default();
        self.too_slow = false;
    }
}

impl RawTasks {
    /// The same route, as shard `me` of so many. One shard alone has no peers.
    pub fn among(mut self, me: ShardId, shards: usize) -> Self {
        self.cores = Cores::new(me, shards, self.route, self.open_ids.clone());
        self
    }

    /// A message of another shard for this route.
    pub fn on_peer(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        cores::on_peer(self, message, now, actions);
    }

    /// A message could not be sent: its shard has ended, or too many wait for it.
    pub fn on_unsent(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        cores::on_unsent(self, message, now, actions);
    }

    /// Whether sessions are on their way to other shards, or are there and heard here.
    pub fn is_handing_over(&self) -> bool {
        self.ears.len() > 0 || self.cores.as_ref().is_some_and(|cores| cores.has_leaving())
    }

    /// A client that waits said something, which is its session's when it comes.
    pub(super) fn hold_message(
        &mut self,
        from: SocketId,
        kind: Kind,
        payload: &[u8],
        actions: &mut Vec<Action>,
    ) {
        let Some(held) = self.waiting.get_mut(&from) else { return };
        if !held.push(kind, payload, &self.metrics.tasks) {
            // Without one of its messages the others would have the wrong numbers.
            self.forget_waiting(from);
            self.refuse_client(from, ErrorCode::Busy, actions);
        }
    }

    /// A client that may wait is gone.
    pub(super) fn forget_waiting(&mut self, socket: SocketId) {
        let Some(held) = self.waiting.remove(&socket) else { return };
        if let (Some(cores), Some(number)) = (&mut self.cores, held.claim) {
            cores.forget_waiter(number);
        }
        held.forget(&self.metrics.tasks);
    }

    fn refuse_client(&mut self, to: SocketId, code: ErrorCode, actions: &mut Vec<Action>) {
        self.metrics.tasks.errors.inc();
        actions.push(reply::error(code, None).sent_to(to));
        actions.push(reply::close_for_now(to));
    }

    fn sessions_max(&self) -> usize {
        let RawConfig { sessions_per_shard, .. } = *self.config;
        sessions_per_shard.clamp(1, SESSIONS_MAX) as usize
    }
}

impl Host for RawTasks {
    type Session = Session;
    type Request = ();

    fn cores(&mut self) -> Option<&mut Cores<()>> {
        self.cores.as_deref_mut()
    }

    fn table(&self) -> &Table<Session> {
        &self.table
    }

    fn metrics(&self) -> &TaskMetrics {
        &self.metrics.tasks
    }

    fn is_broker_up(&self) -> bool {
        self.broker_up
    }

    fn has_room(&mut self, _: &mut Vec<Action>) -> bool {
        self.table.len() + self.ears.len() < self.sessions_max()
    }

    fn open(
        &mut self,
        wish: Wish<()>,
        tenure: Option<Tenure>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Wish { from, id, named, .. } = wish;
        self.open_ids.insert(id.clone(), self.route);
        let slot = self.table.insert(|key| Session::new(key, id, from, named, tenure));
        self.owned.insert(from, slot);
        self.metrics.tasks.sessions.inc();
        self.with(slot, now, actions, |session, cx| {
            session.subscribe(cx);
            None
        });
    }

    fn refuse(&mut self, to: SocketId, why: Refusal, _: &SessionId, actions: &mut Vec<Action>) {
        let code = match why {
            Refusal::Busy => ErrorCode::Busy,
            Refusal::BrokerUnavailable => ErrorCode::BrokerUnavailable,
            Refusal::OnOtherRoute => ErrorCode::BadSessionId,
        };
        self.refuse_client(to, code, actions);
    }

    fn hold(&mut self, waiter: SocketId, number: u64, actions: &mut Vec<Action>) {
        self.waiting.entry(waiter).or_default().claim = Some(number);
        actions.push(Action::Pause(waiter));
    }

    fn stop_waiting(&mut self, waiter: SocketId, actions: &mut Vec<Action>) -> bool {
        let Some(held) = self.waiting.get_mut(&waiter) else { return false };
        held.claim = None;
        actions.push(Action::Resume(waiter));
        true
    }

    fn replay(&mut self, waiter: SocketId, now: Now, actions: &mut Vec<Action>) {
        let Some(mut held) = self.waiting.remove(&waiter) else { return };
        while let Some((kind, payload)) = held.pop(&self.metrics.tasks) {
            self.on_message(waiter, kind, &payload, now, actions);
        }
    }

    fn dismiss(&mut self, waiter: Option<SocketId>, actions: &mut Vec<Action>) {
        let Some((socket, held)) =
            waiter.and_then(|waiter| Some((waiter, self.waiting.remove(&waiter)?)))
        else {
            return;
        };
        held.forget(&self.metrics.tasks);
        let code = CloseCode::TakenOver;
        actions.push(Action::Close { socket, code, reason: "session taken over" });
    }

    fn dispossess(&mut self, slot: u32, now: Now, actions: &mut Vec<Action>) {
        if let Some(socket) = self.table.get(slot).and_then(Session::owner) {
            self.owned.remove(&socket);
            let code = CloseCode::TakenOver;
            actions.push(Action::Close { socket, code, reason: "session taken over" });
        }
        self.with(slot, now, actions, |session, _| {
            session.release();
            None
        });
    }

    fn is_ready_to_go(&mut self, slot: u32, actions: &mut Vec<Action>) -> bool {
        let Some(session) = self.table.get_mut(slot) else { return false };
        // The broker answers in order: a session that is not heard yet has pushes before it,
        // or is about to fail.
        if session.tasks.pushing() > 0 || !session.confirmed {
            return false;
        }
        let (State::There, Some(ear)) = (session.heard.state, session.heard.ear) else {
            return session.heard.state != State::Pausing;
        };
        session.heard.state = State::Pausing;
        let message = PeerMessage::Pause { id: session.id().clone(), ear };
        actions.push(Action::Tell { route: self.route, to: ear.shard, message });
        false
    }

    fn depart(&mut self, slot: u32, _: Tenure, _: Now, _: &mut Vec<Action>) -> Option<Moving> {
        let mut session = self.table.remove(slot)?;
        self.wheel.disarm(slot);
        self.metrics.tasks.kept_bytes.sub(session.kept.bytes() as u64);
        session.armed_ms = None;
        if let (State::Here, Some(ear)) = (session.heard.state, session.heard.ear) {
            let channel = session.channel.take();
            self.keep_hearing(ear, session.id().clone(), channel);
            session.heard.state = State::Paused;
        }
        Some(Moving::Raw(session))
    }

    fn on_passing(&mut self, _: &SessionId, _: Tenure, _: Now, _: &mut Vec<Action>) {}

    fn arrive(
        &mut self,
        parcel: Parcel,
        waiter: Option<(SocketId, ())>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Parcel { tenure, session: Moving::Raw(mut session) } = parcel else { return };
        let me = self.cores.as_ref().map(|cores| cores.me());
        self.metrics.tasks.kept_bytes.add(session.kept.bytes() as u64);
        session.tenure = Some(tenure);
        let mut home = None;
        if let Some(ear) = session.heard.ear {
            if me == Some(ear.shard) {
                home = self.take_ear(ear.number);
                session.channel = home.as_mut().and_then(|ear| ear.channel.take());
                session.heard.state = State::Here;
            } else if let Some(owner) = me {
                session.heard.state = State::There;
                let message = PeerMessage::HearFor { ear, owner };
                actions.push(Action::Tell { route: self.route, to: ear.shard, message });
            }
        }
        let slot = self.table.insert(|key| {
            session.key = key;
            *session
        });
        match waiter {
            Some((waiter, ())) => self.resume(slot, waiter, now, actions),
            None => self.leave_alone(slot, now, actions),
        }
        let Some(home) = home else { return };
        for payload in home.kept {
            self.on_result(slot, &payload, now, actions);
        }
        if home.missed > 0 {
            self.on_missed(slot, home.missed, now, actions);
        }
    }

    fn turn_away(&mut self, session: Moving, actions: &mut Vec<Action>) {
        let Moving::Raw(session) = session else { return };
        self.metrics.tasks.results.lost.add(session.kept.results());
        self.stop_hearing(session.heard, actions);
    }

    fn on_results(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        self.on_ear(message, now, actions);
    }

    fn on_results_unsent(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        self.on_ear_unsent(message, now, actions);
    }
}
