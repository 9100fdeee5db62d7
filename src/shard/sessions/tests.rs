//! A shard over real sockets whose peer is the test: it answers late, wrongly, or not at all.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    backlog::NodeBacklog,
    broker::embedded::EmbeddedBroker,
    clock::Clock,
    ids::ShardId,
    metrics::ShardMetrics,
    ring::{Ring, RingOptions},
    router::{Lane, Message, Router, home_of},
    shard::{
        Handler, Route, ShardOptions, ShardParts, Shared,
        admission::{Admission, Places},
        broker::BrokerPort,
        listener,
    },
    tasks::RouteTag,
    topics::{
        ChannelPattern, Topic,
        sessions::{SessionId, SessionMessage, SessionRoute, SessionSettings, Sessions, Start},
    },
};

const PATIENCE: Duration = Duration::from_secs(20);
const HANDSHAKE_MS: u64 = 600;

/// Shard 0 with a route at `/t`, which echoes; shard 1 is the test.
struct Stage {
    shard: Shard,
    peer: Option<Router<Message>>,
    heard: Vec<Message>,
    address: SocketAddr,
    places: Arc<Places>,
    shared: Shared,
    metrics: Arc<ShardMetrics>,
    _broker: EmbeddedBroker,
}

impl Stage {
    fn new() -> Self {
        let all: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
        let mut routers = Router::mesh(&all).into_iter();
        let (router, peer) = (routers.next().unwrap(), routers.next());
        let metrics = all[0].clone();
        let (mut listeners, address) =
            listener::bind_all("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let broker = EmbeddedBroker::start().unwrap();
        let port = broker.attach(Arc::new(|| ()), 1 << 20, metrics.clone());
        let places = Places::new(1);
        let shared = Shared {
            draining: Arc::new(AtomicBool::new(false)),
            ending: Arc::new(AtomicBool::new(false)),
            clock: Clock::start(),
        };
        let shard = Shard::new(ShardParts {
            ring: Ring::new(&RingOptions::default(), metrics.clone()).unwrap(),
            listener: listeners.pop().unwrap(),
            routes: vec![Route { path: "/t".to_owned(), handler: Handler::Echo }],
            broker: BrokerPort::Embedded(Box::new(port)),
            router,
            admission: Admission::new(places.clone(), 1_000),
            backlog: NodeBacklog::new(&[None], 2).of_shard(0),
            sessions: Sessions::new(ShardId(0), 2, vec![route()], metrics.clone()),
            options: options(),
            reloads: crossbeam_channel::never(),
            shared: shared.clone(),
            metrics: metrics.clone(),
        });
        let (shard, heard) = (shard.unwrap(), Vec::new());
        Self { shard, peer, heard, address, places, shared, metrics, _broker: broker }
    }

    /// Turns the shard until something holds.
    fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            if !self.shard.turn().unwrap() {
                self.shard.wire.ring.wait(Duration::from_millis(2)).unwrap();
            }
            if let Some(peer) = &mut self.peer {
                peer.collect(&mut self.heard);
            }
        }
    }

    /// What a client that sends this hears, to the end of its connection.
    fn client(&self, request: &str) -> Client {
        let (address, request) = (self.address, request.to_owned());
        Client(thread::spawn(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            String::from_utf8_lossy(&heard).into_owned()
        }))
    }

    fn hears(&mut self, client: Client) -> String {
        self.until("the client's end", |_| client.0.is_finished());
        client.0.join().unwrap()
    }

    /// The next message to the other shard.
    fn next_message(&mut self) -> SessionMessage {
        self.until("a message", |stage| !stage.heard.is_empty());
        match self.heard.remove(0) {
            Message::Sessions(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn next_question(&mut self) -> (SocketId, Question) {
        match self.next_message() {
            SessionMessage::Ask { from, question } => {
                assert_eq!(from.shard, ShardId(0));
                (from.socket, *question)
            }
            other => panic!("{other:?}"),
        }
    }

    fn say(&mut self, message: SessionMessage) {
        let peer = self.peer.as_mut().expect("it is there");
        peer.send(ShardId(0), Lane::Reply, Message::Sessions(message)).expect("there is room");
        peer.flush();
    }

    fn reply(&mut self, to: SocketId, reply: Reply) {
        self.say(SessionMessage::Reply { to, reply: Box::new(reply) });
    }

    /// Nobody is there, and nothing is taken.
    fn until_quiet(&mut self) {
        self.until("nobody is there", |stage| {
            let connections = &stage.metrics.connections;
            let there = connections.handshaking.get() + connections.open.get();
            there == 0 && stage.places.taken() == 0
        });
        assert!(self.heard.is_empty(), "{:?}", self.heard);
        assert_eq!(self.metrics.connections.held_bytes.get(), 0);
    }
}

struct Client(thread::JoinHandle<String>);

fn route() -> SessionRoute {
    SessionRoute {
        tag: RouteTag::new(0).unwrap(),
        path: "/t".into(),
        channel: ChannelPattern::default(),
        settings: SessionSettings { ttl_ms: 9_000, per_user: 9, topics_max: 9, conflate_ms: 0 },
        places: Places::new(9),
    }
}

fn options() -> ShardOptions {
    ShardOptions {
        message_limit_bytes: 1 << 20,
        outbox_limit_bytes: 1 << 20,
        held_limit_bytes: 1_000,
        handshakes_max: 100,
        handshake_ms: HANDSHAKE_MS,
        ping_ms: 60_000,
        idle_ms: 90_000,
        close_ms: 1_000,
        drain_ms: 1_000,
        spin_us: 0,
        origins: Vec::new(),
    }
}

/// A request for a session that lives on the other shard.
fn post() -> String {
    let names = (0..).map(|n| format!("user-{n}"));
    let mut away = names.filter(|name| home_of(&format!("user {name}"), 2) == ShardId(1));
    let body = format!(r#"{{"topics":["a"],"user_id":"{}"}}"#, away.next().unwrap());
    let length = body.len();
    format!("POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
}

fn upgrade(id: SessionId) -> String {
    format!(
        "GET /t?session={id} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

fn taken(id: SessionId) -> Reply {
    let start = Start { topics: vec![Topic::parse("a").unwrap()], conflate_ms: None };
    Reply::Taken { id, start: Arc::new(start) }
}

fn assert_busy(heard: &str) {
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains(r#""code":"busy""#), "{heard}");
    assert!(heard.contains("Retry-After: "), "{heard}");
}

#[test]
fn a_home_that_does_not_answer_in_time_is_busy_and_gets_its_session_back() {
    let mut stage = Stage::new();
    let begun = Instant::now();
    let client = stage.client(&post());
    let (socket, _) = stage.next_question();
    let heard = stage.hears(client);
    assert_busy(&heard);
    assert!(begun.elapsed() >= Duration::from_millis(HANDSHAKE_MS), "it had its time");
    let id = SessionId::random(ShardId(1));
    stage.reply(socket, Reply::Created { id, expires_in_ms: 9 });
    assert!(matches!(stage.next_message(), SessionMessage::Ended { id: ended } if ended == id));
    stage.until_quiet();
    assert_eq!(stage.metrics.topic_sessions.refused(Refused::Busy).get(), 1);
}

#[test]
fn a_home_that_has_ended_is_busy_at_once() {
    let mut stage = Stage::new();
    stage.peer = None;
    let (asks, takes) = (stage.client(&post()), upgrade(SessionId::random(ShardId(1))));
    let heard = stage.hears(asks);
    assert_busy(&heard);
    let client = stage.client(&takes);
    let heard = stage.hears(client);
    assert_busy(&heard);
    stage.until_quiet();
}

#[test]
fn an_upgrade_holds_its_place_while_it_waits() {
    let mut stage = Stage::new();
    let id = SessionId::random(ShardId(1));
    let client = stage.client(&upgrade(id));
    let (socket, question) = stage.next_question();
    assert!(matches!(question, Question::Take { id: asked, .. } if asked == id));
    assert_eq!(stage.places.taken(), 1);
    let other = stage.client(&upgrade(id));
    let heard = stage.hears(other);
    assert!(heard.contains("connection_limit"), "{heard}");
    let heard = stage.hears(client);
    assert_busy(&heard);
    stage.reply(socket, taken(id));
    assert!(matches!(stage.next_message(), SessionMessage::Ended { .. }));
    stage.until_quiet();
}

#[test]
fn what_was_said_behind_an_upgrade_waits_with_it() {
    let mut stage = Stage::new();
    let id = SessionId::random(ShardId(1));
    // A text, with a mask of zeros.
    let mut stream = TcpStream::connect(stage.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let frame = [&[0x81, 0x82, 0, 0, 0, 0][..], b"hi"].concat();
    stream.write_all(&[upgrade(id).as_bytes(), &frame].concat()).unwrap();
    let (socket, _) = stage.next_question();
    stage.reply(socket, taken(id));
    stage.until("echoed", |stage| stage.metrics.connections.messages_out.get() == 1);
    stage.say(SessionMessage::Close { id, socket });
    let client = Client(thread::spawn(move || {
        let mut heard = Vec::new();
        // A close frame that is not answered ends in a reset.
        let _ = stream.read_to_end(&mut heard);
        String::from_utf8_lossy(&heard).into_owned()
    }));
    let heard = stage.hears(client);
    assert!(heard.starts_with("HTTP/1.1 101 "), "{heard}");
    assert!(heard.contains("hi") && heard.contains("session deleted"), "{heard}");
    stage.until_quiet();
}

#[test]
fn a_websocket_tells_the_home_of_its_end() {
    let mut stage = Stage::new();
    let id = SessionId::random(ShardId(1));
    let mut stream = TcpStream::connect(stage.address).unwrap();
    stream.write_all(upgrade(id).as_bytes()).unwrap();
    let (socket, _) = stage.next_question();
    stage.reply(socket, taken(id));
    stage.until("upgraded", |stage| stage.metrics.connections.open.get() == 1);
    drop(stream);
    assert!(matches!(stage.next_message(), SessionMessage::Ended { id: ended } if ended == id));
    stage.until_quiet();
}

#[test]
fn a_drain_answers_who_waits() {
    let mut stage = Stage::new();
    let id = SessionId::random(ShardId(1));
    let (asks, takes) = (stage.client(&post()), stage.client(&upgrade(id)));
    let sockets = [stage.next_question().0, stage.next_question().0];
    stage.shared.draining.store(true, Relaxed);
    for client in [asks, takes] {
        let heard = stage.hears(client);
        assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains("draining"), "{heard}");
    }
    for socket in sockets {
        stage.reply(socket, taken(id));
        assert!(matches!(stage.next_message(), SessionMessage::Ended { .. }));
    }
    stage.until_quiet();
}

#[test]
fn a_reply_to_another_question_is_no_answer() {
    let mut stage = Stage::new();
    let id = SessionId::random(ShardId(1));
    let client = stage.client(&upgrade(id));
    let (socket, _) = stage.next_question();
    stage.reply(socket, Reply::Deleted);
    let heard = stage.hears(client);
    assert!(heard.starts_with("HTTP/1.1 404 "), "{heard}");
    stage.until_quiet();
}

#[test]
fn bodies_together_are_bounded() {
    let mut stage = Stage::new();
    let head = "POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n";
    let client = stage.client(&format!("{head}{}", "x".repeat(1_000)));
    let heard = stage.hears(client);
    assert!(heard.starts_with("HTTP/1.1 503 ") && heard.contains(r#""memory""#), "{heard}");
    stage.until_quiet();
}
