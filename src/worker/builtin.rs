//! The worker inside the process, for the embedded broker: a thread of its own, so that
//! measuring audio never takes time from a shard.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{Tally, WorkOptions, task::Task, work::Work};
use crate::{
    broker::embedded::WorkerPort,
    limits::{RESULT_CACHE_TTL_S, WORKER_POP_WAIT_MS},
};

/// A worker's side of a broker: what BLPOP, PUBLISH, RPUSH and EXPIRE are to Redis.
pub trait WorkerQueue: Send + 'static {
    /// Takes the oldest value of the list `key`, waiting up to `timeout` for one. `None`
    /// after that time, and at once where the broker is gone for good and `stop` is set.
    fn pop(&mut self, key: &str, timeout: Duration) -> Option<Vec<u8>>;

    /// Hands `payload` to everyone who is subscribed to `channel` now.
    fn publish(&mut self, channel: &str, payload: Vec<u8>);

    /// Appends `value` to the list `key`, which from now on lives for `ttl`.
    fn append_expiring(&mut self, key: &str, value: Vec<u8>, ttl: Duration);
}

impl WorkerQueue for WorkerPort {
    fn pop(&mut self, key: &str, timeout: Duration) -> Option<Vec<u8>> {
        WorkerPort::pop(self, key, timeout)
    }

    fn publish(&mut self, channel: &str, payload: Vec<u8>) {
        WorkerPort::publish(self, channel, payload);
    }

    fn append_expiring(&mut self, key: &str, value: Vec<u8>, ttl: Duration) {
        WorkerPort::append_expiring(self, key, value, ttl);
    }
}

/// Starts worker thread number `index` (its name, and its own dice) on the list `key`.
/// It ends within a second of `stop` and gives its counts to whoever joins it.
///
/// # Errors
/// The operating system refused the thread.
pub fn spawn<Q: WorkerQueue>(
    queue: Q,
    key: &str,
    options: WorkOptions,
    index: usize,
    stop: Arc<AtomicBool>,
) -> io::Result<JoinHandle<Tally>> {
    let key = key.to_owned();
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || run(queue, &key, Work::new(options, index as u64), &stop))
}

fn run<Q: WorkerQueue>(mut queue: Q, key: &str, mut work: Work, stop: &AtomicBool) -> Tally {
    let wait = Duration::from_millis(WORKER_POP_WAIT_MS);
    let ttl = Duration::from_secs(RESULT_CACHE_TTL_S);
    while !stop.load(Relaxed) {
        let Some(raw) = queue.pop(key, wait) else { continue };
        if let Some(answer) = work.perform(Task::parse(&raw), stop) {
            // Published before it is cached, as the Redis workers do: whoever relies on
            // another order finds out here.
            queue.publish(&answer.channel, answer.payload.clone());
            queue.append_expiring(&answer.cache_key, answer.payload, ttl);
            work.tally.done += 1;
        }
    }
    work.tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    #[derive(PartialEq, Debug)]
    enum Did {
        Publish(String, Vec<u8>),
        Append(String, Vec<u8>, Duration),
    }

    /// A broker of two channels: tasks in, what the worker did out.
    struct Queue {
        tasks: Receiver<Vec<u8>>,
        did: Sender<Did>,
    }

    impl WorkerQueue for Queue {
        fn pop(&mut self, key: &str, timeout: Duration) -> Option<Vec<u8>> {
            assert_eq!(key, "queue");
            self.tasks.recv_timeout(timeout).ok()
        }

        fn publish(&mut self, channel: &str, payload: Vec<u8>) {
            self.did.send(Did::Publish(channel.to_owned(), payload)).unwrap();
        }

        fn append_expiring(&mut self, key: &str, value: Vec<u8>, ttl: Duration) {
            self.did.send(Did::Append(key.to_owned(), value, ttl)).unwrap();
        }
    }

    #[test]
    fn publishes_then_caches_counts_the_malformed_and_stops() {
        let (task_in, tasks) = channel();
        let (did, did_out) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let options = WorkOptions::default();
        let worker = spawn(Queue { tasks, did }, "queue", options, 0, Arc::clone(&stop)).unwrap();
        task_in.send(b"rubbish".to_vec()).unwrap();
        task_in
            .send(br#"{"session_id":"s","chunk_index":3,"audio_data":"AAA="}"#.to_vec())
            .unwrap();

        let Did::Publish(channel, payload) = did_out.recv().unwrap() else {
            panic!("cached before it was published")
        };
        assert_eq!(channel, "asr_result_s");
        assert_eq!(
            did_out.recv().unwrap(),
            Did::Append("asr:results:s".to_owned(), payload, Duration::from_secs(60))
        );

        stop.store(true, Relaxed);
        let tally = worker.join().unwrap();
        assert_eq!(tally, Tally { done: 1, malformed: 1, ..Tally::default() });
    }
}
