//! The admin port over real sockets, well-behaved and otherwise.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Instant,
};

use serde_json::{Value, json};

use super::*;
use crate::{broker::embedded::EmbeddedBroker, topics::ChannelPattern};

mod publish;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An admin port and what stands behind it.
struct Port {
    admin: Admin,
    broker: EmbeddedBroker,
    message_bytes: Arc<AtomicUsize>,
    shards: Vec<Arc<ShardMetrics>>,
    draining: Arc<AtomicBool>,
    drains: Arc<AtomicUsize>,
}

/// Name and channels of the topics routes.
const TOPICS: [(&str, &str); 2] = [("/ws/topics", "{topic}"), ("/ws/prices", "prices:{topic}")];

impl Port {
    fn start(bounds: Bounds) -> Self {
        Self::start_with(bounds, |_| {})
    }

    fn start_with(bounds: Bounds, change: impl FnOnce(&mut AdminState)) -> Self {
        let shards: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
        for shard in &shards {
            shard.broker.up.set(1);
            shard.broker.canary.set(1);
            shard.connections.listening.set(1);
        }
        let draining = Arc::new(AtomicBool::new(false));
        let drains = Arc::new(AtomicUsize::new(0));
        let broker = EmbeddedBroker::start().unwrap();
        let message_bytes = Arc::new(AtomicUsize::new(100_000));
        let route =
            |(path, channel): (&str, &str)| (path.into(), ChannelPattern::parse(channel).unwrap());
        let mut state = AdminState {
            node: crate::ids::NodeId::random(),
            metrics: shards.clone(),
            backlog: Arc::new(NodeBacklog::new(&[], 2)),
            clock: Clock::start(),
            draining: Arc::clone(&draining),
            config_json: Arc::new(Mutex::new(r#"{"redis":"redis://:***@h"}"#.to_owned())),
            needs_canary: true,
            hosts: vec!["gate.example".to_owned()],
            publishing: Publishing {
                routes: TOPICS.map(route).into(),
                port: Some(broker.worker_port()),
                message_bytes: message_bytes.clone(),
            },
            embedded: Some(Arc::default()),
            on_drain: Box::new({
                let drains = Arc::clone(&drains);
                move || {
                    drains.fetch_add(1, Relaxed);
                }
            }),
        };
        change(&mut state);
        let admin = start_bounded(LOOPBACK, state, bounds).unwrap();
        Self { admin, broker, message_bytes, shards, draining, drains }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.admin.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        self.ask_as("localhost", method, path, headers, b"")
    }

    fn ask_as(&self, host: &str, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        );
        // What is refused by its head is not read to its end.
        let _ = stream.write_all(&[head.as_bytes(), body].concat());
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// One sample of `/metrics`.
    fn sample(&self, series: &str) -> f64 {
        let body = self.get("/metrics").body;
        let line = body.lines().find_map(|line| line.strip_prefix(series)).expect(series);
        line.trim().parse().unwrap()
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn health_and_readiness_are_two_things() {
    let port = Port::start(Bounds::DEFAULT);
    let ready = port.get("/readyz");
    assert_eq!((ready.status, ready.json()), (200, json!({"ready": true, "reasons": []})));

    port.shards[1].broker.up.set(0);
    let away = port.get("/readyz");
    let reasons = json!(["shard 1: broker unavailable"]);
    assert_eq!((away.status, away.json()), (503, json!({"ready": false, "reasons": reasons})));

    port.shards[1].broker.up.set(1);
    port.shards[0].broker.canary.set(0);
    port.shards[0].broker.canary_reason.set("NOPERM");
    port.shards[1].broker.canary.set(0);
    let unproven = port.get("/readyz");
    let reason =
        |shard| format!("shard {shard}: no canary message has come through Redis pub/sub yet");
    let reasons = json!([reason(0) + ": NOPERM", reason(1)]);
    assert_eq!((unproven.status, &unproven.json()["reasons"]), (503, &reasons));

    port.shards.iter().for_each(|shard| shard.broker.canary.set(1));
    port.draining.store(true, Relaxed);
    port.shards[0].connections.listening.set(0);
    let draining = port.get("/readyz");
    let reasons = json!(["draining", "shard 0: listener closed"]);
    assert_eq!((draining.status, &draining.json()["reasons"]), (503, &reasons));

    let health = port.get("/healthz");
    assert_eq!((health.status, health.json()), (200, json!({"status": "ok"})));
    port.admin.stop();
}

#[test]
fn metrics_are_openmetrics_and_live() {
    let port = Port::start(Bounds::DEFAULT);
    let scrape = port.get("/metrics");
    assert_eq!(scrape.status, 200);
    assert!(
        scrape
            .head
            .contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(scrape.body.ends_with("\n# EOF\n"));
    port.shards[1].connections.open.set(42);
    assert_eq!(port.sample("ringgate_connections{shard=\"1\"}"), 42.0);
    assert_eq!(port.sample("ringgate_admin_connections"), 1.0);
    assert_eq!(port.sample("ringgate_admin_cut_total{reason=\"deadline\"}"), 0.0);
    port.admin.stop();
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let port = Port::start(Bounds::DEFAULT);
    let page = port.get("/");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/html"));
    assert!(!page.body.contains("http://") && !page.body.contains("https://"));
    // Each metric that the page names is one that the scrape has.
    let metrics = port.get("/metrics").body;
    let rows = page.body.lines().filter_map(|line| line.strip_prefix("  [\""));
    let names: Vec<&str> = rows.map(|row| row.split('"').next().unwrap()).collect();
    assert!(names.len() > 10);
    for name in names {
        assert!(metrics.contains(&format!("\nringgate_{name}{{")), "{name}");
    }
    port.admin.stop();
}

#[test]
fn the_configuration_is_given_as_it_is() {
    let port = Port::start(Bounds::DEFAULT);
    assert_eq!(port.get("/config").body, r#"{"redis":"redis://:***@h"}"#);
    assert_eq!(port.get("/nowhere").status, 404);
    assert_eq!(port.ask("POST", "/metrics", "Content-Length: 0\r\n").status, 405);
    port.admin.stop();
}

/// A second SIGTERM means "at once"; a second request must not.
#[test]
fn drain_is_passed_on_once() {
    let port = Port::start(Bounds::DEFAULT);
    assert_eq!(port.get("/drain").status, 405);
    for _ in 0..3 {
        assert_eq!(port.ask("POST", "/drain", "").status, 202);
    }
    assert_eq!(port.drains.load(Relaxed), 1);
    port.admin.stop();
}

#[test]
fn drain_does_nothing_while_draining() {
    let port = Port::start(Bounds::DEFAULT);
    port.draining.store(true, Relaxed);
    assert_eq!(port.ask("POST", "/drain", "").status, 202);
    assert_eq!(port.drains.load(Relaxed), 0);
    port.admin.stop();
}

#[test]
fn another_sites_page_cannot_drain() {
    let port = Port::start(Bounds::DEFAULT);
    for origin in ["https://evil.example", "null", "http://localhost:1"] {
        let answer = port.ask("POST", "/drain", &format!("Origin: {origin}\r\n"));
        assert_eq!(answer.status, 403, "{origin}");
    }
    assert_eq!(port.drains.load(Relaxed), 0);
    assert_eq!(port.ask("POST", "/drain", "Origin: http://localhost\r\n").status, 202);
    assert_eq!(port.drains.load(Relaxed), 1);
    port.admin.stop();
}

/// A site whose name was made to lead here is its own origin to the browser.
#[test]
fn a_name_that_leads_here_is_not_enough_to_drain() {
    let port = Port::start(Bounds::DEFAULT);
    let drain =
        |host: &str, headers: &str| port.ask_as(host, "POST", "/drain", headers, b"").status;
    for host in [
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
    ] {
        let headers = format!("Origin: http://{host}\r\n");
        assert_eq!((drain(host, &headers), drain(host, "")), (403, 403), "{host}");
        assert_eq!(port.ask_as(host, "GET", "/healthz", "", b"").status, 200, "reading is free");
    }
    assert_eq!(drain("localhost", "Host: evil.example\r\n"), 403, "two hosts are none");
    let refusal = port.ask_as("evil.example", "POST", "/drain", "", b"").json();
    assert_eq!(refusal["code"], "host");
    assert!(refusal["error"].as_str().unwrap().contains("admin_hosts"), "{refusal}");
    assert_eq!(port.drains.load(Relaxed), 0);
    for host in ["127.0.0.1:9090", "[::1]:9090", "10.1.2.3", "LocalHost:1", "Gate.example:9090"] {
        assert_eq!(drain(host, &format!("Origin: http://{host}\r\n")), 202, "{host}");
    }
    port.admin.stop();
}

/// Two places, both taken by clients that say nothing: the scraper has to wait for the
/// deadline, not for ever.
#[test]
fn stuck_clients_give_their_places_back() {
    let deadline = Duration::from_millis(300);
    let port = Port::start(Bounds { connections: 2, deadline, ..Bounds::DEFAULT });
    let start = Instant::now();
    let silent = port.connect();
    let mut dripping = port.connect();
    dripping.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    assert_eq!(port.get("/healthz").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    wait_until("both are cut off", || {
        port.sample("ringgate_admin_cut_total{reason=\"idle\"}") == 1.0
            && port.sample("ringgate_admin_cut_total{reason=\"deadline\"}") == 1.0
    });
    assert_eq!(port.sample("ringgate_admin_connections"), 1.0);
    drop(silent);
    port.admin.stop();
}

/// Bytes one by one must not renew the deadline.
#[test]
fn a_dripping_request_is_cut_off_too() {
    let deadline = Duration::from_millis(300);
    let port = Port::start(Bounds { deadline, ..Bounds::DEFAULT });
    let mut stream = port.connect();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    wait_until("the connection is cut", || stream.write_all(b"X").is_err());
    assert_eq!(port.sample("ringgate_admin_cut_total{reason=\"deadline\"}"), 1.0);
    port.admin.stop();
}

#[test]
fn a_kept_connection_may_ask_for_longer_than_one_deadline() {
    let deadline = Duration::from_secs(1);
    let port = Port::start(Bounds { deadline, ..Bounds::DEFAULT });
    let mut stream = port.connect();
    let start = Instant::now();
    while start.elapsed() < 2 * deadline {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: admin\r\n\r\n").unwrap();
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "after {:?}", start.elapsed());
    }
    port.admin.stop();
}

#[test]
fn a_request_past_its_bound_ends_the_connection() {
    let port = Port::start(Bounds { request_bytes: 1_000, ..Bounds::DEFAULT });
    let mut stream = port.connect();
    let _ = write!(
        stream,
        "POST /drain HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(1_000)
    );
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(port.drains.load(Relaxed), 0);
    assert_eq!(port.sample("ringgate_admin_cut_total{reason=\"too_large\"}"), 1.0);
    port.admin.stop();
}

#[test]
fn stop_does_not_wait_for_the_stuck_and_frees_the_port() {
    let port = Port::start(Bounds::DEFAULT);
    let address = port.admin.local_addr();
    let mut stuck = port.connect();
    stuck.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert_eq!(port.get("/healthz").status, 200);
    let start = Instant::now();
    port.admin.stop();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_taken_port_is_told_with_its_fix() {
    let port = Port::start(Bounds::DEFAULT);
    let address = port.admin.local_addr();
    let state = AdminState {
        node: crate::ids::NodeId::random(),
        metrics: Vec::new(),
        backlog: Arc::new(NodeBacklog::new(&[], 0)),
        clock: Clock::start(),
        draining: Arc::default(),
        config_json: Arc::default(),
        needs_canary: false,
        hosts: Vec::new(),
        publishing: Publishing { routes: Vec::new(), port: None, message_bytes: Arc::default() },
        embedded: None,
        on_drain: Box::new(|| {}),
    };
    let text = start(address, state).unwrap_err().to_string();
    assert!(text.starts_with(&format!("admin = \"{address}\": ")), "{text}");
    assert!(text.contains(&format!("sport = :{}", address.port())), "{text}");
    port.admin.stop();
}
