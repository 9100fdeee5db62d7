//! ▢ What a route keeps beyond the next message: sessions whose connection is gone, results
//! of clients that are behind, results that come on the shard's channel. Each has its
//! bound, and whatever is over it ends.

use super::result::WorkerResult;
use super::session::{Detachment, End, Session};
use super::shared::SharedChannel;
use super::{Action, Tasks};
use crate::broker::Event;
use crate::clock::Now;
use crate::ids::SocketId;
use crate::ws::CloseCode;

impl Tasks {
    /// A connection takes no more messages, whoever ended it: its sessions wait for another,
    /// or end.
    pub fn on_disconnect(&mut self, socket: SocketId, now: Now, actions: &mut Vec<Action>) {
        self.full.remove(&socket);
        let Some(connection) = self.connections.remove(&socket) else { return };
        self.forget_held(connection.held);
        for slot in connection.sessions {
            self.detach(slot, now, actions);
        }
    }

    /// The outbox of a socket is nearly empty: what [`Action::AwaitDrain`] asked for.
    pub fn on_drained(&mut self, socket: SocketId, now: Now, actions: &mut Vec<Action>) {
        self.full.remove(&socket);
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        connection.flow.drained();
        if !connection.closing {
            // Each session is the first in its turn: a long backlog starves no other.
            let count = connection.sessions.len();
            connection.sessions.rotate_left(count.min(1));
            for slot in connection.sessions.clone() {
                self.with(slot, now, actions, Session::on_drained);
            }
        }
        self.regulate(socket, actions);
    }

    /// Ends every session: the shard ends.
    pub fn end_all(&mut self, actions: &mut Vec<Action>) {
        for slot in self.table.slots() {
            self.end(slot, End::Abandoned, actions);
        }
    }

    pub(super) fn detach(&mut self, slot: u32, now: Now, actions: &mut Vec<Action>) {
        let resume_ms = self.config.resume_ms;
        let Some(session) = self.table.get_mut(slot).filter(|_| resume_ms > 0) else {
            return self.end(slot, End::Abandoned, actions);
        };
        let number = self.detached.insert(slot);
        session.detach(Detachment { number, until_ms: now.ms.saturating_add(resume_ms) });
        self.metrics.tasks.sessions_detached.inc();
        if let Some(deadline_ms) = session.new_alarm_ms() {
            self.wheel.arm(slot, deadline_ms);
        }
        if self.detached.len() > self.config.detached_per_shard.max(1) as usize {
            self.end_oldest_detached(actions);
        }
    }

    /// A session has an owner again, or has ended.
    pub(super) fn forget_detachment(&mut self, detachment: Option<Detachment>) {
        if let Some(Detachment { number, .. }) = detachment {
            self.detached.remove(number);
            self.metrics.tasks.sessions_detached.dec();
        }
    }

    /// Makes room at the cost of the session that was left first. `false`: there is none.
    pub(super) fn end_oldest_detached(&mut self, actions: &mut Vec<Action>) -> bool {
        let Some(slot) = self.detached.oldest() else { return false };
        self.metrics.tasks.resume_evicted.inc();
        self.end(slot, End::Abandoned, actions);
        true
    }

    /// Bytes of texts that a session can keep: its own bound, and what the shard has left,
    /// unless a detached session would give way.
    pub(super) fn text_limit_bytes(&self, slot: u32) -> usize {
        let own_bytes = self.config.session_text_bytes;
        if !self.detached.is_empty() {
            return own_bytes;
        }
        let kept_bytes = self.table.get(slot).map_or(0, Session::text_bytes);
        let left_bytes = self.config.text_bytes_per_shard.saturating_sub(self.text_bytes);
        own_bytes.min(kept_bytes.saturating_add(left_bytes))
    }

    pub(super) fn make_room_for_texts(&mut self, actions: &mut Vec<Action>) {
        while self.text_bytes > self.config.text_bytes_per_shard {
            if !self.end_oldest_detached(actions) {
                return;
            }
        }
    }

    /// Closes clients that have had their time to read what they were sent.
    pub(super) fn close_slow(&mut self, now: Now, actions: &mut Vec<Action>) {
        let (limit_bytes, unread_ms) = (self.config.outbox_bytes, self.config.unread_ms);
        let connections = &mut self.connections;
        self.full.retain(|&socket| {
            let Some(connection) = connections.get_mut(&socket) else { return false };
            let deadline_ms = connection.flow.deadline_ms(limit_bytes, unread_ms);
            let is_slow = deadline_ms.is_some_and(|deadline_ms| deadline_ms <= now.ms);
            if is_slow && !std::mem::replace(&mut connection.closing, true) {
                actions.push(close(socket, CloseCode::SlowConsumer, "slow consumer"));
            }
            !is_slow
        });
    }

    pub(super) fn ask_for_shared(&mut self, actions: &mut Vec<Action>) {
        let command = self.shared.as_mut().and_then(SharedChannel::ask);
        actions.extend(command.map(Action::Broker));
    }

    /// Something about the shard's channel, which other routes may share.
    pub(super) fn on_shared(
        &mut self,
        event: Event,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Option<Event> {
        let Some(shared) = &mut self.shared else { return Some(event) };
        match &event {
            Event::Subscribed(_) => {
                shared.on_subscribed();
                for slot in self.table.slots() {
                    self.with(slot, now, actions, Session::on_subscribed);
                }
            }
            Event::SubscribeFailed(_, error) => {
                shared.on_refused();
                for slot in self.table.slots() {
                    self.with(slot, now, actions, |session, cx| {
                        session.on_shared_refused(error, cx)
                    });
                }
            }
            Event::Message { payload, .. } => {
                let Ok(result) = WorkerResult::parse(payload) else {
                    self.metrics.tasks.results.malformed.inc();
                    return None;
                };
                let id = result.session_id.as_deref();
                let Some(slot) = id.and_then(|id| self.table.find(id)) else {
                    let forwarded = id.is_some_and(|id| self.forward(id, payload, now, actions));
                    return (!forwarded).then_some(event);
                };
                self.with(slot, now, actions, |session, cx| session.on_result(&result, cx));
                return None;
            }
            _ => {}
        }
        Some(event)
    }
}

/// What closes a connection.
pub(super) fn close(socket: SocketId, code: CloseCode, reason: &'static str) -> Action {
    Action::Close { socket, code, reason }
}
