//! The route as a whole, in a world of clients, a broker and workers that a test drives.

mod away;
mod cores;
mod properties;
mod sessions;

use std::collections::{BTreeSet, VecDeque};

use serde_json::{Value, json};

use super::*;
use crate::broker::{Command as Ask, Error as BrokerError};
use crate::ids::ShardId;
use crate::tasks::cores::PeerMessage;

pub fn socket(slot: u32) -> SocketId {
    SocketId { slot, generation: 0 }
}

/// What a client hears.
#[derive(Clone, PartialEq, Debug)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
}

pub fn text(text: &str) -> Heard {
    Heard::Text(text.to_owned())
}

/// One route, and a broker that carries out commands in order, when it is told to.
pub struct World {
    pub tasks: RawTasks,
    pub metrics: Arc<ShardMetrics>,
    pub now: Now,
    /// Submitted, not yet carried out.
    pub submitted: VecDeque<Ask>,
    /// Told by the broker, not yet heard.
    pub events: VecDeque<Event>,
    /// Tasks in the queue, in order.
    pub queue: Vec<Value>,
    pub subscriptions: BTreeSet<Arc<str>>,
    /// The next pushes fail with this.
    pub refuse_with: Option<BrokerError>,
    pub sent: Vec<(SocketId, Heard)>,
    /// Told to other shards, not yet on its way.
    pub told: Vec<(ShardId, PeerMessage)>,
    pub closed: Vec<(SocketId, CloseCode)>,
    pub paused: BTreeSet<SocketId>,
    /// Whose outbox is full.
    pub awaited: BTreeSet<SocketId>,
}

impl World {
    pub fn new(config: RawConfig) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let route = RouteTag::new(5).unwrap();
        Self {
            tasks: RawTasks::new(Arc::new(config), metrics.clone(), route, OpenIds::default()),
            metrics,
            now: Now { ms: 1_000, unix_ms: 1_700_000_000_000 },
            submitted: VecDeque::new(),
            events: VecDeque::new(),
            queue: Vec::new(),
            subscriptions: BTreeSet::new(),
            refuse_with: None,
            sent: Vec::new(),
            told: Vec::new(),
            closed: Vec::new(),
            paused: BTreeSet::new(),
            awaited: BTreeSet::new(),
        }
    }

    pub fn connect(&mut self, socket: SocketId, query: Option<&str>) {
        let mut actions = Vec::new();
        let requested = requested_session(query).expect("an id");
        self.tasks.on_open(socket, requested, self.now, &mut actions);
        self.carry_out(actions);
    }

    /// A client with the session of that id, its open frame taken.
    pub fn connected(&mut self, socket: SocketId, id: &str) {
        self.connect(socket, Some(&format!("session={id}")));
        self.settle();
        assert_eq!(self.heard(socket), [opened(id, false, 0)]);
    }

    /// A client's message.
    pub fn say(&mut self, from: SocketId, message: &Heard) {
        let mut actions = Vec::new();
        let (kind, payload) = match message {
            Heard::Text(text) => (Kind::Text, text.as_bytes()),
            Heard::Binary(bytes) => (Kind::Binary, bytes.as_slice()),
        };
        self.tasks.on_message(from, kind, payload, self.now, &mut actions);
        self.carry_out(actions);
    }

    pub fn disconnect(&mut self, socket: SocketId) {
        let mut actions = Vec::new();
        self.tasks.on_disconnect(socket, self.now, &mut actions);
        self.carry_out(actions);
        self.paused.remove(&socket);
    }

    /// A client has read what it was sent.
    pub fn drain(&mut self, socket: SocketId) {
        if self.awaited.remove(&socket) {
            let mut actions = Vec::new();
            self.tasks.on_drained(socket, self.now, &mut actions);
            self.carry_out(actions);
        }
    }

    /// Time passes, in steps of the shard's tick.
    pub fn pass(&mut self, ms: u64) {
        let until_ms = self.now.ms + ms;
        while self.now.ms < until_ms {
            self.now.ms = until_ms.min(self.now.ms + 250);
            let mut actions = Vec::new();
            self.tasks.on_tick(self.now, &mut actions);
            self.carry_out(actions);
        }
    }

    /// The broker carries out one command.
    pub fn execute(&mut self) {
        let Some(command) = self.submitted.pop_front() else { return };
        match command {
            Ask::Push { ticket, task, .. } => self.events.push_back(match &self.refuse_with {
                Some(error) => Event::PushFailed(ticket, error.clone()),
                None => {
                    self.queue.push(serde_json::from_slice(&task.payload).expect("a task is JSON"));
                    Event::Pushed(ticket)
                }
            }),
            Ask::Subscribe { channel } => {
                self.subscriptions.insert(channel.clone());
                self.events.push_back(Event::Subscribed(channel));
            }
            Ask::Unsubscribe { channel } => {
                assert!(self.subscriptions.remove(&channel), "one for each subscription");
            }
            other => panic!("not asked by this dialect: {other:?}"),
        }
    }

    /// The route hears one event.
    pub fn hear(&mut self, event: Event) {
        let mut actions = Vec::new();
        if let Some(Event::Message { .. }) = self.tasks.on_event(event, self.now, &mut actions) {
            self.metrics.tasks.results.orphaned.inc();
        }
        self.carry_out(actions);
    }

    /// The broker does everything that it was told, and everything is heard.
    pub fn settle(&mut self) {
        while !self.submitted.is_empty() || !self.events.is_empty() {
            self.execute();
            while let Some(event) = self.events.pop_front() {
                self.hear(event);
            }
        }
    }

    /// A worker publishes, and it is heard.
    pub fn publish(&mut self, id: &str, result: Value) {
        self.publish_bytes(id, result.to_string().into_bytes());
    }

    pub fn publish_bytes(&mut self, id: &str, payload: Vec<u8>) {
        let channel = Arc::from(format!("asr_result_{id}"));
        if self.subscriptions.contains(&channel) {
            self.events.push_back(Event::Message { channel, payload });
        }
        self.settle();
    }

    /// Takes what one client was sent.
    pub fn heard(&mut self, by: SocketId) -> Vec<Heard> {
        let sent = std::mem::take(&mut self.sent);
        let (its, others): (Vec<_>, _) = sent.into_iter().partition(|(to, _)| *to == by);
        self.sent = others;
        its.into_iter().map(|(_, message)| message).collect()
    }

    pub fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, text } => {
                    let text = String::from_utf8(text).expect("a text frame is UTF-8");
                    self.sent.push((to, Heard::Text(text)));
                }
                Action::SendBinary { to, bytes } => self.sent.push((to, Heard::Binary(bytes))),
                Action::Close { socket, code, .. } => self.closed.push((socket, code)),
                Action::Broker(command) => self.submitted.push_back(command),
                Action::AwaitDrain(socket) => {
                    assert!(self.awaited.insert(socket), "asked twice");
                }
                Action::Tell { to, message, .. } => self.told.push((to, message)),
                Action::Pause(socket) => assert!(self.paused.insert(socket), "paused twice"),
                Action::Resume(socket) => assert!(self.paused.remove(&socket), "not paused"),
            }
        }
    }

    /// Every session has ended: nothing may be left of them.
    pub fn assert_empty(&mut self) {
        self.settle();
        let shared = self.tasks.config.reply_to.clone();
        let own: Vec<_> =
            self.subscriptions.iter().filter(|c| Some(*c) != shared.as_ref()).collect();
        assert!(own.is_empty(), "left: {own:?}");
        assert!(self.tasks.owned.is_empty() && self.tasks.waiting.is_empty());
        assert!(self.told.is_empty() && self.tasks.ears.len() == 0);
        assert_eq!(self.tasks.table.len(), 0);
        let metrics = &self.metrics.tasks;
        assert_eq!((metrics.sessions.get(), metrics.kept_bytes.get()), (0, 0));
        assert!(metrics.sessions_detached.get() == 0 && self.tasks.detached.is_empty());
        let mut due = Vec::new();
        self.tasks.wheel.expire(u64::MAX, &mut due);
        assert!(due.is_empty(), "a deadline of nobody");
    }
}

/// The gateway's messages, keys in the order in which it writes them.
pub fn opened(id: &str, resumed: bool, next_seq: u64) -> Heard {
    Heard::Text(format!(
        r#"{{"type":"open","session_id":"{id}","resumed":{resumed},"next_seq":{next_seq}}}"#
    ))
}

pub fn refused(seq: u64, code: &str) -> Value {
    json!({"type": "error", "seq": seq, "code": code})
}

/// An error message without its text for people.
pub fn error_of(heard: &Heard) -> Value {
    let Heard::Text(text) = heard else { panic!("{heard:?}") };
    let mut error: Value = serde_json::from_str(text).expect("JSON");
    assert!(error["message"].is_string(), "{error}");
    error.as_object_mut().expect("an object").remove("message");
    error
}
