//! The topics routes of a shard: what they want, when their batches are due, and when what they
//! handed out was written.

use std::io;

use super::{Handler, RouteId, Shard};
use crate::{
    ids::{ShardId, SocketId},
    tasks::RouteTag,
    topics::{Action, Start, TopicMessage, Topics},
};

impl Shard {
    /// A connection of a topics route begins with these topics.
    pub(super) fn open_topics(&mut self, id: SocketId, route: RouteId, start: Start) {
        if let Handler::Topics(topics) = &mut self.routes[route.0 as usize].handler {
            topics.on_open(id, Some(start), self.now, &mut self.wire, &mut self.topic_actions);
        }
    }

    /// Carries out what the topics routes want. `true`: there was something.
    pub(super) fn carry_out_topics(&mut self) -> bool {
        let mut any = false;
        while !self.topic_actions.is_empty() {
            any = true;
            let mut actions = std::mem::take(&mut self.topic_actions);
            for action in actions.drain(..) {
                match action {
                    Action::Broker(command) => {
                        self.broker.submit(command, &mut self.broker_events);
                    }
                    Action::Tell { route, to, message } => self.tell_topics(to, route, message),
                }
            }
            if self.topic_actions.is_empty() {
                self.topic_actions = actions;
                break;
            }
        }
        any
    }

    /// A peer says something about topics.
    pub(super) fn hear_topics(&mut self, tag: RouteTag, message: TopicMessage) {
        let (now, wire, actions) = (self.now, &mut self.wire, &mut self.topic_actions);
        let mut routes = self.routes.iter_mut();
        if let Some(topics) = routes.find_map(|route| with_tag(&mut route.handler, tag)) {
            topics.on_peer(message, now, wire, actions);
        }
    }

    /// A message about topics could not be sent.
    pub(super) fn take_back_topics(&mut self, to: ShardId, tag: RouteTag, message: TopicMessage) {
        let mut routes = self.routes.iter_mut();
        if let Some(topics) = routes.find_map(|route| with_tag(&mut route.handler, tag)) {
            topics.on_unsent(to, message, &mut self.wire);
        }
    }

    /// Sends the batches that are due.
    pub(super) fn flush_topics(&mut self) {
        for route in &mut self.routes {
            if let Handler::Topics(topics) = &mut route.handler {
                topics.on_timer(self.now, &mut self.wire);
            }
        }
    }

    /// The end of a turn: wakes the shard for the next batch.
    pub(super) fn arm_flushes(&mut self) -> io::Result<()> {
        for route in &self.routes {
            if let Handler::Topics(topics) = &route.handler
                && let Some(due_ms) = topics.next_flush_ms()
            {
                self.wire.ring.arm_timer(due_ms, self.now.ms)?;
            }
        }
        Ok(())
    }

    /// The kernel has taken what the last turn handed to the sockets.
    pub(super) fn note_written(&mut self) {
        for route in &mut self.routes {
            if let Handler::Topics(topics) = &mut route.handler
                && topics.has_handed_out()
            {
                topics.written(self.shared.clock.now_us());
            }
        }
    }
}

fn with_tag(handler: &mut Handler, tag: RouteTag) -> Option<&mut Topics> {
    match handler {
        Handler::Topics(topics) if topics.tag() == tag => Some(topics),
        _ => None,
    }
}
