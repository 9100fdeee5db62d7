//! The one place where what the routes want becomes what happens.

use super::{Handler, Shard};
use crate::{broker::Event as BrokerEvent, ids::SocketId, tasks::Action, ws::Opcode};

impl Shard {
    /// Carries out actions and hands on the broker's answers until there are none. `true`:
    /// there were some. It ends, because a round without the outside only fails commands,
    /// and a failed command asks for nothing; and because each round of a backlog fills an
    /// outbox, or ends it.
    pub(super) fn carry_out(&mut self) -> bool {
        let mut any = false;
        loop {
            self.tell_drained();
            if self.actions.is_empty() && self.broker_events.is_empty() {
                return any;
            }
            any = true;
            let mut actions = std::mem::take(&mut self.actions);
            for action in actions.drain(..) {
                self.carry_out_one(action);
            }
            self.actions = actions;
            let mut events = std::mem::take(&mut self.broker_events);
            for event in events.drain(..) {
                self.on_broker_event(event);
            }
            // What came meanwhile stands in the new list, in its order.
            if self.broker_events.is_empty() {
                self.broker_events = events;
            }
        }
    }

    /// Routes hear of the outboxes about which they asked.
    fn tell_drained(&mut self) {
        while let Some(id) = self.wire.next_drained() {
            for route in &mut self.routes {
                if let Handler::Tasks(tasks) = &mut route.handler {
                    tasks.on_drained(id, self.now, &mut self.actions);
                }
            }
        }
    }

    fn carry_out_one(&mut self, action: Action) {
        match action {
            Action::Send { to, text } => self.send(to, &text),
            Action::Tell { route, to, message } => self.tell_peer(to, route, message),
            Action::Broker(command) => self.broker.submit(command, &mut self.broker_events),
            Action::AwaitDrain(id) => self.wire.await_drain(id),
            Action::Pause(id) => self.set_paused(id, true),
            Action::Resume(id) => self.set_paused(id, false),
            Action::Close { socket, code, reason } => {
                self.wire.close(socket, code, reason, self.now.ms);
            }
        }
    }

    /// What goes to a client is bounded by who says it: results wait in their sessions
    /// while its outbox is full, and it is not read when it is half full, so that there is
    /// no end of replies either.
    fn send(&mut self, to: SocketId, text: &[u8]) {
        if self.wire.gather(to, Opcode::Text, text) {
            self.metrics.connections.messages_out.inc();
            self.wire.hold_back_if_behind(to);
        }
    }

    fn on_broker_event(&mut self, event: BrokerEvent) {
        match &event {
            BrokerEvent::Up => log::info!("broker: up"),
            BrokerEvent::Down { reason } => log::warn!("broker: down: {reason}"),
            _ => {}
        }
        let mut event = Some(event);
        for route in &mut self.routes {
            if let Handler::Tasks(tasks) = &mut route.handler
                && let Some(unclaimed) = event.take()
            {
                event = tasks.on_event(unclaimed, self.now, &mut self.actions);
            }
        }
        // A result that nobody waits for any more.
        if let Some(BrokerEvent::Message { .. }) = event {
            self.metrics.tasks.results.orphaned.inc();
        }
    }
}
