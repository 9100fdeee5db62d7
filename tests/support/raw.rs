//! Workers of the raw dialect, on either broker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use ringgate::broker::embedded::WorkerPort;
use serde_json::Value;

pub const RAW: &str = "/ws/raw";
pub const QUEUE: &str = "raw_queue";

/// A raw route, with some more settings.
pub fn file(settings: &str) -> String {
    format!(
        "[[route]]\npath = \"{RAW}\"\nkind = \"tasks\"\ndialect = \"raw\"\n\
         queue = {{ mode = \"list\", key = \"{QUEUE}\" }}\n{settings}\n"
    )
}

/// A worker's way to either broker.
pub enum Hands {
    Embedded(WorkerPort),
    Redis(Box<redis::Connection>),
}

impl Hands {
    /// The next task, if one comes soon.
    pub fn take(&mut self) -> Option<Value> {
        let task = match self {
            Self::Embedded(port) => port.pop(QUEUE, Duration::from_millis(100)),
            Self::Redis(redis) => {
                let popped: Option<(String, Vec<u8>)> =
                    redis::cmd("BLPOP").arg(QUEUE).arg(0.1).query(redis).expect("popped");
                popped.map(|(_, task)| task)
            }
        };
        task.map(|task| serde_json::from_slice(&task).expect("a task is JSON"))
    }

    /// Publishes a result where its task says, or where every worker knows.
    pub fn publish(&mut self, task: &Value, payload: &[u8]) {
        let session = task["session_id"].as_str().expect("an id");
        let own = format!("asr_result_{session}");
        let channel = task["reply_to"].as_str().unwrap_or(&own);
        match self {
            Self::Embedded(port) => port.publish(channel, payload.to_vec()),
            Self::Redis(redis) => {
                let _: u64 = redis::cmd("PUBLISH")
                    .arg(channel)
                    .arg(payload)
                    .query(redis)
                    .expect("published");
            }
        }
    }
}

/// A worker on a thread, which publishes whatever `work` makes of a task.
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub fn start(mut hands: Hands, work: fn(&Value) -> Vec<Vec<u8>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        let run = move || {
            while !asked.load(Relaxed) {
                let Some(task) = hands.take() else { continue };
                for payload in work(&task) {
                    hands.publish(&task, &payload);
                }
            }
        };
        Self { stop, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let ended = self.thread.take().expect("not joined yet").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the worker panicked");
    }
}
