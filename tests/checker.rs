//! A seeded stress run of the tasks plane over a real Redis, with invariants.
//!
//! Hundreds of clients, two gateway processes, workers as processes and workers of the checker's
//! own (`checker/workers.rs`). Redis, gateways, workers and connections are killed at moments
//! that the seed draws, and brought back (`checker/faults.rs`). `checker/model.rs` says what is
//! demanded of what each client hears, `checker/aftermath.rs` what must be left at the end.
//!
//! `CHECKER_SEED`, `CHECKER_SECONDS` (60, over all modes), `CHECKER_CLIENTS` (240),
//! `CHECKER_MODES` (`list,stream,per-shard`, and `per-shard-list`), `CHECKER_FAULTS`
//! (`redis,gateway,worker,client`, or `none`); `CHECKER_TIMELINE=1` prints what happened when, and
//! the last words of the workers. The seed fixes every draw; the kernel and the
//! processes still choose the interleaving, so a failure may take more than one run to repeat.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

#[path = "checker/aftermath.rs"]
mod aftermath;
#[path = "checker/audio.rs"]
mod audio;
#[path = "checker/client.rs"]
mod client;
#[path = "checker/faults.rs"]
mod faults;
#[path = "checker/model.rs"]
mod model;
#[path = "checker/old.rs"]
mod old;
#[path = "checker/plan.rs"]
mod plan;
#[path = "checker/processes.rs"]
mod processes;
#[path = "checker/report.rs"]
mod report;
#[path = "checker/wire.rs"]
mod wire;
#[path = "checker/workers.rs"]
mod workers;

use std::{
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Instant,
};

use client::Client;
use faults::Cast;
use plan::{Mode, Plan};
use processes::Process;
use report::{Door, Stage};
use support::redis::RedisServer;

/// Workers of the checker's own; each is a thread.
const OWN_WORKERS: u64 = 6;

/// Processes of `ringgate worker`.
const WORKER_PROCESSES: usize = 2;

/// A client's thread holds a connection's buffers, on the heap.
const CLIENT_STACK_BYTES: usize = 256 << 10;

#[test]
fn nothing_acked_is_lost_and_nothing_is_told_twice() {
    let plan = Plan::from_env();
    println!("CHECKER_SEED={}", plan.seed);
    for mode in plan.modes.clone() {
        run(&plan, mode);
    }
}

fn run(plan: &Plan, mode: Mode) {
    let directory = tempfile::tempdir().expect("a directory");
    let redis = RedisServer::start_at(processes::free_address().port());
    let url = redis.url();
    let gateway = |name| processes::gateway(name, directory.path(), &url, &mode.file());
    let (first, [listen_1, admin_1]) = gateway("first");
    let (second, [listen_2, admin_2]) = gateway("second");
    let worker = |index: usize| {
        let kind = if mode.stream { "stream" } else { "list" };
        let args = ["worker", "--redis", &url, "--mode", kind, "--concurrency", "3"];
        let args = [&args[..], &["--delay-ms", "1", "--log-level", "warn"]].concat();
        Process::start(&args, directory.path().join(format!("worker-{index}.log")))
    };
    let workers = (0..WORKER_PROCESSES).map(worker).collect();
    let mut cast = Cast { redis, gateways: [first, second], workers };
    let door = |listen, admin| Door { listen, admin, life: 0.into() };
    let doors = [door(listen_1, admin_1), door(listen_2, admin_2)];
    let stage = Stage::new(plan.seed, mode, plan.faults.clone(), doors);
    for (door, gateway) in stage.doors.iter().zip(&cast.gateways) {
        assert!(processes::until_ready(door.admin), "{}", gateway.last_words());
    }

    let begin = Instant::now();
    let dies: Vec<AtomicBool> = (0..OWN_WORKERS).map(|_| false.into()).collect();
    thread::scope(|scope| {
        let _end = End(&stage);
        for (number, dies) in (0..).zip(&dies) {
            let worker = workers::Worker { stage: &stage, url: url.clone(), number, dies };
            scope.spawn(|| worker.run());
        }
        let client = |number: usize| {
            let client = Client::new(&stage, number as u64);
            let thread = thread::Builder::new().stack_size(CLIENT_STACK_BYTES);
            thread.spawn_scoped(scope, || client.run()).expect("a thread")
        };
        let clients: Vec<_> = (0..plan.clients).map(client).collect();
        faults::run(&stage, &mut cast, &dies, begin + plan.time_for_each_mode());
        stage.over.store(true, SeqCst);
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        if ended.iter().all(Result::is_ok) {
            aftermath::check(&stage, &mut cast);
        }
        assert!(ended.iter().all(Result::is_ok), "a client panicked: {}", plan.again(mode));
    });
    println!("{}\n  {:<34}{:>10}", stage.summary(), "seconds", begin.elapsed().as_secs());
    if std::env::var_os("CHECKER_TIMELINE").is_some() {
        println!("{}", stage.timeline());
    }
    let told = stage.told();
    assert!(told.is_empty(), "again: {}\n{told}", plan.again(mode));
}

/// Whatever happens, nobody goes on for ever.
struct End<'a>(&'a Stage);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, SeqCst);
        self.0.done.store(true, SeqCst);
    }
}
