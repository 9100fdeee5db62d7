//! Says that the workers of a stream live: `worker:<name>:heartbeat`, for 30 s, every 15 s
//! (systems, section 1). A thread and a connection of its own, so that a long task does not
//! look like a death.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use redis::{Client, Connection, RedisResult};
use serde_json::json;

use super::connect;
use crate::{
    limits::{WORKER_BACKOFF_MAX_MS, WORKER_HEARTBEAT_MS, WORKER_HEARTBEAT_TTL_S},
    worker::work::pause,
};

/// Beats until `stop`, then takes the heartbeats back. While Redis is away it tries again
/// every [`WORKER_BACKOFF_MAX_MS`]; the threads that work say why.
pub(super) fn beat(client: &Client, names: &[String], stop: &AtomicBool) {
    let mut redis = None;
    while !stop.load(Relaxed) {
        let beaten = match redis.take() {
            Some(redis) => Ok(redis),
            None => connect(client),
        };
        redis = beaten.and_then(|mut redis| refresh(&mut redis, names).map(|()| redis)).ok();
        let wait_ms = match redis {
            Some(_) => WORKER_HEARTBEAT_MS,
            None => WORKER_BACKOFF_MAX_MS,
        };
        pause(Duration::from_millis(wait_ms), stop);
    }
    if let Some(mut redis) = redis {
        let keys: Vec<String> = names.iter().map(|name| key(name)).collect();
        // Where it fails they end by themselves.
        let _ = redis::cmd("DEL").arg(keys).exec(&mut redis);
    }
}

fn refresh(redis: &mut Connection, names: &[String]) -> RedisResult<()> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut pipeline = redis::pipe();
    for name in names {
        let beat = json!({
            "ts": since_epoch.as_secs_f64(), "worker": name, "status": "running", "load": {},
        });
        let set = pipeline.cmd("SET").arg(key(name)).arg(beat.to_string());
        set.arg("EX").arg(WORKER_HEARTBEAT_TTL_S).ignore();
    }
    pipeline.exec(redis)
}

fn key(name: &str) -> String {
    format!("worker:{name}:heartbeat")
}
