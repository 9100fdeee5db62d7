//! Clients that the gateway does not read, because they are ahead of the workers.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use ringgate::worker::{WorkOptions, redis as worker};
use support::{client::Client, gateway::TestGateway, redis::RedisServer};

const ROUTE: &str = r#"
[[route]]
path = "/ws/asr"
kind = "tasks"
queue = { mode = "list", key = "slow" }
inflight = 2
"#;

/// Its pongs are not read while it is paused; that is no silence of its own.
#[test]
fn a_client_held_back_for_longer_than_the_idle_time_is_not_closed() {
    let server = RedisServer::start();
    let url = server.url();
    let flags = [("redis", &*url), ("ping", "400ms"), ("idle", "1s")];
    let gateway = TestGateway::start_with("0", &flags, Some(ROUTE));
    gateway.until("the link up", |g| g.sum(|m| m.broker.up.get()) == 1);
    let mut client = Client::connect(gateway.address, "/ws/asr");
    client.start("patient");
    (0..6).for_each(|index| client.chunk("patient", index, &[1, 0, 2, 0]));
    client.finish("patient");
    gateway.until("paused", |g| g.sum(|m| m.connections.pauses.get()) > 0);

    let stop = Arc::new(AtomicBool::new(false));
    let late_worker = {
        let stop = stop.clone();
        let (queue, work) = ("slow".to_owned(), WorkOptions::default());
        let options =
            worker::RedisWorkerOptions { redis: url.clone(), queue, concurrency: 1, work };
        thread::spawn(move || {
            // More than twice the idle time.
            thread::sleep(Duration::from_millis(2_500));
            worker::run(options, stop)
        })
    };
    let (_, last) = client.until_final();
    assert_eq!((&last["complete"], &last["chunk_count"]), (&true.into(), &6.into()));
    client.close();
    gateway.until_quiet();
    stop.store(true, Relaxed);
    late_worker.join().expect("the worker's thread").expect("the worker");
}
