//! The reference worker of a Redis list: BLPOP, PUBLISH, RPUSH, EXPIRE, as the list
//! workers of the speech gateway do it (systems, section 1).
//!
//! Blocking connections, one a thread. An answer is kept until Redis has taken it, over
//! any number of reconnects, so that the only tasks that get lost are those that Redis
//! sent into a broken connection: a list has no acknowledgement.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use redis::{Client, Connection, RedisResult};

use super::{
    Tally, WorkOptions,
    task::Answer,
    work::{Work, pause},
};
use crate::limits::{
    RESULT_CACHE_TTL_S, WORKER_ANSWER_TIMEOUT_MS, WORKER_BACKOFF_MAX_MS, WORKER_BACKOFF_MIN_MS,
    WORKER_BATCH_BYTES, WORKER_BATCH_TASKS, WORKER_CONCURRENCY_MAX, WORKER_CONNECT_TIMEOUT_MS,
    WORKER_POP_WAIT_MS,
};

/// What `ringgate worker` is told.
#[derive(Clone)]
pub struct RedisWorkerOptions {
    /// `redis://[user:password@]host[:port][/db]` or `redis+unix:///path`.
    pub redis: String,
    /// Name of the list.
    pub queue: String,
    /// Threads, each with its own connection: 1 to [`WORKER_CONCURRENCY_MAX`].
    pub concurrency: usize,
    /// What each thread does with a task.
    pub work: WorkOptions,
}

impl fmt::Debug for RedisWorkerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redis, queue, concurrency, work } = self;
        f.debug_struct("RedisWorkerOptions")
            .field("redis", &masked(redis))
            .field("queue", queue)
            .field("concurrency", concurrency)
            .field("work", work)
            .finish()
    }
}

/// Why a worker did not start. All but `Thread` are mistakes of usage.
#[derive(Debug)]
pub enum WorkerError {
    /// The URL, password masked, and what is wrong with it.
    Redis {
        /// As given, without the password.
        url: String,
        /// The parser's word.
        reason: String,
    },
    /// Not 1 to [`WORKER_CONCURRENCY_MAX`].
    Concurrency(usize),
    /// Not 0 to 1.
    FailRate(f64),
    /// The operating system refused a thread.
    Thread(std::io::Error),
}

impl WorkerError {
    /// Whether the command line is to blame (exit code 2) rather than the machine (1).
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Thread(_))
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis { url, reason } => write!(
                f,
                "--redis {url}: {reason}; wanted: redis://[user:password@]host[:port][/db]"
            ),
            Self::Concurrency(value) => {
                write!(f, "--concurrency {value}: wanted: 1 to {WORKER_CONCURRENCY_MAX} threads")
            }
            Self::FailRate(value) => {
                write!(f, "--fail-rate {value}: wanted: a share of the tasks, 0 to 1")
            }
            Self::Thread(error) => write!(f, "cannot start a worker thread: {error}"),
        }
    }
}

impl std::error::Error for WorkerError {}

/// Works until `stop`, then finishes what it has taken: within about a second, unless
/// Redis hangs without closing the connection ([`WORKER_ANSWER_TIMEOUT_MS`]). While Redis
/// is away it keeps connecting, at most every [`WORKER_BACKOFF_MAX_MS`].
///
/// # Errors
/// [`WorkerError`]. Where a thread was refused, `stop` is set so that the others end.
pub fn run(options: RedisWorkerOptions, stop: Arc<AtomicBool>) -> Result<Tally, WorkerError> {
    let client = check(&options)?;
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(options.concurrency);
        for index in 0..options.concurrency {
            let name = format!("worker-{index}");
            let worker = RedisWorker::new(&client, &options, index as u64, &stop);
            match thread::Builder::new().name(name).spawn_scoped(scope, || worker.run()) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    stop.store(true, Relaxed);
                    return Err(WorkerError::Thread(error));
                }
            }
        }
        let mut tally = Tally::default();
        for thread in threads {
            tally += thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        Ok(tally)
    })
}

fn check(options: &RedisWorkerOptions) -> Result<Client, WorkerError> {
    if !(1..=WORKER_CONCURRENCY_MAX).contains(&options.concurrency) {
        return Err(WorkerError::Concurrency(options.concurrency));
    }
    if !(0.0..=1.0).contains(&options.work.fail_rate) {
        return Err(WorkerError::FailRate(options.work.fail_rate));
    }
    Client::open(options.redis.as_str()).map_err(|error| WorkerError::Redis {
        url: masked(&options.redis),
        reason: error.to_string(),
    })
}

/// One thread: a connection, what it has taken, and the answers that Redis has yet to take.
struct RedisWorker<'a> {
    client: &'a Client,
    options: &'a RedisWorkerOptions,
    stop: &'a AtomicBool,
    work: Work,
    /// At most one batch, so at most [`WORKER_BATCH_TASKS`].
    unsent: Vec<Answer>,
    /// Tasks to take at once; 1 where each takes its time, so that no task waits in here
    /// while another worker is free.
    batch_tasks: usize,
    backoff_ms: u64,
}

impl<'a> RedisWorker<'a> {
    fn new(
        client: &'a Client,
        options: &'a RedisWorkerOptions,
        index: u64,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            client,
            options,
            stop,
            work: Work::new(options.work, index),
            unsent: Vec::new(),
            batch_tasks: 1,
            backoff_ms: WORKER_BACKOFF_MIN_MS,
        }
    }

    fn run(mut self) -> Tally {
        while !self.stop.load(Relaxed) {
            let Err(error) = self.connect().and_then(|mut redis| self.serve(&mut redis)) else {
                break;
            };
            log::warn!(
                "worker: {}: {error}; again in {} ms",
                masked(&self.options.redis),
                self.backoff_ms
            );
            pause(Duration::from_millis(self.backoff_ms), self.stop);
            self.backoff_ms = (self.backoff_ms * 2).min(WORKER_BACKOFF_MAX_MS);
        }
        self.work.tally.lost += self.unsent.len() as u64;
        self.work.tally
    }

    fn connect(&self) -> RedisResult<Connection> {
        let timeout = Duration::from_millis(WORKER_CONNECT_TIMEOUT_MS);
        let redis = self.client.get_connection_with_timeout(timeout)?;
        let timeout = Some(Duration::from_millis(WORKER_ANSWER_TIMEOUT_MS));
        redis.set_read_timeout(timeout)?;
        redis.set_write_timeout(timeout)?;
        Ok(redis)
    }

    fn serve(&mut self, redis: &mut Connection) -> RedisResult<()> {
        self.deliver(redis)?;
        while !self.stop.load(Relaxed) {
            let tasks = self.take(redis)?;
            // Not before: a server that lets connect but answers with errors (loading,
            // out of memory, wrong type) must not be asked without a pause.
            self.backoff_ms = WORKER_BACKOFF_MIN_MS;
            for raw in &tasks {
                self.unsent.extend(self.work.perform(raw, self.stop));
            }
            self.deliver(redis)?;
            self.size_batch(&tasks);
        }
        Ok(())
    }

    /// Takes the oldest task, and where there is no delay what stands behind it: two
    /// commands for a batch rather than one for each task.
    fn take(&mut self, redis: &mut Connection) -> RedisResult<Vec<Vec<u8>>> {
        let queue = &self.options.queue;
        let wait_s = WORKER_POP_WAIT_MS as f64 / 1_000.0;
        let first: Option<(String, Vec<u8>)> =
            redis::cmd("BLPOP").arg(queue).arg(wait_s).query(redis)?;
        let Some((_, first)) = first else { return Ok(Vec::new()) };
        let mut tasks = vec![first];
        if self.batch_tasks > 1 {
            // An error waits for the next command: the first task must not be lost with it.
            let more = redis::cmd("LPOP").arg(queue).arg(self.batch_tasks - 1).query(redis);
            let more: RedisResult<Option<Vec<Vec<u8>>>> = more;
            tasks.extend(more.ok().flatten().unwrap_or_default());
        }
        Ok(tasks)
    }

    fn size_batch(&mut self, tasks: &[Vec<u8>]) {
        if let Some(largest) = tasks.iter().map(Vec::len).max()
            && self.options.work.delay.is_zero()
        {
            self.batch_tasks = (WORKER_BATCH_BYTES / largest.max(1)).clamp(1, WORKER_BATCH_TASKS);
        }
    }

    /// Sends every unsent answer in one write. After an error they are unsent still.
    fn deliver(&mut self, redis: &mut Connection) -> RedisResult<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for Answer { channel, cache_key, payload } in &self.unsent {
            pipeline.cmd("PUBLISH").arg(channel).arg(payload);
            pipeline.cmd("RPUSH").arg(cache_key).arg(payload);
            pipeline.cmd("EXPIRE").arg(cache_key).arg(RESULT_CACHE_TTL_S);
        }
        let replies: Vec<RedisResult<i64>> = pipeline.query(redis)?;
        let tally = &mut self.work.tally;
        for reply in replies.chunks(3) {
            if let Some(error) = reply.iter().find_map(|reply| reply.as_ref().err()) {
                log::warn!("worker: Redis refused a result: {error}");
            }
            // Published or cached, the gateway finds it either way.
            if reply.iter().take(2).any(Result::is_ok) {
                tally.done += 1;
            } else {
                tally.lost += 1;
            }
        }
        self.unsent.clear();
        Ok(())
    }
}

/// A Redis URL that may be shown: `redis://user:***@host`, `…?pass=***`. Made for text that
/// need not be a URL, since the message about a bad one shows it too.
fn masked(url: &str) -> String {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = url.split_at(authority);
    let rest = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => format!("{user}@{host}"),
        },
        None => rest.to_owned(),
    };
    match rest.split_once("pass=") {
        Some((before, after)) => {
            let end = after.find('&').unwrap_or(after.len());
            format!("{scheme}{before}pass=***{}", &after[end..])
        }
        None => format!("{scheme}{rest}"),
    }
}

#[cfg(test)]
mod tests;
