//! The other side of topics: publishes to Redis, each message at its time.
//!
//! An open loop on a thread of its own, once in a run: what is late is sent at once and counted,
//! and its payload carries the time at which it was meant to be sent, by the clock that all
//! processes share.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use redis::{Client, Connection};
use serde::{Deserialize, Serialize};

use super::{beat::Beat, choice::topic_name, clock, tally::LATE_NS};
use crate::topics::{ChannelPattern, Topic};

/// Longest sleep, so that the end is noticed.
const NAP: Duration = Duration::from_millis(20);
/// Messages of one pipeline.
const PIPELINE_MAX: usize = 256;
/// For Redis to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of every payload.
const END: &str = "\"}";

/// What is published, and where.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Feed {
    /// `redis://…`
    pub redis: String,
    /// The route's channels: a [`ChannelPattern`].
    pub channel: String,
    /// What is due when; topics are named by [`topic_name`].
    pub beat: Beat,
    /// Bytes of a payload, at least.
    pub payload_bytes: usize,
}

/// The thread, until all is published or it is told to stop.
pub struct Publisher {
    state: Arc<State>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    /// Messages that Redis has taken.
    sent: AtomicU64,
    /// Of them, those that left too late.
    late: AtomicU64,
    late_max_ns: AtomicU64,
}

impl Publisher {
    /// Publishes whatever is due in `span_ns`, from a thread on one of `cores` (none: any).
    ///
    /// # Errors
    /// Redis is not there.
    pub fn start(feed: &Feed, span_ns: Range<u64>, cores: &[usize]) -> Result<Self, String> {
        let problem = |error: redis::RedisError| format!("--redis: {error}");
        let client = Client::open(feed.redis.as_str()).map_err(problem)?;
        let connection = client.get_connection_with_timeout(PATIENCE).map_err(problem)?;
        connection.set_write_timeout(Some(PATIENCE)).map_err(problem)?;
        connection.set_read_timeout(Some(PATIENCE)).map_err(problem)?;
        let beat = feed.beat.beginning_at(span_ns.start);
        let messages = beat.messages_before(span_ns.end);
        let (state, channels) = (Arc::new(State::default()), channels(feed)?);
        let (shared, bytes, cores) = (state.clone(), feed.payload_bytes, cores.to_vec());
        let run = move || {
            pin_to(&cores)?;
            Work { beat, channels, bytes, connection, state: shared }.publish(messages)
        };
        let thread = thread::Builder::new().name("publisher".into()).spawn(run);
        let thread = thread.map_err(|error| format!("a thread for the publisher: {error}"))?;
        Ok(Self { state, thread: Some(thread) })
    }

    /// Publishes nothing more.
    pub fn stop(&self) {
        self.state.stop.store(true, Relaxed);
    }

    /// Messages that Redis has taken so far, and those of them that left over 10 ms late.
    pub fn sent_and_late(&self) -> (u64, u64) {
        (self.state.sent.load(Relaxed), self.state.late.load(Relaxed))
    }

    /// The latest that a message was so far.
    pub fn late_max(&self) -> Duration {
        Duration::from_nanos(self.state.late_max_ns.load(Relaxed))
    }

    /// How it ended, once; `None` while it publishes and after it was said.
    pub fn outcome(&mut self) -> Option<Result<(), String>> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(thread.join().unwrap_or_else(|_| Err("it panicked".into())))
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop();
    }
}

fn channels(feed: &Feed) -> Result<Vec<Arc<str>>, String> {
    let pattern = ChannelPattern::parse(&feed.channel);
    let pattern =
        pattern.ok_or_else(|| format!("--channel {}: it has no {{topic}}", feed.channel))?;
    let channel = |topic| {
        let topic = Topic::parse(&topic_name(topic)).map_err(|error| error.to_string())?;
        Ok(pattern.channel_of(&topic))
    };
    (0..feed.beat.topics).map(channel).collect()
}

fn pin_to(cores: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    let all = cores.iter().try_for_each(|core| set.set(*core));
    let pinned = all.and_then(|()| match cores {
        [] => Ok(()),
        _ => sched_setaffinity(Pid::from_raw(0), &set),
    });
    pinned.map_err(|error| format!("--cores {cores:?}: {error}"))
}

/// What the thread has.
struct Work {
    beat: Beat,
    channels: Vec<Arc<str>>,
    bytes: usize,
    connection: Connection,
    state: Arc<State>,
}

impl Work {
    fn publish(&mut self, messages: u64) -> Result<(), String> {
        let mut sent = 0;
        while sent < messages && !self.state.stop.load(Relaxed) {
            let now_ns = clock::now_ns();
            let due = self.beat.messages_before(now_ns).min(messages);
            let end = due.min(sent + PIPELINE_MAX as u64);
            if end == sent {
                let rest_ns = self.beat.due_ns(sent).saturating_sub(now_ns);
                thread::sleep(Duration::from_nanos(rest_ns).min(NAP));
                continue;
            }
            self.send(sent..end, now_ns)?;
            sent = end;
        }
        Ok(())
    }

    fn send(&mut self, nths: Range<u64>, now_ns: u64) -> Result<(), String> {
        let (count, mut late) = (nths.end - nths.start, 0);
        let first_ns = self.beat.due_ns(nths.start);
        let mut pipeline = redis::pipe();
        for nth in nths {
            let (topic, number) = self.beat.message(nth);
            let due_ns = self.beat.due_ns(nth);
            late += u64::from(now_ns.saturating_sub(due_ns) > LATE_NS);
            if let Some(channel) = self.channels.get(topic as usize) {
                pipeline.publish(&**channel, payload(number, due_ns, self.bytes)).ignore();
            }
        }
        self.state.late_max_ns.fetch_max(now_ns.saturating_sub(first_ns), Relaxed);
        pipeline.exec(&mut self.connection).map_err(|error| format!("PUBLISH: {error}"))?;
        self.state.late.fetch_add(late, Relaxed);
        self.state.sent.fetch_add(count, Relaxed);
        Ok(())
    }
}

/// `{"s":number,"t":nanoseconds,"p":"…"}` of so many bytes or as few as there can be, which [`reading`](super::reading) reads.
pub fn payload(number: u64, at_ns: u64, bytes: usize) -> String {
    let mut payload = format!(r#"{{"s":{number},"t":{at_ns},"p":""#);
    let filling = bytes.saturating_sub(payload.len() + END.len());
    payload.extend(std::iter::repeat_n('x', filling));
    payload + END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_whatever_that_is() {
        for bytes in [0, 64, 1_000, 70_000, 16 << 20] {
            let payload = payload(7, u64::MAX, bytes);
            assert_eq!(payload.len(), bytes.max(39), "{bytes}");
        }
    }
}
