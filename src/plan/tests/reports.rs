//! Coefficients out of bench reports.

use serde_json::{Value, json};

use super::*;
use crate::plan::{
    ReportError,
    coefficients::Origin,
    measured::{Measured, REPORT_FORMAT},
};

/// What a run of `profile` would report of a server with these lines.
fn report(profile: &str) -> Value {
    let memory = json!({
        "user_bytes": 12e6, "tcp_bytes": 6e6, "socket_inode_bytes": 2e6, "file_bytes": 0.6e6,
        "dentry_bytes": 0.4e6, "io_uring_bytes": 1e6, "epoll_bytes": 0.0, "buffer_bytes": 3e6,
    });
    let point = json!({
        "connections": 2_000, "seconds": 5.0, "memory": memory, "cpu_seconds": 1.0,
        "messages": 250_000, "system_calls": null,
    });
    let line = |fixed: f64, slope: f64| json!({ "fixed": fixed, "slope": slope, "r_squared": 1.0 });
    let is_idle = profile == "idle";
    json!({
        "format": REPORT_FORMAT,
        "profile": profile,
        "cost": {
            "points": [point],
            "fit": {
                "user_bytes": line(11e6, 500.0),
                "kernel_bytes": line(10_000.0, 5_000.0),
                "buffer_bytes": line(100.0, if is_idle { 10.0 } else { 1_500.0 }),
                "idle_cpu_us": is_idle.then(|| line(900.0, 0.5)),
                "cpu_us_per_message": (!is_idle).then_some(4.0),
                "system_calls_per_message": null,
            },
            "unread": [],
        },
    })
}

fn near(found: f64, wanted: f64) {
    assert!((found - wanted).abs() <= wanted.abs() * 1e-9, "{found}, not {wanted}");
}

/// The prediction of the run that the lines were fitted to is the run.
#[test]
fn a_report_predicts_its_own_run() {
    let costs = Coefficients::from_report(&report("echo")).expect("a report");
    let traffic = Traffic { connections: 4_000, echo: echo(10.0), ..IDLE };
    let found = estimate(&traffic, &costs);
    near(found.memory.user_bytes(), 11e6 + 4_000.0 * 500.0);
    near(found.memory.kernel_bytes(), 10_000.0 + 4_000.0 * 5_000.0);
    near(found.memory.tcp_bytes, 4_000.0 * 3_000.0);
    near(found.memory.buffer_bytes, 100.0 + 4_000.0 * 1_500.0);
    // 40,000 messages a second in, and as many out.
    near(found.cpu.receive + found.cpu.send, 80_000.0 * 4e-6);

    let costs = Coefficients::from_report(&report("idle")).expect("a report");
    let found = estimate(&Traffic { connections: 4_000, ..IDLE }, &costs);
    near(found.cpu.total(), (900.0 + 4_000.0 * 0.5) / 1e6);
    near(found.memory.buffer_bytes, 100.0 + 4_000.0 * 10.0);

    let costs = Coefficients::from_report(&report("topics")).expect("a report");
    for conflate_ms in [0, 1_000] {
        let of = topics(10, 1.0, 3, conflate_ms);
        let found = estimate(&Traffic { connections: 1_000, topics: of, ..IDLE }, &costs);
        near(found.cpu.topics, 3_000.0 * 4e-6);
        assert_eq!(found.memory.sessions_bytes, 0.0, "in the memory of a connection already");
    }

    let costs = Coefficients::from_report(&report("tasks")).expect("a report");
    let tasks = Traffic { connections: 1_000, tasks: chunks(2.0), ..IDLE };
    let found = estimate(&tasks, &costs);
    // Chunk, ack and result.
    assert!((found.cpu.tasks / (6_000.0 * 4e-6) - 1.0).abs() < 0.01, "{:?}", found.cpu);
    assert_eq!(found.memory.sessions_bytes, 0.0);
}

#[test]
fn memory_is_the_idle_runs_and_messages_the_others() {
    let read = |name: &str| (name.to_owned(), Measured::from_report(&report(name)).expect("read"));
    for order in
        [["idle", "topics", "echo"], ["echo", "idle", "topics"], ["topics", "echo", "idle"]]
    {
        let costs = Coefficients::from_measured(&order.map(read));
        let of = |name: &str| Origin::Report { name: name.into(), profile: name.into() };
        assert_eq!(costs.origins.memory, of("idle"));
        assert_eq!(costs.origins.idle, of("idle"));
        assert_eq!(costs.origins.echo, of("echo"));
        assert_eq!(costs.origins.topics, of("topics"));
        assert_eq!(costs.origins.tasks, Origin::Default);
        assert!(costs.memory.subscription_bytes > 0.0, "not in the idle run's");
    }
}

#[test]
fn what_is_no_use_is_said() {
    let with = |change: fn(&mut Value)| {
        let mut report = report("idle");
        change(&mut report);
        Coefficients::from_report(&report).expect_err("of no use")
    };
    assert_eq!(with(|r| *r = json!([1])), ReportError::NotAReport("format"));
    assert_eq!(with(|r| r["profile"] = json!(7)), ReportError::NotAReport("profile"));
    assert_eq!(with(|r| r["format"] = json!(2)), ReportError::Format("2".into()));
    assert_eq!(with(|r| r["cost"] = Value::Null), ReportError::NoCost);
    assert_eq!(with(|r| r["cost"]["fit"] = Value::Null), ReportError::NoFit);
    let bad = [
        with(|r| r["cost"]["fit"]["user_bytes"]["slope"] = json!("much")),
        with(|r| r["cost"]["fit"]["user_bytes"]["slope"] = json!(1e300)),
        with(|r| r["cost"]["fit"]["cpu_us_per_message"] = json!(-1)),
        with(|r| r["cost"] = json!(3)),
    ];
    for error in bad {
        assert!(matches!(error, ReportError::BadFigure(_)), "{error:?}");
        assert!(error.to_string().contains("cost"), "{error}");
    }
}

/// Noise can make a line fall; a plan for more connections is not cheaper for it.
#[test]
fn a_line_that_falls_is_flat() {
    let mut falling = report("idle");
    for line in ["user_bytes", "kernel_bytes", "buffer_bytes", "idle_cpu_us"] {
        falling["cost"]["fit"][line]["slope"] = json!(-1e6);
    }
    let costs = Coefficients::from_report(&falling).expect("a report");
    let of = |connections| estimate(&Traffic { connections, ..IDLE }, &costs);
    assert_eq!(of(1).memory, of(1_000_000).memory);
    assert_eq!(of(1).cpu, of(1_000_000).cpu);
}
