//! The queues of a configuration, each once, for whoever has to do with all of them.

use crate::{
    broker::{Queue, redis::StreamUpkeep},
    config::{Config, Dialect, RouteKind, TasksRoute},
};

/// Every queue.
pub fn all(config: &Config) -> Vec<Queue> {
    each(tasks_routes(config))
}

/// Every queue of audio, which is what the built-in worker knows.
pub fn of_audio(config: &Config) -> Vec<Queue> {
    each(tasks_routes(config).filter(|route| route.dialect == Dialect::Asr))
}

fn each<'a>(routes: impl Iterator<Item = &'a TasksRoute>) -> Vec<Queue> {
    let mut queues: Vec<Queue> = Vec::new();
    for route in routes {
        if !queues.contains(&route.queue) {
            queues.push(route.queue.clone());
        }
    }
    queues
}

/// Every stream with its group. Where routes share one, the shortest patience counts.
pub fn streams(config: &Config) -> Vec<StreamUpkeep> {
    let mut streams: Vec<StreamUpkeep> = Vec::new();
    for route in tasks_routes(config) {
        let (Queue::Stream { key, group }, Some(claim_idle_ms)) =
            (&route.queue, route.claim_idle_ms)
        else {
            continue;
        };
        match streams.iter_mut().find(|known| known.key == *key && known.group == *group) {
            Some(known) => known.claim_idle_ms = known.claim_idle_ms.min(claim_idle_ms),
            None => {
                let (key, group) = (key.clone(), group.clone());
                streams.push(StreamUpkeep { key, group, claim_idle_ms });
            }
        }
    }
    streams
}

fn tasks_routes(config: &Config) -> impl Iterator<Item = &TasksRoute> {
    config.routes.iter().filter_map(|route| match &route.kind {
        RouteKind::Tasks(tasks) => Some(tasks),
        RouteKind::Echo | RouteKind::Topics(_) => None,
    })
}
