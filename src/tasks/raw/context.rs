//! ▢ What a raw session is handed with every call: settings, time, and where actions go.

use super::config::RawConfig;
use super::reply::Frame;
use crate::broker::Command;
use crate::clock::Now;
use crate::ids::SocketId;
use crate::metrics::TaskMetrics;
use crate::tasks::Action;
use crate::tasks::ticket::RouteTag;

/// The surroundings of one call.
pub struct Context<'a> {
    /// Settings of the route.
    pub config: &'a RawConfig,
    /// Counters of the shard.
    pub metrics: &'a TaskMetrics,
    /// The time.
    pub now: Now,
    /// Tag of the route.
    pub route: RouteTag,
    /// Whether results come on a channel of the shard, and are heard there.
    pub shared_confirmed: Option<bool>,
    /// What is to be done, in order.
    pub actions: &'a mut Vec<Action>,
}

impl Context<'_> {
    /// Sends one frame.
    pub fn send(&mut self, to: SocketId, frame: Frame) {
        self.actions.push(frame.sent_to(to));
    }

    /// Submits a command.
    pub fn command(&mut self, command: Command) {
        self.actions.push(Action::Broker(command));
    }

    /// When a task that the broker takes now is past its deadline.
    pub fn task_deadline_ms(&self) -> u64 {
        self.now.ms.saturating_add(self.config.task_deadline_ms)
    }
}
