//! The other end of a queue, as cheap as it can be: what is measured is the way there.
//!
//! The pure list operations of the reference workers without their audio, in batches, because a
//! single-threaded Redis pays for each command, and what the worker asks of it is lost to the
//! gateway that shares it.

use std::time::Duration;

use clap::{Args, ValueEnum};
use redis::{Connection, cmd, pipe};

use crate::Failure;

/// Tasks taken at once.
const BATCH: usize = 64;
/// Longest wait at an empty queue, in seconds.
const POP_WAIT_S: u64 = 1;
/// Between two looks at a queue that is only kept short.
const DROP_PERIOD: Duration = Duration::from_millis(20);
/// How long a result stays in the cache of its session, in seconds.
const CACHE_TTL_S: u64 = 60;

/// What the worker is told.
#[derive(Args)]
pub struct WorkerArgs {
    /// URL of Redis.
    #[arg(long)]
    redis: String,
    /// The list.
    #[arg(long, default_value = "asr_chunk_queue")]
    queue: String,
    /// What becomes of a task.
    #[arg(long, value_enum, default_value = "answer")]
    tasks: Fate,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Fate {
    /// Taken, and answered with an empty text: PUBLISH, RPUSH and EXPIRE.
    Answer,
    /// Taken.
    Pop,
    /// Not even taken: every 20 ms the list is emptied.
    Drop,
}

/// Works until the process is ended.
pub fn run(args: &WorkerArgs) -> Result<(), Failure> {
    let mut redis = redis::Client::open(&*args.redis)?.get_connection()?;
    loop {
        if args.tasks == Fate::Drop {
            cmd("UNLINK").arg(&args.queue).exec(&mut redis)?;
            std::thread::sleep(DROP_PERIOD);
            continue;
        }
        let tasks = take(&mut redis, &args.queue)?;
        if args.tasks == Fate::Answer && !tasks.is_empty() {
            answer(&mut redis, &tasks)?;
        }
    }
}

fn take(redis: &mut Connection, queue: &str) -> Result<Vec<Vec<u8>>, Failure> {
    let taken: Option<Vec<Vec<u8>>> = cmd("LPOP").arg(queue).arg(BATCH).query(redis)?;
    if let Some(tasks) = taken {
        return Ok(tasks);
    }
    let first: Option<(String, Vec<u8>)> = cmd("BLPOP").arg(queue).arg(POP_WAIT_S).query(redis)?;
    Ok(first.into_iter().map(|(_, task)| task).collect())
}

fn answer(redis: &mut Connection, tasks: &[Vec<u8>]) -> Result<(), Failure> {
    let mut pipe = pipe();
    for task in tasks {
        let head = &task[..task.len().min(256)];
        let session = after(head, b"\"session_id\":\"", b'"').ok_or("a task without session")?;
        let index = after(head, b"\"chunk_index\":", b',').ok_or("a task without index")?;
        let result = format!(r#"{{"chunk_index":{index},"text":""}}"#);
        let cache = format!("asr:results:{session}");
        pipe.cmd("PUBLISH").arg(format!("asr_result_{session}")).arg(&result).ignore();
        pipe.cmd("RPUSH").arg(&cache).arg(&result).ignore();
        pipe.cmd("EXPIRE").arg(&cache).arg(CACHE_TTL_S).ignore();
    }
    Ok(pipe.exec(redis)?)
}

/// What stands between `key` and `end`.
fn after<'a>(json: &'a [u8], key: &[u8], end: u8) -> Option<&'a str> {
    let at = json.windows(key.len()).position(|window| window == key)? + key.len();
    let length = json[at..].iter().position(|&byte| byte == end)?;
    std::str::from_utf8(&json[at..at + length]).ok()
}
