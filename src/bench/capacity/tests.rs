//! The search, its criteria, and how its loads are put together.

use proptest::prelude::*;

use super::*;
use crate::bench::report::{Totals, plateau::Plateau};

proptest! {
    /// Whatever the server holds, it is found, within the precision and in few steps.
    #[test]
    fn the_limit_is_found(first in 1..100_000_u64, limit in 0..2_000_000_u64) {
        let (most, precision) = (1_000_000, 0.1);
        let mut search = Search::new(first, most, precision);
        let mut steps = 0;
        while let Some(load) = search.next() {
            prop_assert!((1..=most).contains(&load));
            search.tell(load <= limit);
            steps += 1;
        }
        let held = search.held().unwrap_or(0);
        let limit = limit.min(most);
        prop_assert!(held <= limit, "{held} of {limit}");
        prop_assert!(limit - held <= (held as f64 * precision).max(1.0) as u64, "{held} of {limit}");
        prop_assert!(steps <= 26, "{steps}");
    }
}

fn options() -> Options {
    Options {
        raise: Raise::Users,
        first: 100,
        most: 10_000,
        users: 100,
        ramp: Duration::from_secs(1),
        hold: Duration::from_secs(5),
        p99_ms: 50.0,
        failed_percent: 1.0,
        server_cores: Some(0.9),
        precision_percent: 10.0,
    }
}

fn good() -> Report {
    let plateau = Plateau {
        users: 100,
        open_least: 100,
        sent: 1_000,
        received: 995,
        latency_p99_ms: 49.0,
        server_cores: Some(0.5),
        ..Plateau::default()
    };
    Report {
        plateaus: vec![plateau],
        totals: Totals { begun: 100, ..Totals::default() },
        ..Report::default()
    }
}

#[test]
fn each_criterion_is_named() {
    let fault = |spoil: fn(&mut Report)| {
        let mut report = good();
        spoil(&mut report);
        match options().fault(&report) {
            None => String::new(),
            Some(Fault::Server(why)) => format!("server: {why}"),
            Some(Fault::Load(why)) => format!("load: {why}"),
        }
    };
    let refuse = |report: &mut Report, times| {
        report.failures.insert("refused with HTTP 503".into(), times);
    };
    assert_eq!(fault(|_| {}), "");
    assert_eq!(
        fault(|report| report.plateaus[0].latency_p99_ms = 51.0),
        "server: p99 51.0 ms is over 50 ms"
    );
    assert!(fault(|report| report.plateaus[0].received = 900).starts_with("server: 900 of 1000"));
    assert!(fault(|report| report.totals.wrong = 1).starts_with("server: 1 answers"));
    assert!(fault(|report| report.plateaus[0].server_cores = Some(0.95)).contains("0.95 cores"));
    assert!(fault(|report| report.plateaus[0].late = 100).starts_with("load: "));
    assert!(fault(|report| report.invalid.push("unheard".into())).starts_with("server: unheard"));
    assert!(fault(|report| report.plateaus.clear()).starts_with("load: "));
    let mut report = good();
    refuse(&mut report, 1);
    assert_eq!(options().fault(&report), None, "one of a hundred may fail");
    refuse(&mut report, 2);
    let Some(Fault::Server(why)) = options().fault(&report) else { panic!("it is the server") };
    assert_eq!(why, "2 of 100 connections failed (refused with HTTP 503)");
}

#[test]
fn a_limit_of_the_load_is_none_of_the_server() {
    let plan = Plan {
        profile: "capacity".into(),
        job: Job::Echo(crate::bench::echo::Job { bytes: 64, rate: Some(1.0), raw: false }),
        target: "ws://127.0.0.1:1/echo".parse().unwrap(),
        sources: crate::bench::target::Sources::default(),
        stages: "1s:1".parse().unwrap(),
        processes: 1,
        cores: Vec::new(),
        servers: Vec::new(),
        admin: None,
        seed: 1,
    };
    let conclude = |limit| {
        let (mut search, mut report) = (Search::new(100, 100, 0.1), good());
        search.tell(true);
        options().conclude(&search, limit, &plan, &mut report);
        report
    };
    let of_load = conclude(Some(Fault::Load("it fell behind".into())));
    assert!(of_load.invalid.len() == 1 && of_load.invalid[0].contains("fell behind"));
    let of_server = conclude(Some(Fault::Server("slow".into())));
    assert!(of_server.invalid.is_empty() && of_server.notes.is_empty());
    assert_eq!((of_server.figures[0].value, of_server.figures[0].unit.as_str()), (100.0, "users"));
    assert!(conclude(None).notes[0].contains("--most"));
    assert!(options().step(&plan, 4_000).stages.to_string().starts_with("4000ms:4000,5000ms"));
    let by_rate = Options { raise: Raise::Rate, ..options() }.step(&plan, 300);
    assert!(matches!(by_rate.job, Job::Echo(echo) if echo.rate == Some(3.0)));
    assert_eq!(by_rate.stages.peak(), 100);
}

#[test]
fn loads_stand_behind_each_other_in_one_report() {
    let part = |seconds, users| {
        let mut report = good();
        report.seconds = seconds;
        report.stages = format!("1s:{users}");
        report.plateaus[0].users = users;
        report.failures.insert("reset".into(), 2);
        report
    };
    let whole = joined(part(10.0, 100), part(20.0, 200));
    assert_eq!((whole.seconds, whole.stages.as_str()), (30.0, "1s:100,1s:200"));
    assert_eq!(whole.plateaus.iter().map(|plateau| plateau.users).collect::<Vec<_>>(), [100, 200]);
    assert_eq!((whole.plateaus[1].from_s, whole.totals.begun), (10.0, 200));
    assert_eq!(whole.failures["reset"], 4);
}
