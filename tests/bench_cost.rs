//! What a connection of the gateway costs, measured as the load generator measures it.
//!
//! The kernel's caches are everybody's: a measurement that others' sockets came into is made
//! again. Who may not read them sees that said, and the rest measured all the same.

use std::time::{Duration, Instant};

use nix::sys::prctl::set_thp_disable;
use ringgate::bench::{
    ClientId, Crowd, End, Fleet,
    cost::{Cost, Ends, Point, Probe, SystemCalls},
    target::{Sources, Target},
};

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::{client::PATIENCE, crowd::raise_descriptors, process::Process};

/// The gateway's tables grow by 1,024 connections: only the second plateau is past the first.
const USERS: [u32; 2] = [500, 1_500];
/// Connections under way at once.
const OPENING_MAX: u32 = 50;
/// What each says, one after the answer to another.
const MESSAGES: u64 = 4;
/// Measurements before the machine is given up as too restless.
const ATTEMPTS: usize = 5;

/// Each says hello so many times when it is told to.
#[derive(Default)]
struct Talkers {
    clients: Vec<ClientId>,
    answers: u64,
    ends: Vec<End>,
}

impl Crowd for Talkers {
    fn on_open(&mut self, _: &mut Fleet, client: ClientId) {
        self.clients.push(client);
    }

    fn on_message(&mut self, fleet: &mut Fleet, client: ClientId, payload: &[u8]) {
        self.answers += 1;
        let left = payload.len() as u64 - 1;
        if left > 0 {
            fleet.send_text(client, &"x".repeat(left as usize));
        }
    }

    fn on_end(&mut self, _: &mut Fleet, _: ClientId, end: End) {
        self.ends.push(end);
    }
}

fn turn_until(fleet: &mut Fleet, talkers: &mut Talkers, done: impl Fn(&Fleet, &Talkers) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(fleet, talkers) {
        if !fleet.turn(talkers).expect("a ring") {
            fleet.wait(Duration::from_millis(5)).expect("a ring");
        }
        let Talkers { ends, .. } = &talkers;
        assert!(Instant::now() < deadline && ends.is_empty(), "{} open, {ends:?}", fleet.open);
    }
}

/// Users of a fresh gateway come, talk, and stay.
fn measure() -> Cost {
    let (gateway, address, admin) = Process::serve(&["--echo", "/echo"]);
    let target: Target = format!("ws://{address}/echo").parse().expect("a target");
    let pid = gateway.child.id();
    let mut probe = Probe::new(&[pid], Ends::FLEET).expect("it runs");
    let mut fleet = Fleet::new(Sources::default(), USERS[1]).expect("a ring");
    let mut talkers = Talkers::default();
    let mut points = vec![probe.baseline()];
    for users in USERS {
        while (fleet.open as u32) < users {
            let now = fleet.open as u32;
            let then = users.min(now + OPENING_MAX);
            for user in now..then {
                fleet.connect(&target, user).expect("a socket");
            }
            turn_until(&mut fleet, &mut talkers, |fleet, _| fleet.open as u32 == then);
        }
        let calls = SystemCalls::start(&[pid], Some(admin)).expect("perf or metrics");
        let (began, cpu, answered) = (Instant::now(), probe.cpu().expect("runs"), talkers.answers);
        let messages = u64::from(users) * MESSAGES;
        let hello = "x".repeat(MESSAGES as usize);
        talkers.clients.iter().for_each(|client| fleet.send_text(*client, &hello));
        turn_until(&mut fleet, &mut talkers, |_, t| t.answers == answered + messages);
        let (cpu, seconds) = (probe.cpu().expect("runs") - cpu, began.elapsed().as_secs_f64());
        let counted = calls.count().expect("a count");
        if let Some(doubt) = counted.doubt() {
            probe.tell(doubt.to_owned());
        }
        let calls = Some(counted.over(seconds));
        points.push(probe.point(users.into(), seconds, cpu, messages, calls));
        assert!(probe.resident_bytes().expect("runs") as f64 > points[1].memory.user_bytes);
    }
    Cost::new(points, probe.unread().to_vec())
}

#[test]
fn what_a_connection_costs_is_believable() {
    raise_descriptors();
    // The gateway inherits it: with huge pages memory grows in steps of 2 MiB.
    set_thp_disable(true).expect("small pages");
    let measured = (0..ATTEMPTS).map(|_| measure());
    let is_quiet = |cost: &Cost| !cost.unread.iter().any(|doubt| doubt.contains("sockets more"));
    let cost = measured.into_iter().find(is_quiet).expect("a measurement without others' sockets");
    println!("{cost}");

    let fit = cost.fit.expect("two plateaus");
    let within = |what: &str, value: f64, least: f64, most: f64| {
        assert!((least..=most).contains(&value), "{what}: {value}, not {least} to {most}\n{cost}");
    };
    // 80 bytes by design, and the pages of whatever else grows for the first time.
    within("user bytes a connection", fit.user_bytes.slope, 20.0, 2_000.0);
    within("CPU a message", fit.cpu_us_per_message.expect("messages"), 1.0, 2_000.0);
    within("calls a message", fit.system_calls_per_message.expect("counted"), 0.001, 20.0);
    if let Some(why) = cost.unread.iter().find(|what| what.starts_with("/proc/slabinfo")) {
        println!("the kernel's memory was not judged: {why}");
        assert!(cost.points.iter().all(|point| point.memory.kernel_bytes() == 0.0), "{cost}");
        return;
    }
    for Point { connections, memory, .. } in &cost.points[1..] {
        let each = |bytes: f64| bytes / *connections as f64;
        within("TCP", each(memory.tcp_bytes), 2_000.0, 3_200.0);
        within("inode", each(memory.socket_inode_bytes), 600.0, 1_200.0);
        within("file", each(memory.file_bytes), 150.0, 400.0);
        within("dentry", each(memory.dentry_bytes), 150.0, 300.0);
        within("epoll", each(memory.epoll_bytes), 0.0, 0.0);
        // One request of 256 bytes, and since Linux 6.13 a node of 32.
        within("io_uring", each(memory.io_uring_bytes), 250.0, 300.0);
    }
    within("kernel bytes a connection", fit.kernel_bytes.slope, 3_300.0, 5_000.0);
}

/// Without perf, or for a process that perf cannot count, the gateway's own metrics serve.
#[test]
fn the_gateway_counts_its_own_system_calls() {
    let (_gateway, _, admin) = Process::serve(&["--echo", "/echo"]);
    let count = SystemCalls::start(&[i32::MAX as u32], Some(admin)).expect("metrics");
    let counted = count.count().expect("metrics");
    assert!(counted.enters_only && counted.doubt().is_some(), "{counted:?}");
    // Two scrapes at the earliest moments: a tick of the shard at most lies between.
    assert!(counted.calls < 1_000, "{counted:?}");
}
