//! ▢ What a session is handed with every call: settings, time, and where actions go.

use super::Action;
use super::config::TasksConfig;
use super::flow::Flow;
use super::reply;
use super::ticket::{self, CHUNKS_MAX, Purpose, RouteTag, SessionKey};
use crate::broker::{Command, Ticket};
use crate::clock::Now;
use crate::ids::SocketId;
use crate::metrics::TaskMetrics;

/// The surroundings of one call.
pub struct Context<'a> {
    /// Settings of the route.
    pub config: &'a TasksConfig,
    /// Counters of the shard.
    pub metrics: &'a TaskMetrics,
    /// The time.
    pub now: Now,
    /// Tag of the route.
    pub route: RouteTag,
    /// How far the session's owner is behind; nobody's, where it has none.
    pub flow: &'a mut Flow,
    /// Bytes of result texts that the session can keep now.
    pub text_limit_bytes: usize,
    /// Whether results come on a channel of the shard, and are heard there.
    pub shared_confirmed: Option<bool>,
    /// What is to be done, in order.
    pub actions: &'a mut Vec<Action>,
}

impl Context<'_> {
    /// Sends a text message.
    pub fn send(&mut self, to: SocketId, text: Vec<u8>) {
        let filled = self.flow.sent(text.len(), self.config.outbox_bytes, self.now.ms);
        self.actions.push(Action::Send { to, text });
        if filled {
            self.actions.push(Action::AwaitDrain(to));
        }
    }

    /// Sends an error message.
    pub fn error(&mut self, to: SocketId, error: &reply::Error<'_>) {
        self.metrics.errors.inc();
        self.send(to, reply::error(error));
    }

    /// Submits a command.
    pub fn command(&mut self, command: Command) {
        self.actions.push(Action::Broker(command));
    }

    /// The ticket for a command of `session`.
    pub fn ticket(&self, session: SessionKey, purpose: Purpose) -> Ticket {
        ticket::issue(self.route, session, purpose)
    }

    /// Different chunks that a session can have.
    pub fn chunks_per_session(&self) -> u32 {
        self.config.chunks_per_session.clamp(1, CHUNKS_MAX)
    }
}
