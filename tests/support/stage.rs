//! A gateway with what it needs around it: a broker, and a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use ringgate::worker::{self, RedisWorkerOptions, Tally, WorkOptions};

use super::{gateway::TestGateway, redis::RedisServer};

/// A reference worker on a thread; ends when it is dropped.
pub struct Worker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Tally>>,
}

impl Worker {
    /// Serves the default queue of a server, which need not be there yet.
    pub fn start(redis: &RedisServer) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let options = RedisWorkerOptions {
            redis: redis.url(),
            queue: "asr_chunk_queue".to_owned(),
            concurrency: 1,
            work: WorkOptions::default(),
        };
        let asked = stop.clone();
        let run = move || worker::redis::run(options, asked).expect("a worker");
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

/// A gateway on Redis. Fields end in their order: a worker ends at once when its server is
/// gone.
pub struct RedisStage {
    pub gateway: TestGateway,
    pub redis: RedisServer,
    worker: Option<Worker>,
}

impl RedisStage {
    /// Without a worker: the test answers.
    pub fn without_worker(cores: &str, flags: &[(&'static str, &str)], file: Option<&str>) -> Self {
        let redis = RedisServer::start();
        let gateway = gateway_on(&redis, cores, flags, file);
        gateway.until("broker up", |g| g.each(|m| m.broker.up.get()).iter().all(|up| *up == 1));
        Self { gateway, redis, worker: None }
    }

    /// With the reference worker.
    pub fn with_worker(cores: &str, flags: &[(&'static str, &str)]) -> Self {
        let mut stage = Self::without_worker(cores, flags, None);
        stage.worker = Some(Worker::start(&stage.redis));
        stage
    }

    /// A connection to Redis beside the gateway's.
    pub fn commands(&self) -> redis::Connection {
        commands(&self.redis)
    }
}

impl Drop for RedisStage {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.stop.store(true, Relaxed);
        }
    }
}

/// A gateway on a server, which need not be there yet.
pub fn gateway_on(
    redis: &RedisServer,
    cores: &str,
    flags: &[(&'static str, &str)],
    file: Option<&str>,
) -> TestGateway {
    let url = redis.url();
    let mut all = vec![("redis", url.as_str())];
    all.extend(flags);
    TestGateway::start_with(cores, &all, file)
}

/// A connection to a server.
pub fn commands(redis: &RedisServer) -> redis::Connection {
    let client = redis::Client::open(redis.url()).expect("a URL");
    client.get_connection().expect("it is there")
}

/// What a worker does with a result; how many heard of it.
pub fn publish(redis: &mut redis::Connection, session: &str, payload: &[u8]) -> u64 {
    let channel = format!("asr_result_{session}");
    redis::cmd("PUBLISH").arg(channel).arg(payload).query(redis).expect("published")
}

/// A good result.
pub fn result(index: u64, text: &str) -> Vec<u8> {
    let result = serde_json::json!({
        "chunk_index": index, "text": text, "duration": 0.1, "error": "",
    });
    result.to_string().into_bytes()
}
