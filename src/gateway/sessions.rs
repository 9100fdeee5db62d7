//! What the sessions of topics routes need of the process: their bounds, over all shards.

use crate::{
    config::{Config, RouteKind},
    shard::admission::Places,
    tasks::RouteTag,
    topics::sessions::{SessionRoute, SessionSettings},
};

/// The topics routes, each with its places.
pub(super) fn routes(config: &Config) -> Vec<SessionRoute> {
    let routes = config.routes.iter().enumerate();
    let with_sessions = routes.filter_map(|(index, route)| {
        let RouteKind::Topics(topics) = &route.kind else { return None };
        Some(SessionRoute {
            tag: RouteTag::new(index).expect("as many tags as routes are allowed"),
            path: route.path.as_str().into(),
            channel: topics.channel.clone(),
            settings: SessionSettings {
                ttl_ms: topics.session_ttl_ms,
                per_user: topics.sessions_per_user,
                topics_max: topics.topics_per_connection,
                conflate_ms: topics.conflate_ms,
            },
            places: Places::new(topics.sessions_max),
        })
    });
    with_sessions.collect()
}
