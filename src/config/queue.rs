//! The settings of a route's queue, and what queues must not be together.

use std::sync::Arc;

use super::error::Problem;
use super::kind::{Kind, Range, Words};
use super::resolve::{EffectiveValue, resolve};
use super::route::{GivenRoute, TasksRoute, of_route};
use super::setting::Setting;
use super::source::{Given, Raw, Source};
use super::{Config, RouteKind};
use crate::broker::Queue;

/// Key of a stream where none is given; a list's is in the table of the route.
const STREAM_KEY: &str = "asr_tasks";

/// The type of a queue.
pub(super) const QUEUE_MODE: Setting<TasksRoute> = of_route(
    "queue.mode",
    Kind::Word(Words { known: &["list", "stream"] }, |r, v| {
        let key = r.queue.key().clone();
        r.queue = match v {
            "stream" => Queue::Stream { key, group: "".into() },
            _ => Queue::List { key },
        };
    }),
    Some("list"),
    "Redis type of the queue",
);

/// The key of a queue.
pub(super) const QUEUE_KEY: Setting<TasksRoute> = of_route(
    "queue.key",
    Kind::Text(Range { min: 1, max: 512, why: "it is sent with every task" }, |r, v| {
        let (Queue::List { key } | Queue::Stream { key, .. }) = &mut r.queue;
        *key = v.into();
    }),
    Some("asr_chunk_queue"),
    "Redis key of the queue; the workers must read the same. For a stream the default is asr_tasks",
);

/// What a tasks route has besides when its queue is a stream.
pub const STREAM_SETTINGS: &[Setting<TasksRoute>] = &[
    of_route(
        "queue.group",
        Kind::Text(Range { min: 1, max: 512, why: "it is sent with every look" }, |r, v| {
            if let Queue::Stream { group, .. } = &mut r.queue {
                *group = v.into();
            }
        }),
        Some("asr_workers"),
        "Consumer group of the workers, created where it is missing",
    ),
    of_route(
        "queue.claim_idle",
        Kind::Milliseconds(
            Range { min: 100, max: 86_400_000, why: "longer than a worker holds its tasks" },
            |r, v| r.claim_idle_ms = Some(v),
        ),
        Some("60s"),
        "Time after which a task that a worker took and did not acknowledge is queued again",
    ),
    of_route(
        "require_workers",
        Kind::Switch(|r, v| r.require_workers = v),
        Some("false"),
        "Refuse new connections while no worker of the queue's group lives",
    ),
];

/// Before the values of a route are read: a stream has another default key.
pub(super) fn give_default_key(given: &mut GivenRoute) {
    let is_stream = given
        .get("queue.mode")
        .is_some_and(|mode| matches!(&mode.raw, Raw::Text(text) if text.as_str() == "stream"));
    if is_stream {
        let key = Given { raw: Raw::Text(STREAM_KEY.into()), source: Source::Default };
        given.entry("queue.key".into()).or_insert(key);
    }
}

/// After the values of a route were read: those that only a stream has.
pub(super) fn resolve_stream(
    given: &GivenRoute,
    prefix: &str,
    route: &mut TasksRoute,
    values: &mut Vec<EffectiveValue>,
    problems: &mut Vec<Problem>,
) {
    if let Queue::Stream { .. } = route.queue {
        resolve(STREAM_SETTINGS, given, &[], prefix, route, values, problems);
        return;
    }
    let meaningless = STREAM_SETTINGS.iter().filter_map(|setting| given.get_key_value(setting.key));
    problems.extend(meaningless.map(|(key, given)| Problem::Value {
        option: given.source.option(&format!("{prefix}{key}")),
        value: Some(given.raw.to_string()),
        limit: "has no meaning for a queue of mode \"list\"".into(),
        fix: "remove it, or write mode = \"stream\"".into(),
    }));
}

/// Queues against the broker and against each other, where every route was read.
pub(super) fn check(config: &Config, values: &[EffectiveValue], problems: &mut Vec<Problem>) {
    let mut modes = values.iter().filter(|value| value.key.ends_with(".queue.mode"));
    let mut earlier: Vec<&Queue> = Vec::new();
    for route in &config.routes {
        let RouteKind::Tasks(tasks) = &route.kind else { continue };
        // One value for each tasks route, in the order of the routes.
        let Some(mode) = modes.next() else { return };
        let (queue, option) = (&tasks.queue, mode.source.option(&mode.key));
        if config.redis.is_none() && queue.mode() == "stream" {
            problems.push(Problem::Value {
                option,
                value: Some(mode.value.clone()),
                limit: "needs Redis, and redis = \"embedded\": the embedded broker has lists only"
                    .into(),
                fix: "give --redis redis://HOST:PORT, or write mode = \"list\"".into(),
            });
        } else if let Some(other) = earlier.iter().find(|other| clash(queue, other)) {
            problems.push(Problem::Value {
                option,
                value: Some(mode.value.clone()),
                limit: format!(
                    "its key {:?} is a {} of an earlier route, and a key has one type",
                    queue.key(),
                    other.mode()
                ),
                fix: "give each queue its own key, or the same mode".into(),
            });
        }
        earlier.push(queue);
    }
}

fn clash(one: &Queue, other: &Queue) -> bool {
    one.key() == other.key() && one.mode() != other.mode()
}

/// Overwritten out of the table, by its default at least.
pub(super) fn blank() -> Queue {
    Queue::List { key: Arc::from("") }
}
