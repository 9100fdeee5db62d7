//! ▢ How results go after a session that has left its shard.
//!
//! Until the new owner hears the session's channel itself (`Heard`), and in any case what is
//! published on the channel of the old owner's shard, the old owner forwards to where the
//! session went; lanes keep their order, so a result never overtakes its session. What is
//! heard twice is told once. Then the new owner reads the cache, as after any gap.

use std::collections::HashMap;
use std::sync::Arc;

use super::cores::{self, PeerMessage, Relay, Tenure};
use super::forwards::Forwards;
use super::id::SessionId;
use super::result::WorkerResult;
use super::table::Named;
use super::{Action, Tasks};
use crate::broker::Command;
use crate::clock::Now;

/// Sessions of a route whose results come to another shard than they are on.
#[derive(Default, Debug)]
pub struct Following {
    /// Those that have left this shard.
    pub forwards: Forwards,
    /// Those that came, by slot, and whose channel somebody else still hears for them.
    pub relayed: HashMap<u32, Relay>,
    /// What of `forwards` the gauge has, which all routes of the shard share.
    shown: u64,
}

impl Following {
    /// A session of that id is opened here: what comes is its own again.
    pub fn stop(&mut self, id: &SessionId) {
        self.forwards.remove(id);
    }
}

impl Tasks {
    /// A session that came has changed: it may hear for itself now.
    pub(super) fn say_heard(&mut self, slot: u32, now: Now, actions: &mut Vec<Action>) {
        if !self.following.relayed.is_empty()
            && let Some(session) = self.table.get(slot).filter(|session| session.is_heard())
            && let Some(Relay { shard, tenure }) = self.following.relayed.remove(&slot)
        {
            let id = session.id().clone();
            cores::tell(self, shard, PeerMessage::Heard { id, tenure }, now, actions);
        }
    }

    pub(super) fn on_heard(&mut self, id: &SessionId, by: Tenure, actions: &mut Vec<Action>) {
        let channel = self.following.forwards.heard(id, by);
        self.unsubscribe(id, channel, actions);
    }

    /// A session leaves for `to`. `channel`: of its own, which is still heard for it.
    pub(super) fn forward_from_now_on(
        &mut self,
        id: &SessionId,
        to: Tenure,
        channel: Option<Arc<str>>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let until_ms = now.ms.saturating_add(self.config.chunk_deadline_ms);
        if let Err(channel) = self.following.forwards.insert(id.clone(), to, channel, until_ms) {
            self.metrics.tasks.forwards_refused.inc();
            self.unsubscribe(id, channel, actions);
        }
        self.show_forwards();
    }

    /// A result for a session that is not here. `true`: it went after it.
    pub(super) fn forward(
        &mut self,
        id: &str,
        payload: &[u8],
        now: Now,
        actions: &mut Vec<Action>,
    ) -> bool {
        // Another route of this shard has the id by now.
        if self.open_ids.is_elsewhere(id, self.route) {
            return false;
        }
        let Some((id, forward)) = self.following.forwards.find(id) else { return false };
        let (to, id) = (forward.to.shard, id.clone());
        self.metrics.tasks.results_forwarded.inc();
        let message = PeerMessage::Result { id, payload: payload.to_vec() };
        cores::tell(self, to, message, now, actions);
        true
    }

    /// A result that another shard has heard.
    pub(super) fn on_forwarded(
        &mut self,
        id: &SessionId,
        payload: &[u8],
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.table.find(id.as_str()) else {
            if !self.forward(id.as_str(), payload, now, actions) {
                self.metrics.tasks.results.orphaned.inc();
            }
            return;
        };
        match WorkerResult::parse(payload) {
            Ok(result) => {
                self.with(slot, now, actions, |session, cx| session.on_forwarded(&result, cx));
            }
            Err(_) => self.metrics.tasks.results.malformed.inc(),
        }
    }

    /// Every tick: entries that are over.
    pub(super) fn end_forwards(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut channels = Vec::new();
        self.following.forwards.expire(now.ms, &mut channels);
        for (id, channel) in channels {
            self.unsubscribe(&id, Some(channel), actions);
        }
        self.show_forwards();
    }

    /// A channel that was heard for another shard is heard no more, unless a session of the
    /// id has been opened here since, on whichever route: then it is that one's.
    pub(super) fn unsubscribe(
        &mut self,
        id: &SessionId,
        channel: Option<Arc<str>>,
        actions: &mut Vec<Action>,
    ) {
        let channel = channel.filter(|_| !self.open_ids.has(id.as_str()));
        actions.extend(channel.map(|channel| Action::Broker(Command::Unsubscribe { channel })));
    }

    pub(super) fn show_forwards(&mut self) {
        let forwards = self.following.forwards.len() as u64;
        let shown = std::mem::replace(&mut self.following.shown, forwards);
        self.metrics.tasks.forwards.add(forwards);
        self.metrics.tasks.forwards.sub(shown);
    }
}
