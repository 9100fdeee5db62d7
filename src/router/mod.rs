//! Lanes between the shards, with their wake-up; and who answers for a name.
//!
//! Between every two shards and in each direction there are two bounded lanes: one for
//! [replies](Lane::Reply), one for [fan-out](Lane::FanOut). A lane has one sender and one
//! receiver, so what goes through it stays in order; the two kinds do not wait for each
//! other. Sending never blocks: a message that finds its lane full comes back to its
//! sender, counted, and the sender decides (see [`Lane`]). A turn's messages to one peer
//! cost one bell and, if the peer sleeps, one system call.
//!
//! Place in the data path: beside the broker. A shard [sends](Router::send) during its turn,
//! [flushes](Router::flush) at its end, and [collects](Router::collect) in its next.
//! `doorbell` is the part that is lock-free and ours; [`home_of`] says which shard keeps
//! the books for a name, the tasks route keeps them.
//!
//! Must not: wait, drop a message, or know what a message says.

mod doorbell;
mod home;
mod lane;
mod message;
#[cfg(test)]
mod tests;

// `doorbell` takes its atomics from here, and from loom where its test includes it.
use std::sync::atomic;
use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use self::doorbell::Doorbell;
pub use self::{home::home_of, lane::Lane, message::Message};
use crate::{
    ids::ShardId,
    limits::{ROUTER_BATCH, ROUTER_LANE_PLACES_MIN, ROUTER_PLACES},
    metrics::ShardMetrics,
    ring::Waker,
};

/// A message that was not sent, back with its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsent<M> {
    /// The lane is full; it may be tried again.
    Full(M),
    /// There is no such peer, or it has ended.
    Gone(M),
}

impl<M> Unsent<M> {
    /// The message, for whom it is all the same why.
    pub fn into_message(self) -> M {
        match self {
            Self::Full(message) | Self::Gone(message) => message,
        }
    }
}

/// One shard's end of the lanes to and from its peers.
pub struct Router<M> {
    me: ShardId,
    /// By shard; `None` in the shard's own place.
    peers: Vec<Option<Peer<M>>>,
    hall: Arc<Hall>,
    /// Peers that have something in their lanes, or may have.
    rung: Vec<ShardId>,
    /// Peers that were sent something since the last flush.
    touched: Vec<ShardId>,
    metrics: Arc<ShardMetrics>,
}

struct Peer<M> {
    out: [Sender<M>; Lane::COUNT],
    into: [Receiver<M>; Lane::COUNT],
    rung: bool,
    touched: bool,
}

/// What all shards see.
struct Hall {
    doorbells: Vec<Doorbell>,
    wakers: Vec<OnceLock<Waker>>,
}

impl<M> Router<M> {
    /// The routers of as many shards as there are `metrics`, connected with each other. One
    /// shard alone has no lanes and pays for none.
    pub fn mesh(metrics: &[Arc<ShardMetrics>]) -> Vec<Self> {
        let count = metrics.len();
        let hall = Arc::new(Hall {
            doorbells: (0..count).map(|_| Doorbell::new(count)).collect(),
            wakers: (0..count).map(|_| OnceLock::new()).collect(),
        });
        let places = lane_places(count.saturating_sub(1));
        // Row by sender, column by receiver; taken apart into the two ends.
        let ends: Vec<Vec<_>> = (0..count)
            .map(|_| (0..count).map(|_| Lane::ALL.map(|_| bounded(places))).collect())
            .collect();
        let mut routers: Vec<Self> = Vec::with_capacity(count);
        for (me, metrics) in metrics.iter().enumerate() {
            let peer = |other: usize| {
                (other != me).then(|| Peer {
                    out: Lane::ALL.map(|lane| ends[me][other][lane as usize].0.clone()),
                    into: Lane::ALL.map(|lane| ends[other][me][lane as usize].1.clone()),
                    rung: false,
                    touched: false,
                })
            };
            routers.push(Self {
                me: ShardId(me as u16),
                peers: (0..count).map(peer).collect(),
                hall: hall.clone(),
                rung: Vec::with_capacity(count),
                touched: Vec::with_capacity(count),
                metrics: metrics.clone(),
            });
        }
        routers
    }

    /// The shard whose end this is.
    pub fn me(&self) -> ShardId {
        self.me
    }

    /// How many shards there are, this one included.
    pub fn shards(&self) -> usize {
        self.peers.len()
    }

    /// Tells the peers how this shard is woken. Once, before it first sleeps.
    pub fn attach(&self, waker: Waker) {
        if let Some(place) = self.hall.wakers.get(self.me.index()) {
            // A second waker would be the same ring's.
            let _ = place.set(waker);
        }
    }

    /// Puts a message into the lane to a peer; `flush` tells the peer of it.
    ///
    /// # Errors
    /// [`Unsent`] brings the message back.
    pub fn send(&mut self, to: ShardId, lane: Lane, message: M) -> Result<(), Unsent<M>> {
        let Some(peer) = self.peers.get_mut(to.index()).and_then(Option::as_mut) else {
            return Err(Unsent::Gone(message));
        };
        match peer.out[lane as usize].try_send(message) {
            Ok(()) => {
                self.metrics.router.sent[lane as usize].inc();
                if !peer.touched {
                    peer.touched = true;
                    self.touched.push(to);
                }
                Ok(())
            }
            Err(TrySendError::Full(message)) => {
                self.metrics.router.full[lane as usize].inc();
                Err(Unsent::Full(message))
            }
            Err(TrySendError::Disconnected(message)) => Err(Unsent::Gone(message)),
        }
    }

    /// The end of a turn: tells every peer that was sent something, once.
    pub fn flush(&mut self) {
        let (me, hall, peers, metrics) =
            (self.me.index(), &self.hall, &mut self.peers, &self.metrics.router);
        self.touched.retain(|to| {
            let Some(peer) = peers.get_mut(to.index()).and_then(Option::as_mut) else {
                return false;
            };
            hall.doorbells[to.index()].ring(me);
            // A shard that is still being made has no waker yet; the next turn, at the
            // latest the next tick, tries again.
            let waker = hall.wakers[to.index()].get();
            if let Some(waker) = waker {
                waker.wake();
                metrics.wakes.inc();
            }
            peer.touched = waker.is_none();
            peer.touched
        });
    }

    /// Whether a peer has sent something that was not collected.
    pub fn has_news(&self) -> bool {
        !self.rung.is_empty() || self.hall.doorbells[self.me.index()].is_ringing()
    }

    /// Takes what peers have sent: replies first, at most [`ROUTER_BATCH`] messages of each
    /// kind, the peers in turn. What is left makes [`has_news`](Self::has_news) true.
    pub fn collect(&mut self, messages: &mut Vec<M>) {
        let (peers, rung) = (&mut self.peers, &mut self.rung);
        self.hall.doorbells[self.me.index()].answer(|from| {
            if let Some(Some(peer)) = peers.get_mut(from)
                && !peer.rung
            {
                peer.rung = true;
                rung.push(ShardId(from as u16));
            }
        });
        if self.rung.is_empty() {
            return;
        }
        for lane in Lane::ALL {
            self.collect_lane(lane, messages);
        }
        let peers = &mut self.peers;
        self.rung.retain(|from| {
            let Some(Some(peer)) = peers.get_mut(from.index()) else { return false };
            peer.rung = peer.into.iter().any(|lane| !lane.is_empty());
            peer.rung
        });
        // Whoever was the first to be served is the last of the next turn.
        if self.rung.len() > 1 {
            self.rung.rotate_left(1);
        }
    }

    fn collect_lane(&mut self, lane: Lane, messages: &mut Vec<M>) {
        let mut room = ROUTER_BATCH;
        for from in &self.rung {
            let Some(Some(peer)) = self.peers.get(from.index()) else { continue };
            let before = messages.len();
            messages.extend(peer.into[lane as usize].try_iter().take(room));
            let taken = messages.len() - before;
            self.metrics.router.received[lane as usize].add(taken as u64);
            room -= taken;
        }
    }
}

/// Places of one of the lanes to a shard with so many peers.
fn lane_places(peers: usize) -> usize {
    (ROUTER_PLACES / peers.max(1)).max(ROUTER_LANE_PLACES_MIN)
}
