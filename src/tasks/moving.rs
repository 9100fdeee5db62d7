//! ▢ What this dialect does when a session changes its shard.

use super::command::Modes;
use super::cores::{self, Cores, Host, Moving, Parcel, PeerMessage, Refusal, Relay, Tenure, Wish};
use super::id::SessionId;
use super::session::Session;
use super::table::{Named, Table};
use super::{Action, Tasks};
use crate::broker::Command;
use crate::clock::Now;
use crate::ids::{ShardId, SocketId};
use crate::metrics::TaskMetrics;

impl Tasks {
    /// The same route, as shard `me` of so many, after [`with_open_ids`](Self::with_open_ids).
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

    /// Whether sessions are on their way to other shards.
    pub fn is_handing_over(&self) -> bool {
        self.cores.as_ref().is_some_and(|cores| cores.has_leaving())
    }
}

impl Host for Tasks {
    type Session = Session;
    type Request = Modes;

    fn cores(&mut self) -> Option<&mut Cores<Modes>> {
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

    fn has_room(&mut self, actions: &mut Vec<Action>) -> bool {
        self.make_room(actions)
    }

    fn open(
        &mut self,
        wish: Wish<Modes>,
        tenure: Option<Tenure>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        self.open_session(wish, tenure, now, actions);
    }

    fn refuse(&mut self, to: SocketId, why: Refusal, id: &SessionId, actions: &mut Vec<Action>) {
        self.refuse_wish(to, why, id, actions);
    }

    fn hold(&mut self, waiter: SocketId, number: u64, actions: &mut Vec<Action>) {
        self.wait(waiter, number, actions);
    }

    fn stop_waiting(&mut self, waiter: SocketId, _: &mut Vec<Action>) -> bool {
        self.end_wait(waiter)
    }

    fn replay(&mut self, waiter: SocketId, now: Now, actions: &mut Vec<Action>) {
        self.hear_held(waiter, now, actions);
    }

    fn dismiss(&mut self, waiter: Option<SocketId>, actions: &mut Vec<Action>) {
        self.send_away(waiter, actions);
    }

    fn dispossess(&mut self, slot: u32, _: Now, actions: &mut Vec<Action>) {
        self.take_from_owner(slot, actions);
    }

    fn is_ready_to_go(&mut self, slot: u32, _: &mut Vec<Action>) -> bool {
        self.table.get(slot).is_some_and(|session| !session.is_pushing())
    }

    fn depart(
        &mut self,
        slot: u32,
        to: Tenure,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Option<Moving> {
        let me = self.cores.as_ref()?.me();
        let mut relay = self.following.relayed.remove(&slot);
        let mut session = self.table.remove(slot)?;
        self.wheel.disarm(slot);
        let kept_bytes = session.text_bytes();
        self.text_bytes = self.text_bytes.saturating_sub(kept_bytes);
        self.metrics.tasks.text_bytes.sub(kept_bytes as u64);
        let heard = session.is_heard();
        let mut channel = session.leave();
        if heard && channel.is_some() {
            relay = Some(Relay { shard: me, tenure: to });
        } else {
            // What was not in force yet is heard by whoever relayed until now, or by nobody.
            let unheard = channel.take();
            actions.extend(unheard.map(|channel| Action::Broker(Command::Unsubscribe { channel })));
        }
        self.forward_from_now_on(session.id(), to, channel, now, actions);
        Some(Moving::Asr(session, relay))
    }

    fn on_passing(&mut self, id: &SessionId, next: Tenure, now: Now, actions: &mut Vec<Action>) {
        self.forward_from_now_on(id, next, None, now, actions);
    }

    fn arrive(
        &mut self,
        parcel: Parcel,
        waiter: Option<(SocketId, Modes)>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Parcel { tenure, session: Moving::Asr(mut session, relay) } = parcel else { return };
        // Whatever went from here to there before, it is here now.
        let channel = self.following.forwards.remove(session.id());
        self.show_forwards();
        self.metrics.tasks.text_bytes.add(session.text_bytes() as u64);
        self.text_bytes += session.text_bytes();
        let id = session.id().clone();
        let slot = self.table.insert(|key| {
            session.arrive(key, tenure, channel);
            *session
        });
        if let Some(relay) = relay {
            self.following.relayed.insert(slot, relay);
        }
        match waiter {
            Some((waiter, modes)) if !self.has_other_binary(waiter, Some(slot), modes) => {
                self.give_to(slot, waiter, modes, now, actions);
            }
            waiter => {
                if let Some((waiter, _)) = waiter {
                    self.refuse_other_binary(waiter, &id, actions);
                }
                self.detach(slot, now, actions);
            }
        }
        self.with(slot, now, actions, Session::subscribe);
    }

    /// The workers' cache has its results for whoever comes back.
    fn turn_away(&mut self, session: Moving, actions: &mut Vec<Action>) {
        let channel = self.following.forwards.remove(session.id());
        self.show_forwards();
        self.unsubscribe(session.id(), channel, actions);
    }

    fn on_results(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
        match message {
            PeerMessage::Heard { id, tenure } => self.on_heard(&id, tenure, actions),
            PeerMessage::Result { id, payload } => self.on_forwarded(&id, &payload, now, actions),
            _ => {}
        }
    }

    /// A result is in the workers' cache as well.
    fn on_results_unsent(&mut self, _: PeerMessage, _: Now, _: &mut Vec<Action>) {}
}
