//! The one way out: whatever ended a connection, this runs once, when its socket is freed.

use super::{Handler, Shard, connection::Phase};
use crate::{ids::SocketId, ws::CloseCode};

impl Shard {
    /// Ends a socket whose peer is gone or whose reads or writes fail.
    pub(super) fn hang_up(&mut self, id: SocketId, reason: &str) {
        let Some(connection) = self.wire.connections.get_mut(id) else { return };
        if matches!(connection.phase, Phase::Broker) {
            let (now_ms, events) = (self.now.ms, &mut self.broker_events);
            self.broker.on_closed(reason, &mut self.wire, now_ms, events);
        } else {
            // Why it ended is noted already where a close frame went either way.
            self.wire.terminate(id, CloseCode::Abnormal);
        }
    }

    /// The socket has been freed: its place is given back, it is counted. Its sessions have
    /// left it when it stopped taking messages.
    pub(super) fn tear_down(&mut self, id: SocketId) {
        let Some(connection) = self.wire.forget(id) else { return };
        let metrics = &self.metrics.connections;
        if connection.is_broker {
            return;
        }
        if connection.admitted {
            metrics.open.dec();
            metrics.closed(connection.ended.unwrap_or(CloseCode::Abnormal)).inc();
        } else {
            metrics.handshaking.dec();
            // Whoever waited here for a session waits no more.
            self.sessions.on_left(id, &mut self.session_actions);
        }
        if connection.admitted || connection.holds_place {
            self.admission.leave();
            self.backlog.leave(id);
        }
    }

    /// Routes hear of the connections that have stopped taking messages, at once: what they
    /// would say until the socket is freed would be lost, and count as delivered.
    pub(super) fn tell_left(&mut self) {
        while let Some(id) = self.wire.next_left() {
            self.sessions.on_left(id, &mut self.session_actions);
            for route in &mut self.routes {
                match &mut route.handler {
                    Handler::Tasks(tasks) => tasks.on_disconnect(id, self.now, &mut self.actions),
                    Handler::Raw(tasks) => tasks.on_disconnect(id, self.now, &mut self.actions),
                    Handler::Topics(topics) => topics.on_disconnect(id, &mut self.topic_actions),
                    Handler::Echo => {}
                }
            }
        }
    }
}
