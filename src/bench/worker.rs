//! A worker beside the load: `ringgate worker` as a process of its own, which ends with the run,
//! however that ends.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    config::RedisUrl,
    worker::{RedisWorkerOptions, StreamWork, WorkOptions, redis},
};

/// The hidden command of such a process.
pub const COMMAND: &str = "bench-worker";
/// For the server to answer, before it is said to be away.
const ANSWER: Duration = Duration::from_secs(5);

/// What the worker does; goes to its standard input, as it may hold a password.
#[derive(Clone, Serialize, Deserialize)]
pub struct Duty {
    /// `redis://…`.
    pub redis: String,
    /// Key of the list or stream.
    pub queue: String,
    /// Consumer group, where the queue is a stream.
    pub group: Option<String>,
    /// What each task takes at least.
    pub delay_ms: u64,
    /// Tasks at a time.
    pub concurrency: usize,
}

/// A worker that runs; it dies with this value.
pub struct Worker {
    child: Child,
    /// Its end is the worker's.
    _input: ChildStdin,
}

impl Worker {
    /// Starts one.
    ///
    /// # Errors
    /// Redis does not answer, or there can be no such process.
    pub fn start(duty: &Duty) -> Result<Self, String> {
        let url: RedisUrl = duty.redis.parse().map_err(|why| format!("--worker-redis {why}"))?;
        answers(&url).map_err(|why| format!("--worker-redis {url}: {why}"))?;
        let failed = |error: std::io::Error| format!("a worker: {error}");
        let program = std::env::current_exe().map_err(failed)?;
        // Ctrl-C is for the one that writes the report.
        let child = Command::new(program)
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn();
        let mut child = child.map_err(failed)?;
        let mut line = serde_json::to_vec(duty).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let Some(mut input) = child.stdin.take() else {
            return Err("a worker has no pipe".into());
        };
        let worker = |input| Self { child, _input: input };
        match input.write_all(&line) {
            Ok(()) => Ok(worker(input)),
            Err(error) => {
                drop(worker(input));
                Err(failed(error))
            }
        }
    }

    /// How it ended before its time, if it did.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("the worker ended before the run did: {status}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // What it may have taken belongs to nobody any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A worker stays and waits for a server that is away, which helps nobody here.
fn answers(url: &RedisUrl) -> Result<(), String> {
    let ping = || {
        let client = ::redis::Client::open(url.expose())?;
        let mut connection = client.get_connection_with_timeout(ANSWER)?;
        connection.set_read_timeout(Some(ANSWER))?;
        ::redis::cmd("PING").query::<String>(&mut connection)
    };
    ping().map(drop).map_err(|error| error.to_string())
}

/// Works until `stop`.
///
/// # Errors
/// Whatever ends the worker early.
pub fn work(duty: Duty, stop: Arc<AtomicBool>) -> Result<(), String> {
    let work =
        WorkOptions { delay: Duration::from_millis(duty.delay_ms), ..WorkOptions::default() };
    let options = RedisWorkerOptions {
        redis: duty.redis,
        queue: duty.queue,
        concurrency: duty.concurrency,
        work,
    };
    let name = || format!("ringgate-bench-{}", std::process::id());
    let done = match duty.group {
        Some(group) => redis::run_stream(options, StreamWork { group, name: name() }, stop),
        None => redis::run(options, stop),
    };
    done.map(drop).map_err(|error| error.to_string())
}
