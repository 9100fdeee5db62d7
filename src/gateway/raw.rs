//! What raw routes need of the process: their settings, and workers without Redis.

use std::sync::Arc;

use super::{Gateway, bounded};
use crate::{
    broker::embedded::WorkerPort,
    config::{Config, Dialect, Limits, Results, RouteKind, TasksRoute},
    tasks::raw::RawConfig,
};

/// Settings of one raw route. `shard_channel`: where all results of the shard may come.
pub(super) fn config(config: &Config, route: &TasksRoute, shard_channel: &str) -> RawConfig {
    let Config { limits: Limits { outbox_bytes, .. }, timing, .. } = config;
    let reply_to: Option<Arc<str>> = match route.results {
        Results::PerSession => None,
        // One of its own: what is published there has another form.
        Results::PerShard => Some(format!("{shard_channel}:raw").into()),
    };
    let mut raw = RawConfig {
        queue: route.queue.clone(),
        reply_to,
        task_deadline_ms: route.chunk_deadline_ms,
        inflight: bounded(route.inflight),
        sessions_per_shard: bounded(route.sessions_per_shard),
        resume_ms: route.resume_ms,
        detached_per_shard: bounded(route.detached_per_shard),
        ..RawConfig::default()
    };
    raw.set_unread(*outbox_bytes, timing.unread_ms);
    raw
}

/// Says which routes have tasks that the built-in worker does not know.
pub(super) fn warn_without_workers(config: &Config) {
    for route in &config.routes {
        if let RouteKind::Tasks(tasks) = &route.kind
            && tasks.dialect == Dialect::Raw
        {
            let path = &route.path;
            log::warn!("route {path}: the built-in worker is for audio; use Redis, with workers");
        }
    }
}

impl Gateway {
    /// A worker's end of the embedded broker, for workers inside this process; `None` where
    /// there is Redis. A raw route has no other workers without Redis.
    pub fn worker_port(&self) -> Option<WorkerPort> {
        self.embedded.as_ref().map(|embedded| embedded.broker.worker_port())
    }
}
