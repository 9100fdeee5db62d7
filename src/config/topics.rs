//! The settings of a topics route, and what the channels of such routes must not be.

use super::error::Problem;
use super::kind::{Kind, Range, Words};
use super::resolve::EffectiveValue;
use super::route::of_route;
use super::setting::Setting;
use super::{Config, RouteKind};
use crate::limits::TOPICS_CONFLATE_MS_MAX;
use crate::topics::ChannelPattern;

/// What a connection without conflation meets that does not keep up.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Overflow {
    /// It misses messages and is told how many.
    #[default]
    Drop,
    /// It is closed with 4008.
    Close,
}

/// A topics route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicsRoute {
    /// Where its topics are published; shares no channel with another route.
    pub channel: ChannelPattern,
    /// Between two values of a topic where a subscription does not say; 0: every message
    /// at once.
    pub conflate_ms: u32,
    /// What happens to a slow connection without conflation.
    pub overflow: Overflow,
    /// Topics that one connection may have, and that one request may name.
    pub topics_per_connection: usize,
    /// Subscriptions of all connections of one shard.
    pub topics_per_shard: usize,
    /// How long a session of `POST /v1/sessions` waits for its WebSocket.
    pub session_ttl_ms: u64,
    /// Sessions of one user that wait.
    pub sessions_per_user: usize,
    /// Sessions of all users that wait, the process over.
    pub sessions_max: usize,
}

/// What a route of kind `topics` has besides.
pub const TOPICS_SETTINGS: &[Setting<TopicsRoute>] = &[
    of_route(
        "channel",
        Kind::Channel(|r, v| r.channel = v),
        Some("{topic}"),
        "Pub/sub channel of a topic, with {topic} in it once",
    ),
    of_route(
        "conflate_ms",
        Kind::Count(
            Range {
                min: 0,
                max: TOPICS_CONFLATE_MS_MAX as u64,
                why: "in milliseconds; a value older is no news",
            },
            // The range ends far below.
            |r, v| r.conflate_ms = v as u32,
        ),
        Some("0"),
        "Milliseconds between two values of a topic, where a subscription says none; 0: all of them",
    ),
    of_route(
        "overflow",
        Kind::Word(Words { known: &["drop", "close"] }, |r, v| {
            r.overflow = if v == "close" { Overflow::Close } else { Overflow::Drop };
        }),
        Some("drop"),
        "A connection that is too slow, without conflation: drop tells it what it missed",
    ),
    of_route(
        "topics_per_connection",
        Kind::Count(Range { min: 1, max: 65_536, why: "each is remembered" }, |r, v| {
            r.topics_per_connection = v;
        }),
        Some("256"),
        "Topics of one connection, and of one request",
    ),
    of_route(
        "topics_per_shard",
        Kind::Count(Range { min: 1, max: 100_000_000, why: "each is remembered" }, |r, v| {
            r.topics_per_shard = v;
        }),
        Some("1_000_000"),
        "Subscriptions of all connections of one shard",
    ),
    of_route(
        "session_ttl",
        Kind::Milliseconds(
            Range { min: 1_000, max: 86_400_000, why: "a client has to connect; the unused wait" },
            |r, v| r.session_ttl_ms = v,
        ),
        Some("30s"),
        "Time for a session of POST /v1/sessions to be used",
    ),
    of_route(
        "sessions_per_user",
        Kind::Count(Range { min: 1, max: 1_000_000, why: "one user must not take all" }, |r, v| {
            r.sessions_per_user = v;
        }),
        Some("16"),
        "Unused sessions of one user",
    ),
    of_route(
        "sessions_max",
        Kind::Count(Range { min: 1, max: 10_000_000, why: "each holds its topics" }, |r, v| {
            r.sessions_max = v;
        }),
        Some("100_000"),
        "Unused sessions of all users, the process over",
    ),
];

impl TopicsRoute {
    /// Every field is overwritten out of the table, by its default at least.
    pub(super) fn blank() -> Self {
        Self {
            channel: ChannelPattern::default(),
            conflate_ms: 0,
            overflow: Overflow::default(),
            topics_per_connection: 0,
            topics_per_shard: 0,
            session_ttl_ms: 0,
            sessions_per_user: 0,
            sessions_max: 0,
        }
    }
}

/// Channels against each other and against the gateway's own, where every route was read.
pub(super) fn check(config: &Config, values: &[EffectiveValue], problems: &mut Vec<Problem>) {
    let mut channels = values.iter().filter(|value| value.key.ends_with("].channel"));
    let mut earlier: Vec<(&ChannelPattern, &str)> = Vec::new();
    for route in &config.routes {
        let RouteKind::Topics(topics) = &route.kind else { continue };
        // One value for each topics route, in the order of the routes.
        let Some(value) = channels.next() else { return };
        let pattern = &topics.channel;
        let shared = earlier.iter().find(|(other, _)| other.may_collide(pattern));
        let problem = if pattern.is_reserved() {
            Some((
                "is where results of tasks come back, so that no topic could be subscribed".into(),
                "begin with something else than asr_result_ or ringgate:".into(),
            ))
        } else {
            shared.map(|(other, path)| {
                (
                    format!(
                        "may name the same channel as {other:?} of the route {path}, and a \
                         message belongs to one route",
                        other = other.to_string()
                    ),
                    "give each topics route a prefix of its own, for example \
                     channel = \"prices:{topic}\""
                        .into(),
                )
            })
        };
        problems.extend(problem.map(|(limit, fix)| Problem::Value {
            option: value.source.option(&value.key),
            value: Some(value.value.clone()),
            limit,
            fix,
        }));
        earlier.push((pattern, &route.path));
    }
}
