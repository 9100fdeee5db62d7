//! The tasks route over a stream, from a client through the gateway and the reference worker
//! and back, and what becomes of a worker that dies.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::JoinHandle,
};

use ringgate::worker::{self, RedisWorkerOptions, StreamWork, Tally, WorkOptions};
use support::{
    client::{Client, heard, silence},
    gateway::TestGateway,
    redis::RedisServer,
    stage::{commands, gateway_on},
};

const ASR: &str = "/ws/asr";
const STREAM: &str = r#"
    [[route]]
    path = "/ws/asr"
    kind = "tasks"
    resume_ms = 0
    queue = { mode = "stream", claim_idle = "200ms" }
"#;

struct Worker {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Tally>,
}

impl Worker {
    fn start(redis: &RedisServer, name: &str, concurrency: usize, work: WorkOptions) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let queue = "asr_tasks".to_owned();
        let options = RedisWorkerOptions { redis: redis.url(), queue, concurrency, work };
        let stream = StreamWork { group: "asr_workers".to_owned(), name: name.to_owned() };
        let asked = stop.clone();
        let run = move || worker::redis::run_stream(options, stream, asked).expect("a worker");
        Self { stop, thread: std::thread::spawn(run) }
    }

    fn stop(self) -> Tally {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("it ended well")
    }
}

fn started(cores: &str) -> (RedisServer, TestGateway) {
    let redis = RedisServer::start();
    let gateway = gateway_on(&redis, cores, &[], Some(STREAM));
    gateway.until("broker up", |g| g.each(|m| m.broker.up.get()).iter().all(|up| *up == 1));
    (redis, gateway)
}

fn pending(redis: &mut redis::Connection) -> u64 {
    let mut pending = redis::cmd("XPENDING");
    let summary: (u64, redis::Value, redis::Value, redis::Value) =
        pending.arg(&["asr_tasks", "asr_workers"]).query(redis).unwrap();
    summary.0
}

#[test]
fn sessions_are_answered_over_a_stream_and_every_task_is_acknowledged() {
    let (redis, gateway) = started("0-1");
    let mut commands = commands(&redis);
    let worker = Worker::start(&redis, "w", 2, WorkOptions::default());
    let mut client = Client::connect(gateway.address, ASR);
    for session in ["one", "two", "A-z_0.9:"] {
        client.run_session(session);
    }
    client.start("s");
    for index in 0..20 {
        client.chunk("s", index, &silence(1 + index as usize));
    }
    client.finish("s");
    let (_, last) = client.until_final();
    let texts: Vec<String> = (1..=20).map(heard).collect();
    assert_eq!((&last["text"], &last["complete"]), (&texts.join(" ").into(), &true.into()));
    client.close();
    gateway.until_quiet();
    let beat: String = redis::cmd("GET").arg("worker:w-1:heartbeat").query(&mut commands).unwrap();
    let beat: serde_json::Value = serde_json::from_str(&beat).unwrap();
    assert_eq!((&beat["worker"], &beat["status"]), (&"w-1".into(), &"running".into()));
    assert!(beat["ts"].is_number() && beat["load"].is_object(), "{beat}");
    let ttl: u64 = redis::cmd("TTL").arg("worker:w-1:heartbeat").query(&mut commands).unwrap();
    assert!((1..=30).contains(&ttl), "{ttl}");
    let chunks = gateway.sum(|m| m.tasks.chunks.get());
    let tally = worker.stop();
    assert_eq!(tally, Tally { done: chunks, ..Tally::default() });
    assert_eq!(pending(&mut commands), 0);
    let mut consumers = redis::cmd("XINFO");
    let consumers: Vec<redis::Value> =
        consumers.arg(&["CONSUMERS", "asr_tasks", "asr_workers"]).query(&mut commands).unwrap();
    assert!(consumers.is_empty(), "who owes nothing has left: {consumers:?}");
}

#[test]
fn tasks_that_a_worker_lost_are_answered_by_another() {
    let (redis, gateway) = started("0");
    let mut commands = commands(&redis);
    let mut client = Client::connect(gateway.address, ASR);
    client.start("s");
    for index in 0..4 {
        client.chunk("s", index, &silence(1 + index as usize));
        assert_eq!(client.receive()["status"], "received");
    }
    // Takes them and is never heard of again.
    let mut read = redis::cmd("XREADGROUP");
    read.arg(&["GROUP", "asr_workers", "dead", "STREAMS", "asr_tasks", ">"]);
    read.exec(&mut commands).unwrap();
    assert_eq!(pending(&mut commands), 4);
    let worker = Worker::start(&redis, "alive", 1, WorkOptions::default());
    client.finish("s");
    let (_, last) = client.until_final();
    assert_eq!(last["complete"], true);
    assert_eq!(last["text"], [heard(1), heard(2), heard(3), heard(4)].join(" "));
    assert_eq!(gateway.sum(|m| m.broker.streams.requeued.get()), 4);
    client.close();
    gateway.until_quiet();
    let (_, metrics) = gateway.admin_get("/metrics");
    assert!(metrics.contains("ringgate_stream_requeued_total{shard=\"0\"} 4"), "{metrics}");
    assert_eq!(worker.stop().done, 4);
}

/// What fails on purpose stays pending and comes again until it succeeds.
#[test]
fn a_task_that_a_worker_failed_comes_again() {
    let (redis, gateway) = started("0");
    let mut client = Client::connect(gateway.address, ASR);
    let failing = WorkOptions { fail_rate: 1.0, ..WorkOptions::default() };
    let bad = Worker::start(&redis, "bad", 1, failing);
    client.start("s");
    client.chunk("s", 0, &silence(1));
    assert_eq!(client.receive()["status"], "received");
    gateway.until("it was queued again", |g| g.sum(|m| m.broker.streams.requeued.get()) > 0);
    assert!(bad.stop().failed > 0);
    let good = Worker::start(&redis, "good", 1, WorkOptions::default());
    assert_eq!(client.receive()["text"], heard(1));
    client.close();
    gateway.until_quiet();
    good.stop();
}
