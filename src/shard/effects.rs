//! The one place where what the routes want becomes what happens.

use super::{Handler, Shard};
use crate::{
    broker::{Command as BrokerCommand, Event as BrokerEvent, Ticket},
    ids::SocketId,
    tasks::{Action, RouteTag},
    ws::{CloseCode, Opcode},
};

impl Shard {
    /// Carries out actions and hands on the broker's answers until there are none. `true`:
    /// there were some. It ends, because a round without the outside only fails commands,
    /// and a failed command asks for nothing.
    pub(super) fn carry_out(&mut self) -> bool {
        let mut any = false;
        while !self.actions.is_empty() || !self.broker_events.is_empty() {
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
        any
    }

    fn carry_out_one(&mut self, action: Action) {
        match action {
            Action::Send { to, text } => self.send(to, &text),
            Action::Broker(command) => {
                if let BrokerCommand::Push { ticket, .. } = &command {
                    self.note_push(*ticket);
                }
                self.broker.submit(command, &mut self.broker_events);
            }
            Action::Pause(id) => self.set_paused(id, true),
            Action::Resume(id) => self.set_paused(id, false),
            Action::Close { socket, code, reason } => {
                self.wire.close(socket, code, reason, self.now.ms);
            }
        }
    }

    /// A task is on its way to the queue: whoever asks to come in next finds it there.
    fn note_push(&mut self, ticket: Ticket) {
        let route = RouteTag::index_of(ticket);
        self.backlog.on_push(route, || match &self.routes.get(route)?.handler {
            Handler::Tasks(tasks) => tasks.owner_of(ticket),
            Handler::Echo => None,
        });
    }

    /// Asks what waits in the queues, where it is this shard's turn.
    pub(super) fn ask_for_backlog(&mut self) {
        let questions = self.backlog.questions(self.now.ms);
        self.actions.extend(questions.map(Action::Broker));
    }

    /// A client that does not read is not sent more than its outbox holds.
    fn send(&mut self, to: SocketId, text: &[u8]) {
        if self.wire.is_full(to) {
            return self.wire.close(to, CloseCode::SlowConsumer, "slow consumer", self.now.ms);
        }
        if self.wire.gather(to, Opcode::Text, text) {
            self.metrics.connections.messages_out.inc();
            self.wire.hold_back_if_behind(to);
        }
    }

    fn on_broker_event(&mut self, event: BrokerEvent) {
        match &event {
            BrokerEvent::Up => {
                log::info!("broker: up");
                self.ask_for_backlog();
            }
            BrokerEvent::Down { reason } => log::warn!("broker: down: {reason}"),
            _ => {}
        }
        let mut event = self.backlog.on_event(event, self.now.ms);
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
