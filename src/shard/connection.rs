//! ▢ What a shard keeps of one connection: 48 bytes while it is idle.

use super::{RouteId, sessions::Asked};
use crate::{
    chunked::Chunked,
    http::Upload,
    ids::SocketId,
    outbox::Outbox,
    ws::{CloseCode, Decoder},
};

/// Where a connection is in its life. It only ever moves downward.
#[derive(Default, Debug)]
pub enum Phase {
    /// The slot has no connection.
    #[default]
    Vacant,
    /// The shard's own connection to its broker.
    Broker,
    /// The request has not come whole. Owns what has come of it.
    Handshake(Option<Box<PartialHead>>),
    /// The body of the request has not come whole.
    Upload(Box<Upload>),
    /// The request is whole, and another shard has its answer: it is not read meanwhile.
    Waiting(Box<Waiting>),
    /// A WebSocket.
    Open(WebSocket),
    /// A close frame was sent; waits for the peer's, until the deadline.
    Closing(WebSocket),
    /// All is said: FIN follows what is written; what still comes is thrown away until the
    /// peer's FIN, because closing with unread input would reset the connection and take
    /// our last words with it.
    Lingering,
    /// Given to the ring to be closed.
    Terminated,
}

/// The bytes of a request head that came in pieces.
#[derive(Default, Debug)]
pub struct PartialHead(pub Vec<u8>);

/// A request that waits for another shard.
#[derive(Debug)]
pub struct Waiting {
    /// Who is to be told what.
    pub asked: Asked,
    /// What came behind it.
    pub rest: Vec<u8>,
}

/// The state of an upgraded connection.
#[derive(Debug)]
pub struct WebSocket {
    /// Between two messages it owns nothing.
    pub decoder: Decoder,
    /// When the next ping is due.
    pub ping_due: Tick,
    /// Who takes its messages.
    pub route: RouteId,
}

/// Ticks of the shard's clock since the process started; 34 years of them.
pub type Tick = u32;

/// Why a socket is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// Its outbox is too full for further replies.
    Outbox = 1,
    /// Its sessions have too many chunks unanswered.
    Inflight = 2,
    /// Another shard has the answer to its request.
    Session = 4,
}

/// One connection. `Default` is a vacant slot.
#[derive(Default, Debug)]
pub struct Connection {
    /// Where it is in its life.
    pub phase: Phase,
    /// Only while there is something to send; the broker keeps it.
    pub outbox: Option<Box<Outbox>>,
    generation: u32,
    /// When the last byte came from the peer.
    pub heard: Tick,
    paused: u8,
    /// The shard's own connection to its broker.
    pub is_broker: bool,
    /// On the list of those to be flushed at the end of the turn.
    pub dirty: bool,
    /// Somebody waits for its outbox to become nearly empty.
    pub awaits_drain: bool,
    /// Holds a place: is, or was, a WebSocket.
    pub admitted: bool,
    /// Has a place for the WebSocket that it is to become.
    pub holds_place: bool,
    /// Why it ended, by whoever said so first.
    pub ended: Option<CloseCode>,
}

impl Connection {
    /// Notes one reason for not reading. `true`: it is the first.
    pub fn pause(&mut self, why: Pause) -> bool {
        let was = self.paused;
        self.paused |= why as u8;
        was == 0
    }

    /// Takes one reason away. `true`: it was the last.
    pub fn resume(&mut self, why: Pause) -> bool {
        let was = self.paused;
        self.paused &= !(why as u8);
        was != 0 && self.paused == 0
    }

    /// Whether this is among the reasons for not reading it.
    pub fn is_paused_for(&self, why: Pause) -> bool {
        self.paused & why as u8 != 0
    }

    /// Notes why it ends, unless that is known.
    pub fn end(&mut self, code: CloseCode) {
        self.ended.get_or_insert(code);
    }

    /// Whether frames may still be sent: a WebSocket whose close frame is not out.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Whether nothing waits for the socket and no write is in flight.
    pub fn has_nothing_to_send(&self) -> bool {
        self.outbox.as_ref().is_none_or(|outbox| outbox.is_idle())
    }
}

/// The connections of a shard, by slot.
#[derive(Default, Debug)]
pub struct Connections {
    table: Chunked<Connection>,
}

impl Connections {
    /// Puts a new connection into its slot.
    pub fn insert(&mut self, id: SocketId, phase: Phase, heard: Tick) {
        self.table.grow_to(id.slot);
        if let Some(entry) = self.table.get_mut(id.slot) {
            *entry = Connection {
                is_broker: matches!(phase, Phase::Broker),
                phase,
                heard,
                generation: id.generation,
                ..Connection::default()
            };
        }
    }

    /// The connection of that name, if it is still there.
    #[inline]
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Connection> {
        self.table
            .get_mut(id.slot)
            .filter(|c| c.generation == id.generation && !matches!(c.phase, Phase::Vacant))
    }

    /// The connection that a slot carries now, for timers, which know slots only.
    pub fn id_at(&self, slot: u32) -> Option<SocketId> {
        let entry = self.table.get(slot)?;
        (!matches!(entry.phase, Phase::Vacant))
            .then_some(SocketId { slot, generation: entry.generation })
    }

    /// Takes the connection out of its slot.
    pub fn remove(&mut self, id: SocketId) -> Option<Connection> {
        self.get_mut(id).map(std::mem::take)
    }

    /// Everyone, for the drain.
    pub fn ids(&self) -> impl Iterator<Item = SocketId> + '_ {
        (0..self.table.len()).filter_map(|slot| self.id_at(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        assert!(size_of::<Connection>() <= 48, "{} bytes", size_of::<Connection>());
    }

    #[test]
    fn two_reasons_to_pause_need_two_resumes() {
        let mut connection = Connection::default();
        assert!(connection.pause(Pause::Outbox));
        assert!(!connection.pause(Pause::Inflight));
        assert!(!connection.resume(Pause::Outbox));
        assert!(!connection.resume(Pause::Outbox));
        assert!(connection.resume(Pause::Inflight));
        assert!(!connection.resume(Pause::Inflight));
    }

    #[test]
    fn a_stale_name_finds_nothing() {
        let mut connections = Connections::default();
        let old = SocketId { slot: 3, generation: 1 };
        connections.insert(old, Phase::Lingering, 0);
        assert!(connections.remove(old).is_some());
        assert!(connections.remove(old).is_none());
        connections.insert(SocketId { slot: 3, generation: 2 }, Phase::Lingering, 0);
        assert!(connections.get_mut(old).is_none());
        assert_eq!(connections.ids().count(), 1);
    }
}
