//! ▢ Sessions among the cores: whoever names a session gets it, on whichever core he is.
//!
//! The id decides which shard is its *home*; the home's directory, which all routes share,
//! says who owns the session. To ask for one is a claim at the home, which writes the
//! claimant down at once, so that claims that cross have one order, and tells the owner
//! until then to hand over:
//!
//! ```text
//!  claimant A ──Claim──▶ home H ──HandOver──▶ owner O     (O closes its client with 4009)
//!      ▲ ▲                 │                    │
//!      │ └─Vacant or Taken─┘                    │ when no push of the session is unanswered
//!      └───────────────Moved or Vacant──────────┘
//! ```
//!
//! - O hands over when the broker has answered every push of the session, so no answer has
//!   to be forwarded.
//! - A tenure (a claim, and what comes of it) has a name. A message that names one that is
//!   over finds nothing: a release that crosses with a claim, a hand-over of a session that
//!   has ended (answered `Vacant`).
//! - A shard that is told to hand over what it has only claimed passes it on when it comes.
//! - While a client waits for its claim it is not read, and what it had said already is
//!   held, in order. After [`TASKS_CLAIM_MS`] it is told `busy`; the session, when it
//!   comes, waits for it like any that was left.
//! - Ids that the gateway makes have their home on the shard that makes them.
//! - A shard that has ended had no sessions: a hand-over that cannot reach it is `Vacant`.
//!
//! How results find a session that has moved is the dialect's: in the default one the old
//! owner [relays](super::following) until the new one hears for itself, since a result that
//! comes twice is told once; in the raw one a session is heard all its life where it was
//! opened ([`super::raw`], `ears`), since there every result counts, in its order.
//!
//! With one shard there is none of this. Here is what happens to a claim, for every
//! [`Host`]; `handover` has the owner's part.

mod claims;
mod directory;
mod handover;
mod host;
mod message;

use std::collections::HashMap;

use self::claims::{Claim, Claims};
use self::directory::Claimed;
pub use self::directory::Directory;
pub use self::handover::{after_change, is_leaving, on_ended};
pub use self::host::{Host, Refusal, Travels, Wish};
pub use self::message::{Moving, Parcel, PeerMessage, Relay, Tenure};
use super::Action;
use super::id::{OpenIds, SessionId};
use super::ticket::RouteTag;
use crate::clock::Now;
use crate::ids::ShardId;
use crate::limits::{TASKS_CLAIM_MS, TASKS_CLAIMS};
use crate::router::home_of;

/// One route's part, on one shard, in what the shards know of each other's sessions.
pub struct Cores<Q> {
    me: ShardId,
    shards: usize,
    route: RouteTag,
    /// Of all routes of the shard, with the directory.
    ids: OpenIds,
    claims: Claims<Q>,
    /// Number of the next claim.
    next: u64,
    /// Sessions that are to go, by slot, and to whom.
    leaving: HashMap<u32, Tenure>,
    /// What of `claims` the gauge has, which all routes of the shard share.
    shown: u64,
}

impl<Q> Cores<Q> {
    /// The part of `route` on shard `me` of so many. One shard alone has no peers.
    pub fn new(me: ShardId, shards: usize, route: RouteTag, ids: OpenIds) -> Option<Box<Self>> {
        let (claims, leaving) = (Claims::default(), HashMap::new());
        let new = Self { me, shards, route, ids, claims, next: 0, leaving, shown: 0 };
        (shards > 1).then(|| Box::new(new))
    }

    /// Which shard this is.
    pub fn me(&self) -> ShardId {
        self.me
    }

    /// Whether sessions are on their way out.
    pub fn has_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// A client that waited has left.
    pub fn forget_waiter(&mut self, number: u64) {
        self.claims.forget_waiter(number);
    }

    fn home(&self, id: &SessionId) -> ShardId {
        home_of(id.as_str(), self.shards)
    }

    /// What there is of anything.
    #[cfg(test)]
    pub fn left(&self) -> usize {
        self.leaving.len() + self.claims.len() + self.ids.directory().len()
    }

    fn tenure(&mut self) -> Tenure {
        self.next += 1;
        Tenure { shard: self.me, number: self.next }
    }
}

/// An id for a client that gave none. Its home is here: nobody has to be asked.
pub fn fresh_id<Q>(cores: Option<&Cores<Q>>) -> SessionId {
    let mut id = SessionId::random();
    if let Some(cores) = cores {
        // As many tries as there are shards, on average.
        while cores.home(&id) != cores.me {
            id = SessionId::random();
        }
    }
    id
}

/// A message of another shard for this route.
pub fn on_peer<H: Host>(host: &mut H, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
    match message {
        PeerMessage::Claim { id, tenure } => on_claim(host, id, tenure, now, actions),
        PeerMessage::Release { id, tenure } => {
            if let Some(cores) = host.cores() {
                cores.ids.directory().release(&id, cores.route, tenure);
            }
        }
        PeerMessage::HandOver { id, from, to } => {
            handover::on_hand_over(host, &id, from, to, now, actions);
        }
        PeerMessage::Vacant { tenure } => on_vacant(host, tenure, now, actions),
        PeerMessage::Taken { tenure } => give_up(host, tenure, Refusal::OnOtherRoute, now, actions),
        PeerMessage::Moved(parcel) => on_moved(host, parcel, now, actions),
        message => host.on_results(message, now, actions),
    }
    set_gauges(host);
}

/// A message could not be sent: its shard has ended, or too many wait for it.
pub fn on_unsent<H: Host>(host: &mut H, message: PeerMessage, now: Now, actions: &mut Vec<Action>) {
    match message {
        PeerMessage::Claim { tenure, .. } => give_up(host, tenure, Refusal::Busy, now, actions),
        // The sessions of a shard end with it.
        PeerMessage::HandOver { to, .. } => {
            tell(host, to.shard, PeerMessage::Vacant { tenure: to }, now, actions);
        }
        message => host.on_results_unsent(message, now, actions),
    }
    set_gauges(host);
}

/// A client wants a session that is not on this shard, which is one of several.
pub fn claim<H: Host>(host: &mut H, wish: Wish<H::Request>, now: Now, actions: &mut Vec<Action>) {
    let Some(cores) = host.cores() else { return };
    let deadline_ms = now.ms.saturating_add(TASKS_CLAIM_MS);
    if let Some((number, claim)) = cores.claims.joinable(&wish.id) {
        claim.request = wish.request;
        claim.deadline_ms = deadline_ms;
        let before = claim.waiter.replace(wish.from);
        host.hold(wish.from, number, actions);
        return host.dismiss(before, actions);
    }
    if cores.claims.len() >= TASKS_CLAIMS {
        return host.refuse(wish.from, Refusal::Busy, &wish.id, actions);
    }
    let (tenure, home) = (cores.tenure(), cores.home(&wish.id));
    if home == cores.me && !cores.ids.directory().has(&wish.id) {
        cores.ids.directory().claim(wish.id.clone(), cores.route, tenure);
        host.open(wish, Some(tenure), now, actions);
        return set_gauges(host);
    }
    let Wish { from, id, request, .. } = wish;
    let claim = Claim { id: id.clone(), waiter: Some(from), request, deadline_ms, next: None };
    cores.claims.insert(tenure.number, claim);
    host.hold(from, tenure.number, actions);
    tell(host, home, PeerMessage::Claim { id, tenure }, now, actions);
    set_gauges(host);
}

/// The home's part: who had it hands over to who claims it.
fn on_claim<H: Host>(host: &mut H, id: SessionId, to: Tenure, now: Now, actions: &mut Vec<Action>) {
    let Some(cores) = host.cores() else { return };
    let claimed = cores.ids.directory().claim(id.clone(), cores.route, to);
    let (whom, message) = match claimed {
        Claimed::Vacant => (to, PeerMessage::Vacant { tenure: to }),
        Claimed::From(from) => (from, PeerMessage::HandOver { id, from, to }),
        Claimed::OnOtherRoute => (to, PeerMessage::Taken { tenure: to }),
    };
    tell(host, whom.shard, message, now, actions);
}

fn on_vacant<H: Host>(host: &mut H, tenure: Tenure, now: Now, actions: &mut Vec<Action>) {
    let Some(claim) = host.cores().and_then(|cores| cores.claims.remove(tenure.number)) else {
        return;
    };
    if let Some(next) = claim.next {
        return tell(host, next.shard, PeerMessage::Vacant { tenure: next }, now, actions);
    }
    let waiter = claim.waiter.filter(|&waiter| host.stop_waiting(waiter, actions));
    let Some(waiter) = waiter else { return release(host, claim.id, tenure, actions) };
    let why = if !host.is_broker_up() {
        Some(Refusal::BrokerUnavailable)
    } else {
        (!host.has_room(actions)).then_some(Refusal::Busy)
    };
    if let Some(why) = why {
        host.refuse(waiter, why, &claim.id, actions);
        release(host, claim.id, tenure, actions);
    } else {
        let wish = Wish { from: waiter, id: claim.id, named: true, request: claim.request };
        host.open(wish, Some(tenure), now, actions);
    }
    host.replay(waiter, now, actions);
}

/// A claim leads to nothing, and is in no books.
fn give_up<H: Host>(
    host: &mut H,
    tenure: Tenure,
    why: Refusal,
    now: Now,
    actions: &mut Vec<Action>,
) {
    let Some(claim) = host.cores().and_then(|cores| cores.claims.remove(tenure.number)) else {
        return;
    };
    let Some(waiter) = claim.waiter else { return };
    if host.stop_waiting(waiter, actions) {
        host.refuse(waiter, why, &claim.id, actions);
    }
    host.replay(waiter, now, actions);
}

fn on_moved<H: Host>(host: &mut H, parcel: Parcel, now: Now, actions: &mut Vec<Action>) {
    let Parcel { tenure, session } = parcel;
    let Some(cores) = host.cores() else { return };
    let claim = cores.claims.remove(tenure.number);
    if let Some(next) = claim.as_ref().and_then(|claim| claim.next) {
        host.on_passing(session.id(), next, now, actions);
        let parcel = Parcel { tenure: next, session };
        return tell(host, next.shard, PeerMessage::Moved(parcel), now, actions);
    }
    let waiter = claim.and_then(|claim| Some((claim.waiter?, claim.request)));
    let waiter = waiter.filter(|&(waiter, _)| host.stop_waiting(waiter, actions));
    let id = session.id().clone();
    if host.has_room(actions) {
        host.metrics().sessions.inc();
        host.metrics().sessions_moved_in.inc();
        if let Some(cores) = host.cores() {
            cores.ids.insert(id, cores.route);
        }
        host.arrive(Parcel { tenure, session }, waiter, now, actions);
    } else {
        host.metrics().sessions_abandoned.inc();
        host.turn_away(session, actions);
        release(host, id.clone(), tenure, actions);
        if let Some((waiter, _)) = waiter {
            host.refuse(waiter, Refusal::Busy, &id, actions);
        }
    }
    if let Some((waiter, _)) = waiter {
        host.replay(waiter, now, actions);
    }
}

/// Every tick: clients that have waited too long.
pub fn on_tick<H: Host>(host: &mut H, now: Now, actions: &mut Vec<Action>) {
    let Some(cores) = host.cores() else { return };
    for (waiter, id) in cores.claims.overdue(now.ms) {
        host.metrics().claims_timed_out.inc();
        if host.stop_waiting(waiter, actions) {
            host.refuse(waiter, Refusal::Busy, &id, actions);
            host.replay(waiter, now, actions);
        }
    }
    set_gauges(host);
}

fn release<H: Host>(host: &mut H, id: SessionId, tenure: Tenure, actions: &mut Vec<Action>) {
    let Some(cores) = host.cores() else { return };
    let home = cores.home(&id);
    if home == cores.me {
        cores.ids.directory().release(&id, cores.route, tenure);
    } else {
        let message = PeerMessage::Release { id, tenure };
        actions.push(Action::Tell { route: cores.route, to: home, message });
    }
}

/// To a peer, or to oneself.
pub fn tell<H: Host>(
    host: &mut H,
    to: ShardId,
    message: PeerMessage,
    now: Now,
    actions: &mut Vec<Action>,
) {
    let Some(cores) = host.cores() else { return };
    if cores.me == to {
        on_peer(host, message, now, actions);
    } else {
        actions.push(Action::Tell { route: cores.route, to, message });
    }
}

fn set_gauges<H: Host>(host: &mut H) {
    let Some(cores) = host.cores() else { return };
    let (claims, owners) = (cores.claims.len() as u64, cores.ids.directory().len() as u64);
    let shown = std::mem::replace(&mut cores.shown, claims);
    let metrics = host.metrics();
    metrics.claims.add(claims);
    metrics.claims.sub(shown);
    metrics.directory.set(owners);
}
