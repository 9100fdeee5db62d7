//! ▢ One shard's turns at asking how deep a queue is.

use std::sync::Arc;

use super::queue::{Asked, QueueState};
use crate::{
    broker::{Backlog, Command, Error, Ticket},
    limits::WORKER_HEARTBEATS,
};

/// One shard's eye on one queue: at most one question at a time.
#[derive(Debug)]
pub struct Watch {
    queue: Arc<QueueState>,
    asked: Option<Asked>,
    /// The last answer was an error, which the log has.
    failing: bool,
}

impl Watch {
    /// Nothing is asked yet.
    pub fn new(queue: Arc<QueueState>) -> Self {
        Self { queue, asked: None, failing: false }
    }

    /// The queue.
    pub fn queue(&self) -> &QueueState {
        &self.queue
    }

    /// Asks, if it is time, nobody else does, and the last question is not open: a shard
    /// whose broker is silent leaves the turn to the others.
    pub fn ask(&mut self, ticket: u64, now_ms: u64) -> Option<Command> {
        if self.asked.is_some() {
            self.queue.on_late();
            return None;
        }
        self.asked = Some(self.queue.take_turn(now_ms)?);
        Some(Command::Observe {
            ticket: Ticket(ticket),
            queue: self.queue.queue().clone(),
            heartbeats: self.queue.wants_workers().then(|| WORKER_HEARTBEATS.into()),
        })
    }

    /// The answer.
    pub fn on_observed(&mut self, backlog: &Backlog) {
        let Some(asked) = self.asked.take() else { return };
        if std::mem::take(&mut self.failing) {
            log::info!("queue {}: its depth is known again", self.queue.queue().key());
        }
        self.queue.on_reading(asked, backlog);
    }

    /// No answer, but a reason.
    pub fn on_failed(&mut self, error: &Error) {
        self.asked = None;
        self.queue.on_failed();
        if !std::mem::replace(&mut self.failing, true) {
            let key = self.queue.queue().key();
            log::warn!("queue {key}: its depth is unknown, clients will be refused: {error:?}");
        }
    }
}
