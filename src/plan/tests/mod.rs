//! Plans: properties, what was measured, and an example that was reckoned by hand.

mod properties;
mod reports;

use super::{
    Coefficients, Traffic,
    binding::{Means, limits},
    estimate,
    reconnect::{self, Herd},
    traffic::{Echo, QueueMode, Tasks, Topics},
};
use crate::config::Results;

/// Nobody does anything.
const IDLE: Traffic = Traffic {
    connections: 1,
    shards: 1,
    active_share: 1.0,
    ping_seconds: 30.0,
    echo: None,
    tasks: None,
    topics: None,
};

const MEANS: Means = Means {
    load_share: 0.7,
    nic_bits_per_second: None,
    source_addresses: None,
    ports_per_address: 28_232,
};

const HERD: Herd = Herd {
    accepts_per_second: 20_000.0,
    spread_seconds: 0.0,
    backlog: 65_535.0,
    nic_bits_per_second: None,
};

fn echo(messages_per_second: f64) -> Option<Echo> {
    Some(Echo { messages_per_second, bytes: 64.0, replies: 1.0 })
}

fn chunks(chunks_per_second: f64) -> Option<Tasks> {
    Some(Tasks {
        chunks_per_second,
        chunk_bytes: 3_200.0,
        results_per_second: chunks_per_second,
        result_bytes: 64.0,
        session_seconds: 1e6,
        queue: QueueMode::List,
        results: Results::PerSession,
    })
}

fn topics(topics: u64, rate: f64, subscriptions: u64, conflate_ms: u32) -> Option<Topics> {
    Some(Topics { topics, messages_per_second: rate, bytes: 64.0, subscriptions, conflate_ms })
}

/// What one shard took of its core, in runs that docs/measurements.md tells of. All are
/// within 20 %.
#[test]
fn the_default_costs_give_what_was_measured() {
    let echoes = |rate: f64| Traffic { connections: 500, echo: echo(rate / 500.0), ..IDLE };
    let tasks = |rate: f64| Traffic { connections: 100, tasks: chunks(rate / 100.0), ..IDLE };
    let of_topics = |users, of| Traffic { connections: users, topics: of, ..IDLE };
    let runs = [
        (echoes(100.0), 0.0226),
        (echoes(500.0), 0.0564),
        (echoes(2_000.0), 0.0882),
        (echoes(8_000.0), 0.1426),
        (tasks(100.0), 0.0459),
        (tasks(500.0), 0.0997),
        (tasks(2_000.0), 0.1680),
        (tasks(4_000.0), 0.2196),
        (of_topics(2_000, topics(500, 1.0, 3, 0)), 0.1237),
        (of_topics(2_000, topics(50, 1.0, 3, 0)), 0.0712),
        (of_topics(2_000, topics(50, 5.0, 3, 0)), 0.2300),
        (of_topics(2_000, topics(500, 4.0, 3, 0)), 0.3225),
        (of_topics(2_000, topics(500, 1.0, 3, 500)), 0.1187),
        (of_topics(2_000, topics(500, 1.0, 10, 500)), 0.1287),
        (of_topics(2_000, topics(2_000, 1.0, 1, 0)), 0.1437),
        (of_topics(2_000, topics(2_000, 5.0, 1, 0)), 0.2774),
        (of_topics(5_000, topics(500, 1.0, 3, 0)), 0.18),
        (of_topics(5_000, topics(500, 1.0, 3, 500)), 0.14),
    ];
    let defaults = Coefficients::default();
    let misses = runs.map(|(traffic, measured)| {
        // Pings of loopback come in bursts, and wake nobody a second time.
        let mut costs = defaults.clone();
        costs.cpu.waking.pong_us = 0.0;
        let ratio = estimate(&traffic, &costs).cpu.total() / measured;
        println!("{ratio:.2} {measured} {traffic:?}");
        (ratio - 1.0).abs()
    });
    assert!(misses.iter().all(|miss| *miss < 0.25), "{misses:?}");
    let mean = misses.iter().sum::<f64>() / misses.len() as f64;
    assert!(mean < 0.12, "{mean}");
}

/// docs/plan.md reckons this one by hand, figure by figure.
#[test]
fn the_worked_example() {
    let tasks = Tasks { chunks_per_second: 2.0, session_seconds: 60.0, ..chunks(2.0).unwrap() };
    let tasks = Some(Tasks { results_per_second: 2.0, ..tasks });
    let traffic = Traffic { connections: 100_000, shards: 4, active_share: 0.1, tasks, ..IDLE };
    let found = estimate(&traffic, &Coefficients::default());
    assert_eq!(found.descriptors, 100_224);
    let memory = &found.memory;
    assert_eq!(memory.fixed_bytes, 134_217_728.0);
    assert_eq!(memory.connections_bytes, 9_800_000.0);
    assert_eq!(memory.sessions_bytes, 11_500_000.0);
    assert_eq!(memory.kernel_bytes(), 412_300_000.0);
    assert_eq!(memory.buffer_bytes, 122_880_000.0);
    assert_eq!(memory.total_bytes(), 690_697_728.0);
    let near = |found: f64, by_hand: f64| {
        assert!((found / by_hand - 1.0).abs() < 0.001, "{found} {by_hand}");
    };
    let cpu = &found.cpu;
    near(cpu.idle, 0.0348);
    near(cpu.tasks, 0.20833);
    near(cpu.waking, 0.87276);
    let redis = &found.redis;
    near(redis.gateway_commands_per_second, 20_504.0);
    near(redis.other_commands_per_second, 80_000.0);
    near(redis.subscriptions, 10_000.0);
    near(redis.to_workers_bytes_per_second, 90_400_000.0);
    near(redis.cpu_cores, 0.55933);
    let network = &found.network;
    near(network.inbound.packets_per_second, 126_667.0);
    near(network.outbound.packets_per_second, 86_667.0);
    let back = reconnect::estimate(&traffic, 25.0, &HERD);
    near(back.accept_cpu_seconds, 0.625);
    near(back.accept_limit_seconds, 5.0);
    near(back.retry_after_seconds, 15.0);
    assert_eq!(back.seconds, 15.0);
}

#[test]
fn each_limit_binds_where_it_says() {
    let traffic = Traffic { connections: 50_000, shards: 2, echo: echo(1.0), ..IDLE };
    let means = Means { nic_bits_per_second: Some(1e9), source_addresses: Some(3), ..MEANS };
    let costs = Coefficients::default();
    let found = limits(&traffic, &costs, &means, None).limits;
    let names: Vec<&str> = found.iter().map(|limit| limit.name).collect();
    let sorted = ["ports of the proxy", "cores of the shards", "network, in", "network, out"];
    assert_eq!(names, sorted, "{found:#?}");
    assert_eq!(found[0].binds_at, Some(3 * 28_232));
    let cores = found[1].binds_at.expect("a limit");
    let at = |connections| estimate(&Traffic { connections, ..traffic }, &costs).cpu.total();
    assert!(at(cores) <= 1.4 && at(cores + 1) > 1.4, "{cores}: {}", at(cores));
}

#[test]
fn who_finds_the_queue_full_waits_for_the_kernel_to_try_again() {
    let traffic = Traffic { connections: 100_000, ..IDLE };
    let herd = Herd { accepts_per_second: 1e6, backlog: 4_096.0, ..HERD };
    // 40,000 are served a second, so that each time finds the whole queue empty: 95,904 that
    // were lost need 24 times, of which there are 7 in 127 s.
    let back = reconnect::estimate(&traffic, 25.0, &herd);
    assert_eq!(back.dropped_syns, 95_904.0);
    assert_eq!(back.backlog_seconds, 3.0 * 127.0 + 1.0 + 2.0 + 4.0);
    assert_eq!(back.seconds, back.backlog_seconds);
    // With places for all of them nobody waits.
    let back = reconnect::estimate(&traffic, 25.0, &Herd { backlog: 100_000.0, ..herd });
    assert_eq!((back.dropped_syns, back.backlog_seconds, back.seconds), (0.0, 0.0, 2.5));
}

#[test]
fn who_is_refused_comes_back_when_told() {
    // 40,000 a second are answered and 10,000 let in, 10,000 more from the bucket: 60,000 that
    // come at once leave 35,000, 16,250, 2,188 and none, each wave 5 s after the one before.
    let traffic = Traffic { connections: 60_000, ..IDLE };
    let herd = Herd { accepts_per_second: 10_000.0, ..HERD };
    assert_eq!(reconnect::estimate(&traffic, 25.0, &herd).retry_after_seconds, 15.0);
    // Spread as evenly as the limit, nobody is refused.
    let even = Herd { spread_seconds: 6.0, ..herd };
    assert_eq!(reconnect::estimate(&traffic, 25.0, &even).seconds, 6.0);
}
