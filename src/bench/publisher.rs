//! The other side of topics: publishes to Redis, each message at its time.
//!
//! An open loop on a thread of its own: what is late is sent at once and counted, and its
//! payload carries the time at which it was meant to be sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use redis::Client;

use super::choice::topic_name;
use crate::topics::{ChannelPattern, Topic};

/// Longest sleep, so that the end is noticed.
const NAP: Duration = Duration::from_millis(20);
/// Messages of one pipeline.
const PIPELINE_MAX: usize = 256;
/// What the payload has beside its filling.
const FRAME_BYTES: usize = 48;

/// What is published, and where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// `redis://…`
    pub redis: String,
    /// The route's channels.
    pub channel: ChannelPattern,
    /// How many topics, named by [`topic_name`].
    pub topics: u32,
    /// Messages a second of each topic.
    pub ticks_per_second: f64,
    /// Bytes of a payload, at least.
    pub payload_bytes: usize,
    /// What times in payloads count from.
    pub epoch: Instant,
}

/// What was published.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Published {
    /// The last number of each topic; they count from one.
    pub last: Vec<u64>,
    /// Messages in all.
    pub messages: u64,
    /// The latest that one was.
    pub late_max: Duration,
}

/// The thread, until it is stopped.
pub struct Publisher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Published, String>>,
}

impl Publisher {
    /// Begins to publish.
    ///
    /// # Errors
    /// Redis is not there.
    pub fn start(plan: Plan) -> Result<Self, String> {
        let problem = |error: redis::RedisError| format!("--redis {}: {error}", plan.redis);
        let client = Client::open(plan.redis.as_str()).map_err(problem)?;
        let connection = client.get_connection_with_timeout(Duration::from_secs(5));
        let connection = connection.map_err(problem)?;
        let channels: Result<Vec<_>, String> = (0..plan.topics)
            .map(|topic| {
                let topic = Topic::parse(&topic_name(topic)).map_err(|error| error.to_string())?;
                Ok(plan.channel.channel_of(&topic))
            })
            .collect();
        let (stop, channels) = (Arc::new(AtomicBool::new(false)), channels?);
        let stopped = stop.clone();
        let run = move || publish(&plan, &channels, connection, &stopped);
        let thread = thread::Builder::new().name("publisher".into()).spawn(run);
        Ok(Self { stop, thread: thread.map_err(|error| error.to_string())? })
    }

    /// Stops; what was published.
    ///
    /// # Errors
    /// Redis went away meanwhile.
    pub fn stop(self) -> Result<Published, String> {
        self.stop.store(true, Relaxed);
        self.thread.join().unwrap_or_else(|_| Err("the publisher panicked".into()))
    }
}

fn publish(
    plan: &Plan,
    channels: &[Arc<str>],
    mut connection: redis::Connection,
    stop: &AtomicBool,
) -> Result<Published, String> {
    let every = Duration::from_secs_f64(1.0 / (plan.ticks_per_second * channels.len() as f64));
    let begin = Instant::now();
    let mut published = Published { last: vec![0; channels.len()], ..Published::default() };
    while !stop.load(Relaxed) {
        let mut pipeline = redis::pipe();
        let mut count = 0;
        while count < PIPELINE_MAX {
            let due = begin + every.mul_f64(published.messages as f64);
            let late = Instant::now().saturating_duration_since(due);
            if late.is_zero() {
                break;
            }
            published.late_max = published.late_max.max(late);
            let topic = (published.messages % channels.len() as u64) as usize;
            published.last[topic] += 1;
            let at_ns = due.saturating_duration_since(plan.epoch).as_nanos() as u64;
            let payload = payload(published.last[topic], at_ns, plan.payload_bytes);
            pipeline.publish(&*channels[topic], payload).ignore();
            (published.messages, count) = (published.messages + 1, count + 1);
        }
        if count > 0 {
            pipeline.exec(&mut connection).map_err(|error| format!("PUBLISH: {error}"))?;
        } else {
            let due = begin + every.mul_f64(published.messages as f64);
            thread::sleep(due.saturating_duration_since(Instant::now()).min(NAP));
        }
    }
    Ok(published)
}

/// `{"s":number,"t":nanoseconds,"p":"…"}`, which [`reading`](super::reading) reads.
pub fn payload(number: u64, at_ns: u64, bytes: usize) -> String {
    let filling = bytes.saturating_sub(FRAME_BYTES);
    format!(r#"{{"s":{number},"t":{at_ns},"p":"{:x>filling$}"}}"#, "")
}
