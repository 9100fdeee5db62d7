//! Raw input to a validated configuration, with the source of every value.
//!
//! Off the data path: read once at the start. [`settings`] is the one table of settings;
//! [`load`] takes each value from the strongest source that has it (flag, then
//! environment, then file, then default) and reports everything that is wrong at once.
//! Nothing here reads the process's environment or arguments, opens a socket or logs, and
//! what holds a secret shows itself masked.

mod check;
mod error;
mod file;
mod kind;
mod queue;
mod redis_url;
mod reload;
mod resolve;
mod route;
mod setting;
pub mod settings;
mod source;
mod topics;
mod value;
mod web;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use error::{ConfigError, Problem};
pub use kind::{Kind, Range, Store, Words};
pub use queue::STREAM_SETTINGS;
pub use redis_url::RedisUrl;
pub use reload::{Changed, Reloaded};
pub use resolve::{EffectiveValue, Flags, resolve_flags};
pub use route::{
    Dialect, ROUTE_SETTINGS, Results, Route, RouteDraft, RouteKind, TASKS_SETTINGS, TasksRoute,
};
pub use setting::{Change, ENVIRONMENT_PREFIX, Setting};
pub use source::Source;
pub use topics::{Overflow, TOPICS_SETTINGS, TopicsRoute};

use source::{Given, Raw};

/// A validated configuration of the gateway.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// The public port.
    pub listen: SocketAddr,
    /// The admin port; `None` where there is none.
    pub admin: Option<SocketAddr>,
    /// Names of this host, in lower case, by which requests to the admin port may change
    /// something; its addresses and `localhost` always may.
    pub admin_hosts: Vec<String>,
    /// One shard each; in order, never empty.
    pub cores: Vec<usize>,
    /// `None`: the embedded broker.
    pub redis: Option<RedisUrl>,
    /// The least important messages that are logged.
    pub log_level: log::LevelFilter,
    /// What the process may hold.
    pub limits: Limits,
    /// The clocks of a connection.
    pub timing: Timing,
    /// The engine of a shard.
    pub ring: Ring,
    /// The built-in worker of the embedded broker.
    pub worker: Worker,
    /// Allowed `Origin` values in lower case; empty: any.
    pub origins: Vec<String>,
    /// At least one; paths are unique.
    pub routes: Vec<Route>,
}

impl Config {
    /// Path of the first tasks route.
    pub fn tasks_path(&self) -> Option<&str> {
        let tasks = self.routes.iter().find(|route| matches!(route.kind, RouteKind::Tasks(_)));
        tasks.map(|route| route.path.as_str())
    }

    /// The topics routes with their paths.
    pub fn topics_routes(&self) -> impl Iterator<Item = (&str, &TopicsRoute)> {
        self.routes.iter().filter_map(|route| match &route.kind {
            RouteKind::Topics(topics) => Some((route.path.as_str(), topics)),
            RouteKind::Echo | RouteKind::Tasks(_) => None,
        })
    }
}

/// What the process may hold: each is shared out among the shards by who uses it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Connections that are still in their HTTP request.
    pub handshakes: usize,
    /// New connections per second.
    pub accepts_per_second: usize,
    /// One message of a client, its fragments together.
    pub message_bytes: usize,
    /// What one connection has yet to read.
    pub outbox_bytes: usize,
    /// What waits for the broker.
    pub broker_pending_bytes: usize,
    /// Messages that have come in part.
    pub held_bytes: usize,
}

/// The clocks of a connection, in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// For the whole HTTP request.
    pub handshake_ms: u64,
    /// Between two pings.
    pub ping_ms: u64,
    /// Without any inbound byte; more than `ping_ms`.
    pub idle_ms: u64,
    /// For the client's half of a close.
    pub close_ms: u64,
    /// For a client to read what fills its outbox.
    pub unread_ms: u64,
    /// For open tasks after SIGTERM.
    pub drain_ms: u64,
}

/// The engine of a shard.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ring {
    /// How long to look for more work before sleeping, in microseconds.
    pub spin_us: u64,
    /// Buffers of the shard's pool.
    pub receive_buffers: usize,
    /// Size of each.
    pub receive_buffer_bytes: usize,
}

/// The built-in worker of the embedded broker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Worker {
    /// Tasks at a time.
    pub concurrency: usize,
}

/// A configuration together with what `ringgate config` shows of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Effective {
    /// The validated values.
    pub config: Config,
    /// Every value in force, masked where it is secret, in the order of the table.
    pub values: Vec<EffectiveValue>,
}

impl Effective {
    /// Who set the value of a key, if there is such a key.
    pub fn source(&self, key: &str) -> Option<&Source> {
        self.values.iter().find(|value| value.key == key).map(|value| &value.source)
    }

    /// Lowers `limits.connections`, which nobody has set, to what the host has room for.
    pub fn lower_connections(&mut self, connections: usize) {
        self.config.limits.connections = connections;
        if let Some(shown) = self.values.iter_mut().find(|v| v.key == "limits.connections") {
            (shown.value, shown.source) = (connections.to_string(), Source::Host);
        }
    }
}

/// Where values may come from.
#[derive(Clone, Default)]
pub struct Sources {
    /// By the flag's name.
    pub flags: Flags,
    /// The environment; only names that begin with [`ENVIRONMENT_PREFIX`] matter.
    pub env: BTreeMap<String, String>,
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// The cores that this process may use, in order.
    pub cores_allowed: Vec<usize>,
}

/// Takes each value from the strongest source that has it. Reads the file, nothing else.
///
/// # Errors
/// Everything that is wrong, in any source that counts.
pub fn load(sources: &Sources) -> Result<Effective, ConfigError> {
    let mut problems = Vec::new();
    let file = sources.file.as_deref().map(|path| file::read(path, &mut problems));
    let file = file.unwrap_or_default();

    let mut given = file.settings;
    given.extend(given_environment(&sources.env, &mut problems));
    given.extend(resolve::given_flags(settings::SETTINGS, &sources.flags, &mut problems));

    let mut config = Config::blank();
    let mut values = Vec::new();
    let cores = &sources.cores_allowed;
    resolve::resolve(
        settings::SETTINGS,
        &given,
        cores,
        "",
        &mut config,
        &mut values,
        &mut problems,
    );
    check::together(&config, &values, &mut problems);
    route::routes(file.routes, &mut config.routes, &mut values, &mut problems);
    if problems.is_empty() {
        queue::check(&config, &values, &mut problems);
        topics::check(&config, &values, &mut problems);
    }
    if config.routes.is_empty() && problems.is_empty() {
        problems.push(Problem::Value {
            option: "route".into(),
            value: Some("[]".into()),
            limit: "must hold at least one route: there would be nothing to serve".into(),
            fix: "write a [[route]], or leave `route` out for the default ones".into(),
        });
    }

    if problems.is_empty() {
        Ok(Effective { config, values })
    } else {
        Err(ConfigError { problems })
    }
}

/// The given variables by the keys of their settings. The value of one that is not known
/// is not shown: it may be a secret under a misspelt name.
fn given_environment(
    env: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Given> {
    let names: BTreeMap<String, &str> =
        settings::SETTINGS.iter().map(|s| (s.environment_name(), s.key)).collect();
    let mut given = BTreeMap::new();
    for (name, text) in env.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)) {
        match names.get(name) {
            Some(key) => {
                let source = Source::Environment(name.clone());
                given.insert((*key).to_owned(), Given { raw: Raw::Text(text.clone()), source });
            }
            None => problems.push(Problem::Unknown {
                option: name.clone(),
                nearest: setting::nearest(name, names.keys().map(String::as_str)),
            }),
        }
    }
    given
}

/// The cores of a kernel list such as `0-3,6` (`Cpus_allowed_list` of
/// `/proc/self/status`); `None` where it isn't one.
pub fn parse_core_list(text: &str) -> Option<Vec<usize>> {
    value::core_ranges(text)
}

impl Config {
    /// Every field is overwritten out of the table, by its default at least.
    fn blank() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin: None,
            admin_hosts: Vec::new(),
            cores: Vec::new(),
            redis: None,
            log_level: log::LevelFilter::Off,
            limits: Limits::default(),
            timing: Timing::default(),
            ring: Ring::default(),
            worker: Worker::default(),
            origins: Vec::new(),
            routes: Vec::new(),
        }
    }
}
