//! What is beyond noise, and what is not.

use super::*;
use crate::bench::{
    cost::model::{Cost, Fit, Line, Point},
    report::Figure,
};

/// A plateau of 100 slices whose latency and processor time sway by `sway` from part to part.
fn report(p99_ms: f64, us_per_message: f64, sway: f64) -> Report {
    let slice = |nth: u32| {
        let factor = if (nth / 25).is_multiple_of(2) { 1.0 + sway } else { 1.0 - sway };
        Moment {
            at_s: 2.0 + f64::from(nth + 1) * 0.1,
            open: 500,
            received_per_second: 1_000.0,
            latency_p50_ms: Some(p99_ms / 4.0 * factor),
            latency_p99_ms: Some(p99_ms * factor),
            server_cores: Some(us_per_message / 1e3 * factor),
            load_cores: 0.1,
            ..Moment::default()
        }
    };
    let plateau = Plateau {
        users: 500,
        open_least: 500,
        from_s: 2.0,
        seconds: 10.0,
        received: 10_000,
        received_per_second: 1_000.0,
        latency_p50_ms: p99_ms / 4.0,
        latency_p99_ms: p99_ms,
        latency_max_ms: p99_ms * 7.0,
        server_cores: Some(us_per_message / 1e3),
        server_us_per_message: Some(us_per_message),
        load_cores: 0.1,
        ..Plateau::default()
    };
    let mut report = Report {
        plateaus: vec![plateau],
        slices: (0..100).map(slice).collect(),
        ..Report::default()
    };
    report.host.optimised = true;
    report
}

fn compared(a: &Report, b: &Report) -> Comparison {
    compare(("a.json", a), ("b.json", b))
}

fn figure<'c>(comparison: &'c Comparison, name: &str) -> &'c Compared {
    let mut all = comparison.groups.iter().flat_map(|group| &group.figures);
    all.find(|figure| figure.name == name).unwrap_or_else(|| panic!("no {name:?}: {comparison}"))
}

#[test]
fn a_report_does_not_differ_from_itself() {
    let report = report(4.0, 8.0, 0.1);
    let comparison = compared(&report, &report);
    assert_eq!(comparison.beyond_noise().count(), 0, "{comparison}");
    assert_eq!(comparison.warnings, [""; 0]);
    assert!(comparison.to_string().contains("nothing differs beyond noise"), "{comparison}");
}

#[test]
fn beyond_noise_is_what_the_parts_of_a_run_do_not_explain() {
    // The same change is told where runs are steady, and not where they sway as much.
    let verdict = |sway: f64| {
        let comparison = compared(&report(4.0, 8.0, sway), &report(5.0, 7.0, sway));
        ["latency p99, ms", "server, us/message", "server, cores", "messages/s", "latency max, ms"]
            .map(|name| figure(&comparison, name).verdict)
    };
    use Verdict::{Better, Differs, Same, Unjudged, Worse};
    assert_eq!(verdict(0.0), [Worse, Better, Differs, Same, Unjudged]);
    assert_eq!(verdict(0.2), [Same, Same, Same, Same, Unjudged]);
    let comparison = compared(&report(4.0, 8.0, 0.0), &report(5.0, 7.0, 0.0));
    let p99 = figure(&comparison, "latency p99, ms");
    assert_eq!((p99.ratio, p99.noise), (Some(1.25), Some(1.02)));
    let text = comparison.to_string();
    assert!(text.contains("B worse   500 users, latency p99, ms: B is 1.250 of A"), "{text}");
    assert!(text.contains("noise: the factor that is twice the spread"), "{text}");
}

#[test]
fn plateaus_are_matched_by_their_users() {
    let [mut a, mut b] = [report(4.0, 8.0, 0.0), report(4.0, 8.0, 0.0)];
    let with_users = |report: &Report, users| Plateau { users, ..report.plateaus[0].clone() };
    a.plateaus = [500, 1_000, 500].map(|users| with_users(&b, users)).into();
    b.plateaus.push(with_users(&a, 2_000));
    let comparison = compared(&a, &b);
    let names: Vec<&str> = comparison.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["500 users", "whole run"]);
    let said = [
        "2 of the plateaus are in A alone, and left out",
        "1 of the plateaus are in B alone, and left out",
    ];
    assert_eq!(comparison.warnings, said);
}

#[test]
fn what_a_run_has_once_is_shown_and_not_judged() {
    let [mut a, mut b] = [Report::default(), Report::default()];
    for (report, value) in [(&mut a, 10.0), (&mut b, 40.0)] {
        report.figures.push(Figure { name: "all back".into(), value, unit: "s".into() });
        report.counts.insert("refused".into(), value as u64);
        let mut times = Times::default();
        times.record(value as u64 * 1_000_000);
        report.times.insert("back".into(), times);
    }
    let comparison = compared(&a, &b);
    for name in ["all back, s", "refused", "back p99, ms"] {
        let figure = figure(&comparison, name);
        assert_eq!((figure.ratio.map(f64::round), figure.verdict), (Some(4.0), Verdict::Unjudged));
    }
    assert!(comparison.to_string().contains("nothing can be judged"), "{comparison}");
    // Absent in one, or nought in the other: there is no ratio.
    b.figures.clear();
    a.counts.insert("refused".into(), 0);
    let comparison = compared(&a, &b);
    assert_eq!(figure(&comparison, "all back, s").ratio, None);
    assert_eq!(figure(&comparison, "refused").ratio, None);
    assert_eq!(figure(&comparison, "failed").verdict, Verdict::Same);
}

#[test]
fn slopes_of_cost_are_judged_by_how_well_the_lines_fit() {
    let with_slope = |slope: f64, r_squared: f64| {
        let fit = Fit { user_bytes: Line { fixed: 0.0, slope, r_squared }, ..Fit::default() };
        let cost = Cost { points: vec![Point::default(); 4], fit: Some(fit), ..Cost::default() };
        Report { cost: Some(cost), ..Report::default() }
    };
    let verdict = |r_squared: f64| {
        let comparison = compared(&with_slope(100.0, r_squared), &with_slope(120.0, r_squared));
        figure(&comparison, "user B/connection").verdict
    };
    assert_eq!((verdict(0.9999), verdict(0.9)), (Verdict::Worse, Verdict::Same));
}
