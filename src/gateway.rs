//! The process: shards, broker, built-in worker and admin port, started and ended together.
//!
//! What `serve` and `demo` run, and what the tests start in their own process. Nothing of
//! the data path is here.

mod problems;
mod publishing;
mod queues;
mod raw;
pub mod reload;
mod sessions;
mod shares;
mod topics;

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use crossbeam_channel::{self as channel, Receiver, Sender};

pub use self::problems::StartError;
use crate::{
    admin::{self, Admin, AdminState},
    backlog::{GateConfig, Marks, NodeBacklog, ShardBacklog},
    broker::{
        embedded::EmbeddedBroker,
        redis::{Link, LinkLimits, Target},
    },
    clock::Clock,
    config::{self, Config, Dialect, Results, RouteKind, TasksRoute},
    ids::NodeId,
    metrics::ShardMetrics,
    ring::{Ring, RingOptions, Waker},
    router::{Message, Router},
    rt,
    shard::{
        Handler, Route, Shard, ShardParts, Shared, admission::Admission, admission::Places,
        broker::BrokerPort, listener, reload::Reload,
    },
    tasks::{OpenIds, RouteTag, Tasks, TasksConfig, raw::RawTasks},
    topics::{
        Topics,
        sessions::{SessionRoute, Sessions},
    },
    worker::{self, Tally, WorkOptions},
};

/// A running gateway. Ends when it is drained; dropping it does not end it.
pub struct Gateway {
    address: SocketAddr,
    node: NodeId,
    shared: Shared,
    wakers: Vec<Waker>,
    metrics: Vec<Arc<ShardMetrics>>,
    backlog: Arc<NodeBacklog>,
    places: Arc<Places>,
    reloads: Vec<Sender<Reload>>,
    config_json: Arc<Mutex<String>>,
    /// Longest message, for the admin port; a reload changes it.
    message_bytes: Arc<AtomicUsize>,
    shards: Vec<JoinHandle<()>>,
    ended: Receiver<(usize, io::Result<()>)>,
    admin: Option<Admin>,
    embedded: Option<Embedded>,
}

/// Asks a gateway to end, from any thread.
#[derive(Clone)]
pub struct Ender {
    shared: Shared,
    wakers: Vec<Waker>,
}

struct Embedded {
    broker: Arc<EmbeddedBroker>,
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<Tally>>,
}

impl Gateway {
    /// Starts everything; when it returns, clients can connect. `config_json`: what the
    /// admin port shows as the configuration, secrets masked.
    ///
    /// # Errors
    /// A port in use, a core that is not there, a kernel without io_uring.
    pub fn start(config: &Config, config_json: String) -> Result<Self, StartError> {
        let count = config.cores.len();
        let (listeners, address) = listener::bind_all(config.listen, count)
            .map_err(|error| StartError(problems::listen(config.listen, &error)))?;
        let shared = Shared {
            draining: Arc::new(AtomicBool::new(false)),
            ending: Arc::new(AtomicBool::new(false)),
            clock: Clock::start(),
        };
        let metrics: Vec<_> = (0..count).map(|_| Arc::new(ShardMetrics::default())).collect();
        let target = config.redis.as_ref().map(|url| Target::parse(url.expose()));
        let target = target.transpose().map_err(|error| StartError(error.to_string()))?;
        let embedded = match target {
            Some(_) => None,
            None => Some(Embedded::start(config)?),
        };
        let gates: Vec<_> = config.routes.iter().map(gate_config).collect();
        let backlog = Arc::new(NodeBacklog::new(&gates, count));
        let places = Places::new(config.limits.connections);
        let (ended_sender, ended) = channel::bounded(count);
        let node = NodeId::random();
        let session_routes = sessions::routes(config);
        let mut routers = Router::mesh(&metrics).into_iter();
        let mut gateway = Self {
            address,
            node,
            shared,
            wakers: Vec::new(),
            metrics,
            backlog,
            places,
            reloads: Vec::new(),
            config_json: Arc::new(Mutex::new(config_json)),
            message_bytes: Arc::new(AtomicUsize::new(config.limits.message_bytes)),
            shards: Vec::new(),
            ended,
            admin: None,
            embedded,
        };
        for (index, listener) in listeners.into_iter().enumerate() {
            let (reload, reloads) = channel::bounded(1);
            gateway.reloads.push(reload);
            let seed = ShardSeed {
                node,
                index,
                core: config.cores[index],
                listener,
                router: routers.next().expect("one for each shard"),
                target: target.clone(),
                embedded: gateway.embedded.as_ref().map(|embedded| embedded.broker.clone()),
                admission: Admission::new(
                    gateway.places.clone(),
                    shares::upgrades_per_second(config, index),
                ),
                backlog: gateway.backlog.of_shard(index),
                session_routes: session_routes.clone(),
                metrics: gateway.metrics[index].clone(),
                reloads,
                shared: gateway.shared.clone(),
                config: config.clone(),
            };
            if let Err(error) = gateway.start_shard(seed, ended_sender.clone()) {
                gateway.ender().end();
                return Err(error);
            }
        }
        gateway.start_admin(config)?;
        Ok(gateway)
    }

    fn start_shard(
        &mut self,
        seed: ShardSeed,
        ended: Sender<(usize, io::Result<()>)>,
    ) -> Result<(), StartError> {
        let (index, core) = (seed.index, seed.core);
        let (started_sender, started) = channel::bounded(1);
        let name = format!("ringgate-{index}");
        let problem = |error: &io::Error| StartError(problems::shard(core, error));
        let handle = rt::spawn_pinned(core, &name, move || async move {
            let shard = seed.grow();
            let shard = match shard {
                Ok((shard, waker)) => {
                    let _ = started_sender.send(Ok(waker));
                    shard
                }
                Err(error) => {
                    let _ = started_sender.send(Err(error));
                    return Ok(());
                }
            };
            crate::shard::run(shard).await
        })
        .map_err(|error| problem(&error))?;
        let outcome = started.recv();
        // Watches the thread, so that even a panic of it is heard of.
        let watcher = std::thread::spawn(move || {
            let result = handle.join().unwrap_or_else(|_| Err(io::Error::other("panicked")));
            let _ = ended.send((index, result));
        });
        self.shards.push(watcher);
        match outcome {
            Ok(Ok(waker)) => {
                self.wakers.push(waker);
                Ok(())
            }
            Ok(Err(error)) => Err(problem(&error)),
            // The executor itself could not be made: the watcher has heard why.
            Err(_) => match self.ended.recv() {
                Ok((_, Err(error))) => Err(problem(&error)),
                _ => Err(StartError(format!("core {core}: its executor ended at once"))),
            },
        }
    }

    fn start_admin(&mut self, config: &Config) -> Result<(), StartError> {
        let Some(listen) = config.admin else { return Ok(()) };
        let ender = self.ender();
        let state = AdminState {
            node: self.node,
            metrics: self.metrics.clone(),
            backlog: self.backlog.clone(),
            clock: self.shared.clock,
            draining: self.shared.draining.clone(),
            config_json: self.config_json.clone(),
            hosts: config.admin_hosts.clone(),
            publishing: self.publishing(config),
            needs_canary: config.redis.is_some() && config.topics_routes().next().is_some(),
            embedded: self.embedded.as_ref().map(|embedded| embedded.broker.counts()),
            on_drain: Box::new(move || ender.drain()),
        };
        let admin = admin::start(listen, state).map_err(|error| {
            self.ender().end();
            StartError(error.to_string())
        })?;
        self.admin = Some(admin);
        Ok(())
    }

    /// Where clients connect; with the port that was given for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its name among the gateways that share its Redis.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Where the admin port listens, where there is one.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(Admin::local_addr)
    }

    /// The counters of each shard.
    pub fn metrics(&self) -> &[Arc<ShardMetrics>] {
        &self.metrics
    }

    /// A handle to end it with.
    pub fn ender(&self) -> Ender {
        Ender { shared: self.shared.clone(), wakers: self.wakers.clone() }
    }

    /// Waits until every shard has drained, then ends the rest. A shard that fails takes
    /// the others with it: half a gateway would be a port on which every second client
    /// hangs.
    ///
    /// # Errors
    /// The first shard that failed.
    pub fn wait(mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        for _ in 0..self.shards.len() {
            let Ok((index, result)) = self.ended.recv() else { break };
            if let Err(error) = result {
                log::error!("shard {index} failed: {error}");
                self.ender().end();
                outcome = outcome.and(Err(error));
            }
        }
        for watcher in self.shards.drain(..) {
            let _ = watcher.join();
        }
        if let Some(embedded) = self.embedded.take() {
            embedded.stop();
        }
        if let Some(admin) = self.admin.take() {
            admin.stop();
        }
        outcome
    }
}

impl Ender {
    /// No new connections; open work may finish; everyone is told 1012.
    pub fn drain(&self) {
        self.shared.draining.store(true, Relaxed);
        self.wakers.iter().for_each(Waker::wake);
    }

    /// At once, whatever is open.
    pub fn end(&self) {
        self.shared.ending.store(true, Relaxed);
        self.drain();
    }

    /// Whether a drain was asked for.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Relaxed)
    }
}

impl Embedded {
    fn start(config: &Config) -> Result<Self, StartError> {
        let problem = |error: io::Error| StartError(format!("the embedded broker: {error}"));
        let broker = Arc::new(EmbeddedBroker::start().map_err(problem)?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut workers = Vec::new();
        raw::warn_without_workers(config);
        for queue in queues::of_audio(config) {
            for _ in 0..config.worker.concurrency {
                let (port, index) = (broker.worker_port(), workers.len());
                let options = WorkOptions::default();
                let worker =
                    worker::builtin::spawn(port, queue.key(), options, index, stop.clone());
                workers.push(worker.map_err(problem)?);
            }
        }
        Ok(Self { broker, stop, workers })
    }

    fn stop(self) {
        self.stop.store(true, Relaxed);
        self.broker.stop();
        for worker in self.workers {
            if let Ok(tally) = worker.join() {
                log::debug!("built-in worker: {tally:?}");
            }
        }
    }
}

/// What a shard grows from, on its own thread.
struct ShardSeed {
    node: NodeId,
    index: usize,
    core: usize,
    listener: OwnedFd,
    router: Router<Message>,
    target: Option<Target>,
    embedded: Option<Arc<EmbeddedBroker>>,
    admission: Admission,
    backlog: ShardBacklog,
    session_routes: Vec<SessionRoute>,
    metrics: Arc<ShardMetrics>,
    reloads: Receiver<Reload>,
    shared: Shared,
    config: Config,
}

impl ShardSeed {
    fn grow(self) -> io::Result<(Shard, Waker)> {
        let config = &self.config;
        let ring_options = RingOptions {
            receive_buffers: config.ring.receive_buffers,
            receive_buffer_bytes: config.ring.receive_buffer_bytes,
            registered_sockets: self.expected_sockets(),
            ..RingOptions::default()
        };
        let ring = Ring::new(&ring_options, self.metrics.clone())?;
        let waker = ring.waker().clone();
        let (broker, routes, options) =
            (self.broker(&waker), self.routes(), shares::options(&self.config));
        let (me, shards) = (self.router.me(), self.router.shards());
        let sessions = Sessions::new(me, shards, self.session_routes, self.metrics.clone());
        let shard = Shard::new(ShardParts {
            ring,
            listener: self.listener,
            routes,
            broker,
            router: self.router,
            admission: self.admission,
            backlog: self.backlog,
            sessions,
            options,
            reloads: self.reloads,
            shared: self.shared,
            metrics: self.metrics,
        })?;
        Ok((shard, waker))
    }

    fn broker(&self, waker: &Waker) -> BrokerPort {
        if let Some(target) = &self.target {
            let limits = LinkLimits {
                pending_bytes: shares::pending_bytes(&self.config),
                ..LinkLimits::default()
            };
            let name = format!("ringgate-{}-{}", std::process::id(), self.index);
            let seed = u64::from(std::process::id()) << 16 | self.index as u64;
            // One shard looks after the streams for all.
            let streams = if self.index == 0 { queues::streams(&self.config) } else { Vec::new() };
            let mut link = Link::new(target, &name, limits, self.metrics.clone(), seed)
                .with_queues(queues::all(&self.config))
                .with_upkeep(streams);
            if self.config.topics_routes().next().is_some() {
                link = link.with_canary(&self.node.canary_channel(self.index));
            }
            return BrokerPort::redis(link, target.clone(), waker.clone());
        }
        let embedded = self.embedded.as_ref().expect("a shard has Redis or the embedded broker");
        let waker = waker.clone();
        let wake = Arc::new(move || waker.wake());
        let port = embedded.attach(wake, shares::pending_bytes(&self.config), self.metrics.clone());
        BrokerPort::Embedded(Box::new(port))
    }

    /// A shard's part of all connections, with a quarter for the unevenness of the kernel's
    /// spread, and some for handshakes.
    fn expected_sockets(&self) -> u32 {
        let share = self.config.limits.connections / self.config.cores.len();
        u32::try_from(share + share / 4 + 1024).unwrap_or(u32::MAX)
    }

    fn routes(&self) -> Vec<Route> {
        let open_ids = OpenIds::default();
        let (me, shards) = (self.router.me(), self.router.shards());
        let route = |(index, route): (usize, &config::Route)| {
            let handler = match &route.kind {
                RouteKind::Topics(route) => {
                    let tag = RouteTag::new(index).expect("as many tags as routes are allowed");
                    let config = Arc::new(topics::config(&self.config, route));
                    let metrics = self.metrics.clone();
                    Handler::Topics(Box::new(Topics::new(config, metrics, tag, me, shards)))
                }
                RouteKind::Echo => Handler::Echo,
                RouteKind::Tasks(tasks) => {
                    let tag = RouteTag::new(index).expect("as many tags as routes are allowed");
                    let (metrics, ids) = (self.metrics.clone(), open_ids.clone());
                    match tasks.dialect {
                        Dialect::Asr => {
                            let config = Arc::new(self.tasks_config(tasks));
                            let tasks = Tasks::new(config, metrics, tag).with_open_ids(ids);
                            Handler::Tasks(Box::new(tasks.among(me, shards)))
                        }
                        Dialect::Raw => {
                            let channel = self.node.results_channel(self.index);
                            let config = Arc::new(raw::config(&self.config, tasks, &channel));
                            let tasks = RawTasks::new(config, metrics, tag, ids);
                            Handler::Raw(Box::new(tasks.among(me, shards)))
                        }
                    }
                }
            };
            Route { path: route.path.clone(), handler }
        };
        self.config.routes.iter().enumerate().map(route).collect()
    }

    fn tasks_config(&self, route: &TasksRoute) -> TasksConfig {
        let Config { limits, timing, .. } = &self.config;
        let reply_to = match route.results {
            Results::PerSession => None,
            Results::PerShard => Some(self.node.results_channel(self.index).into()),
        };
        TasksConfig {
            queue: route.queue.clone(),
            reply_to,
            chunk_deadline_ms: route.chunk_deadline_ms,
            finish_deadline_ms: route.finish_deadline_ms,
            resume_ms: route.resume_ms,
            detached_per_shard: bounded(route.detached_per_shard),
            inflight: bounded(route.inflight),
            sessions_per_connection: bounded(route.sessions_per_connection),
            sessions_per_shard: bounded(route.sessions_per_shard),
            chunks_per_session: bounded(route.chunks_per_session),
            session_text_bytes: route.session_text_bytes,
            text_bytes_per_shard: route.text_bytes_per_shard,
            outbox_bytes: limits.outbox_bytes,
            unread_ms: timing.unread_ms,
            merge_separator: route.merge_separator.clone(),
        }
    }
}

/// What a route asks of admission by the depth of its queue, if it has one.
fn gate_config(route: &config::Route) -> Option<GateConfig> {
    let RouteKind::Tasks(tasks) = &route.kind else { return None };
    Some(GateConfig {
        route: route.path.clone(),
        queue: tasks.queue.clone(),
        marks: Marks { high: tasks.queue_high as u64, low: tasks.queue_low as u64 },
        require_workers: tasks.require_workers,
    })
}

/// Past the tables' own bounds, which are far below this, a larger number means the same.
fn bounded(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
