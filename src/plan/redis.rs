//! ▢ What Redis has to do for a [`Traffic`]: commands of the gateway and of its workers.

use serde::Serialize;

use super::traffic::{Flows, QueueMode, Tasks, Traffic};
use crate::{
    config::Results,
    doctor::wanted::Wanted,
    limits::{QUEUE_READ_MS, UPKEEP_MS},
};

/// Processor time of one command, and of one message brought to one subscriber, without its
/// bytes (docs/measurements.md).
const COMMAND_US: f64 = 3.0;
/// Of a byte that comes or goes, in nanoseconds (docs/measurements.md).
const BYTE_NS: f64 = 1.0;

/// Around a task, in JSON and RESP.
const TASK_TEXT_BYTES: f64 = 220.0;
/// Around a result, in JSON and RESP, with its channel or key.
const RESULT_TEXT_BYTES: f64 = 160.0;
/// Around a message of a topic, in RESP, with its channel.
const MESSAGE_TEXT_BYTES: f64 = 60.0;
/// An answer to a command: a number, or `OK`.
const ANSWER_BYTES: f64 = 8.0;
/// A command without a payload to speak of, as sent.
const SMALL_COMMAND_BYTES: f64 = 100.0;

/// Commands of a session that begins and ends, beside its subscription: LRANGE of its cache.
const SESSION_COMMANDS: f64 = 1.0;
/// SUBSCRIBE and UNSUBSCRIBE of a session's channel.
const SUBSCRIPTION_COMMANDS: f64 = 2.0;
/// PUBLISH, RPUSH and EXPIRE of each result, by its worker.
const RESULT_COMMANDS: f64 = 3.0;

/// What Redis has to do.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Redis {
    /// Commands of the gateway a second.
    pub gateway_commands_per_second: f64,
    /// Commands of workers and publishers a second.
    pub other_commands_per_second: f64,
    /// Bytes a second that Redis reads.
    pub input_bytes_per_second: f64,
    /// Bytes a second that it sends to the gateway: answers, results, messages of topics.
    pub to_gateway_bytes_per_second: f64,
    /// Bytes a second that it sends to workers: tasks, answers.
    pub to_workers_bytes_per_second: f64,
    /// Cores; Redis has one for its commands.
    pub cpu_cores: f64,
    /// Channels that the gateway is subscribed to.
    pub subscriptions: f64,
    /// Connections of the gateway: one a shard.
    pub gateway_clients: u64,
    /// `maxclients` to allow: the gateway, workers, tools.
    pub clients_wanted: u64,
}

impl Redis {
    /// Of everyone.
    pub fn commands_per_second(&self) -> f64 {
        self.gateway_commands_per_second + self.other_commands_per_second
    }

    /// To everyone.
    pub fn output_bytes_per_second(&self) -> f64 {
        self.to_gateway_bytes_per_second + self.to_workers_bytes_per_second
    }
}

/// What Redis has to do; nothing where no traffic goes through it.
pub fn estimate(traffic: &Traffic, flows: &Flows) -> Redis {
    if traffic.tasks.is_none() && traffic.topics.is_none() {
        return Redis::default();
    }
    let wanted = Wanted { connections: traffic.connections, shards: traffic.shards };
    let mut redis = Redis {
        gateway_clients: traffic.shards,
        clients_wanted: wanted.redis_clients(),
        ..Redis::default()
    };
    if let Some(tasks) = traffic.tasks {
        add_tasks(&mut redis, traffic, &tasks, flows);
    }
    // Publishers do not know what nobody wants; Redis takes it, and has nobody to send it to.
    let published = traffic.topics.map_or(0.0, |t| t.topics as f64 * t.messages_per_second);
    let message_bytes = flows.publications.bytes + MESSAGE_TEXT_BYTES;
    redis.other_commands_per_second += published;
    redis.input_bytes_per_second += published * message_bytes;
    redis.to_gateway_bytes_per_second += flows.publications.per_second * message_bytes;
    redis.subscriptions += traffic.live_topics();
    let brought =
        redis.commands_per_second() + flows.publications.per_second + flows.results.per_second;
    let bytes = redis.input_bytes_per_second + redis.output_bytes_per_second();
    redis.cpu_cores = (brought * COMMAND_US + bytes * BYTE_NS / 1e3) / 1e6;
    redis
}

fn add_tasks(redis: &mut Redis, traffic: &Traffic, tasks: &Tasks, flows: &Flows) {
    let (chunks, results) = (flows.chunks.per_second, flows.results.per_second);
    let starts = flows.session_starts;
    let subscribes = match tasks.results {
        Results::PerSession => starts * SUBSCRIPTION_COMMANDS,
        Results::PerShard => 0.0,
    };
    let upkeep = match tasks.queue {
        QueueMode::List => 0.0,
        QueueMode::Stream => 1_000.0 / UPKEEP_MS as f64,
    };
    let small = starts * SESSION_COMMANDS + subscribes + upkeep + 1_000.0 / QUEUE_READ_MS as f64;
    // BLPOP, or XREADGROUP and XACK: one each, though a worker may take several tasks at once.
    let takes = chunks * if tasks.queue == QueueMode::List { 1.0 } else { 2.0 };
    let task_bytes = chunks * (tasks.base64_bytes() + TASK_TEXT_BYTES);
    let result_bytes = results * (tasks.result_bytes + RESULT_TEXT_BYTES);
    redis.gateway_commands_per_second += chunks + small;
    redis.other_commands_per_second += takes + results * RESULT_COMMANDS;
    // A result comes twice: to be published, and for the cache.
    redis.input_bytes_per_second +=
        task_bytes + 2.0 * result_bytes + (small + takes + results) * SMALL_COMMAND_BYTES;
    redis.to_gateway_bytes_per_second += result_bytes + (chunks + small) * ANSWER_BYTES;
    redis.to_workers_bytes_per_second +=
        task_bytes + (takes + results * RESULT_COMMANDS) * ANSWER_BYTES;
    redis.subscriptions += match tasks.results {
        Results::PerSession => traffic.sessions(),
        Results::PerShard => traffic.shards as f64,
    };
}
