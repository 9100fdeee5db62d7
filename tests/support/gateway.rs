//! A gateway in the test's process, on ports of its own.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use ringgate::{
    broker::embedded::WorkerPort,
    config::{self, Sources},
    gateway::{Ender, Gateway},
    metrics::ShardMetrics,
    ws::CloseCode,
};

use super::client::PATIENCE;

/// Ends at once when it is dropped.
pub struct TestGateway {
    gateway: Option<Gateway>,
    ender: Ender,
    /// Subscriptions that no session has.
    kept_channels: u64,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl TestGateway {
    /// Starts one on `cores` with the flags of `ringgate serve`, e.g. `("echo", "/echo")`.
    pub fn start(cores: &str, flags: &[(&'static str, &str)]) -> Self {
        Self::start_with(cores, flags, None)
    }

    /// Likewise, with routes from a configuration file. Without one sessions end with their
    /// connection, so that a test need not wait for the end of those that it left.
    pub fn start_with(cores: &str, flags: &[(&'static str, &str)], file: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ringgate.toml");
        std::fs::write(&path, file.unwrap_or(NO_RESUME)).unwrap();
        let mut sources =
            Sources { file: Some(path), cores_allowed: vec![0, 1], ..Sources::default() };
        let given = [("listen", "127.0.0.1:0"), ("admin", "127.0.0.1:0"), ("cores", cores)];
        for (flag, value) in given.iter().chain(flags) {
            sources.flags.insert(*flag, (*value).to_owned());
        }
        let effective = config::load(&sources).unwrap_or_else(|error| panic!("{error}"));
        let gateway = Gateway::start(&effective.config, "{}".to_owned())
            .unwrap_or_else(|error| panic!("{error}"));
        let admin = gateway.admin_address().expect("an admin port");
        let per_shard = file.is_some_and(|text| text.contains("\"per-shard\""));
        let kept_channels = if per_shard { effective.config.cores.len() as u64 } else { 0 };
        let (ender, address) = (gateway.ender(), gateway.address());
        Self { ender, kept_channels, address, admin, gateway: Some(gateway) }
    }

    /// Sum over the shards.
    pub fn sum(&self, value: impl Fn(&ShardMetrics) -> u64) -> u64 {
        self.each(value).into_iter().sum()
    }

    /// One value of each shard.
    pub fn each(&self, value: impl Fn(&ShardMetrics) -> u64) -> Vec<u64> {
        let gateway = self.gateway.as_ref().expect("running");
        gateway.metrics().iter().map(|shard| value(shard)).collect()
    }

    /// A connection to that shard that has said nothing yet; the kernel chooses, so others
    /// are made and closed.
    pub fn stream_to(&self, shard: usize) -> TcpStream {
        let mut others = Vec::new();
        loop {
            let accepted = || self.each(|m| m.connections.accepted.get());
            let before = accepted();
            let stream = TcpStream::connect(self.address).expect("it listens");
            self.until("accepted", |_| accepted() != before);
            if accepted()[shard] > before[shard] {
                return stream;
            }
            others.push(stream);
            assert!(others.len() < 200, "the kernel gives shard {shard} nothing");
        }
    }

    /// Awaits a condition on the counters.
    pub fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Every gauge that counts something open is back to zero.
    pub fn until_quiet(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.open_things().is_empty() {
            assert!(Instant::now() < deadline, "still there: {:?}", self.open_things());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// How often each close code was counted, those that were.
    pub fn closed(&self) -> Vec<(u16, u64)> {
        let count = |code: CloseCode| self.sum(|m| m.connections.closed(code).get());
        let counts = CloseCode::ALL.into_iter().map(|code| (code.number(), count(code)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    fn open_things(&self) -> Vec<(&'static str, u64)> {
        let things = [
            ("connections", self.sum(|m| m.connections.open.get())),
            ("handshaking", self.sum(|m| m.connections.handshaking.get())),
            ("outbox bytes", self.sum(|m| m.connections.outbox_bytes.get())),
            ("held bytes", self.sum(|m| m.connections.held_bytes.get())),
            ("sessions", self.sum(|m| m.tasks.sessions.get())),
            ("detached sessions", self.sum(|m| m.tasks.sessions_detached.get())),
            ("bytes of texts", self.sum(|m| m.tasks.text_bytes.get())),
            ("subscriptions", self.sum(|m| m.broker.subscriptions.get()) - self.kept_channels),
            ("topics", self.sum(|m| m.topics.topics.get())),
            ("topic subscriptions", self.sum(|m| m.topics.subscriptions.get())),
            ("topic sessions that wait", self.sum(|m| m.topic_sessions.waiting.get())),
            ("topic sessions in use", self.sum(|m| m.topic_sessions.connected.get())),
            ("bytes of topic sessions", self.sum(|m| m.topic_sessions.bytes.get())),
            ("pending bytes", self.sum(|m| m.broker.pending_bytes.get())),
        ];
        things.into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// For a worker of the test's own on the embedded broker.
    pub fn worker_port(&self) -> Option<WorkerPort> {
        self.gateway.as_ref().expect("running").worker_port()
    }

    pub fn ender(&self) -> &Ender {
        &self.ender
    }

    /// Waits for a drain to end.
    pub fn wait(mut self) -> std::io::Result<()> {
        self.gateway.take().expect("running").wait()
    }

    /// The admin port's answer: status line and headers, and the body.
    pub fn admin_get(&self, path: &str) -> (String, String) {
        http_get(self.admin, path)
    }
}

/// The default route, but for sessions that outlive their connection.
const NO_RESUME: &str = r#"
[[route]]
path = "/ws/asr"
kind = "tasks"
resume_ms = 0
"#;

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            self.ender.end();
            let ended = gateway.wait();
            if !std::thread::panicking() {
                ended.expect("the gateway ended well");
            }
        }
    }
}

/// A plain GET; head and body.
pub fn http_get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}
