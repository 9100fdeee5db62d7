//! The contract of `ringgate::broker`, checked on every broker by the same tests; and what
//! only Redis can do to its link: die, freeze, refuse.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    collections::{HashMap, HashSet},
    fmt::Debug,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ringgate::{
    broker::{
        Backlog, Command, Error, Event, Queue, Task, Ticket,
        embedded::{EmbeddedBroker, Port, WorkerPort},
        redis::{Link, LinkLimits, Target, dial},
    },
    clock::Clock,
    metrics::ShardMetrics,
};
use support::redis::RedisServer;

/// Until then, what a test waits for has happened or it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shard's end of a broker.
trait Client {
    fn submit(&mut self, command: Command);
    /// Works for a few milliseconds at most, and returns what happened.
    fn turn(&mut self) -> Vec<Event>;
    fn metrics(&self) -> &ShardMetrics;
}

/// A broker, and what workers do there.
trait Broker {
    type Client: Client;
    fn client(&self) -> Self::Client;
    fn publish(&self, channel: &str, payload: &[u8]);
    fn append(&self, key: &str, value: &[u8]);
    fn pop(&self, key: &str) -> Option<Vec<u8>>;
}

struct Embedded {
    broker: EmbeddedBroker,
    worker: WorkerPort,
}

impl Embedded {
    fn start() -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        let worker = broker.worker_port();
        Self { broker, worker }
    }
}

struct EmbeddedClient {
    port: Port,
    woken: crossbeam_channel::Receiver<()>,
    metrics: Arc<ShardMetrics>,
}

impl Broker for Embedded {
    type Client = EmbeddedClient;

    fn client(&self) -> EmbeddedClient {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let metrics = Arc::new(ShardMetrics::default());
        let wake = Arc::new(move || {
            let _ = wake.try_send(());
        });
        let port = self.broker.attach(wake, 256 << 20, metrics.clone());
        EmbeddedClient { port, woken, metrics }
    }

    fn publish(&self, channel: &str, payload: &[u8]) {
        self.worker.publish(channel, payload.to_vec());
    }

    fn append(&self, key: &str, value: &[u8]) {
        self.worker.append_expiring(key, value.to_vec(), Duration::from_secs(60));
    }

    fn pop(&self, key: &str) -> Option<Vec<u8>> {
        self.worker.pop(key, Duration::from_millis(50))
    }
}

impl Client for EmbeddedClient {
    fn submit(&mut self, command: Command) {
        self.port.submit(command);
    }

    fn turn(&mut self) -> Vec<Event> {
        self.port.flush();
        let events: Vec<Event> = std::iter::from_fn(|| self.port.try_next()).collect();
        if events.is_empty() {
            // A lost wake-up would be seen as a test that takes for ever.
            let _ = self.woken.recv_timeout(PATIENCE);
        }
        events
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }
}

struct Redis {
    server: RedisServer,
}

impl Redis {
    fn worker(&self) -> redis::Connection {
        redis::Client::open(self.server.url()).unwrap().get_connection().unwrap()
    }

    fn client_with(&self, url: &str, limits: LinkLimits) -> RedisClient {
        let metrics = Arc::new(ShardMetrics::default());
        let target = Target::parse(url).unwrap();
        let link = Link::new(&target, "contract", limits, metrics.clone(), 1);
        RedisClient {
            link,
            target,
            socket: None,
            output: Vec::new(),
            clock: Clock::start(),
            metrics,
        }
    }
}

/// Drives a link over a socket that blocks for a moment, one thing after another.
struct RedisClient {
    link: Link,
    target: Target,
    socket: Option<TcpStream>,
    output: Vec<u8>,
    clock: Clock,
    metrics: Arc<ShardMetrics>,
}

impl RedisClient {
    fn exchange(&mut self, socket: &mut TcpStream, events: &mut Vec<Event>) -> Result<(), String> {
        if self.output.is_empty() {
            self.link.take_output(self.clock.now().ms, &mut self.output);
        }
        match socket.write(&self.output) {
            Ok(written) => drop(self.output.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        let mut bytes = vec![0; 64 * 1024];
        match socket.read(&mut bytes) {
            Ok(0) => return Err("Redis closed the connection".to_string()),
            Ok(length) => {
                let now_ms = self.clock.now().ms;
                let read = self.link.on_bytes(&bytes[..length], now_ms, events);
                read.map_err(|error| error.to_string())?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
        self.link.on_tick(self.clock.now().ms).map_err(|error| error.to_string())
    }
}

impl Client for RedisClient {
    fn submit(&mut self, command: Command) {
        let mut events = Vec::new();
        self.link.submit(command, &mut events);
        assert_eq!(events, [], "nothing fails at once here");
    }

    fn turn(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let now_ms = self.clock.now().ms;
        match self.socket.take() {
            Some(mut socket) => match self.exchange(&mut socket, &mut events) {
                Ok(()) => self.socket = Some(socket),
                Err(reason) => self.link.on_closed(&reason, self.clock.now().ms, &mut events),
            },
            None if self.link.wants_dial(now_ms) => {
                match dial::dial(&self.target, Duration::from_secs(5)) {
                    Ok(fd) => {
                        let socket = TcpStream::from(fd);
                        socket.set_nonblocking(false).unwrap();
                        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                        socket.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
                        self.socket = Some(socket);
                        self.output.clear();
                        self.link.on_connected(self.clock.now().ms);
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        self.link.on_dial_failed(&reason, self.clock.now().ms, &mut events);
                    }
                }
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
        events
    }

    fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }
}

impl Broker for Redis {
    type Client = RedisClient;

    fn client(&self) -> RedisClient {
        let limits = LinkLimits { pending_bytes: 256 << 20, ..LinkLimits::default() };
        self.client_with(&self.server.url(), limits)
    }

    fn publish(&self, channel: &str, payload: &[u8]) {
        redis::cmd("PUBLISH").arg(channel).arg(payload).exec(&mut self.worker()).unwrap();
    }

    fn append(&self, key: &str, value: &[u8]) {
        redis::cmd("RPUSH").arg(key).arg(value).exec(&mut self.worker()).unwrap();
    }

    fn pop(&self, key: &str) -> Option<Vec<u8>> {
        redis::cmd("LPOP").arg(key).query(&mut self.worker()).unwrap()
    }
}

/// Turns until `find` gives something for an event; events before it are for `others`.
fn until<T>(
    client: &mut impl Client,
    others: &mut Vec<Event>,
    mut find: impl FnMut(&Event) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = None;
        for event in client.turn() {
            match find(&event) {
                Some(value) if found.is_none() => found = Some(value),
                _ => others.push(event),
            }
        }
        if let Some(value) = found {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long; there were {}", brief(others));
    }
}

/// Turns until exactly these have come; the order is part of it.
fn expect(client: &mut impl Client, events: &[Event]) {
    let (mut seen, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while seen.len() < events.len() {
        seen.extend(client.turn());
        assert!(Instant::now() < deadline, "waited too long; there were {}", brief(&seen));
    }
    assert!(seen == events, "{} instead of {}", brief(&seen), brief(events));
}

fn up<B: Broker>(broker: &B) -> B::Client {
    let mut client = broker.client();
    expect(&mut client, &[Event::Up]);
    client
}

fn subscribed<B: Broker>(broker: &B, channel: &str) -> B::Client {
    let mut client = up(broker);
    client.submit(subscribe(channel));
    expect(&mut client, &[Event::Subscribed(channel.into())]);
    client
}

fn brief(events: &[impl Debug]) -> String {
    let text = format!("{events:?}");
    text.chars().take(2_000).collect()
}

fn push(ticket: u64, key: &str, value: &[u8]) -> Command {
    let queue = Queue::List { key: key.into() };
    Command::Push { ticket: Ticket(ticket), queue, task: Task::plain(value.to_vec()) }
}

fn fetch(ticket: u64, key: &str) -> Command {
    Command::Fetch { ticket: Ticket(ticket), key: key.into() }
}

fn subscribe(channel: &str) -> Command {
    Command::Subscribe { channel: channel.into() }
}

fn message(channel: &str, payload: &[u8]) -> Event {
    Event::Message { channel: channel.into(), payload: payload.to_vec() }
}

fn commands_take_effect_in_order_and_are_answered_once<B: Broker>(broker: &B) {
    let mut client = up(broker);
    client.submit(push(1, "list", b"one"));
    client.submit(fetch(2, "list"));
    client.submit(push(3, "list", b"two"));
    client.submit(subscribe("c"));
    client.submit(fetch(4, "list"));
    client.submit(fetch(5, "none"));
    expect(
        &mut client,
        &[
            Event::Pushed(Ticket(1)),
            Event::Fetched(Ticket(2), vec![b"one".to_vec()]),
            Event::Pushed(Ticket(3)),
            Event::Subscribed("c".into()),
            Event::Fetched(Ticket(4), vec![b"one".to_vec(), b"two".to_vec()]),
            Event::Fetched(Ticket(5), vec![]),
        ],
    );
    assert_eq!(broker.pop("list").as_deref(), Some(&b"one"[..]));
    assert_eq!(broker.pop("list").as_deref(), Some(&b"two"[..]));
    assert_eq!(broker.pop("list"), None);
    // And no second answer: the next event is that of the next command.
    client.submit(push(6, "list", b""));
    expect(&mut client, &[Event::Pushed(Ticket(6))]);
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
}

fn the_depth_of_a_list_is_its_length<B: Broker>(broker: &B) {
    let mut client = up(broker);
    let queue = Queue::List { key: "list".into() };
    let observe = |ticket| Command::Observe {
        ticket: Ticket(ticket),
        queue: queue.clone(),
        heartbeats: None,
    };
    client.submit(observe(1));
    (2..5).for_each(|ticket| client.submit(push(ticket, "list", b"x")));
    client.submit(observe(5));
    let observed =
        |ticket, depth| Event::Observed(Ticket(ticket), Backlog { depth, workers: None });
    let pushed = (2..5).map(|ticket| Event::Pushed(Ticket(ticket)));
    let expected: Vec<Event> =
        [observed(1, 0)].into_iter().chain(pushed).chain([observed(5, 3)]).collect();
    expect(&mut client, &expected);
    broker.pop("list");
    client.submit(observe(6));
    expect(&mut client, &[observed(6, 2)]);
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
}

fn thousands_of_pushes_are_answered_in_order<B: Broker>(broker: &B) {
    const PUSHES: u64 = 20_000;
    let mut client = up(broker);
    (0..PUSHES).for_each(|ticket| client.submit(push(ticket, "list", &ticket.to_be_bytes())));
    let expected: Vec<Event> = (0..PUSHES).map(|ticket| Event::Pushed(Ticket(ticket))).collect();
    expect(&mut client, &expected);
    client.submit(fetch(0, "list"));
    let values: Vec<Vec<u8>> = (0..PUSHES).map(|value| value.to_be_bytes().to_vec()).collect();
    expect(&mut client, &[Event::Fetched(Ticket(0), values)]);
}

fn messages_come_after_subscribed_and_in_order<B: Broker>(broker: &B) {
    let mut one = subscribed(broker, "both");
    let mut two = subscribed(broker, "both");
    let mut expected = Vec::new();
    for number in 0..200u32 {
        broker.publish("both", &number.to_be_bytes());
        broker.publish("nobody", b"x");
        expected.push(message("both", &number.to_be_bytes()));
    }
    expect(&mut one, &expected);
    expect(&mut two, &expected);
}

fn unsubscribe_stops_and_a_second_subscribe_is_answered_again<B: Broker>(broker: &B) {
    let mut client = subscribed(broker, "c");
    client.submit(subscribe("c"));
    expect(&mut client, &[Event::Subscribed("c".into())]);
    broker.publish("c", b"once");
    expect(&mut client, &[message("c", b"once")]);
    assert_eq!(client.metrics().broker.subscriptions.get(), 1);
    client.submit(Command::Unsubscribe { channel: "c".into() });
    // Its answer says that the command before it has taken effect.
    client.submit(fetch(1, "none"));
    expect(&mut client, &[Event::Fetched(Ticket(1), vec![])]);
    broker.publish("c", b"nobody hears this");
    client.submit(subscribe("c"));
    expect(&mut client, &[Event::Subscribed("c".into())]);
    broker.publish("c", b"again");
    expect(&mut client, &[message("c", b"again")]);
    client.submit(Command::Unsubscribe { channel: "c".into() });
    client.submit(Command::Unsubscribe { channel: "never".into() });
    client.submit(fetch(2, "none"));
    expect(&mut client, &[Event::Fetched(Ticket(2), vec![])]);
    assert_eq!(client.metrics().broker.subscriptions.get(), 0);
}

fn what_workers_append_is_fetched<B: Broker>(broker: &B) {
    let mut client = up(broker);
    let values: Vec<Vec<u8>> = (0..50u8).map(|value| vec![value, b'\r', b'\n', 0, 255]).collect();
    values.iter().for_each(|value| broker.append("results", value));
    client.submit(fetch(1, "results"));
    expect(&mut client, &[Event::Fetched(Ticket(1), values)]);
}

fn large_and_binary_values_arrive_whole<B: Broker>(broker: &B) {
    let large: Vec<u8> =
        (0..16u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = subscribed(broker, "c");
    client.submit(push(1, "list", &large));
    client.submit(fetch(2, "list"));
    expect(
        &mut client,
        &[Event::Pushed(Ticket(1)), Event::Fetched(Ticket(2), vec![large.clone()])],
    );
    broker.publish("c", &large);
    expect(&mut client, &[message("c", &large)]);
    assert!(broker.pop("list") == Some(large));
}

fn many_channels_are_each_heard<B: Broker>(broker: &B) {
    const CHANNELS: usize = 10_000;
    let mut client = up(broker);
    let name = |number: usize| format!("asr_result_{number}");
    (0..CHANNELS).for_each(|number| client.submit(subscribe(&name(number))));
    let expected: Vec<Event> =
        (0..CHANNELS).map(|number| Event::Subscribed(name(number).into())).collect();
    expect(&mut client, &expected);
    for number in (0..CHANNELS).step_by(997) {
        broker.publish(&name(number), b"x");
        expect(&mut client, &[message(&name(number), b"x")]);
    }
    assert_eq!(client.metrics().broker.subscriptions.get(), CHANNELS as u64);
    (0..CHANNELS)
        .for_each(|number| client.submit(Command::Unsubscribe { channel: name(number).into() }));
    client.submit(fetch(1, "none"));
    expect(&mut client, &[Event::Fetched(Ticket(1), vec![])]);
    assert_eq!(client.metrics().broker.subscriptions.get(), 0);
}

macro_rules! on_every_broker {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $test() { super::$test(&super::Embedded::start()); })*
        }
        mod redis_server {
            $(#[test] fn $test() {
                super::$test(&super::Redis { server: super::RedisServer::start() });
            })*
        }
    };
}

on_every_broker!(
    commands_take_effect_in_order_and_are_answered_once,
    the_depth_of_a_list_is_its_length,
    thousands_of_pushes_are_answered_in_order,
    messages_come_after_subscribed_and_in_order,
    unsubscribe_stops_and_a_second_subscribe_is_answered_again,
    what_workers_append_is_fetched,
    large_and_binary_values_arrive_whole,
    many_channels_are_each_heard,
);

fn is_down(event: &Event) -> Option<String> {
    match event {
        Event::Down { reason } => Some(reason.clone()),
        _ => None,
    }
}

fn is_up(event: &Event) -> Option<()> {
    matches!(event, Event::Up).then_some(())
}

#[test]
fn a_killed_redis_costs_nothing_that_was_submitted() {
    const PUSHES: u64 = 3_000;
    let mut redis = Redis { server: RedisServer::start() };
    let mut client = up(&redis);
    let channels: Vec<String> = (0..600).map(|number| format!("c{number}")).collect();
    channels.iter().for_each(|channel| client.submit(subscribe(channel)));
    let mut seen = Vec::new();
    while seen.len() < channels.len() {
        seen.extend(client.turn());
    }
    // Killed three times amid pushes of which some are answered, some on their way.
    let (mut next, mut events) = (0, Vec::new());
    for round in 1..=3 {
        let end = PUSHES / 3 * round;
        while next < end - 300 {
            client.submit(push(next, "list", &next.to_be_bytes()));
            next += 1;
            if next % 50 == 0 {
                events.extend(client.turn());
            }
        }
        redis.server.kill();
        until(&mut client, &mut events, is_down);
        assert_eq!(client.metrics().broker.up.get(), 0);
        while next < end {
            client.submit(push(next, "list", &next.to_be_bytes()));
            next += 1;
        }
        client.submit(subscribe(&format!("late{round}")));
        redis.server.restart();
        let before = events.len();
        until(&mut client, &mut events, is_up);
        let mut missing: HashSet<String> = channels.iter().cloned().collect();
        missing.extend((1..=round).map(|round| format!("late{round}")));
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = before;
        while !missing.is_empty() {
            assert!(Instant::now() < deadline, "not restored: {missing:?}");
            events.extend(client.turn());
            for event in &events[looked_at..] {
                if let Event::Subscribed(channel) = event {
                    missing.remove(&**channel);
                }
            }
            looked_at = events.len();
        }
        redis.publish("c599", &round.to_be_bytes());
        let payload = round.to_be_bytes().to_vec();
        until(&mut client, &mut events, |event| match event {
            Event::Message { payload: heard, .. } if *heard == payload => Some(()),
            _ => None,
        });
    }
    let answered = |events: &[Event]| {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for event in events {
            match event {
                Event::Pushed(ticket) => *counts.entry(ticket.0).or_default() += 1,
                Event::PushFailed(..) => panic!("{event:?}"),
                _ => {}
            }
        }
        counts
    };
    let deadline = Instant::now() + PATIENCE;
    while (answered(&events).len() as u64) < PUSHES {
        assert!(Instant::now() < deadline, "{} answered", answered(&events).len());
        events.extend(client.turn());
    }
    assert!(answered(&events).values().all(|&times| times == 1), "each once");
    let list: Vec<Vec<u8>> =
        redis::cmd("LRANGE").arg("list").arg(0).arg(-1).query(&mut redis.worker()).unwrap();
    let mut seen = HashSet::new();
    let first_times: Vec<u64> = list
        .iter()
        .map(|value| u64::from_be_bytes(value[..].try_into().unwrap()))
        .filter(|value| seen.insert(*value))
        .collect();
    assert_eq!(first_times, (0..PUSHES).collect::<Vec<_>>(), "all there, in order");
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
    assert_eq!(client.metrics().broker.reconnects.get(), 3);
}

#[test]
fn a_frozen_redis_is_down_until_it_thaws() {
    let redis = Redis { server: RedisServer::start() };
    let limits = LinkLimits { answer_timeout_ms: 300, ping_after_ms: 100, ..LinkLimits::default() };
    let mut client = redis.client_with(&redis.server.url(), limits);
    let mut events = Vec::new();
    until(&mut client, &mut events, is_up);
    redis.server.freeze();
    client.submit(push(1, "list", b"x"));
    let reason = until(&mut client, &mut events, is_down);
    assert!(reason.contains("no answer"), "{reason}");
    assert!(!events.contains(&Event::Pushed(Ticket(1))));
    redis.server.thaw();
    until(&mut client, &mut events, is_up);
    until(&mut client, &mut events, |event| (*event == Event::Pushed(Ticket(1))).then_some(()));
}

#[test]
fn an_idle_link_notices_that_redis_froze() {
    let redis = Redis { server: RedisServer::start() };
    let limits = LinkLimits { answer_timeout_ms: 300, ping_after_ms: 100, ..LinkLimits::default() };
    let mut client = redis.client_with(&redis.server.url(), limits);
    let mut events = Vec::new();
    until(&mut client, &mut events, is_up);
    redis.server.freeze();
    until(&mut client, &mut events, is_down);
    redis.server.thaw();
    until(&mut client, &mut events, is_up);
}

#[test]
fn a_wrong_password_or_database_is_named_and_a_right_one_works() {
    let redis = Redis { server: RedisServer::start_with(&["--requirepass", "s3cret"]) };
    let port = redis.server.port();
    let mut events = Vec::new();
    for (place, word) in [
        (format!("redis://127.0.0.1:{port}"), "password"),
        (format!("redis://:wr0ng@127.0.0.1:{port}"), "password"),
        (format!("redis://nobody:s3cret@127.0.0.1:{port}"), "password"),
        (format!("redis://:s3cret@127.0.0.1:{port}/99"), "database 99"),
    ] {
        let mut client = redis.client_with(&place, LinkLimits::default());
        let reason = until(&mut client, &mut events, is_down);
        assert!(reason.contains(word), "{reason}");
        assert!(!reason.contains("wr0ng") && !reason.contains("s3cret"), "{reason}");
        assert!(!client.link.is_up());
    }
    assert_eq!(events, [], "never up");
    let socket = redis.server.socket();
    for place in [
        format!("redis://:s3cret@127.0.0.1:{port}/3"),
        format!("redis://default:s3cret@localhost:{port}/3"),
        format!("redis+unix://{}?db=3&pass=s3cret", socket.display()),
    ] {
        let mut client = redis.client_with(&place, LinkLimits::default());
        until(&mut client, &mut events, is_up);
    }
}

#[test]
fn refusals_carry_the_words_of_redis() {
    let redis = Redis { server: RedisServer::start() };
    redis::cmd("SET").arg("text").arg("x").exec(&mut redis.worker()).unwrap();
    let mut client = up(&redis);
    client.submit(push(1, "text", b"x"));
    client.submit(fetch(2, "text"));
    client.submit(push(3, "list", b"x"));
    let mut events = Vec::new();
    until(&mut client, &mut events, |event| (*event == Event::Pushed(Ticket(3))).then_some(()));
    match &events[..] {
        [
            Event::PushFailed(Ticket(1), Error::Refused(one)),
            Event::FetchFailed(Ticket(2), Error::Refused(two)),
        ] => assert!(one.starts_with("WRONGTYPE ") && two.starts_with("WRONGTYPE ")),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.metrics().broker.failed.get(), 2);
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).exec(&mut redis.worker()).unwrap();
    client.submit(push(4, "list", b"x"));
    let full = Event::PushFailed(Ticket(4), Error::Full);
    until(&mut client, &mut events, |event| (*event == full).then_some(()));
}

#[test]
fn a_forbidden_channel_fails_alone() {
    let redis = Redis { server: RedisServer::start() };
    let acl = ["SETUSER", "bob", "on", ">pw", "+@all", "~*", "resetchannels", "&ok*"];
    redis::cmd("ACL").arg(&acl).exec(&mut redis.worker()).unwrap();
    let url = format!("redis://bob:pw@127.0.0.1:{}", redis.server.port());
    let mut client = redis.client_with(&url, LinkLimits::default());
    for command in [subscribe("ok1"), subscribe("no"), subscribe("ok2"), push(1, "l", b"x")] {
        client.submit(command);
    }
    let mut missing = 5;
    let mut events = Vec::new();
    until(&mut client, &mut events, |event| {
        match event {
            Event::SubscribeFailed(channel, Error::Refused(text)) => {
                assert!(&**channel == "no" && text.starts_with("NOPERM "), "{channel} {text}");
            }
            Event::Up | Event::Subscribed(_) | Event::Pushed(_) => {}
            other => panic!("{other:?}"),
        }
        missing -= 1;
        (missing == 0).then_some(())
    });
    redis.publish("ok2", b"x");
    expect(&mut client, &[message("ok2", b"x")]);
}

#[test]
fn a_redis_that_comes_later_is_found_and_held_commands_are_carried_out() {
    let mut redis = Redis { server: RedisServer::absent() };
    let mut client = redis.client();
    client.submit(push(1, "list", b"early"));
    client.submit(subscribe("c"));
    client.submit(fetch(2, "list"));
    let mut events = Vec::new();
    let reason = until(&mut client, &mut events, is_down);
    assert!(reason.contains("refused"), "{reason}");
    redis.server.restart();
    expect(
        &mut client,
        &[
            Event::Up,
            Event::Pushed(Ticket(1)),
            Event::Subscribed("c".into()),
            Event::Fetched(Ticket(2), vec![b"early".to_vec()]),
        ],
    );
    assert_eq!(client.metrics().broker.reconnects.get(), 0);
}

#[test]
fn dialling_on_a_thread_gives_a_socket_or_the_reason() {
    let server = RedisServer::start();
    let absent = RedisServer::absent();
    let outcome = |url: String| {
        let (done, outcome) = crossbeam_channel::bounded(1);
        let target = Target::parse(&url).unwrap();
        let hand_over = move |outcome| done.send(outcome).unwrap();
        dial::spawn_dial(target, Duration::from_secs(5), hand_over).unwrap();
        outcome.recv_timeout(PATIENCE).unwrap()
    };
    let mut socket = TcpStream::from(outcome(server.url()).unwrap());
    let error = socket.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "it does not block");
    assert!(socket.nodelay().unwrap());
    let error = outcome(absent.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let nowhere = outcome(format!("unix://{}", absent.socket().display())).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}

#[test]
fn workers_of_the_embedded_broker_wait_for_values_and_lose_none() {
    const VALUES: u64 = 2_000;
    let broker = Embedded::start();
    let mut client = up(&broker);
    let sum = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (port, sum) = (broker.broker.worker_port(), sum.clone());
            thread::spawn(move || {
                let mut popped = 0;
                // Waits so short that values and timeouts cross all the time.
                while sum.load(Ordering::Relaxed) < VALUES && !port.is_stopped() {
                    if port.pop("list", Duration::from_millis(1)).is_some() {
                        popped += 1;
                        sum.fetch_add(1, Ordering::Relaxed);
                    }
                }
                popped
            })
        })
        .collect();
    let mut answered = 0;
    for ticket in 0..VALUES {
        client.submit(push(ticket, "list", b"x"));
        if ticket % 10 == 0 {
            answered += client.turn().len() as u64;
        }
    }
    while answered < VALUES {
        answered += client.turn().len() as u64;
    }
    let popped: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(popped, VALUES);
    assert_eq!(broker.broker.depth("list"), 0);
}

#[test]
fn a_shard_that_does_not_read_loses_messages_but_is_told_so() {
    let broker = Embedded::start();
    let mut slow = subscribed(&broker, "c");
    let mut other = subscribed(&broker, "d");
    let payload = vec![0; 64 * 1024];
    for _ in 0..10_000 {
        broker.publish("c", &payload);
    }
    slow.submit(push(1, "list", b"x"));
    // The broker does not wait for the slow one.
    broker.publish("d", b"x");
    expect(&mut other, &[message("d", b"x")]);
    let mut events = Vec::new();
    until(&mut slow, &mut events, is_up);
    assert_eq!(events.iter().filter_map(is_down).count(), 1);
    let dropped = broker.broker.counts().messages_dropped.load(Ordering::Relaxed);
    let heard = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Message { .. })).count() as u64
    };
    assert!(dropped > 0);
    assert_eq!(heard(&events) + dropped, 10_000);
    assert!(events.contains(&Event::Pushed(Ticket(1))), "answers are never dropped");
    if !events.contains(&Event::Subscribed("c".into())) {
        until(&mut slow, &mut events, |event| matches!(event, Event::Subscribed(_)).then_some(()));
    }
    broker.publish("c", b"again");
    until(&mut slow, &mut events, |event| (*event == message("c", b"again")).then_some(()));
}

#[test]
fn a_stopped_embedded_broker_says_so_to_everyone() {
    let broker = Embedded::start();
    let mut client = up(&broker);
    let port = broker.broker.worker_port();
    let waiting = thread::spawn(move || port.pop("list", PATIENCE));
    broker.broker.stop();
    broker.broker.stop();
    assert_eq!(waiting.join().unwrap(), None);
    until(&mut client, &mut Vec::new(), is_down);
    client.submit(push(1, "list", b"x"));
    assert!(client.port.try_next().is_none());
    assert_eq!(broker.broker.depth("list"), 0);
    let metrics = client.metrics.clone();
    drop(client);
    assert_eq!(metrics.broker.pending_bytes.get(), 0);
    assert_eq!(metrics.broker.up.get(), 0);
    assert!(broker.worker.is_stopped());
}
