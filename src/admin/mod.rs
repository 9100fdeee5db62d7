//! The admin port: health, readiness, metrics, the effective configuration, and drain.
//!
//! One thread of its own with ordinary libraries (axum on tokio), off the data path: it
//! reads atomics that the shards write and never makes a shard wait. What a client can
//! cost is bounded in `listener`: connections, bytes of a request, time for a request.
//!
//! There is no authentication: it listens on loopback by default, and whatever changes
//! something is refused to what a browser sends for another site's page (`guard`).

mod guard;
mod listener;
mod publish;
mod routes;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, atomic::AtomicBool},
    thread::{self, JoinHandle},
    time::Duration,
};

pub use self::publish::Publishing;
use tokio::{runtime::Runtime, sync::oneshot};

use self::listener::{AdminMetrics, BoundedListener, Bounds, Budget};
use crate::{
    backlog::NodeBacklog,
    broker::embedded::EmbeddedCounts,
    clock::Clock,
    ids::NodeId,
    limits::ADMIN_STOP_MS,
    metrics::{ShardMetrics, embedded::EmbeddedCollector, prometheus, queues::QueueCollector},
};

/// What the admin port shows, and what it can do.
pub struct AdminState {
    /// Which gateway this is, for `ringgate_node_info`.
    pub node: NodeId,
    /// One of each shard, in the order of their numbers.
    pub metrics: Vec<Arc<ShardMetrics>>,
    /// The queues, and who is let in.
    pub backlog: Arc<NodeBacklog>,
    /// The clock of the shards.
    pub clock: Clock,
    /// Set while the gateway drains, whoever asked for it.
    pub draining: Arc<AtomicBool>,
    /// The effective configuration as JSON, secrets masked: `/config` gives it as it is. A
    /// reload replaces it.
    pub config_json: Arc<Mutex<String>>,
    /// Whether a shard is ready only when its canary has come through Redis: where that
    /// carries topics.
    pub needs_canary: bool,
    /// Names of this host beside `localhost` by which requests may change something.
    pub hosts: Vec<String>,
    /// For `POST /v1/topics/NAME`.
    pub publishing: Publishing,
    /// The counters of the embedded broker, where there is one.
    pub embedded: Option<Arc<EmbeddedCounts>>,
    /// Called on the first `POST /drain` if the gateway is not draining yet. It runs on
    /// the admin thread: it should only pass the word on.
    pub on_drain: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState")
            .field("shards", &self.metrics.len())
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

/// Why the admin port did not start.
#[derive(Debug)]
pub enum AdminError {
    /// The address is taken, not ours, or not allowed.
    Bind {
        /// As configured.
        address: SocketAddr,
        /// The operating system's word.
        source: io::Error,
    },
    /// The operating system refused the thread or what its runtime needs.
    Thread(io::Error),
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, source) = match self {
            Self::Bind { address, source } => (address, source),
            Self::Thread(source) => return write!(f, "cannot start the admin thread: {source}"),
        };
        let port = address.port();
        write!(f, "admin = \"{address}\": {source}; ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "choose another port, or stop what has it (ss -ltnp 'sport = :{port}' shows it)"
            ),
            io::ErrorKind::AddrNotAvailable => {
                write!(f, "choose an address of this host (ip address shows them)")
            }
            io::ErrorKind::PermissionDenied => {
                write!(f, "choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE")
            }
            _ => write!(f, "choose another address"),
        }
    }
}

impl std::error::Error for AdminError {}

/// The running admin port. Dropped without [`Admin::stop`] it runs until the process ends.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// Binds `listen` (port 0: any free one), then serves on the thread `ringgate-admin`.
///
/// # Errors
/// [`AdminError`]; nothing runs then.
pub fn start(listen: SocketAddr, state: AdminState) -> Result<Admin, AdminError> {
    start_bounded(listen, state, Bounds::DEFAULT)
}

fn start_bounded(
    listen: SocketAddr,
    state: AdminState,
    bounds: Bounds,
) -> Result<Admin, AdminError> {
    let bind_error = |source| AdminError::Bind { address: listen, source };
    let socket = std::net::TcpListener::bind(listen).map_err(bind_error)?;
    socket.set_nonblocking(true).map_err(bind_error)?;
    let address = socket.local_addr().map_err(bind_error)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AdminError::Thread)?;
    let socket = {
        let _context = runtime.enter();
        tokio::net::TcpListener::from_std(socket).map_err(AdminError::Thread)?
    };
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("ringgate-admin".to_owned())
        .spawn(move || serve(&runtime, socket, state, bounds, stopped))
        .map_err(AdminError::Thread)?;
    Ok(Admin { address, stop, thread })
}

impl Admin {
    /// Where it listens, with the port that it was given.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener, lets answers that are under way finish for at most
    /// [`ADMIN_STOP_MS`], and joins the thread.
    pub fn stop(self) {
        let Self { stop, thread, .. } = self;
        // Fails only where the thread is gone already.
        let _ = stop.send(());
        if thread.join().is_err() {
            log::error!("admin: the thread panicked");
        }
    }
}

fn serve(
    runtime: &Runtime,
    socket: tokio::net::TcpListener,
    state: AdminState,
    bounds: Bounds,
    stopped: oneshot::Receiver<()>,
) {
    let own = Arc::new(AdminMetrics::default());
    let mut registry = prometheus::registry(state.node, state.metrics.clone());
    registry.sub_registry_with_prefix("ringgate").register_collector(Box::new(Arc::clone(&own)));
    let queues = QueueCollector::new(state.backlog.clone(), state.clock);
    registry.sub_registry_with_prefix("ringgate").register_collector(Box::new(queues));
    if let Some(counts) = state.embedded.clone() {
        let collector = Box::new(EmbeddedCollector::new(counts));
        registry.sub_registry_with_prefix("ringgate_embedded").register_collector(collector);
    }
    let router = routes::router(state, registry);
    let listener = BoundedListener::new(socket, bounds, own);
    runtime.block_on(async {
        let (begin_stop, stopping) = oneshot::channel::<()>();
        let serving = tokio::spawn(
            axum::serve(listener, router.into_make_service_with_connect_info::<Budget>())
                .with_graceful_shutdown(async { drop(stopping.await) })
                .into_future(),
        );
        // A handle that was dropped rather than stopped leaves the port open.
        if stopped.await.is_err() {
            std::future::pending::<()>().await;
        }
        drop(begin_stop);
        let _ = tokio::time::timeout(Duration::from_millis(ADMIN_STOP_MS), serving).await;
    });
}

#[cfg(test)]
mod tests;
