//! The sockets of a shard with what each has to send: the lower half of the shard.
//!
//! Knows frames and close codes, but not whose messages they are. Everything that goes to
//! a client goes through [`Wire::gather`]; everything that ends one through
//! [`Wire::close`], [`Wire::linger`] or [`Wire::terminate`].

use std::sync::Arc;

use super::{
    connection::{Connection, Connections, Pause, Phase, Tick},
    spare::SpareOutboxes,
};
use crate::{
    ids::SocketId,
    limits,
    metrics::ShardMetrics,
    outbox::Outbox,
    ring::{Ring, Spare, Write},
    wheel::Wheel,
    ws::{CloseCode, Opcode, write_close, write_close_answer, write_frame},
};

/// Sockets, connections, timers and outboxes of one shard.
pub struct Wire {
    /// The engine.
    pub ring: Ring,
    /// By slot.
    pub connections: Connections,
    /// One deadline a connection, by slot.
    pub wheel: Wheel,
    /// Counters of this shard.
    pub metrics: Arc<ShardMetrics>,
    /// The shard's time, as of this turn.
    pub now_ms: u64,
    /// Connections with something to write at the end of the turn.
    dirty: Vec<SocketId>,
    /// Connections whose outbox has become nearly empty, which somebody waited for.
    drained: Vec<SocketId>,
    /// WebSockets that have stopped taking messages, of which no route has heard.
    left: Vec<SocketId>,
    /// Outboxes of connections that have nothing to send.
    spare: SpareOutboxes,
    outbox_limit_bytes: usize,
    close_ms: u64,
}

impl Wire {
    /// Over a ring that nothing has used yet. `close_ms`: how long a peer may take to
    /// answer a close.
    pub fn new(
        ring: Ring,
        metrics: Arc<ShardMetrics>,
        outbox_limit_bytes: usize,
        close_ms: u64,
    ) -> Self {
        Self {
            ring,
            connections: Connections::default(),
            wheel: Wheel::new(limits::TICK_MS, limits::CONNECTION_WHEEL_SLOTS),
            metrics,
            now_ms: 0,
            dirty: Vec::new(),
            drained: Vec::new(),
            left: Vec::new(),
            spare: SpareOutboxes::default(),
            outbox_limit_bytes,
            close_ms,
        }
    }

    /// Other bounds from now on; they hold for what comes.
    pub fn set_bounds(&mut self, outbox_limit_bytes: usize, close_ms: u64) {
        self.outbox_limit_bytes = outbox_limit_bytes;
        self.close_ms = close_ms;
    }

    /// Sends one data or control frame with the rest of this turn's. `false`: the
    /// connection takes no frames any more.
    pub fn gather(&mut self, id: SocketId, opcode: Opcode, payload: &[u8]) -> bool {
        self.append(id, Connection::is_open, |out| write_frame(out, opcode, payload))
    }

    /// Sends bytes that are no frame: an HTTP answer, commands to the broker.
    pub fn gather_raw(&mut self, id: SocketId, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.append(id, |_| true, write)
    }

    fn append(
        &mut self,
        id: SocketId,
        allowed: impl FnOnce(&Connection) -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        self.queue(id, allowed, |outbox| write(outbox.gather()))
    }

    /// Lets `write` add to the outbox of a connection that is `allowed` to have more.
    pub(super) fn queue(
        &mut self,
        id: SocketId,
        allowed: impl FnOnce(&Connection) -> bool,
        write: impl FnOnce(&mut Outbox),
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id).filter(|c| allowed(c)) else {
            return false;
        };
        let outbox = connection.outbox.get_or_insert_with(|| self.spare.take());
        let before = outbox.bytes();
        write(outbox);
        if outbox.is_idle() {
            // No write would ever bring it back, and it would look like one in flight.
            connection.outbox = None;
            return true;
        }
        self.metrics.connections.outbox_bytes.add((outbox.bytes() - before) as u64);
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
        true
    }

    /// Notes that somebody waits for the outbox to become nearly empty: see
    /// [`next_drained`](Self::next_drained).
    pub fn await_drain(&mut self, id: SocketId) {
        let is_drained = self.is_drained(id);
        if let Some(connection) = self.connections.get_mut(id).filter(|c| c.is_open()) {
            connection.awaits_drain = !is_drained;
            if is_drained {
                self.drained.push(id);
            }
        }
    }

    /// A connection whose outbox has become nearly empty since that was waited for.
    pub fn next_drained(&mut self) -> Option<SocketId> {
        self.drained.pop()
    }

    /// A WebSocket to which nothing can be said any more: it is being closed, whoever began.
    pub fn next_left(&mut self) -> Option<SocketId> {
        self.left.pop()
    }

    fn is_drained(&mut self, id: SocketId) -> bool {
        self.outbox_bytes(id) < self.outbox_limit_bytes / 4
    }

    /// Stops reading from a client that is behind with reading from us; `sent` starts it
    /// again.
    pub fn hold_back_if_behind(&mut self, id: SocketId) {
        // As a rule all of them together have less, and none needs to be looked up.
        if self.metrics.connections.outbox_bytes.get() < self.outbox_limit_bytes as u64 / 2 {
            return;
        }
        if self.outbox_bytes(id) >= self.outbox_limit_bytes / 2 {
            self.pause(id, Pause::Outbox);
        }
    }

    /// Stops reading the socket for one more reason.
    pub fn pause(&mut self, id: SocketId, why: Pause) {
        if self.connections.get_mut(id).is_some_and(|c| c.pause(why)) {
            // To wait for another shard is not to be ahead.
            self.metrics.connections.pauses.add(u64::from(why != Pause::Session));
            self.ring.pause(id);
        }
    }

    /// Takes one reason away; the last one starts reading again.
    pub fn resume(&mut self, id: SocketId, why: Pause) {
        if self.connections.get_mut(id).is_some_and(|c| c.resume(why)) {
            self.ring.resume(id);
        }
    }

    /// The end of a turn: one write for each socket that has something to send.
    pub fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(connection) = self.connections.get_mut(id) {
                connection.dirty = false;
                let write = next_write(connection);
                self.write(id, write);
            }
        }
        self.dirty = dirty;
    }

    #[inline(always)]
    fn write(&mut self, id: SocketId, write: Option<Write>) {
        if let Some(write) = write
            && self.ring.send(id, write).is_err()
        {
            debug_assert!(false, "a write while another was in flight");
            self.terminate(id, CloseCode::Internal);
        }
    }

    /// A write is done: the next one, or the outbox goes back to the others.
    pub fn sent(&mut self, id: SocketId, spare: Spare) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        let Some(outbox) = connection.outbox.as_mut() else { return };
        let before = outbox.bytes();
        outbox.written(spare);
        let (after, is_kept) = (outbox.bytes(), outbox.is_small(limits::LINK_BUFFER_KEPT_BYTES));
        let written = (before - after) as u64;
        self.metrics.connections.outbox_bytes.sub(written);
        if !matches!(connection.phase, Phase::Broker) {
            self.metrics.connections.bytes_out.add(written);
        }
        let is_drained = after < self.outbox_limit_bytes / 4;
        if is_drained && std::mem::take(&mut connection.awaits_drain) {
            self.drained.push(id);
        }
        let reads_again = is_drained && connection.is_paused_for(Pause::Outbox);
        let finished = after == 0 && matches!(connection.phase, Phase::Lingering);
        if after > 0 {
            self.write_more(id);
        } else if matches!(connection.phase, Phase::Broker) && is_kept {
            // The next write to the broker will be about as long.
        } else if let Some(idle) = connection.outbox.take() {
            self.spare.keep(idle);
        }
        if reads_again {
            self.resume(id, Pause::Outbox);
        }
        if finished {
            self.ring.finish(id);
        }
    }

    /// What has gathered while a write was in flight.
    #[inline(never)]
    fn write_more(&mut self, id: SocketId) {
        if let Some(connection) = self.connections.get_mut(id) {
            let write = next_write(connection);
            self.write(id, write);
        }
    }

    /// Unsent bytes at which a connection takes no more that can be refused.
    pub(super) fn outbox_limit_bytes(&self) -> usize {
        self.outbox_limit_bytes
    }

    fn outbox_bytes(&mut self, id: SocketId) -> usize {
        let connection = self.connections.get_mut(id);
        connection.and_then(|c| c.outbox.as_ref()).map_or(0, |outbox| outbox.bytes())
    }

    /// Says goodbye and waits for the peer's close frame, for at most `close_ms`.
    pub fn close(&mut self, id: SocketId, code: CloseCode, reason: &str, now_ms: u64) {
        self.close_with(id, code, now_ms, |out| write_close(out, code, reason));
    }

    /// Answers a peer's close frame with its own code (RFC 6455 section 5.5.1).
    pub fn answer_close(&mut self, id: SocketId, number: Option<u16>, now_ms: u64) {
        let code = number.map_or(CloseCode::NoStatus, CloseCode::from_wire);
        self.close_with(id, code, now_ms, |out| write_close_answer(out, number));
    }

    fn close_with(
        &mut self,
        id: SocketId,
        code: CloseCode,
        now_ms: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(connection) = self.connections.get_mut(id).filter(|c| c.is_open()) else {
            return;
        };
        connection.end(code);
        if let Phase::Open(socket) = std::mem::take(&mut connection.phase) {
            connection.phase = Phase::Closing(socket);
            self.left.push(id);
        }
        self.append(id, |_| true, write);
        // What it still sends must be read, or its own close would never be seen.
        self.resume(id, Pause::Inflight);
        self.wheel.arm(id.slot, now_ms + self.close_ms);
    }

    /// The last words are gathered: once they are written comes FIN, and then only the
    /// peer's FIN is waited for, at most `close_ms`.
    pub fn linger(&mut self, id: SocketId, now_ms: u64) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        self.left.extend(connection.is_open().then_some(id));
        leave(&mut connection.phase, Phase::Lingering, &self.metrics);
        let nothing_to_write = connection.outbox.is_none();
        self.resume(id, Pause::Inflight);
        self.resume(id, Pause::Outbox);
        self.resume(id, Pause::Session);
        if nothing_to_write {
            self.ring.finish(id);
        }
        self.wheel.arm(id.slot, now_ms + self.close_ms);
    }

    /// Ends the socket now. `code`: why, if nobody has said so before.
    pub fn terminate(&mut self, id: SocketId, code: CloseCode) {
        let Some(connection) = self.connections.get_mut(id) else { return };
        connection.end(code);
        self.left.extend(connection.is_open().then_some(id));
        leave(&mut connection.phase, Phase::Terminated, &self.metrics);
        self.wheel.disarm(id.slot);
        self.ring.close(id);
    }

    /// The socket is gone: what the connection had goes too, and is counted off.
    pub fn forget(&mut self, id: SocketId) -> Option<Connection> {
        let connection = self.connections.remove(id)?;
        self.wheel.disarm(id.slot);
        let unsent = connection.outbox.as_ref().map_or(0, |outbox| outbox.bytes());
        self.metrics.connections.outbox_bytes.sub(unsent as u64);
        Some(connection)
    }
}

/// All that waits for a connection's socket, unless a write is in flight.
#[inline(always)]
fn next_write(connection: &mut Connection) -> Option<Write> {
    match connection.phase {
        Phase::Terminated => None,
        _ => connection.outbox.as_mut()?.take_write(),
    }
}

/// Leaves a phase for good; what it held of messages and bodies is counted off.
fn leave(phase: &mut Phase, next: Phase, metrics: &ShardMetrics) {
    let held_bytes = match std::mem::replace(phase, next) {
        Phase::Open(socket) | Phase::Closing(socket) => socket.decoder.held_bytes(),
        Phase::Upload(upload) => upload.held_bytes(),
        _ => 0,
    };
    metrics.connections.held_bytes.sub(held_bytes as u64);
}

/// Milliseconds of the clock as ticks.
pub fn tick_of(now_ms: u64) -> Tick {
    (now_ms / limits::TICK_MS) as Tick
}
