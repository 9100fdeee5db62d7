//! The one place where what the routes want becomes what happens.

use super::{Handler, Shard};
use crate::{
    broker::{Command as BrokerCommand, Event as BrokerEvent, Ticket},
    ids::SocketId,
    tasks::{Action, RouteTag},
    topics::is_reserved,
    ws::Opcode,
};

impl Shard {
    /// Carries out actions and hands on the broker's answers until there are none. `true`:
    /// there were some. It ends, because a round without the outside only fails commands,
    /// and a failed command asks for nothing; and because each round of a backlog fills an
    /// outbox, or ends it.
    pub(super) fn carry_out(&mut self) -> bool {
        let mut any = false;
        loop {
            // First, for what it closes has left.
            any |= self.carry_out_sessions();
            self.tell_drained();
            self.tell_left();
            any |= self.carry_out_topics();
            let has_more = !self.actions.is_empty() || !self.session_actions.is_empty();
            if !has_more && self.broker_events.is_empty() {
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
                match &mut route.handler {
                    Handler::Tasks(tasks) => tasks.on_drained(id, self.now, &mut self.actions),
                    Handler::Raw(tasks) => tasks.on_drained(id, self.now, &mut self.actions),
                    Handler::Topics(topics) => topics.on_drained(id, self.now, &mut self.wire),
                    Handler::Echo => {}
                }
            }
        }
    }

    fn carry_out_one(&mut self, action: Action) {
        match action {
            Action::Send { to, text } => self.send(to, Opcode::Text, &text),
            Action::SendBinary { to, bytes } => self.send(to, Opcode::Binary, &bytes),
            Action::Tell { route, to, message } => self.tell_peer(to, route, message),
            Action::Broker(command) => {
                if let BrokerCommand::Push { ticket, .. } = &command {
                    self.note_push(*ticket);
                }
                self.broker.submit(command, &mut self.broker_events);
            }
            Action::AwaitDrain(id) => self.wire.await_drain(id),
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
            Handler::Raw(tasks) => tasks.owner_of(ticket),
            Handler::Topics(_) | Handler::Echo => None,
        });
    }

    /// Asks what waits in the queues, where it is this shard's turn.
    pub(super) fn ask_for_backlog(&mut self) {
        let questions = self.backlog.questions(self.now.ms);
        self.actions.extend(questions.map(Action::Broker));
    }

    /// What goes to a client is bounded by who says it: results wait in their sessions
    /// while its outbox is full, and it is not read when it is half full, so that there is
    /// no end of replies either.
    fn send(&mut self, to: SocketId, opcode: Opcode, payload: &[u8]) {
        if self.wire.gather(to, opcode, payload) {
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
            let Some(unclaimed) = event.take() else { break };
            let (now, actions) = (self.now, &mut self.actions);
            event = match &mut route.handler {
                Handler::Tasks(tasks) => tasks.on_event(unclaimed, now, actions),
                Handler::Raw(tasks) => tasks.on_event(unclaimed, now, actions),
                Handler::Topics(topics) => {
                    let (wire, actions) = (&mut self.wire, &mut self.topic_actions);
                    topics.on_event(unclaimed, self.now_us, now, wire, actions)
                }
                Handler::Echo => Some(unclaimed),
            };
        }
        // A result that nobody waits for any more, or a message of a topic that was given up
        // a moment ago.
        if let Some(BrokerEvent::Message { channel, .. }) = event {
            if is_reserved(&channel) {
                self.metrics.tasks.results.orphaned.inc();
            } else {
                self.metrics.topics.dropped.unsubscribed.inc();
            }
        }
    }
}
