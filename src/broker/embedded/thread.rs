//! The thread that owns the embedded broker, and the lanes to it.
//!
//! ```text
//! shards: Port ──┐ requests (one bounded lane)          ┌── events (one bounded lane each)
//!                ├──────────────→ thread: Core ─────────┤
//! workers ───────┘                                      └── answers (one each)
//! ```
//! The thread never waits for a shard. What does not fit into a shard's lane waits here:
//! answers without a limit of their own, since each belongs to a command that the port
//! has counted; messages as long as the shard has not more than `EMBEDDED_UNREAD_BYTES`
//! of them to read. Past that they are dropped and counted, and once the shard has read
//! most of the rest it is told `Down`, `Up` and `Subscribed` for each of its channels:
//! just what a lost connection to Redis looks like, so that it reads its caches again.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{
    client::{Client, Shared},
    core::{ClientId, Core, Outgoing},
    ports::{Port, Wake, WorkerPort},
};
use crate::{
    broker::{Command, Event},
    clock::Clock,
    limits::{
        EMBEDDED_BATCH, EMBEDDED_EVENTS, EMBEDDED_LIST_BYTES, EMBEDDED_REQUESTS, EMBEDDED_RETRY_MS,
    },
    metrics::ShardMetrics,
};

/// How long the thread sleeps when nothing waits; then it frees what has expired.
const IDLE: Duration = Duration::from_millis(250);

/// What happened in the broker. Written by its thread alone.
#[derive(Default, Debug)]
pub struct EmbeddedCounts {
    /// Bytes in all lists.
    pub list_bytes: AtomicU64,
    /// Values refused because the lists were full.
    pub refused: AtomicU64,
    /// Messages dropped because a shard did not read its lane.
    pub messages_dropped: AtomicU64,
}

/// Hears to how many shards a message was handed. Called by the broker's thread; must not
/// block. Dropped uncalled where that has stopped.
pub type Told = Box<dyn FnOnce(usize) + Send>;

/// What the thread is asked for.
pub(super) enum Request {
    Attach { wake: Wake, events: Sender<Event>, shared: Arc<Shared>, reply: Sender<ClientId> },
    Detach(ClientId),
    Execute(ClientId, Command),
    Pop { key: Arc<str>, timeout: Duration, reply: Sender<Option<Vec<u8>>> },
    Publish { channel: Arc<str>, payload: Vec<u8>, told: Option<Told> },
    Append { key: Arc<str>, value: Vec<u8>, ttl: Duration },
    Depth { key: Arc<str>, reply: Sender<usize> },
    Stop,
}

/// The embedded broker: a handle of its thread, which ends with `stop` or with the handle.
pub struct EmbeddedBroker {
    requests: Sender<Request>,
    counts: Arc<EmbeddedCounts>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedBroker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start() -> io::Result<Self> {
        let (requests, lane) = bounded(EMBEDDED_REQUESTS);
        let counts = Arc::new(EmbeddedCounts::default());
        let actor = Actor {
            core: Core::new(EMBEDDED_LIST_BYTES),
            clock: Clock::start(),
            clients: HashMap::new(),
            waiting: HashMap::new(),
            out: Vec::new(),
            counts: counts.clone(),
        };
        let name = "broker".to_string();
        let thread = thread::Builder::new().name(name).spawn(move || actor.run(&lane))?;
        Ok(Self { requests, counts, thread: Mutex::new(Some(thread)) })
    }

    /// A new port for one shard, which starts with the event `Up`. `wake` is called from
    /// the broker's thread whenever there is something for the shard to do, and must not
    /// block. `pending_bytes` bounds the pushes and fetches without an answer. The port is
    /// the one writer of `metrics.broker`.
    ///
    /// Blocks until the thread has answered. After `stop`, the port is down for ever.
    pub fn attach(&self, wake: Wake, pending_bytes: usize, metrics: Arc<ShardMetrics>) -> Port {
        let (events, lane) = bounded(EMBEDDED_EVENTS);
        let (reply, answer) = bounded(1);
        let shared = Arc::new(Shared::default());
        let attach = Request::Attach { wake, events, shared: shared.clone(), reply };
        // A thread that has stopped drops the request, and the answer fails.
        let _ = self.requests.send(attach);
        let client = answer.recv().ok();
        Port::new(client, self.requests.clone(), lane, shared, pending_bytes, metrics)
    }

    /// A port for one worker.
    pub fn worker_port(&self) -> WorkerPort {
        WorkerPort::new(self.requests.clone())
    }

    /// Values in the list `key`; 0 after `stop`.
    pub fn depth(&self, key: &str) -> usize {
        let (reply, answer) = bounded(1);
        let _ = self.requests.send(Request::Depth { key: key.into(), reply });
        answer.recv().unwrap_or(0)
    }

    /// The broker's counters.
    pub fn counts(&self) -> Arc<EmbeddedCounts> {
        self.counts.clone()
    }

    /// Ends the thread and waits for it. Workers that wait get nothing; ports are told
    /// `Down`. A second call does nothing.
    pub fn stop(&self) {
        let thread = match self.thread.lock() {
            Ok(mut thread) => thread.take(),
            Err(poisoned) => poisoned.into_inner().take(),
        };
        let Some(thread) = thread else { return };
        let _ = self.requests.send(Request::Stop);
        if thread.join().is_err() {
            log::error!("the embedded broker's thread panicked");
        }
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Waiter {
    until_ms: u64,
    reply: Sender<Option<Vec<u8>>>,
}

struct Actor {
    core: Core,
    clock: Clock,
    clients: HashMap<ClientId, Client>,
    /// Workers that wait for a list, the longest first. As many as there are workers.
    waiting: HashMap<Arc<str>, VecDeque<Waiter>>,
    out: Outgoing,
    counts: Arc<EmbeddedCounts>,
}

impl Actor {
    fn run(mut self, lane: &Receiver<Request>) {
        loop {
            let mut request = match lane.recv_timeout(self.patience()) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now_ms = self.clock.now().ms;
            let mut room = EMBEDDED_BATCH;
            while let Some(next) = request.take() {
                if matches!(next, Request::Stop) {
                    return self.farewell(lane);
                }
                self.handle(next, now_ms);
                self.deliver();
                room -= 1;
                request = if room > 0 { lane.try_recv().ok() } else { None };
            }
            self.give_up_waiting(now_ms);
            self.core.expire(now_ms);
            self.flush();
            self.counts.list_bytes.store(self.core.list_bytes() as u64, Ordering::Relaxed);
            self.counts.refused.store(self.core.refused(), Ordering::Relaxed);
        }
    }

    /// How long to wait for the next request.
    fn patience(&self) -> Duration {
        if self.clients.values().any(|client| !client.backlog.is_empty() || client.lossy) {
            return Duration::from_millis(EMBEDDED_RETRY_MS);
        }
        let now_ms = self.clock.now().ms;
        let next_ms = self.waiting.values().flatten().map(|waiter| waiter.until_ms).min();
        next_ms
            .map_or(IDLE, |next_ms| IDLE.min(Duration::from_millis(next_ms.saturating_sub(now_ms))))
    }

    fn handle(&mut self, request: Request, now_ms: u64) {
        match request {
            Request::Attach { wake, events, shared, reply } => {
                let client = self.core.attach();
                let state = Client::new(wake, events, shared);
                self.clients.insert(client, state);
                self.out.push((client, Event::Up));
                let _ = reply.send(client);
            }
            Request::Detach(client) => {
                self.core.detach(client);
                self.clients.remove(&client);
            }
            Request::Execute(client, command) => {
                let pushed = match &command {
                    Command::Push { queue, .. } => Some(queue.key().clone()),
                    _ => None,
                };
                self.core.execute(client, command, now_ms, &mut self.out);
                pushed.into_iter().for_each(|key| self.serve(&key, now_ms));
            }
            Request::Pop { key, timeout, reply } => {
                let until_ms = now_ms.saturating_add(timeout.as_millis() as u64);
                let waiter = Waiter { until_ms, reply };
                self.waiting.entry(key.clone()).or_default().push_back(waiter);
                self.serve(&key, now_ms);
            }
            Request::Publish { channel, payload, told } => {
                let subscribers = self.core.publish(&channel, payload, &mut self.out);
                told.into_iter().for_each(|told| told(subscribers));
            }
            Request::Append { key, value, ttl } => {
                let ttl_ms = ttl.as_millis() as u64;
                // The core has counted a refusal; a worker has no use for it, since the
                // result was published and the cache is a second way.
                let _ = self.core.append_expiring(key.clone(), value, ttl_ms, now_ms);
                self.serve(&key, now_ms);
            }
            Request::Depth { key, reply } => {
                let _ = reply.send(self.core.depth(&key));
            }
            Request::Stop => {}
        }
    }

    /// Gives values of a list to the workers that wait for it.
    fn serve(&mut self, key: &Arc<str>, now_ms: u64) {
        let Some(waiters) = self.waiting.get_mut(key) else { return };
        while !waiters.is_empty() {
            let Some(value) = self.core.pop(key, now_ms) else { return };
            let Some(waiter) = waiters.pop_front() else { return };
            // A worker that is gone gives its value back: to the next, or to the list.
            if let Err(returned) = waiter.reply.send(Some(value)) {
                self.core.unpop(key, returned.0.unwrap_or_default());
            }
        }
        self.waiting.remove(key);
    }

    /// Tells workers whose time is over. They leave their wait to this thread, so that a
    /// value cannot cross with a timeout and be lost.
    fn give_up_waiting(&mut self, now_ms: u64) {
        self.waiting.retain(|_, waiters| {
            waiters.retain(|waiter| {
                let waits = waiter.until_ms > now_ms;
                if !waits {
                    let _ = waiter.reply.send(None);
                }
                waits
            });
            !waiters.is_empty()
        });
    }

    /// Moves events into the lanes, or behind them.
    fn deliver(&mut self) {
        for (client, event) in self.out.drain(..) {
            let Some(client) = self.clients.get_mut(&client) else { continue };
            let dropped = client.tell(event);
            self.counts.messages_dropped.fetch_add(dropped, Ordering::Relaxed);
        }
    }

    /// Tries full lanes again, and wakes each shard for which there is something to do.
    fn flush(&mut self) {
        for (&id, client) in &mut self.clients {
            client.drain();
            if client.lossy && client.has_caught_up() {
                client.lossy = false;
                let reason = "messages were dropped because the shard did not read them";
                client.queue(Event::Down { reason: reason.to_string() });
                client.queue(Event::Up);
                self.core.channels_of(id).cloned().for_each(|channel| {
                    client.queue(Event::Subscribed(channel));
                });
            }
            let held = client.shared.holds.swap(false, Ordering::AcqRel);
            if std::mem::take(&mut client.touched) || held {
                (client.wake)();
            }
        }
    }

    /// The thread ends: whoever waits is told by the end of his lane.
    fn farewell(mut self, lane: &Receiver<Request>) {
        self.flush();
        self.waiting.clear();
        while lane.try_recv().is_ok() {}
        let wakes: Vec<Wake> = self.clients.drain().map(|(_, client)| client.wake).collect();
        wakes.iter().for_each(|wake| wake());
    }
}
