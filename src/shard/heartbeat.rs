//! Deadlines of connections: handshake, ping, silence, close. One timer each.

use super::{
    Shard,
    connection::{Pause, Phase, Tick},
    wire::tick_of,
};
use crate::{
    ids::SocketId,
    limits::TICK_MS,
    ws::{CloseCode, Opcode, Refusal},
};

impl Shard {
    /// Looks at every connection whose deadline has come.
    pub(super) fn expire_connections(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wire.wheel.expire(self.now.ms, &mut due);
        for slot in due.drain(..) {
            if let Some(id) = self.wire.connections.id_at(slot) {
                self.on_deadline(id);
            }
        }
        self.due = due;
    }

    fn on_deadline(&mut self, id: SocketId) {
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        match connection.phase {
            Phase::Handshake(_) | Phase::Upload(_) => self.refuse(id, &Refusal::slow()),
            Phase::Waiting(_) => self.give_up_waiting(id),
            Phase::Open(_) if self.drain.is_some() => self.drain_connection(id),
            Phase::Open(_) => self.beat(id),
            Phase::Closing(_) | Phase::Lingering => self.wire.terminate(id, CloseCode::Abnormal),
            Phase::Vacant | Phase::Broker | Phase::Terminated => {}
        }
    }

    /// Pings a connection whose ping is due; closes one that has been silent for too long.
    fn beat(&mut self, id: SocketId) {
        let (now, now_ms) = (tick_of(self.now.ms), self.now.ms);
        let (idle, ping) = (ticks(self.options.idle_ms), ticks(self.options.ping_ms));
        let listening_since = self.listening_since;
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        // Nobody is silent whom we did not read: while workers are behind, or while the
        // shard itself stood still.
        if connection.is_paused_for(Pause::Inflight) {
            connection.heard = now;
        }
        connection.heard = connection.heard.max(listening_since);
        let silent_at = connection.heard.saturating_add(idle);
        if silent_at <= now {
            return self.wire.close(id, CloseCode::NoSignOfLife, "no sign of life", now_ms);
        }
        let Phase::Open(socket) = &mut connection.phase else { return };
        let is_due = socket.ping_due <= now;
        if is_due {
            socket.ping_due = now.saturating_add(ping);
        }
        if is_due && self.wire.gather(id, Opcode::Ping, b"") {
            self.metrics.connections.pings.inc();
        }
        self.arm_heartbeat(id);
    }

    /// The next thing that can happen to an open connection by time alone. Bytes that come
    /// meanwhile only move `heard`; the timer finds out when it fires.
    pub(super) fn arm_heartbeat(&mut self, id: SocketId) {
        let idle = ticks(self.options.idle_ms);
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        let Phase::Open(socket) = &connection.phase else { return };
        let next = socket.ping_due.min(connection.heard.saturating_add(idle));
        self.wire.wheel.arm(id.slot, u64::from(next) * TICK_MS);
    }

    /// The first ping of a new connection comes after half to one period, by its slot, so
    /// that connections made together are not pinged together for ever.
    pub(super) fn first_ping(&self, id: SocketId) -> Tick {
        let half = ticks(self.options.ping_ms) / 2;
        // Fibonacci hashing: neighbouring slots land far apart.
        let scattered = u64::from(id.slot).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let spread = (scattered * u64::from(half.max(1))) >> 32;
        tick_of(self.now.ms).saturating_add(half).saturating_add(spread as Tick)
    }
}

fn ticks(ms: u64) -> Tick {
    ms.div_ceil(TICK_MS) as Tick
}
