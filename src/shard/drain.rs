//! SIGTERM: no new connections, open work finishes, everyone is told 1012, spread out.

use super::{Handler, Shard, connection::Phase};
use crate::{
    ids::SocketId,
    limits::TICK_MS,
    ws::{CloseCode, Refusal},
};

/// A drain under way.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// From here on connections with open work are closed too.
    work_until_ms: u64,
    /// From here on sockets are closed whether their peers answer or not.
    until_ms: u64,
}

impl Shard {
    /// Stops accepting and gives every connection its moment within `drain_ms`.
    pub(super) fn start_drain(&mut self) -> std::io::Result<()> {
        if self.drain.is_some() {
            return Ok(());
        }
        let (now_ms, drain_ms) = (self.now.ms, self.options.drain_ms);
        self.drain = Some(Drain {
            work_until_ms: now_ms + drain_ms,
            // Each deadline on the way (the moment, its repetition, the close) may come a
            // tick late, and the last who are told 1012 have their time to answer.
            until_ms: now_ms + drain_ms + self.options.close_ms + 4 * TICK_MS,
        });
        self.wire.ring.stop_accepting()?;
        self.metrics.connections.listening.set(0);
        let ids: Vec<SocketId> = self.wire.connections.ids().collect();
        let count = ids.len().max(1) as u64;
        for (nth, id) in ids.into_iter().enumerate() {
            let Some(connection) = self.wire.connections.get_mut(id) else { continue };
            match connection.phase {
                // In the order of their slots over the whole period: as even as can be.
                Phase::Open(_) => {
                    let moment_ms = now_ms + drain_ms * nth as u64 / count;
                    self.wire.wheel.arm(id.slot, moment_ms);
                }
                Phase::Handshake(_) | Phase::Upload(_) => self.refuse(id, &Refusal::draining()),
                Phase::Waiting(_) => self.refuse_waiting(id, &Refusal::draining()),
                _ => {}
            }
        }
        Ok(())
    }

    /// A connection's moment has come: it goes, unless its work may still finish.
    pub(super) fn drain_connection(&mut self, id: SocketId) {
        let now_ms = self.now.ms;
        let may_finish = self.drain.is_some_and(|drain| now_ms < drain.work_until_ms);
        if may_finish && self.has_open_work(id) {
            self.wire.wheel.arm(id.slot, now_ms + TICK_MS);
        } else {
            self.wire.close(id, CloseCode::Restart, "restarting", now_ms);
        }
    }

    /// Whether the drain is over: no client is left here, nor one elsewhere that waits for a
    /// session of this shard, or none is waited for any longer.
    pub(super) fn is_drained(&self) -> bool {
        let Some(drain) = self.drain else { return false };
        (self.clients() == 0 && !self.is_handing_over()) || self.now.ms >= drain.until_ms
    }

    /// Raw sessions begin with their connections, and there will be none: what waits for a
    /// client ends, so that no other shard hears it in vain.
    pub(super) fn end_abandoned(&mut self) {
        if self.drain.is_none() || self.clients() > 0 {
            return;
        }
        for route in &mut self.routes {
            if let Handler::Raw(tasks) = &mut route.handler {
                tasks.end_away(self.now, &mut self.actions);
            }
        }
    }

    fn clients(&self) -> usize {
        self.wire.ring.live_sockets().saturating_sub(self.broker.sockets())
    }
}
