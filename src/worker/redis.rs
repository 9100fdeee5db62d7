//! The reference worker of a Redis list or stream: BLPOP or XREADGROUP, then PUBLISH,
//! RPUSH, EXPIRE and for a stream XACK, as the two generations of workers of the speech
//! gateway do it (systems, section 1).
//!
//! Blocking connections, one a thread. An answer is kept until Redis has taken it, over
//! any number of reconnects, so that the only tasks that get lost are those that Redis
//! sent into a broken connection to a worker of a list, which has no acknowledgement.
//!
//! `reader` takes tasks from either kind of queue, `heartbeat` says that stream workers
//! live.

mod heartbeat;
mod reader;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use redis::{Client, Connection, ErrorKind, RedisResult, ServerErrorKind};

use self::reader::{Reader, Taken};
use super::{
    Tally, WorkOptions,
    task::Answer,
    work::{Work, pause},
};
use crate::limits::{
    RESULT_CACHE_TTL_S, WORKER_ANSWER_TIMEOUT_MS, WORKER_BACKOFF_MAX_MS, WORKER_BACKOFF_MIN_MS,
    WORKER_BATCH_BYTES, WORKER_BATCH_TASKS, WORKER_CONCURRENCY_MAX, WORKER_CONNECT_TIMEOUT_MS,
};

/// What `ringgate worker` is told.
#[derive(Clone)]
pub struct RedisWorkerOptions {
    /// `redis://[user:password@]host[:port][/db]` or `redis+unix:///path`.
    pub redis: String,
    /// Name of the list or stream.
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

/// What a worker of a stream is told besides.
#[derive(Clone, Debug)]
pub struct StreamWork {
    /// Consumer group, made where it is missing.
    pub group: String,
    /// Name in the group and in the key of the heartbeat, `worker:<name>:heartbeat`. Where
    /// there are several threads, each adds its number: each is a consumer.
    pub name: String,
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
    let key = options.queue.clone();
    let readers = (0..options.concurrency).map(|_| Reader::List { key: key.clone() });
    run_readers(&options, readers.collect(), &[], &stop)
}

/// As [`run`], for a stream.
///
/// # Errors
/// As [`run`].
pub fn run_stream(
    options: RedisWorkerOptions,
    stream: StreamWork,
    stop: Arc<AtomicBool>,
) -> Result<Tally, WorkerError> {
    let StreamWork { group, name } = stream;
    let names: Vec<String> = match options.concurrency {
        1 => vec![name],
        many => (0..many).map(|index| format!("{name}-{index}")).collect(),
    };
    let reader = |consumer: &String| Reader::Stream {
        key: options.queue.clone(),
        group: group.clone(),
        consumer: consumer.clone(),
    };
    let readers = names.iter().map(reader).collect();
    run_readers(&options, readers, &names, &stop)
}

/// One thread for each reader, and one for the heartbeats of `names`, if there are any.
fn run_readers(
    options: &RedisWorkerOptions,
    readers: Vec<Reader>,
    names: &[String],
    stop: &AtomicBool,
) -> Result<Tally, WorkerError> {
    let client = check(options)?;
    thread::scope(|scope| {
        let refused = |error| {
            stop.store(true, Relaxed);
            WorkerError::Thread(error)
        };
        if !names.is_empty() {
            let beat = || heartbeat::beat(&client, names, stop);
            let heart = thread::Builder::new().name("heartbeat".to_owned());
            heart.spawn_scoped(scope, beat).map_err(refused)?;
        }
        let mut threads = Vec::with_capacity(options.concurrency);
        for (index, reader) in readers.into_iter().enumerate() {
            let name = format!("worker-{index}");
            let worker = RedisWorker::new(&client, options, reader, index as u64, stop);
            let thread = thread::Builder::new().name(name).spawn_scoped(scope, || worker.run());
            threads.push(thread.map_err(refused)?);
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
    reader: Reader,
    stop: &'a AtomicBool,
    work: Work,
    /// At most one batch, so at most [`WORKER_BATCH_TASKS`].
    unsent: Vec<Done>,
    /// Tasks to take at once; 1 where each takes its time, so that no task waits in here
    /// while another worker is free.
    batch_tasks: usize,
    backoff_ms: u64,
}

/// What Redis has yet to be told of one task.
struct Done {
    /// `None`: there is nobody to answer, or nothing to say.
    answer: Option<Answer>,
    /// The entry of a stream, to be acknowledged.
    id: Option<String>,
}

impl<'a> RedisWorker<'a> {
    fn new(
        client: &'a Client,
        options: &'a RedisWorkerOptions,
        reader: Reader,
        index: u64,
        stop: &'a AtomicBool,
    ) -> Self {
        Self {
            client,
            options,
            reader,
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
        let lost = self.unsent.iter().filter(|done| done.answer.is_some()).count();
        self.work.tally.lost += lost as u64;
        self.work.tally
    }

    fn connect(&self) -> RedisResult<Connection> {
        let mut redis = connect(self.client)?;
        self.reader.prepare(&mut redis)?;
        Ok(redis)
    }

    fn serve(&mut self, redis: &mut Connection) -> RedisResult<()> {
        self.deliver(redis)?;
        while !self.stop.load(Relaxed) {
            let tasks = self.reader.take(redis, self.batch_tasks)?;
            // Not before: a server that lets connect but answers with errors (loading,
            // out of memory, wrong type) must not be asked without a pause.
            self.backoff_ms = WORKER_BACKOFF_MIN_MS;
            self.size_batch(&tasks);
            for task in tasks {
                self.perform(task);
            }
            self.deliver(redis)?;
        }
        self.reader.leave(redis)
    }

    /// A task that fails on purpose is told to nobody: in a stream it stays unacknowledged,
    /// and is queued again in time.
    fn perform(&mut self, taken: Taken) {
        let Taken { id, task } = taken;
        let failed = self.work.tally.failed;
        let answer = self.work.perform(task.parse(), self.stop);
        if answer.is_some() || (id.is_some() && self.work.tally.failed == failed) {
            self.unsent.push(Done { answer, id });
        }
    }

    fn size_batch(&mut self, tasks: &[Taken]) {
        if let Some(largest) = tasks.iter().map(|taken| taken.task.len_bytes()).max()
            && self.options.work.delay.is_zero()
        {
            self.batch_tasks = (WORKER_BATCH_BYTES / largest.max(1)).clamp(1, WORKER_BATCH_TASKS);
        }
    }

    /// Sends every unsent answer in one write, and acknowledges what it answers. After an
    /// error they are unsent still.
    fn deliver(&mut self, redis: &mut Connection) -> RedisResult<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for Done { answer, id } in &self.unsent {
            if let Some(Answer { channel, cache_key, payload }) = answer {
                pipeline.cmd("PUBLISH").arg(channel).arg(payload);
                pipeline.cmd("RPUSH").arg(cache_key).arg(payload);
                pipeline.cmd("EXPIRE").arg(cache_key).arg(RESULT_CACHE_TTL_S);
            }
            if let Some(id) = id {
                self.reader.acknowledge(id, &mut pipeline);
            }
        }
        let replies: Vec<RedisResult<i64>> = pipeline.query(redis)?;
        // No refusal: while a server loads its data it publishes, to nobody, and caches nothing.
        if replies.iter().any(is_not_ready) {
            return replies.into_iter().filter(is_not_ready).try_for_each(|reply| reply.map(drop));
        }
        let mut replies = replies.into_iter();
        for done in self.unsent.drain(..) {
            let told = if done.answer.is_some() { 3 } else { 0 };
            let told: Vec<RedisResult<i64>> = replies.by_ref().take(told).collect();
            let acknowledged = done.id.and_then(|_| replies.next());
            let refused = told.iter().chain(&acknowledged).find_map(|reply| reply.as_ref().err());
            if let Some(error) = refused {
                log::warn!("worker: Redis refused a result: {error}");
            }
            let tally = &mut self.work.tally;
            // Published or cached, the gateway finds it either way.
            if told.iter().take(2).any(Result::is_ok) {
                tally.done += 1;
            } else if !told.is_empty() {
                tally.lost += 1;
            }
        }
        Ok(())
    }
}

/// Whether the same command will be taken later.
fn is_not_ready(reply: &RedisResult<i64>) -> bool {
    let later = [ServerErrorKind::BusyLoading, ServerErrorKind::MasterDown].map(ErrorKind::Server);
    reply.as_ref().is_err_and(|error| later.contains(&error.kind()))
}

/// A connection whose reads and writes end.
fn connect(client: &Client) -> RedisResult<Connection> {
    let timeout = Duration::from_millis(WORKER_CONNECT_TIMEOUT_MS);
    let redis = client.get_connection_with_timeout(timeout)?;
    let timeout = Some(Duration::from_millis(WORKER_ANSWER_TIMEOUT_MS));
    redis.set_read_timeout(timeout)?;
    redis.set_write_timeout(timeout)?;
    Ok(redis)
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
