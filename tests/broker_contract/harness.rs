//! Both brokers as a shard and as workers see them.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::Duration,
};

use ringgate::{
    broker::{
        Command, Event,
        embedded::{EmbeddedBroker, Port, WorkerPort},
        redis::{Link, LinkLimits, Target, dial},
    },
    clock::Clock,
    metrics::ShardMetrics,
};

use crate::support::redis::RedisServer;

/// Until then, what a test waits for has happened or it fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A shard's end of a broker.
pub trait Client {
    fn submit(&mut self, command: Command);
    /// Works for a few milliseconds at most, and returns what happened.
    fn turn(&mut self) -> Vec<Event>;
    fn metrics(&self) -> &ShardMetrics;
}

/// A broker, and what workers do there.
pub trait Broker {
    type Client: Client;
    fn client(&self) -> Self::Client;
    fn publish(&self, channel: &str, payload: &[u8]);
    fn append(&self, key: &str, value: &[u8]);
    fn pop(&self, key: &str) -> Option<Vec<u8>>;
}

pub struct Embedded {
    pub broker: EmbeddedBroker,
    pub worker: WorkerPort,
}

impl Embedded {
    pub fn start() -> Self {
        let broker = EmbeddedBroker::start().unwrap();
        let worker = broker.worker_port();
        Self { broker, worker }
    }
}

pub struct EmbeddedClient {
    pub port: Port,
    pub woken: crossbeam_channel::Receiver<()>,
    pub metrics: Arc<ShardMetrics>,
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

pub struct Redis {
    pub server: RedisServer,
}

impl Redis {
    pub fn worker(&self) -> redis::Connection {
        redis::Client::open(self.server.url()).unwrap().get_connection().unwrap()
    }

    pub fn client_with(&self, url: &str, limits: LinkLimits) -> RedisClient {
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
pub struct RedisClient {
    pub link: Link,
    pub target: Target,
    pub socket: Option<TcpStream>,
    pub output: Vec<u8>,
    pub clock: Clock,
    pub metrics: Arc<ShardMetrics>,
}

impl RedisClient {
    pub fn exchange(
        &mut self,
        socket: &mut TcpStream,
        events: &mut Vec<Event>,
    ) -> Result<(), String> {
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
