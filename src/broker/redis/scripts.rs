//! ▢ What is asked of a stream and its group. Each is a script, so that nothing happens
//! between its steps, and payloads never leave the server for it.
//!
//! The scripts are short beside the tasks that they are about, and are run a few times a
//! second at most: they go out in full, and nothing hangs on the server's script cache.

use redis::{Cmd, cmd};

use crate::limits::{STREAM_CONSUMERS_MAX, STREAM_READER_PAUSE_MS};

const OBSERVE: &str = include_str!("scripts/observe.lua");

/// EVAL of the script that tells `{depth}`, or with `heartbeats` `{depth, workers}`.
pub fn write_observe(key: &str, group: &str, heartbeats: Option<&str>, output: &mut Vec<u8>) {
    let mut observe = eval(OBSERVE, key);
    observe.arg(group);
    if let Some(pattern) = heartbeats {
        let (before, after) = pattern.split_once('*').unwrap_or((pattern, ""));
        observe.arg(before).arg(after).arg(STREAM_READER_PAUSE_MS).arg(STREAM_CONSUMERS_MAX);
    }
    observe.write_packed_command(output);
}

fn eval(script: &str, key: &str) -> Cmd {
    let mut eval = cmd("EVAL");
    eval.arg(script).arg(1).arg(key);
    eval
}
