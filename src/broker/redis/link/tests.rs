//! The link against a model of Redis: the same commands, the same answers, no socket.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use proptest::prelude::*;

use redis::Value;

use super::*;
use crate::{
    broker::{Queue, Task, Ticket},
    limits::SUBSCRIBE_WINDOW,
};

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
}

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
                if self.forbidden.is_some_and(|name| channels.iter().any(|other| other == name)) {
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
        let link = Link::new(&target, "a link\n", limits, metrics.clone(), 1);
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

#[test]
fn any_split_of_the_answers_gives_the_same_events() {
    let mut expected = None;
    let mut length = 1;
    let mut cut = 0;
    while cut < length {
        let mut rig = Rig::up();
        for command in [
            subscribe("a"),
            push(1, "list", b"\r\n$1\r\n"),
            push(2, "wrong", b"x"),
            fetch(3, "list"),
            subscribe("b"),
            unsubscribe("a"),
            fetch(4, "none"),
        ] {
            rig.submit(command);
        }
        rig.send();
        rig.model.publish("b", b"\x00\xff\r\n");
        let bytes = std::mem::take(&mut rig.model.output);
        length = bytes.len();
        let (first, second) = bytes.split_at(cut);
        for piece in [first, second] {
            rig.link.on_bytes(piece, rig.now_ms, &mut rig.events).unwrap();
        }
        let events = rig.take_events();
        assert_eq!(events.len(), 6, "{events:?}");
        assert_eq!(*expected.get_or_insert(events.clone()), events, "cut at {cut}");
        cut += 1;
    }
}

#[test]
fn what_was_not_answered_is_sent_again_before_what_is_newer() {
    let mut rig = Rig::up();
    rig.submit(push(1, "list", b"1"));
    rig.submit(push(2, "list", b"2"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    rig.submit(push(3, "list", b"3"));
    rig.reconnect();
    rig.submit(push(4, "list", b"4"));
    rig.turn().unwrap();
    assert_eq!(rig.model.lists["list"], [b"1", b"2", b"3", b"4"]);
    let events = rig.take_events();
    assert!(matches!(events[0], Event::Down { .. }));
    assert_eq!(events[1], Event::Up);
    let tickets: Vec<Event> = (1..=4).map(|ticket| Event::Pushed(Ticket(ticket))).collect();
    assert_eq!(events[2..], tickets);
    assert_eq!(rig.metrics.broker.pending_bytes.get(), 0);
    assert_eq!(rig.metrics.broker.reconnects.get(), 1);
}

#[test]
fn many_subscriptions_are_sent_in_batches_and_restored_in_batches() {
    const CHANNELS: usize = 2 * SUBSCRIBE_WINDOW + 100;
    let mut rig = Rig::up();
    for number in 0..CHANNELS {
        rig.submit(subscribe(&number.to_string()));
    }
    rig.turn().unwrap();
    assert_eq!(rig.take_events().len(), CHANNELS);
    rig.reconnect();
    rig.send();
    rig.receive().unwrap();
    rig.send();
    assert_eq!(rig.model.channels.len(), 256, "one batch after another");
    // Given up while it was to be restored: it is not.
    rig.submit(unsubscribe(&(CHANNELS - 1).to_string()));
    rig.turn().unwrap();
    let subscribed =
        rig.take_events().iter().filter(|event| matches!(event, Event::Subscribed(_))).count();
    assert_eq!(subscribed, CHANNELS - 1);
    assert_eq!(rig.model.channels.len(), CHANNELS - 1);
    assert_eq!(rig.model.largest_subscribe, 256);
}

#[test]
fn one_forbidden_channel_does_not_take_its_neighbours_with_it() {
    let mut rig = Rig::up();
    rig.model.forbidden = Some("b");
    for channel in ["a", "b", "c"] {
        rig.submit(subscribe(channel));
    }
    rig.submit(push(1, "list", b"x"));
    rig.turn().unwrap();
    let events = rig.take_events();
    let refused = Error::Refused("NOPERM no".into());
    for event in [
        Event::Subscribed("a".into()),
        Event::SubscribeFailed("b".into(), refused),
        Event::Subscribed("c".into()),
        Event::Pushed(Ticket(1)),
    ] {
        assert!(events.contains(&event), "{event:?} in {events:?}");
    }
    assert_eq!(rig.metrics.broker.subscriptions.get(), 2);
}

#[test]
fn messages_share_the_name_of_their_channel() {
    let mut rig = Rig::up();
    let channel: Arc<str> = "a".into();
    rig.submit(Command::Subscribe { channel: channel.clone() });
    rig.turn().unwrap();
    rig.model.publish("a", b"x");
    rig.take_events();
    rig.receive().unwrap();
    match &rig.take_events()[..] {
        [Event::Message { channel: name, .. }] => assert!(Arc::ptr_eq(name, &channel)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn past_the_limits_commands_fail_at_once() {
    let limits = LinkLimits { pending_bytes: 1000, subscriptions: 2, ..LinkLimits::default() };
    let mut rig = Rig::new(limits);
    rig.submit(push(1, "list", &[0; 500]));
    rig.submit(push(2, "list", &[0; 500]));
    rig.submit(fetch(3, &"k".repeat(300)));
    for channel in ["a", "b", "c"] {
        rig.submit(subscribe(channel));
    }
    assert_eq!(
        rig.take_events(),
        [
            Event::PushFailed(Ticket(2), Error::Full),
            Event::FetchFailed(Ticket(3), Error::Full),
            Event::SubscribeFailed("c".into(), Error::Full),
        ]
    );
    assert_eq!(rig.metrics.broker.failed.get(), 3);
    assert!(rig.metrics.broker.pending_bytes.get() > 500);
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.metrics.broker.pending_bytes.get(), 0);
    drop(rig.link);
    assert_eq!(rig.metrics.broker.subscriptions.get(), 0);
    assert_eq!(rig.metrics.broker.up.get(), 0);
}

#[test]
fn subscribing_and_giving_up_while_away_leaves_nothing_behind() {
    let limits = LinkLimits { subscriptions: 1000, ..LinkLimits::default() };
    let mut rig = Rig::new(limits);
    for _ in 0..10_000 {
        rig.submit(subscribe("a"));
        rig.submit(unsubscribe("a"));
    }
    rig.take_events();
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events(), [Event::Up]);
    assert!(rig.model.channels.is_empty());
    assert_eq!(rig.link.work.asked(), 0);
}

#[test]
fn silence_is_noticed_idle_or_not() {
    let mut rig = Rig::up();
    rig.link.on_tick(rig.now_ms + 4_999).unwrap();
    assert!(!rig.link.has_output());
    rig.now_ms += 5_000;
    rig.link.on_tick(rig.now_ms).unwrap();
    assert!(rig.link.has_output(), "a PING");
    rig.turn().unwrap();
    rig.submit(push(1, "list", b"x"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    rig.link.on_tick(rig.now_ms + 5_000).unwrap();
    let error = rig.link.on_tick(rig.now_ms + 5_001).unwrap_err();
    assert!(matches!(error, LinkError::Silent { .. }), "{error}");
}

#[test]
fn a_server_that_is_loading_is_down_and_the_reason_is_told_once() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.model.ping_error = Some("LOADING Redis is loading the dataset in memory");
    for _ in 0..3 {
        rig.connect();
        let error = rig.turn().unwrap_err();
        assert!(matches!(error, LinkError::NotReady(_)), "{error}");
        rig.link.on_closed(&error.to_string(), rig.now_ms, &mut rig.events);
    }
    let events = rig.take_events();
    assert!(matches!(&events[..], [Event::Down { reason }] if reason.contains("loading")));
    assert!(!rig.link.is_up());
    rig.model.ping_error = None;
    rig.model.output.clear();
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events(), [Event::Up]);
}

#[test]
fn a_server_without_resp3_is_named() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.connect();
    let bytes = b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n";
    let error = rig.link.on_bytes(bytes, 1, &mut rig.events).unwrap_err();
    assert!(error.to_string().contains("version 6"), "{error}");
}

#[test]
fn an_answer_of_another_form_is_no_answer() {
    let mut rig = Rig::up();
    rig.submit(push(1, "list", b"x"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    rig.link.on_bytes(b"+OK\r\n", rig.now_ms, &mut rig.events).unwrap_err();
    rig.reconnect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events().last(), Some(&Event::Pushed(Ticket(1))));
}

#[test]
fn a_list_too_large_to_read_ends_its_fetch_and_not_the_link() {
    let mut rig = Rig::up();
    rig.submit(fetch(1, "huge"));
    rig.submit(fetch(2, "list"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    let error = rig.link.on_bytes(b"*99999999\r\n", rig.now_ms, &mut rig.events).unwrap_err();
    assert!(error.to_string().contains("limit"), "{error}");
    assert!(matches!(rig.take_events()[..], [Event::FetchFailed(Ticket(1), Error::Refused(_))]));
    rig.reconnect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events().last(), Some(&Event::Fetched(Ticket(2), vec![])));
}

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Wrong,
    Fetch(u8),
    Subscribe(u8),
    Unsubscribe(u8),
    Publish(u8),
    Send,
    Receive,
    /// Only so many bytes of the answers arrive, then the connection is lost.
    Lose(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8).prop_map(Step::Push),
        Just(Step::Wrong),
        (0..3u8).prop_map(Step::Fetch),
        (0..4u8).prop_map(Step::Subscribe),
        (0..4u8).prop_map(Step::Unsubscribe),
        (0..4u8).prop_map(Step::Publish),
        Just(Step::Send),
        Just(Step::Receive),
        any::<prop::sample::Index>().prop_map(Step::Lose),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_each_command_is_answered_once_and_in_order(
        steps in prop::collection::vec(step(), 0..80)
    ) {
        let mut rig = Rig::up();
        rig.model.forbidden = Some("3");
        let mut asked = BTreeMap::new();
        let mut wanted = BTreeSet::new();
        let mut published = VecDeque::new();
        for (ticket, step) in steps.into_iter().enumerate() {
            let ticket = ticket as u64;
            match step {
                Step::Push(key) => {
                    asked.insert(ticket, 'p');
                    rig.submit(push(ticket, &key.to_string(), &ticket.to_be_bytes()));
                }
                Step::Wrong => {
                    asked.insert(ticket, 'w');
                    rig.submit(push(ticket, "wrong", b""));
                }
                Step::Fetch(key) => {
                    asked.insert(ticket, 'f');
                    rig.submit(fetch(ticket, &key.to_string()));
                }
                Step::Subscribe(channel) => {
                    if channel != 3 {
                        wanted.insert(channel.to_string());
                    }
                    rig.submit(subscribe(&channel.to_string()));
                }
                Step::Unsubscribe(channel) => {
                    wanted.remove(&channel.to_string());
                    rig.submit(unsubscribe(&channel.to_string()));
                }
                Step::Publish(channel) => {
                    published.push_back(ticket);
                    rig.model.publish(&channel.to_string(), &ticket.to_be_bytes());
                }
                Step::Send => rig.send(),
                Step::Receive => rig.receive().unwrap(),
                Step::Lose(cut) => {
                    let bytes = std::mem::take(&mut rig.model.output);
                    let arrived = &bytes[..cut.index(bytes.len() + 1)];
                    rig.link.on_bytes(arrived, rig.now_ms, &mut rig.events).unwrap();
                    rig.reconnect();
                }
            }
        }
        rig.turn().unwrap();
        let events = rig.take_events();
        let mut answers = Vec::new();
        let mut messages = Vec::new();
        for event in &events {
            match event {
                Event::Pushed(ticket) => answers.push((ticket.0, 'p')),
                Event::PushFailed(ticket, Error::Refused(_)) => answers.push((ticket.0, 'w')),
                Event::Fetched(ticket, _) => answers.push((ticket.0, 'f')),
                Event::Message { payload, .. } => {
                    messages.push(u64::from_be_bytes(payload[..].try_into().unwrap()));
                }
                Event::SubscribeFailed(channel, Error::Refused(_)) => {
                    prop_assert_eq!(&**channel, "3");
                }
                Event::Up | Event::Down { .. } | Event::Subscribed(_) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(answers, asked.into_iter().collect::<Vec<_>>());
        prop_assert!(messages.is_sorted(), "{:?}", messages);
        prop_assert_eq!(&rig.model.channels, &wanted);
        // Appended in order, though perhaps more than once after a loss.
        for list in rig.model.lists.values() {
            let mut seen = BTreeSet::new();
            let first_times: Vec<_> = list.iter().filter(|value| seen.insert(*value)).collect();
            prop_assert!(first_times.is_sorted());
        }
        prop_assert_eq!(rig.link.work.asked(), 0);
        prop_assert_eq!(rig.metrics.broker.pending_bytes.get(), 0);
        prop_assert_eq!(rig.metrics.broker.subscriptions.get(), wanted.len() as u64);
    }

    #[test]
    fn garbage_never_panics(
        tokens in prop::collection::vec(prop::sample::select(vec![
            &b"+OK\r\n"[..], b"+PONG\r\n", b":1\r\n", b"-ERR x\r\n", b"%0\r\n", b"*0\r\n",
            b"$-1\r\n", b"*1\r\n", b">3\r\n", b">0\r\n", b"|1\r\n", b"\x00\xff",
            b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\n\xff\r\n$0\r\n\r\n",
            b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
        ]), 0..20),
    ) {
        let mut rig = Rig::new(LinkLimits::default());
        rig.connect();
        for command in [push(1, "k", b"v"), subscribe("a"), fetch(2, "k"), unsubscribe("a")] {
            rig.submit(command);
        }
        for token in tokens {
            rig.link.take_output(rig.now_ms, &mut Vec::new());
            // Even for a caller that reads on after an error.
            let _ = rig.link.on_bytes(token, rig.now_ms, &mut rig.events);
        }
        rig.reconnect();
        rig.turn().unwrap();
    }
}
