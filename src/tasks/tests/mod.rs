//! The route as a whole, in a world of clients, a broker and workers that a test drives.

mod binary;
mod cores;
mod faults;
mod last_words;
mod per_shard;
mod properties;
mod resume;
mod sessions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::broker::Command as Ask;
use crate::ws::Kind;

/// Audio that is not empty.
pub const AUDIO: &str = "AAAA";

pub fn socket(slot: u32) -> SocketId {
    SocketId { slot, generation: 0 }
}

/// One route, and a broker that carries out commands in order, when it is told to.
pub struct World {
    pub tasks: Tasks,
    pub metrics: Arc<ShardMetrics>,
    pub now: Now,
    /// Submitted, not yet carried out.
    pub submitted: VecDeque<Ask>,
    /// Told by the broker, not yet heard.
    pub events: Vec<Event>,
    /// Tasks in the queue, in order.
    pub queue: Vec<Value>,
    pub subscriptions: BTreeSet<Arc<str>>,
    pub cache: BTreeMap<String, Vec<Vec<u8>>>,
    /// Every Subscribe that was submitted.
    pub subscribes: usize,
    /// The next pushes fail with this.
    pub refuse_with: Option<broker::Error>,
    /// Messages to clients since they were last taken.
    pub sent: Vec<(SocketId, Value)>,
    pub closed: Vec<(SocketId, CloseCode)>,
    /// Told to other shards, not yet on its way.
    pub told: Vec<(ShardId, PeerMessage)>,
    pub paused: BTreeSet<SocketId>,
    /// Whose outbox the route wants to know empty.
    pub awaiting: BTreeSet<SocketId>,
    /// Whether every client reads at once.
    pub clients_read: bool,
}

impl World {
    pub fn new(config: TasksConfig) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let route = RouteTag::new(5).unwrap();
        Self {
            tasks: Tasks::new(Arc::new(config), metrics.clone(), route),
            metrics,
            now: Now { ms: 1_000, unix_ms: 1_700_000_000_000 },
            submitted: VecDeque::new(),
            events: Vec::new(),
            queue: Vec::new(),
            subscriptions: BTreeSet::new(),
            cache: BTreeMap::new(),
            subscribes: 0,
            refuse_with: None,
            sent: Vec::new(),
            closed: Vec::new(),
            told: Vec::new(),
            paused: BTreeSet::new(),
            awaiting: BTreeSet::new(),
            clients_read: true,
        }
    }

    /// A client's text message.
    pub fn say(&mut self, from: SocketId, message: &[u8]) {
        self.say_in(Kind::Text, from, message);
    }

    pub fn say_in(&mut self, kind: Kind, from: SocketId, message: &[u8]) {
        let mut actions = Vec::new();
        self.tasks.on_message(from, kind, message, self.now, &mut actions);
        self.carry_out(actions);
    }

    /// A start with more than an id.
    pub fn start_as(&mut self, from: SocketId, id: &str, modes: Value) {
        let mut message = json!({"action": "start", "session_id": id});
        message.as_object_mut().unwrap().extend(modes.as_object().unwrap().clone());
        self.say(from, message.to_string().as_bytes());
    }

    pub fn start(&mut self, from: SocketId, id: &str) {
        self.say(from, json!({"action": "start", "session_id": id}).to_string().as_bytes());
    }

    pub fn chunk(&mut self, from: SocketId, id: &str, index: i64, audio: &str) {
        let message = json!({
            "action": "chunk", "session_id": id, "chunk_index": index, "audio_data": audio,
        });
        self.say(from, message.to_string().as_bytes());
    }

    pub fn finish(&mut self, from: SocketId, id: &str) {
        self.say(from, json!({"action": "finish", "session_id": id}).to_string().as_bytes());
    }

    /// A started session, its ack taken.
    pub fn started(&mut self, from: SocketId, id: &str) {
        self.start(from, id);
        self.settle();
        let start_ack = json!({
            "type": "ack", "session_id": id, "chunk_index": 0, "status": "session_started",
        });
        assert_eq!(self.heard(from), [start_ack]);
    }

    pub fn drop_socket(&mut self, socket: SocketId) {
        let mut actions = Vec::new();
        self.tasks.on_disconnect(socket, self.now, &mut actions);
        self.awaiting.remove(&socket);
        self.carry_out(actions);
    }

    /// A client reads everything that it was sent.
    pub fn read_all(&mut self, socket: SocketId) {
        while self.read_all_once(socket) {}
    }

    /// A client reads what it has been sent so far. `false`: the route did not wait for it.
    pub fn read_all_once(&mut self, socket: SocketId) -> bool {
        let awaited = self.awaiting.remove(&socket);
        if awaited {
            let mut actions = Vec::new();
            self.tasks.on_drained(socket, self.now, &mut actions);
            self.carry_out(actions);
        }
        awaited
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
        self.events.extend(match command {
            Ask::Push { ticket, task, .. } => Some(match &self.refuse_with {
                Some(error) => Event::PushFailed(ticket, error.clone()),
                None => {
                    self.queue.push(serde_json::from_slice(&task.payload).expect("a task is JSON"));
                    Event::Pushed(ticket)
                }
            }),
            Ask::Subscribe { channel } => {
                self.subscriptions.insert(channel.clone());
                Some(Event::Subscribed(channel))
            }
            Ask::Unsubscribe { channel } => {
                assert!(self.subscriptions.remove(&channel), "one for each subscription");
                None
            }
            Ask::Fetch { ticket, key } => {
                Some(Event::Fetched(ticket, self.cache.get(&key).cloned().unwrap_or_default()))
            }
            Ask::Observe { .. } => panic!("no session looks at the queue"),
        });
    }

    /// The route hears one event.
    pub fn hear(&mut self, event: Event) {
        let mut actions = Vec::new();
        if let Some(event) = self.tasks.on_event(event, self.now, &mut actions) {
            self.tasks.count_orphan(&event);
        }
        self.carry_out(actions);
    }

    /// The broker does everything that it was told, and everything is heard.
    pub fn settle(&mut self) {
        while !self.submitted.is_empty() || !self.events.is_empty() {
            self.execute();
            for event in std::mem::take(&mut self.events) {
                self.hear(event);
            }
        }
    }

    /// A worker publishes, where the route wants it.
    pub fn publish(&mut self, id: &str, payload: &str) {
        let channel = self.channel(id);
        let mut payload = payload.to_owned();
        if self.tasks.shared.is_some()
            && let Ok(Value::Object(mut result)) = serde_json::from_str(&payload)
        {
            result.insert("session_id".into(), id.into());
            payload = Value::Object(result).to_string();
        }
        if self.subscriptions.contains(&channel) {
            self.events.push(Event::Message { channel, payload: payload.into() });
        }
    }

    /// Where the results of a session come.
    pub fn channel(&self, id: &str) -> Arc<str> {
        let own = || Arc::from(format!("asr_result_{id}"));
        self.tasks.config.reply_to.clone().unwrap_or_else(own)
    }

    pub fn answer(&mut self, id: &str, index: u32, text: &str) {
        self.publish(id, &result(index, text));
        self.settle();
    }

    pub fn put_in_cache(&mut self, id: &str, payload: &str) {
        self.cache.entry(format!("asr:results:{id}")).or_default().push(payload.into());
    }

    /// Takes what one client was sent.
    pub fn heard(&mut self, by: SocketId) -> Vec<Value> {
        let sent = std::mem::take(&mut self.sent);
        let (its, others) = sent.into_iter().partition(|(to, _)| *to == by);
        self.sent = others;
        let its: Vec<(SocketId, Value)> = its;
        its.into_iter().map(|(_, message)| message).collect()
    }

    pub fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send { to, text } => {
                    let message: Value = serde_json::from_slice(&text).expect("JSON");
                    assert!(message["chunk_index"].is_u64(), "on every message: {message}");
                    self.sent.push((to, message));
                }
                Action::SendBinary { .. } => panic!("this dialect has text only"),
                Action::Close { socket, code, .. } => self.closed.push((socket, code)),
                Action::Tell { to, message, .. } => self.told.push((to, message)),
                Action::Broker(command) => {
                    self.subscribes += usize::from(matches!(command, Ask::Subscribe { .. }));
                    self.submitted.push_back(command);
                }
                Action::AwaitDrain(socket) => {
                    assert!(self.awaiting.insert(socket), "asked twice");
                }
                Action::Pause(socket) => assert!(self.paused.insert(socket), "paused twice"),
                Action::Resume(socket) => assert!(self.paused.remove(&socket), "not paused"),
            }
        }
        while let Some(socket) = self.awaiting.first().copied().filter(|_| self.clients_read) {
            self.read_all(socket);
        }
    }

    /// Every connection has gone: nothing may be left of them.
    pub fn assert_empty(&mut self) {
        self.settle();
        // Nobody comes back.
        self.pass(self.tasks.config.resume_ms + 250);
        self.settle();
        let shared = self.tasks.config.reply_to.clone();
        let own: Vec<_> =
            self.subscriptions.iter().filter(|c| Some(*c) != shared.as_ref()).collect();
        assert!(own.is_empty(), "left: {own:?}");
        assert!(self.tasks.connections.is_empty() && self.tasks.full.is_empty());
        assert!(self.tasks.detached.is_empty());
        assert_eq!((self.tasks.table.len(), self.tasks.text_bytes), (0, 0));
        let metrics = &self.metrics.tasks;
        let gauges = [&metrics.sessions, &metrics.sessions_detached, &metrics.text_bytes];
        assert_eq!(gauges.map(|gauge| gauge.get()), [0, 0, 0]);
        assert!(self.told.is_empty());
        let mut due = Vec::new();
        self.tasks.wheel.expire(u64::MAX, &mut due);
        assert!(due.is_empty(), "a deadline of nobody");
    }
}

pub fn result(index: u32, text: &str) -> String {
    json!({"chunk_index": index, "text": text, "duration": 0.1, "error": null}).to_string()
}

pub fn ack(id: &str, index: u32) -> Value {
    json!({"type": "ack", "session_id": id, "chunk_index": index, "status": "received"})
}

pub fn chunk_result(id: &str, index: u32, text: &str) -> Value {
    json!({"type": "chunk_result", "session_id": id, "chunk_index": index, "text": text})
}

pub fn final_result(id: &str, text: &str, duration: f64, chunks: u32) -> Value {
    json!({
        "type": "final_result", "session_id": id, "chunk_index": 0, "text": text,
        "duration": duration, "chunk_count": chunks, "complete": true,
    })
}

pub fn error(id: Option<&str>, code: &str, message: &str) -> Value {
    let mut error = json!({"type": "error", "chunk_index": 0, "code": code, "message": message});
    if let Some(id) = id {
        error["session_id"] = id.into();
    }
    error
}
