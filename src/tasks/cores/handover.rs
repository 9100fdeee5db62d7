//! ▢ The part of the shard that has a session, or had it: giving it up, and passing on what
//! still comes for it.

use std::sync::Arc;

use super::*;
use crate::broker::Command;
use crate::tasks::result::WorkerResult;

impl Tasks {
    /// The home says that the session of tenure `from` goes to `to`.
    pub(super) fn on_hand_over(
        &mut self,
        id: &SessionId,
        from: Tenure,
        to: Tenure,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let slot = self.table.find(id.as_str());
        let slot = slot.filter(|&slot| {
            self.table.get(slot).is_some_and(|session| session.tenure() == Some(from))
        });
        if let Some(slot) = slot {
            self.dispossess(slot, actions);
            let Some(cores) = &mut self.cores else { return };
            cores.leaving.insert(slot, to);
            return self.depart_if_ready(slot, now, actions);
        }
        let claimed = self.cores.as_mut().and_then(|c| c.claims.pass_on(from.number, to));
        match claimed {
            Some(waiter) => self.dismiss(waiter, actions),
            // It has ended; its release crosses with this.
            None => self.tell(to.shard, PeerMessage::Vacant { tenure: to }, now, actions),
        }
    }

    /// Whether the session of `slot` is on its way to another shard.
    pub(in crate::tasks) fn is_leaving(&self, slot: u32) -> bool {
        self.cores.as_ref().is_some_and(|cores| cores.leaving.contains_key(&slot))
    }

    /// After any change of a session: one that is to go goes once the broker has answered
    /// all its pushes, and one that has come says when it hears for itself.
    pub(in crate::tasks) fn after_change(
        &mut self,
        slot: u32,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(cores) = &mut self.cores else { return };
        if !cores.relayed.is_empty()
            && let Some(session) = self.table.get(slot).filter(|session| session.is_heard())
            && let Some(Relay { shard, tenure }) = cores.relayed.remove(&slot)
        {
            let id = session.id().clone();
            self.tell(shard, PeerMessage::Heard { id, tenure }, now, actions);
        }
        self.depart_if_ready(slot, now, actions);
    }

    fn depart_if_ready(&mut self, slot: u32, now: Now, actions: &mut Vec<Action>) {
        let Some(cores) = &mut self.cores else { return };
        let ready = self.table.get(slot).is_some_and(|session| !session.is_pushing());
        if cores.leaving.is_empty() || !ready {
            return;
        }
        let Some(to) = cores.leaving.remove(&slot) else { return };
        let me = cores.me;
        let mut relay = cores.relayed.remove(&slot);
        let Some(mut session) = self.table.remove(slot) else { return };
        self.wheel.disarm(slot);
        self.open_ids.remove(session.id());
        let kept_bytes = session.text_bytes();
        self.text_bytes = self.text_bytes.saturating_sub(kept_bytes);
        let metrics = &self.metrics.tasks;
        metrics.text_bytes.sub(kept_bytes as u64);
        metrics.sessions.dec();
        metrics.sessions_moved_out.inc();
        let heard = session.is_heard();
        let channel = session.leave();
        if heard && channel.is_some() {
            relay = Some(Relay { shard: me, tenure: to });
            self.forward_from_now_on(session.id().clone(), to, channel, now, actions);
        } else {
            // What was not in force yet is heard by whoever relayed until now, or by nobody.
            unsubscribe(channel, actions);
            self.forward_from_now_on(session.id().clone(), to, None, now, actions);
        }
        let parcel = Parcel { tenure: to, session, relay };
        self.tell(to.shard, PeerMessage::Moved(parcel), now, actions);
        self.set_core_gauges();
    }

    /// A session has ended here: its home may forget it, and who waits for it makes his
    /// own.
    pub(in crate::tasks) fn on_ended(
        &mut self,
        slot: u32,
        session: &Session,
        actions: &mut Vec<Action>,
    ) {
        let Some(cores) = &mut self.cores else { return };
        cores.relayed.remove(&slot);
        if let Some(to) = cores.leaving.remove(&slot) {
            let message = PeerMessage::Vacant { tenure: to };
            actions.push(Action::Tell { route: self.route, to: to.shard, message });
        } else if let Some(tenure) = session.tenure() {
            self.release(session.id().clone(), tenure, actions);
        }
        self.set_core_gauges();
    }

    pub(super) fn forward_from_now_on(
        &mut self,
        id: SessionId,
        to: Tenure,
        channel: Option<Arc<str>>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(cores) = &mut self.cores else { return };
        let until_ms = now.ms.saturating_add(self.config.chunk_deadline_ms);
        if let Err(channel) = cores.forwards.insert(id, to, channel, until_ms) {
            self.metrics.tasks.forwards_refused.inc();
            unsubscribe(channel, actions);
        }
    }

    /// A session of that id is opened here: what comes is its own again.
    pub(in crate::tasks) fn stop_forwarding(&mut self, id: &SessionId) {
        if let Some(cores) = &mut self.cores {
            cores.forwards.remove(id);
        }
    }

    /// A result for a session that is not here. `true`: it went after it.
    pub(in crate::tasks) fn forward(
        &mut self,
        id: &str,
        payload: &[u8],
        now: Now,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(cores) = &self.cores else { return false };
        let Some((id, forward)) = cores.forwards.find(id) else { return false };
        let (to, id) = (forward.to.shard, id.clone());
        self.metrics.tasks.results_forwarded.inc();
        self.tell(to, PeerMessage::Result { id, payload: payload.to_vec() }, now, actions);
        true
    }

    pub(super) fn on_heard(&mut self, id: &SessionId, by: Tenure, actions: &mut Vec<Action>) {
        let Some(cores) = &mut self.cores else { return };
        unsubscribe(cores.forwards.heard(id, by), actions);
    }

    /// A result that another shard has heard.
    pub(super) fn on_forwarded(
        &mut self,
        id: &SessionId,
        payload: Vec<u8>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.table.find(id.as_str()) else {
            if !self.forward(id.as_str(), &payload, now, actions) {
                self.metrics.tasks.results.orphaned.inc();
            }
            return;
        };
        match WorkerResult::parse(&payload) {
            Ok(result) => {
                self.with(slot, now, actions, |session, cx| session.on_forwarded(&result, cx));
            }
            Err(_) => self.metrics.tasks.results.malformed.inc(),
        }
    }
}

pub(super) fn unsubscribe(channels: impl IntoIterator<Item = Arc<str>>, actions: &mut Vec<Action>) {
    let command = |channel| Action::Broker(Command::Unsubscribe { channel });
    actions.extend(channels.into_iter().map(command));
}
