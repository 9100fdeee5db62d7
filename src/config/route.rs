//! The routes: the tables of their settings, and how `[[route]]` becomes a [`Route`].

use std::collections::BTreeMap;

use super::check;
use super::error::Problem;
use super::kind::{Kind, Range, Words};
use super::queue::{self, QUEUE_KEY, QUEUE_MODE, STREAM_SETTINGS};
use super::resolve::{EffectiveValue, resolve};
use super::setting::{Change, Setting};
use super::source::{Given, Source};
use super::topics::{TOPICS_SETTINGS, TopicsRoute};
use crate::broker::Queue;

/// A path and what it serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Starts with `/`; unique; none of the gateway's own.
    pub path: String,
    /// What is served there.
    pub kind: RouteKind,
}

/// What a route serves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RouteKind {
    /// Every message goes back: for diagnosis.
    Echo,
    /// Tasks for workers.
    Tasks(TasksRoute),
    /// What is published, for whoever subscribes.
    Topics(TopicsRoute),
}

impl RouteKind {
    /// As it stands in the configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Tasks(_) => "tasks",
            Self::Topics(_) => "topics",
        }
    }
}

/// The protocol that the clients of a tasks route speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dialect {
    /// Sessions of numbered audio chunks, with acks and a merged result.
    Asr,
    /// Every message is a task, every result a message.
    Raw,
}

/// How results come back to their sessions.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Results {
    /// On a channel for each session: for workers that know nothing else.
    #[default]
    PerSession,
    /// On one channel for each shard, which each task names.
    PerShard,
}

/// A tasks route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TasksRoute {
    /// What its clients and workers speak.
    pub dialect: Dialect,
    /// What the workers read.
    pub queue: Queue,
    /// Of a stream: how long a worker may hold a task before it is queued again.
    pub claim_idle_ms: Option<u64>,
    /// How results come back.
    pub results: Results,
    /// How long a session lives on without its connection; 0: not at all.
    pub resume_ms: u64,
    /// Sessions without a connection that one shard keeps.
    pub detached_per_shard: usize,
    /// Waiting tasks at which new connections are refused; more than `queue_low`.
    pub queue_high: usize,
    /// Waiting tasks under which they are let in again.
    pub queue_low: usize,
    /// Whether new connections are refused while no worker lives.
    pub require_workers: bool,
    /// How long a worker has for one chunk.
    pub chunk_deadline_ms: u64,
    /// How long `finish` waits for the chunks that are still open.
    pub finish_deadline_ms: u64,
    /// Unanswered chunks of a session past which its socket is not read.
    pub inflight: usize,
    /// Sessions that one connection may have open.
    pub sessions_per_connection: usize,
    /// Sessions that one shard may have open.
    pub sessions_per_shard: usize,
    /// Chunks of one session.
    pub chunks_per_session: usize,
    /// Merged text of one session.
    pub session_text_bytes: usize,
    /// Texts of all sessions of one shard.
    pub text_bytes_per_shard: usize,
    /// Stands between the texts of two chunks in the final result.
    pub merge_separator: String,
}

/// Most routes: each request is compared with all of them.
const ROUTES_MAX: usize = 64;

/// What every route has.
pub const ROUTE_SETTINGS: &[Setting<RouteDraft>] = &[
    of_route("path", Kind::Path(|r, v| r.path = Some(v)), None, "Request path, unique"),
    of_route(
        "kind",
        Kind::Word(Words { known: &["tasks", "topics", "echo"] }, |r, v| r.kind = Some(v)),
        None,
        "What the route serves",
    ),
];

/// What a route of kind `tasks` has besides.
pub const TASKS_SETTINGS: &[Setting<TasksRoute>] = &[
    of_route(
        "dialect",
        Kind::Word(Words { known: &["asr", "raw"] }, |r, v| {
            r.dialect = if v == "raw" { Dialect::Raw } else { Dialect::Asr };
        }),
        Some("asr"),
        "Protocol of its clients: asr has sessions of audio chunks, raw has any messages",
    ),
    QUEUE_MODE,
    QUEUE_KEY,
    of_route(
        "results",
        Kind::Word(Words { known: &["per-session", "per-shard"] }, |r, v| {
            r.results = if v == "per-shard" { Results::PerShard } else { Results::PerSession };
        }),
        Some("per-session"),
        "How results come back: a subscription per session, or one per shard",
    ),
    of_route(
        "resume_ms",
        Kind::Count(Range { min: 0, max: 3_600_000, why: "in milliseconds, up to 1h" }, |r, v| {
            r.resume_ms = v as u64;
        }),
        Some("60_000"),
        "Milliseconds that a session waits for its client to come back; 0: none",
    ),
    of_route(
        "detached_per_shard",
        Kind::Count(Range { min: 1, max: 10_000_000, why: "each holds its results" }, |r, v| {
            r.detached_per_shard = v;
        }),
        Some("50_000"),
        "Sessions of one shard that wait for their client; past that the oldest ends",
    ),
    of_route(
        "queue_high",
        Kind::Count(QUEUE_DEPTH, |r, v| r.queue_high = v),
        Some("5000"),
        "Waiting tasks at which new connections get 503; workers' tasks/s x chunk_deadline at most",
    ),
    of_route(
        "queue_low",
        Kind::Count(QUEUE_DEPTH, |r, v| r.queue_low = v),
        Some("4000"),
        "Waiting tasks under which they are let in again, less than queue_high",
    ),
    of_route(
        "chunk_deadline",
        Kind::Milliseconds(DEADLINE_MS, |r, v| r.chunk_deadline_ms = v),
        Some("60s"),
        "Time for the answer to a chunk",
    ),
    of_route(
        "finish_deadline",
        Kind::Milliseconds(DEADLINE_MS, |r, v| r.finish_deadline_ms = v),
        Some("60s"),
        "Time for the open chunks after finish",
    ),
    of_route(
        "inflight",
        Kind::Count(Range { min: 1, max: 65_536, why: "none would stop the session" }, |r, v| {
            r.inflight = v;
        }),
        Some("64"),
        "Unanswered chunks of a session past which its socket is not read",
    ),
    of_route(
        "sessions_per_connection",
        Kind::Count(Range { min: 1, max: 65_536, why: "each has a subscription" }, |r, v| {
            r.sessions_per_connection = v;
        }),
        Some("16"),
        "Open sessions of one connection",
    ),
    of_route(
        "sessions_per_shard",
        Kind::Count(Range { min: 1, max: 10_000_000, why: "each has a subscription" }, |r, v| {
            r.sessions_per_shard = v;
        }),
        Some("100_000"),
        "Open sessions of one shard",
    ),
    of_route(
        "chunks_per_session",
        Kind::Count(Range { min: 1, max: 100_000_000, why: "each is remembered" }, |r, v| {
            r.chunks_per_session = v;
        }),
        Some("1_000_000"),
        "Chunks of one session",
    ),
    of_route(
        "session_text_bytes",
        Kind::Bytes(Range { min: 1024, max: 1 << 30, why: "it is held until the end" }, |r, v| {
            r.session_text_bytes = v;
        }),
        Some("16MiB"),
        "Text of one session, all its results together",
    ),
    of_route(
        "text_bytes_per_shard",
        Kind::Bytes(Range { min: 1024, max: 1 << 40, why: "it is held until the end" }, |r, v| {
            r.text_bytes_per_shard = v;
        }),
        Some("256MiB"),
        "Text of all sessions of one shard; past that waiting sessions end",
    ),
    of_route(
        "merge_separator",
        Kind::Text(Range { min: 0, max: 64, why: "it stands between all chunks" }, |r, v| {
            r.merge_separator = v;
        }),
        Some(" "),
        "Stands between the texts of two chunks in the final result",
    ),
];

const QUEUE_DEPTH: Range =
    Range { min: 1, max: 1_000_000_000, why: "none would refuse everyone; Redis holds them" };

const DEADLINE_MS: Range =
    Range { min: 10, max: 3_600_000, why: "workers need some; what waits is held" };

/// Half a route: the part that says which other settings it has.
#[derive(Clone, Debug)]
pub struct RouteDraft {
    path: Option<String>,
    kind: Option<&'static str>,
}

/// The values of one `[[route]]` as they were given.
pub(super) type GivenRoute = BTreeMap<String, Given>;

/// Every key of a route, for the file and its hints.
pub(super) fn route_keys() -> impl Iterator<Item = &'static str> {
    let common = ROUTE_SETTINGS.iter().map(|setting| setting.key);
    let topics = TOPICS_SETTINGS.iter().map(|setting| setting.key);
    common.chain(tasks_keys()).chain(topics)
}

fn tasks_keys() -> impl Iterator<Item = &'static str> {
    TASKS_SETTINGS.iter().chain(STREAM_SETTINGS).map(|setting| setting.key)
}

/// The routes of a configuration, after those (`echo`) that it already has. `None` stands
/// for a file without routes, or no file: the default routes.
pub(super) fn routes(
    given: Option<Vec<GivenRoute>>,
    routes: &mut Vec<Route>,
    values: &mut Vec<EffectiveValue>,
    problems: &mut Vec<Problem>,
) {
    let given = given.unwrap_or_else(default_routes);
    if given.len() > ROUTES_MAX {
        problems.push(Problem::Value {
            option: "[[route]]".into(),
            value: Some(given.len().to_string()),
            limit: format!("must be at most {ROUTES_MAX} (each request is compared with all)"),
            fix: "leave some out".into(),
        });
        return;
    }
    for (index, given) in given.into_iter().enumerate() {
        let prefix = format!("route[{index}].");
        let path_option =
            given.get("path").map(|path| path.source.option(&format!("{prefix}path")));
        let Some(route) = route(given, &prefix, values, problems) else { continue };
        if routes.iter().any(|earlier| earlier.path == route.path) {
            problems.push(Problem::Value {
                option: path_option.unwrap_or_default(),
                value: Some(format!("{:?}", route.path)),
                limit: "is the path of another route (an earlier [[route]], or echo)".into(),
                fix: "give each route its own path".into(),
            });
        }
        routes.push(route);
    }
}

fn route(
    given: GivenRoute,
    prefix: &str,
    values: &mut Vec<EffectiveValue>,
    problems: &mut Vec<Problem>,
) -> Option<Route> {
    let is_common = |key: &str| ROUTE_SETTINGS.iter().any(|setting| setting.key == key);
    let (common, mut special): (GivenRoute, GivenRoute) =
        given.into_iter().partition(|(key, _)| is_common(key));
    let before = problems.len();
    let mut draft = RouteDraft { path: None, kind: None };
    resolve(ROUTE_SETTINGS, &common, &[], prefix, &mut draft, values, problems);
    let kind = match draft.kind {
        Some("tasks") => {
            refuse_others(&special, "tasks", tasks_keys(), prefix, problems);
            let mut tasks = TasksRoute::blank();
            queue::give_default_key(&mut special);
            resolve(TASKS_SETTINGS, &special, &[], prefix, &mut tasks, values, problems);
            queue::resolve_stream(&special, prefix, &mut tasks, values, problems);
            check::tasks(&tasks, prefix, values, problems);
            RouteKind::Tasks(tasks)
        }
        Some("topics") => {
            let own = TOPICS_SETTINGS.iter().map(|setting| setting.key);
            refuse_others(&special, "topics", own, prefix, problems);
            let mut topics = TopicsRoute::blank();
            resolve(TOPICS_SETTINGS, &special, &[], prefix, &mut topics, values, problems);
            RouteKind::Topics(topics)
        }
        Some("echo") => {
            refuse_others(&special, "echo", [], prefix, problems);
            RouteKind::Echo
        }
        // Refused above; what its other keys mean is not known.
        _ => return None,
    };
    let path = draft.path.filter(|_| problems.len() == before)?;
    Some(Route { path, kind })
}

/// Keys that routes of another kind have, and this one has not.
fn refuse_others(
    given: &GivenRoute,
    kind: &str,
    own: impl IntoIterator<Item = &'static str>,
    prefix: &str,
    problems: &mut Vec<Problem>,
) {
    let own: Vec<&str> = own.into_iter().collect();
    let others = given.iter().filter(|(key, _)| !own.contains(&key.as_str()));
    problems.extend(others.map(|(key, given)| Problem::Value {
        option: given.source.option(&format!("{prefix}{key}")),
        value: Some(given.raw.to_string()),
        limit: format!("has no meaning for a route of kind {kind:?}"),
        fix: "remove it".into(),
    }));
}

fn default_routes() -> Vec<GivenRoute> {
    let given =
        |text: &str| Given { raw: super::source::Raw::Text(text.into()), source: Source::Default };
    let route =
        |(path, kind)| BTreeMap::from([("path".into(), given(path)), ("kind".into(), given(kind))]);
    [("/ws/asr", "tasks"), ("/ws/topics", "topics")].map(route).into()
}

impl TasksRoute {
    /// Every field is overwritten out of the table, by its default at least.
    fn blank() -> Self {
        Self {
            dialect: Dialect::Asr,
            queue: queue::blank(),
            claim_idle_ms: None,
            results: Results::default(),
            resume_ms: 0,
            detached_per_shard: 0,
            queue_high: 0,
            queue_low: 0,
            require_workers: false,
            chunk_deadline_ms: 0,
            finish_deadline_ms: 0,
            inflight: 0,
            sessions_per_connection: 0,
            sessions_per_shard: 0,
            chunks_per_session: 0,
            session_text_bytes: 0,
            text_bytes_per_shard: 0,
            merge_separator: String::new(),
        }
    }
}

pub(super) const fn of_route<T>(
    key: &'static str,
    kind: Kind<T>,
    default: Option<&'static str>,
    help: &'static str,
) -> Setting<T> {
    Setting { key, flag: None, kind, default, help, secret: false, change: Change::Restart }
}
