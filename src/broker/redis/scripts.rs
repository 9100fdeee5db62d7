//! ▢ What is asked of a stream and its group. Each is a script, so that nothing happens
//! between its steps, several gateways do not disturb one another, and payloads never leave
//! the server for it.
//!
//! The scripts are short beside the tasks that they are about, and are run a few times a
//! second at most: they go out in full, and nothing hangs on the server's script cache.

use redis::{Cmd, Value, cmd};

use super::upkeep::StreamUpkeep;
use crate::{
    broker::Backlog,
    limits::{
        HEARTBEAT_SCAN_STEPS, REQUEUE_BYTES, REQUEUE_ENTRIES, REQUEUES_MAX, STREAM_CONSUMERS_MAX,
        STREAM_GROUPS_MAX, STREAM_READER_PAUSE_MS,
    },
};

const OBSERVE: &str = include_str!("scripts/observe.lua");
const TIDY: &str = include_str!("scripts/tidy.lua");

/// EVAL of the script whose answer is for [`read_backlog`]; with `heartbeats`, the pattern
/// of the keys, it counts workers too.
pub fn write_observe(key: &str, group: &str, heartbeats: Option<&str>, output: &mut Vec<u8>) {
    let mut observe = eval(OBSERVE, key);
    observe.arg(group);
    if let Some(pattern) = heartbeats {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        observe.arg(before).arg(after).arg(STREAM_READER_PAUSE_MS).arg(STREAM_CONSUMERS_MAX);
        observe.arg(HEARTBEAT_SCAN_STEPS);
    }
    observe.write_packed_command(output);
}

/// The answer of LLEN, or of the script of [`write_observe`].
pub fn read_backlog(value: &Value) -> Option<Backlog> {
    match value {
        Value::Array(counts) => match counts.as_slice() {
            [depth] => Some(Backlog { depth: count(depth)?, workers: None }),
            [depth, workers] => {
                Some(Backlog { depth: count(depth)?, workers: Some(count(workers)?) })
            }
            _ => None,
        },
        length => Some(Backlog { depth: count(length)?, workers: None }),
    }
}

/// What one round of upkeep did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tidied {
    /// Stale tasks that were queued again.
    pub requeued: u64,
    /// Stale entries that are no task, acknowledged unread.
    pub malformed: u64,
    /// Tasks that were queued again [`REQUEUES_MAX`] times, and no more.
    pub abandoned: u64,
    /// Acknowledged entries that were trimmed.
    pub trimmed: u64,
    /// The round ended at its bound.
    pub more: bool,
    /// The last entry among the malformed and the abandoned.
    pub dropped_id: String,
}

/// EVAL of the script whose answer is for [`read_tidied`].
pub fn write_tidy(stream: &StreamUpkeep, output: &mut Vec<u8>) {
    let mut tidy = eval(TIDY, &stream.key);
    tidy.arg(&*stream.group).arg(stream.claim_idle_ms).arg(REQUEUE_ENTRIES).arg(REQUEUE_BYTES);
    tidy.arg(REQUEUES_MAX).arg(STREAM_GROUPS_MAX).write_packed_command(output);
}

/// The answer of the script of [`write_tidy`].
pub fn read_tidied(value: &Value) -> Option<Tidied> {
    let Value::Array(values) = value else { return None };
    let [requeued, malformed, abandoned, trimmed, more, Value::BulkString(id)] = values.as_slice()
    else {
        return None;
    };
    Some(Tidied {
        requeued: count(requeued)?,
        malformed: count(malformed)?,
        abandoned: count(abandoned)?,
        trimmed: count(trimmed)?,
        more: count(more)? > 0,
        dropped_id: String::from_utf8_lossy(id).into_owned(),
    })
}

fn eval(script: &str, key: &str) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(script).arg(1).arg(key);
    eval
}

fn count(value: &Value) -> Option<u64> {
    match value {
        Value::Int(count) => u64::try_from(*count).ok(),
        _ => None,
    }
}
