//! The link against a model of Redis: the same commands, the same answers, no socket.

mod canary;
mod commands;
mod properties;

use std::collections::{BTreeSet, HashMap};

use redis::Value;

use super::*;
use crate::broker::{Queue, Task, Ticket};

/// As much of Redis as a link uses. Answers stand in `output`.
#[derive(Default)]
struct Model {
    input: Vec<u8>,
    output: Vec<u8>,
    lists: HashMap<String, Vec<Vec<u8>>>,
    channels: BTreeSet<String>,
    /// Answers PING with this error.
    ping_error: Option<&'static str>,
    /// SUBSCRIBE of this channel is refused, with all others of the same command.
    forbidden: Option<&'static str>,
    largest_subscribe: usize,
    canary: Canary,
    /// How many channels were subscribed when each canary was published.
    published_among: Vec<usize>,
}

/// What becomes of a message that the link publishes to itself.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum Canary {
    /// It comes after the answer, as with newer servers.
    #[default]
    Comes,
    /// It comes before the answer.
    ComesFirst,
    Vanishes,
    MayNotSubscribe,
    MayNotPublish,
}

const CANARY: &str = "ringgate:canary:0:0";

impl Model {
    fn write(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        let mut frames = Frames::default();
        let mut commands = Vec::new();
        frames.read(&self.input, &mut commands).unwrap();
        assert_eq!(frames.partial_bytes(), 0, "a link writes whole commands");
        self.input.clear();
        for command in commands {
            let Value::Array(words) = command else { panic!("{command:?}") };
            let words: Vec<Vec<u8>> = words.into_iter().map(bulk).collect();
            self.execute(&words);
        }
    }

    fn execute(&mut self, words: &[Vec<u8>]) {
        let text = |at: usize| String::from_utf8(words[at].clone()).unwrap();
        match text(0).as_str() {
            "HELLO" => self.reply("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
            "SELECT" => self.reply("+OK\r\n"),
            "PING" => match self.ping_error {
                Some(error) => self.reply(&format!("-{error}\r\n")),
                None => self.reply("+PONG\r\n"),
            },
            "RPUSH" if text(1) == "wrong" => self.reply("-WRONGTYPE not a list\r\n"),
            "RPUSH" => {
                let list = self.lists.entry(text(1)).or_default();
                list.push(words[2].clone());
                let length = list.len();
                self.reply(&format!(":{length}\r\n"));
            }
            "LRANGE" => {
                let list = self.lists.get(&text(1)).cloned().unwrap_or_default();
                self.reply(&format!("*{}\r\n", list.len()));
                list.iter().for_each(|value| self.bulk(value));
            }
            "SUBSCRIBE" => {
                let channels: Vec<String> = (1..words.len()).map(text).collect();
                self.largest_subscribe = self.largest_subscribe.max(channels.len());
                let canary = self.canary == Canary::MayNotSubscribe && channels == [CANARY];
                let forbidden = |name| channels.iter().any(|other| other == name);
                if canary || self.forbidden.is_some_and(forbidden) {
                    return self.reply("-NOPERM no\r\n");
                }
                channels.iter().for_each(|channel| {
                    self.channels.insert(channel.clone());
                    self.confirm("subscribe", channel);
                });
            }
            "UNSUBSCRIBE" => {
                self.channels.remove(&text(1));
                self.confirm("unsubscribe", &text(1));
            }
            "PUBLISH" => {
                assert_eq!(text(1), CANARY);
                self.published_among.push(self.channels.len());
                match self.canary {
                    Canary::MayNotPublish => self.reply("-NOPERM no\r\n"),
                    Canary::ComesFirst => {
                        self.publish(CANARY, &words[2]);
                        self.reply(":1\r\n");
                    }
                    Canary::Comes => {
                        self.reply(":1\r\n");
                        self.publish(CANARY, &words[2]);
                    }
                    Canary::Vanishes | Canary::MayNotSubscribe => self.reply(":0\r\n"),
                }
            }
            other => panic!("{other}"),
        }
    }

    fn publish(&mut self, channel: &str, payload: &[u8]) {
        if self.channels.contains(channel) {
            self.reply(">3\r\n$7\r\nmessage\r\n");
            self.bulk(channel.as_bytes());
            self.bulk(payload);
        }
    }

    fn confirm(&mut self, kind: &str, channel: &str) {
        self.reply(">3\r\n");
        self.bulk(kind.as_bytes());
        self.bulk(channel.as_bytes());
        self.reply(":1\r\n");
    }

    fn bulk(&mut self, bytes: &[u8]) {
        self.reply(&format!("${}\r\n", bytes.len()));
        self.output.extend_from_slice(bytes);
        self.reply("\r\n");
    }

    fn reply(&mut self, text: &str) {
        self.output.extend_from_slice(text.as_bytes());
    }
}

fn bulk(value: Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

struct Rig {
    link: Link,
    metrics: Arc<ShardMetrics>,
    model: Model,
    events: Vec<Event>,
    now_ms: u64,
}

impl Rig {
    fn new(limits: LinkLimits) -> Self {
        let metrics = Arc::new(ShardMetrics::default());
        let target = Target::parse("redis://u:p@h/3").unwrap();
        let link = Link::new(&target, "a link\n", limits, metrics.clone(), 1).with_canary(CANARY);
        Self { link, metrics, model: Model::default(), events: Vec::new(), now_ms: 1 }
    }

    fn up() -> Self {
        let mut rig = Self::new(LinkLimits::default());
        rig.connect();
        rig.turn().unwrap();
        assert_eq!(rig.take_events(), [Event::Up]);
        rig
    }

    fn connect(&mut self) {
        self.now_ms += 10_000;
        assert!(self.link.wants_dial(self.now_ms));
        assert!(!self.link.wants_dial(self.now_ms), "once for each attempt");
        self.link.on_connected(self.now_ms);
    }

    /// A new connection, and what the server lost with the old one.
    fn reconnect(&mut self) {
        self.model.channels.clear();
        self.model.output.clear();
        self.link.on_closed("gone", self.now_ms, &mut self.events);
        self.connect();
    }

    /// Everything that both have to say, to the end.
    fn turn(&mut self) -> Result<(), LinkError> {
        while self.link.has_output() || !self.model.output.is_empty() {
            self.send();
            self.receive()?;
        }
        Ok(())
    }

    fn send(&mut self) {
        let mut output = Vec::new();
        self.link.take_output(self.now_ms, &mut output);
        self.model.write(&output);
    }

    fn receive(&mut self) -> Result<(), LinkError> {
        let bytes = std::mem::take(&mut self.model.output);
        self.link.on_bytes(&bytes, self.now_ms, &mut self.events)
    }

    fn submit(&mut self, command: Command) {
        self.link.submit(command, &mut self.events);
    }

    fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}

fn push(ticket: u64, key: &str, value: &[u8]) -> Command {
    let queue = Queue::List { key: key.into() };
    Command::Push { ticket: Ticket(ticket), queue, task: Task::plain(value.to_vec()) }
}

fn subscribe(channel: &str) -> Command {
    Command::Subscribe { channel: channel.into() }
}

fn unsubscribe(channel: &str) -> Command {
    Command::Unsubscribe { channel: channel.into() }
}

fn fetch(ticket: u64, key: &str) -> Command {
    Command::Fetch { ticket: Ticket(ticket), key: key.into() }
}
