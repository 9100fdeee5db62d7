//! Against a real Redis: `redis-server` has to be installed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::Instant,
};

use redis::Commands;
use tempfile::TempDir;

use super::*;

/// A Redis of its own behind a Unix socket: no port to fight for, and the same address
/// after a restart.
struct Server {
    child: Child,
    directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let child = launch(directory.path());
        Self { child, directory }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = launch(self.directory.path());
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.path().join("s").display())
    }

    fn connect(&self) -> Connection {
        let client = Client::open(self.url()).unwrap();
        let mut connection = Err(());
        wait_until("Redis accepts", || {
            connection = client.get_connection().map_err(|_error| ());
            connection.is_ok()
        });
        connection.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(directory: &Path) -> Child {
    launch_with(directory, &["--appendonly", "no"])
}

fn launch_with(directory: &Path, options: &[&str]) -> Child {
    Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(directory.join("s"))
        .arg("--dir")
        .arg(directory)
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn options(server: &Server, concurrency: usize, work: WorkOptions) -> RedisWorkerOptions {
    RedisWorkerOptions { redis: server.url(), queue: "queue".to_owned(), concurrency, work }
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally, WorkerError>>,
}

fn start(options: RedisWorkerOptions) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let thread = thread::spawn({
        let stop = Arc::clone(&stop);
        move || run(options, stop)
    });
    Running { stop, thread }
}

impl Running {
    fn stop(self) -> Tally {
        let asked = Instant::now();
        self.stop.store(true, Relaxed);
        let tally = self.thread.join().unwrap().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(3), "stopped in {:?}", asked.elapsed());
        tally
    }
}

fn task(session: &str, index: usize) -> String {
    format!(
        r#"{{"session_id":"{session}","chunk_index":{index},"audio_data":"AAAA/38A","timestamp":1}}"#
    )
}

fn indexes(redis: &mut Connection, session: &str) -> Vec<u64> {
    let results: Vec<String> = redis.lrange(format!("asr:results:{session}"), 0, -1).unwrap();
    results
        .iter()
        .map(|result| {
            let result: serde_json::Value = serde_json::from_str(result).unwrap();
            result["chunk_index"].as_u64().unwrap()
        })
        .collect()
}

#[test]
fn answers_are_published_then_cached_for_a_minute() {
    let server = Server::start();
    let mut redis = server.connect();
    let mut listener = server.connect();
    let mut heard = listener.as_pubsub();
    heard.subscribe("asr_result_s").unwrap();
    heard.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let worker = start(options(&server, 2, WorkOptions::default()));
    let () = redis.rpush("queue", "rubbish").unwrap();
    let () = redis.rpush("queue", task("s", 5)).unwrap();

    let payload: String = heard.get_message().unwrap().get_payload().unwrap();
    assert!(payload.starts_with(r#"{"chunk_index":5,"text":"0.00 s, "#), "{payload}");
    wait_until("the result has its expiry", || {
        let ttl: i64 = redis.ttl("asr:results:s").unwrap();
        (50..=60).contains(&ttl)
    });
    let cached: Vec<String> = redis.lrange("asr:results:s", 0, -1).unwrap();
    assert_eq!(cached, [payload]);
    assert_eq!(worker.stop(), Tally { done: 1, malformed: 1, ..Tally::default() });
}

/// One thread, so that the order of the queue is the order of the answers, in batches.
#[test]
fn a_backlog_is_answered_in_order_and_every_task_once() {
    let server = Server::start();
    let mut redis = server.connect();
    let tasks: Vec<String> = (0..1_000).map(|index| task("s", index)).collect();
    let () = redis.rpush("queue", tasks).unwrap();
    let worker = start(options(&server, 1, WorkOptions::default()));
    wait_until("all are answered", || redis.llen::<_, usize>("asr:results:s").unwrap() >= 1_000);
    assert_eq!(indexes(&mut redis, "s"), (0..1_000).collect::<Vec<_>>());
    assert_eq!(worker.stop(), Tally { done: 1_000, ..Tally::default() });
}

#[test]
fn failed_tasks_leave_nothing_behind_and_are_counted() {
    let server = Server::start();
    let mut redis = server.connect();
    let tasks: Vec<String> = (0..200).map(|index| task("s", index)).collect();
    let () = redis.rpush("queue", tasks).unwrap();
    let work = WorkOptions { fail_rate: 0.5, seed: 3, ..WorkOptions::default() };
    let worker = start(options(&server, 3, work));
    wait_until("the queue is empty", || redis.llen::<_, usize>("queue").unwrap() == 0);
    let tally = worker.stop();
    assert_eq!(tally.done + tally.failed, 200, "{tally:?}");
    assert!((50..150).contains(&tally.failed), "{tally:?}");
    assert_eq!(indexes(&mut redis, "s").len() as u64, tally.done);
}

/// The task was taken from a Redis that died before the answer: the answer is kept.
#[test]
fn an_answer_outlives_the_redis_that_sent_its_task() {
    let mut server = Server::start();
    let mut redis = server.connect();
    let work = WorkOptions { delay: Duration::from_millis(400), ..WorkOptions::default() };
    let worker = start(options(&server, 1, work));
    let () = redis.rpush("queue", task("s", 0)).unwrap();
    wait_until("the task is taken", || redis.llen::<_, usize>("queue").unwrap() == 0);
    server.kill();
    server.restart();
    let mut redis = server.connect();
    wait_until("the answer is there", || indexes(&mut redis, "s") == [0]);
    let () = redis.rpush("queue", task("s", 1)).unwrap();
    wait_until("work goes on", || indexes(&mut redis, "s") == [0, 1]);
    assert_eq!(worker.stop(), Tally { done: 2, ..Tally::default() });
}

/// While it loads, PUBLISH is carried out and everything else is refused.
#[test]
fn an_answer_waits_until_redis_has_loaded_its_data() {
    let directory = tempfile::tempdir().unwrap();
    let child = launch_with(directory.path(), &["--appendonly", "yes"]);
    let mut server = Server { child, directory };
    let mut redis = server.connect();
    let mut keys = redis::pipe();
    for key in 0..20_000 {
        keys.set(key, "x").ignore();
    }
    keys.exec(&mut redis).unwrap();
    let slow = WorkOptions { delay: Duration::from_millis(300), ..WorkOptions::default() };
    let worker = start(options(&server, 1, slow));
    redis.rpush::<_, _, ()>("queue", task("s", 0)).unwrap();
    wait_until("the task is taken", || redis.llen::<_, u64>("queue").unwrap() == 0);
    server.kill();
    // Two seconds of loading.
    let options = ["--appendonly", "yes", "--key-load-delay", "100"];
    server.child = launch_with(server.directory.path(), &options);
    let mut redis = server.connect();
    let ping = |redis: &mut Connection| redis::cmd("PING").exec(redis);
    assert!(ping(&mut redis).is_err_and(|error| is_not_ready(&Err(error))), "it is not loading");
    wait_until("it has loaded its data", || ping(&mut redis).is_ok());
    wait_until("the answer is there", || indexes(&mut redis, "s") == [0]);
    assert_eq!(worker.stop(), Tally { done: 1, ..Tally::default() });
}

#[test]
fn a_worker_without_redis_stops_and_counts_what_it_could_not_deliver() {
    let mut server = Server::start();
    let mut redis = server.connect();
    let work = WorkOptions { delay: Duration::from_secs(600), ..WorkOptions::default() };
    let worker = start(options(&server, 1, work));
    let () = redis.rpush("queue", task("s", 0)).unwrap();
    wait_until("the task is taken", || redis.llen::<_, usize>("queue").unwrap() == 0);
    server.kill();
    assert_eq!(worker.stop(), Tally { lost: 1, ..Tally::default() });
}

#[test]
fn a_result_that_cannot_be_cached_is_still_published() {
    let server = Server::start();
    let mut redis = server.connect();
    let () = redis.set("asr:results:s", "not a list").unwrap();
    let () = redis.rpush("queue", task("s", 0)).unwrap();
    let () = redis.rpush("queue", task("t", 1)).unwrap();
    let worker = start(options(&server, 1, WorkOptions::default()));
    wait_until("the next one is answered", || indexes(&mut redis, "t") == [1]);
    assert_eq!(worker.stop(), Tally { done: 2, ..Tally::default() });
}

/// A queue of the wrong type answers at once and for ever: the worker has to pause.
#[test]
fn a_queue_that_is_no_list_is_not_asked_in_a_loop() {
    let server = Server::start();
    let mut redis = server.connect();
    let () = redis.set("queue", "not a list").unwrap();
    let began = Instant::now();
    let worker = start(options(&server, 1, WorkOptions::default()));
    let calls = |redis: &mut Connection| -> Option<u64> {
        let stats: String = redis::cmd("INFO").arg("commandstats").query(redis).unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_blpop:"))?;
        line.split(['=', ',']).nth(1)?.parse().ok()
    };
    wait_until("it asked", || calls(&mut redis).is_some());
    wait_until("it asks again, later and later", || calls(&mut redis).unwrap() >= 4);
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    let () = redis.del("queue").unwrap();
    let () = redis.rpush("queue", task("s", 0)).unwrap();
    wait_until("it works again", || indexes(&mut redis, "s") == [0]);
    worker.stop();
}

#[test]
fn bad_options_name_themselves_and_hide_the_password() {
    let good = RedisWorkerOptions {
        redis: "redis://127.0.0.1".to_owned(),
        queue: "queue".to_owned(),
        concurrency: 1,
        work: WorkOptions::default(),
    };
    let failing = |rate| WorkOptions { fail_rate: rate, ..WorkOptions::default() };
    let cases = [
        (
            RedisWorkerOptions { redis: "http://u:secret@h/".to_owned(), ..good.clone() },
            "--redis http://u:***@h/: ",
        ),
        (
            RedisWorkerOptions { redis: "u:secret@h".to_owned(), ..good.clone() },
            "--redis u:***@h: ",
        ),
        (
            RedisWorkerOptions { redis: "redis://:secret@h:port".to_owned(), ..good.clone() },
            "--redis redis://:***@h:port: ",
        ),
        (RedisWorkerOptions { concurrency: 0, ..good.clone() }, "--concurrency 0: "),
        (RedisWorkerOptions { concurrency: 1_025, ..good.clone() }, "--concurrency 1025: "),
        (RedisWorkerOptions { work: failing(1.1), ..good.clone() }, "--fail-rate 1.1: "),
        (RedisWorkerOptions { work: failing(f64::NAN), ..good.clone() }, "--fail-rate NaN: "),
    ];
    for (options, start) in cases {
        assert!(!format!("{options:?}").contains("secret"));
        let error = run(options, Arc::new(AtomicBool::new(false))).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(start), "{text}");
        assert!(!text.contains("secret") && error.is_usage(), "{text}");
    }
}

#[test]
fn passwords_are_masked_wherever_they_stand() {
    for (url, shown) in [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://s3cret@h", "redis://***@h"),
        ("redis://user:p/a@s:s@h/1", "redis://user:***@h/1"),
        ("redis+unix:///s?db=1&pass=secret&user=u", "redis+unix:///s?db=1&pass=***&user=u"),
        ("", ""),
    ] {
        assert_eq!(masked(url), shown);
    }
}
