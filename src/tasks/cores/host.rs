//! ▢ What the protocol of this module needs of a route: its sessions, and what its dialect
//! does when one comes, goes, or does not come.

use super::Cores;
use super::message::{Moving, Parcel, PeerMessage, Tenure};
use crate::clock::Now;
use crate::ids::SocketId;
use crate::metrics::TaskMetrics;
use crate::tasks::Action;
use crate::tasks::id::SessionId;
use crate::tasks::table::{Named, Table};

/// Why a client does not get the session that it claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// A limit is reached, or the session does not come.
    Busy,
    /// There can be no new session while the broker is away.
    BrokerUnavailable,
    /// Another route has a session of this id.
    OnOtherRoute,
}

/// A wish for a session.
#[derive(Clone, Debug)]
pub struct Wish<Q> {
    /// Whose.
    pub from: SocketId,
    /// For which session.
    pub id: SessionId,
    /// The client chose the id.
    pub named: bool,
    /// What else it asked for.
    pub request: Q,
}

/// A session that can change its shard.
pub trait Travels: Named {
    /// Under which its shard owns it.
    fn tenure(&self) -> Option<Tenure>;
}

/// One route on one shard.
pub trait Host: Sized {
    /// Its sessions.
    type Session: Travels;
    /// What a client may ask for beside an id.
    type Request: Copy + Default;

    /// Its part among the shards; `None` where there is one shard.
    fn cores(&mut self) -> Option<&mut Cores<Self::Request>>;
    /// Its sessions.
    fn table(&self) -> &Table<Self::Session>;
    /// Counters of the shard.
    fn metrics(&self) -> &TaskMetrics;
    /// Whether a new session could work.
    fn is_broker_up(&self) -> bool;
    /// Whether there is room for one more session. One that is nobody's may give way.
    fn has_room(&mut self, actions: &mut Vec<Action>) -> bool;
    /// Makes a session that there is not.
    fn open(
        &mut self,
        wish: Wish<Self::Request>,
        tenure: Option<Tenure>,
        now: Now,
        actions: &mut Vec<Action>,
    );
    /// A client gets no session, and is told.
    fn refuse(&mut self, to: SocketId, why: Refusal, id: &SessionId, actions: &mut Vec<Action>);

    /// A client waits for claim `number`: it is not read, and what it says is held.
    fn hold(&mut self, waiter: SocketId, number: u64, actions: &mut Vec<Action>);
    /// The wait is over. `false`: the client is on its way out.
    fn stop_waiting(&mut self, waiter: SocketId, actions: &mut Vec<Action>) -> bool;
    /// Hears what a client said while it waited.
    fn replay(&mut self, waiter: SocketId, now: Now, actions: &mut Vec<Action>);
    /// A client waited for a session that is another's now: it is closed.
    fn dismiss(&mut self, waiter: Option<SocketId>, actions: &mut Vec<Action>);

    /// Takes a session from its owner, who is closed, or from nobody.
    fn dispossess(&mut self, slot: u32, now: Now, actions: &mut Vec<Action>);
    /// Whether a session that is to go can go, which is not asked again before it changes.
    fn is_ready_to_go(&mut self, slot: u32, actions: &mut Vec<Action>) -> bool;
    /// Takes a session out that goes to `to`.
    fn depart(
        &mut self,
        slot: u32,
        to: Tenure,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Option<Moving>;
    /// A session came only to go on to `next`.
    fn on_passing(&mut self, id: &SessionId, next: Tenure, now: Now, actions: &mut Vec<Action>);
    /// A session has come under `parcel`'s tenure, for `waiter` or for whoever comes.
    fn arrive(
        &mut self,
        parcel: Parcel,
        waiter: Option<(SocketId, Self::Request)>,
        now: Now,
        actions: &mut Vec<Action>,
    );
    /// A session has come, but there is no room: it ends.
    fn turn_away(&mut self, session: Moving, actions: &mut Vec<Action>);

    /// A message about results.
    fn on_results(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>);
    /// One that could not be sent.
    fn on_results_unsent(&mut self, message: PeerMessage, now: Now, actions: &mut Vec<Action>);
}

impl Moving {
    /// Its name.
    pub fn id(&self) -> &SessionId {
        match self {
            Self::Asr(session, _) => session.id(),
            Self::Raw(session) => session.id(),
        }
    }
}
