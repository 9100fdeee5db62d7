//! ▢ What a client says while it waits for a session that another shard has.

use std::collections::VecDeque;

use super::reply::{ErrorCode, SYSTEM_BUSY};
use super::retain::close;
use super::{Action, Tasks};
use crate::clock::Now;
use crate::ids::SocketId;
use crate::limits::TASKS_HELD_BYTES;
use crate::metrics::TaskMetrics;
use crate::ws::{CloseCode, Kind};

/// What a client said while it waits for a claim. Bounded over all clients of the shard.
#[derive(Default)]
pub struct Held {
    /// What it waits for.
    pub claim: Option<u64>,
    messages: VecDeque<(Kind, Vec<u8>)>,
    /// The messages are being taken.
    replaying: bool,
}

impl Held {
    /// Whether the client waits.
    pub fn is_waiting(&self) -> bool {
        self.claim.is_some()
    }

    /// Holds a message. `false`: there is no room.
    pub fn push(&mut self, kind: Kind, payload: &[u8], metrics: &TaskMetrics) -> bool {
        let bytes = payload.len() as u64;
        let fits = metrics.held_bytes.get().saturating_add(bytes) <= TASKS_HELD_BYTES;
        if fits {
            metrics.held_bytes.add(bytes);
            self.messages.push_back((kind, payload.to_vec()));
        }
        fits
    }

    /// Takes the first message out.
    pub fn pop(&mut self, metrics: &TaskMetrics) -> Option<(Kind, Vec<u8>)> {
        let message = self.messages.pop_front()?;
        metrics.held_bytes.sub(message.1.len() as u64);
        Some(message)
    }

    /// Nobody will hear the messages.
    pub fn forget(mut self, metrics: &TaskMetrics) {
        while self.pop(metrics).is_some() {}
    }
}

impl Tasks {
    /// A client that waits is not heard yet. `true`: its message is held.
    pub(super) fn hold_message(
        &mut self,
        from: SocketId,
        kind: Kind,
        payload: &[u8],
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(held) = self.connections.get_mut(&from).and_then(|c| c.held.as_mut()) else {
            return false;
        };
        if held.claim.is_none() && (held.replaying || held.messages.is_empty()) {
            return false;
        }
        if !held.push(kind, payload, &self.metrics.tasks) {
            self.refuse(from, ErrorCode::Busy, SYSTEM_BUSY, None, actions);
        }
        true
    }

    /// A socket is gone: what it said is nobody's, and its claim has no waiter.
    pub(super) fn forget_held(&mut self, held: Option<Box<Held>>) {
        let Some(held) = held else { return };
        if let (Some(cores), Some(number)) = (&mut self.cores, held.claim) {
            cores.forget_waiter(number);
        }
        held.forget(&self.metrics.tasks);
    }

    pub(super) fn wait(&mut self, from: SocketId, number: u64, actions: &mut Vec<Action>) {
        let connection = self.connections.entry(from).or_default();
        connection.held.get_or_insert_default().claim = Some(number);
        self.regulate(from, actions);
    }

    /// The wait is over. `false`: the client is on its way out.
    pub(super) fn end_wait(&mut self, waiter: SocketId) -> bool {
        let Some(connection) = self.connections.get_mut(&waiter) else { return false };
        if let Some(held) = &mut connection.held {
            held.claim = None;
        }
        !connection.closing
    }

    /// Hears what a client said while it waited, up to what it has to wait for again.
    pub(super) fn hear_held(&mut self, from: SocketId, now: Now, actions: &mut Vec<Action>) {
        while let Some(connection) = self.connections.get_mut(&from)
            && let Some(held) = &mut connection.held
            && held.claim.is_none()
            && !held.replaying
        {
            let Some((kind, payload)) = held.pop(&self.metrics.tasks) else {
                connection.held = None;
                break;
            };
            held.replaying = true;
            self.on_message(from, kind, &payload, now, actions);
            let connection = self.connections.get_mut(&from);
            if let Some(held) = connection.and_then(|connection| connection.held.as_mut()) {
                held.replaying = false;
            }
        }
        self.regulate(from, actions);
    }

    /// A client that waited for a session that is another's now.
    pub(super) fn send_away(&mut self, waiter: Option<SocketId>, actions: &mut Vec<Action>) {
        let Some(waiter) = waiter else { return };
        let Some(connection) = self.connections.get_mut(&waiter) else { return };
        let held = connection.held.take();
        if !std::mem::replace(&mut connection.closing, true) {
            actions.push(close(waiter, CloseCode::TakenOver, "session taken over"));
        }
        self.forget_said(held);
    }

    /// What a dismissed client said is not heard; its claim is another's now.
    fn forget_said(&mut self, held: Option<Box<Held>>) {
        self.forget_held(held.map(|mut held| {
            held.claim = None;
            held
        }));
    }
}
