//! What holds for every traffic in its range.

use proptest::{option, prelude::*};

use super::*;
use crate::plan::{
    Estimate, Question,
    network::Direction,
    plan,
    traffic::{BYTES_MAX, CONNECTIONS_MAX, RATE_MAX, SHARDS_MAX},
};

/// Numbers of every size up to `most`, its ends included.
fn up_to(most: f64) -> impl Strategy<Value = f64> {
    prop_oneof![1 => Just(0.0), 1 => Just(most), 8 => (-6.0..most.log10()).prop_map(|e| 10_f64.powf(e))]
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    let echo = (up_to(RATE_MAX), up_to(BYTES_MAX), 0.0..=1_000.0).prop_map(
        |(messages_per_second, bytes, replies)| Echo { messages_per_second, bytes, replies },
    );
    let tasks = (up_to(RATE_MAX), up_to(BYTES_MAX), up_to(RATE_MAX), 0.1..=1e6, any::<bool>());
    let tasks = tasks.prop_map(|(rate, bytes, results, session_seconds, choice)| Tasks {
        chunks_per_second: rate,
        chunk_bytes: bytes,
        results_per_second: results,
        result_bytes: bytes,
        session_seconds,
        queue: if choice { QueueMode::List } else { QueueMode::Stream },
        results: if choice { Results::PerShard } else { Results::PerSession },
    });
    let topics =
        (1..=100_000_000_u64, up_to(RATE_MAX), up_to(BYTES_MAX), any::<u64>(), 0..=60_000_u32);
    let topics = topics.prop_map(|(topics, rate, bytes, subscriptions, conflate_ms)| Topics {
        topics,
        messages_per_second: rate,
        bytes,
        subscriptions: subscriptions % (topics + 1),
        conflate_ms,
    });
    (
        1..=CONNECTIONS_MAX,
        1..=SHARDS_MAX,
        0.0..=1.0,
        0.1..=3_600.0,
        option::of(echo),
        option::of(tasks),
        option::of(topics),
    )
        .prop_map(|(connections, shards, active_share, ping_seconds, echo, tasks, topics)| {
            Traffic { connections, shards, active_share, ping_seconds, echo, tasks, topics }
        })
}

/// Everything that an estimate has, by name, but for parts of processor time that give way to
/// others: a busy shard is woken less.
fn figures(estimate: &Estimate) -> Vec<(&'static str, f64)> {
    let Estimate { memory, cpu, redis, network, .. } = estimate;
    let of =
        |way: &Direction| [way.messages_per_second, way.packets_per_second, way.bits_per_second];
    let [in_messages, in_packets, in_bits] = of(&network.inbound);
    let [out_messages, out_packets, out_bits] = of(&network.outbound);
    vec![
        ("descriptors", estimate.descriptors as f64),
        ("user", memory.user_bytes()),
        ("kernel", memory.kernel_bytes()),
        ("buffers", memory.buffer_bytes),
        ("sessions", memory.sessions_bytes),
        ("idle", cpu.idle),
        ("receive", cpu.receive),
        ("send", cpu.send),
        ("tasks", cpu.tasks),
        ("topics", cpu.topics),
        ("all cores", cpu.total()),
        ("commands", redis.commands_per_second()),
        ("redis in", redis.input_bytes_per_second),
        ("redis out", redis.output_bytes_per_second()),
        ("redis cores", redis.cpu_cores),
        ("subscriptions", redis.subscriptions),
        ("in messages", in_messages),
        ("in packets", in_packets),
        ("in bits", in_bits),
        ("out messages", out_messages),
        ("out packets", out_packets),
        ("out bits", out_bits),
    ]
}

/// Sums of floating point numbers differ in their last places.
fn at_most(a: f64, b: f64) -> bool {
    a <= b * (1.0 + 1e-9) + 1e-9
}

proptest! {
    #[test]
    fn more_connections_never_need_less(traffic in any_traffic(), more in 1..=CONNECTIONS_MAX) {
        let (few, many) = (traffic.connections.min(more), traffic.connections.max(more));
        let of = |connections| Traffic { connections, ..traffic };
        let costs = Coefficients::default();
        let [less, most] = [few, many].map(|n| figures(&estimate(&of(n), &costs)));
        for ((name, less), (_, most)) in less.into_iter().zip(most) {
            prop_assert!(at_most(less, most), "{name}: {less} for {few}, {most} for {many}");
        }
        let [less, most] = [few, many].map(|n| reconnect::estimate(&of(n), 25.0, &HERD));
        prop_assert!(at_most(less.seconds, most.seconds), "{less:?} {most:?}");
    }

    #[test]
    fn everything_is_finite_and_not_negative(
        traffic in any_traffic(),
        accept_us in 0.1..=1e6,
        accepts_per_second in 1.0..=1e6,
        backlog in 1.0..=65_535.0,
    ) {
        let found = estimate(&traffic, &Coefficients::default());
        for (name, figure) in figures(&found) {
            prop_assert!(figure.is_finite() && figure >= 0.0, "{name}: {figure}");
        }
        prop_assert!(found.cpu.waking.is_finite() && found.cpu.waking >= 0.0);
        let herd = Herd { accepts_per_second, backlog, ..HERD };
        let back = reconnect::estimate(&traffic, accept_us, &herd);
        prop_assert!(back.seconds.is_finite() && back.seconds > 0.0, "{back:?}");
        let question = Question {
            traffic,
            coefficients: Coefficients::default(),
            means: MEANS,
            herd,
            host: None,
        };
        let answer = plan(&question);
        // serde_json writes what is no number as null; nothing else is null in there.
        let json = serde_json::json!([answer.totals, answer.estimate, answer.reconnect.seconds]);
        prop_assert!(!json.to_string().contains("null"), "{json}");
        prop_assert!(!answer.to_string().contains("NaN") && !answer.to_string().contains("inf"));
    }

    #[test]
    fn twice_the_traffic_takes_twice_the_processor_time(traffic in any_traffic()) {
        let once = Traffic {
            topics: traffic.topics.map(|topics| Topics { conflate_ms: 0, ..topics }),
            ..traffic
        };
        let twice = Traffic {
            echo: once.echo.map(|echo| Echo {
                messages_per_second: 2.0 * echo.messages_per_second,
                ..echo
            }),
            tasks: once.tasks.map(|tasks| Tasks {
                chunks_per_second: 2.0 * tasks.chunks_per_second,
                results_per_second: 2.0 * tasks.results_per_second,
                session_seconds: tasks.session_seconds / 2.0,
                ..tasks
            }),
            topics: once.topics.map(|topics| Topics {
                messages_per_second: 2.0 * topics.messages_per_second,
                ..topics
            }),
            ..once
        };
        let [once, twice] = [once, twice].map(|t| estimate(&t, &Coefficients::default()).cpu);
        for (one, two) in [
            (once.receive, twice.receive),
            (once.send, twice.send),
            (once.tasks, twice.tasks),
            (once.topics, twice.topics),
        ] {
            prop_assert!((two - 2.0 * one).abs() <= 1e-9 * two, "{one} {two}");
        }
        prop_assert!(at_most(once.total(), twice.total()));
    }

    #[test]
    fn conflation_only_takes_away(traffic in any_traffic(), conflate_ms in 1..=60_000_u32) {
        let with = |conflate_ms| Traffic {
            topics: traffic.topics.map(|topics| Topics { conflate_ms, ..topics }),
            ..traffic
        };
        let [with, without] = [with(conflate_ms), with(0)].map(|traffic| traffic.flows());
        prop_assert!(at_most(with.deliveries.per_second, without.deliveries.per_second));
        prop_assert!(at_most(with.fan_out.per_second, with.deliveries.per_second));
        let most = traffic.active() * 1_000.0 / f64::from(conflate_ms);
        prop_assert!(at_most(with.fan_out.per_second, most));
    }

    #[test]
    fn what_fits_is_all_that_fits(traffic in any_traffic()) {
        let costs = Coefficients::default();
        let means = Means { nic_bits_per_second: Some(1e10), ..MEANS };
        let found = limits(&traffic, &costs, &means, None).limits;
        prop_assert!(found.is_sorted_by_key(|limit| limit.binds_at.unwrap_or(u64::MAX)));
        for limit in found {
            let fits = limit.binds_at.is_none_or(|most| traffic.connections <= most);
            prop_assert_eq!(fits, limit.holds(), "{:?}", limit);
        }
    }
}
