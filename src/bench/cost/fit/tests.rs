//! Lines that are known are found, and nothing is ever no number.

use proptest::prelude::*;

use super::*;

fn point(connections: u64, user_bytes: f64) -> Point {
    let memory = Memory { user_bytes, tcp_bytes: connections as f64 * 2521.0, ..Memory::default() };
    Point { connections, seconds: 10.0, memory, ..Point::default() }
}

fn is_close(a: f64, b: f64, scale: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()).max(scale))
}

#[test]
fn there_is_no_line_through_one_x() {
    assert_eq!(Line::through([]), None);
    assert_eq!(Line::through([(3.0, 1.0)]), None);
    assert_eq!(Line::through([(3.0, 1.0), (3.0, 2.0), (3.0, 9.0)]), None);
    assert_eq!(Line::through([(3.0, 1.0), (f64::NAN, 2.0), (4.0, f64::INFINITY)]), None);
}

#[test]
fn a_level_line_explains_everything() {
    let line = Line::through([(1.0, 5.0), (2.0, 5.0), (4.0, 5.0)]).unwrap();
    assert_eq!(line, Line { fixed: 5.0, slope: 0.0, r_squared: 1.0 });
}

#[test]
fn what_no_line_explains_has_no_r_squared() {
    let line = Line::through([(-1.0, 1.0), (0.0, 0.0), (1.0, 1.0)]).unwrap();
    assert!(line.slope.abs() < 1e-12 && line.r_squared < 1e-12, "{line:?}");
}

#[test]
fn the_point_before_all_connections_counts_only_in_need() {
    let before = point(0, 1_000_000.0);
    let fit = Fit::of(&[before, point(1_000, 3_080_000.0)]).unwrap();
    assert_eq!((fit.user_bytes.fixed, fit.user_bytes.slope), (1_000_000.0, 2_080.0));
    let all = [before, point(1_000, 3_080_000.0), point(2_000, 3_160_000.0)];
    let fit = Fit::of(&all).unwrap();
    assert!(is_close(fit.user_bytes.slope, 80.0, 1.0), "{fit:?}");
    assert!(is_close(fit.kernel_bytes.slope, 2521.0, 1.0), "{fit:?}");
    assert_eq!(Fit::of(&[before]), None);
    assert_eq!(Fit::of(&[point(5, 1.0), point(5, 2.0)]), None);
}

#[test]
fn messages_are_charged_without_what_idle_connections_cost() {
    // 3 µs a second for each connection, and 500 for the server; 8 µs for a message.
    let idle = |connections: u64| Point {
        cpu_seconds: 10.0 * (500.0 + 3.0 * connections as f64) / 1e6,
        ..point(connections, 0.0)
    };
    let busy = |connections: u64, messages: u64| Point {
        cpu_seconds: idle(connections).cpu_seconds + messages as f64 * 8.0 / 1e6,
        messages,
        system_calls: Some(messages / 4),
        ..point(connections, 0.0)
    };
    let fit =
        Fit::of(&[idle(1_000), idle(2_000), busy(1_000, 90_000), busy(2_000, 10_000)]).unwrap();
    let line = fit.idle_cpu_us.unwrap();
    assert!(is_close(line.fixed, 500.0, 1e3) && is_close(line.slope, 3.0, 1e3), "{line:?}");
    assert!(is_close(fit.cpu_us_per_message.unwrap(), 8.0, 1e3), "{fit:?}");
    assert_eq!(fit.system_calls_per_message, Some(0.25));

    let without_idle = Fit::of(&[busy(1_000, 90_000), busy(2_000, 10_000)]).unwrap();
    assert_eq!(without_idle.idle_cpu_us, None);
    assert!(without_idle.cpu_us_per_message.unwrap() > 8.0);
    let without_messages = Fit::of(&[idle(1_000), idle(2_000)]).unwrap();
    assert_eq!(without_messages.cpu_us_per_message, None);
    assert_eq!(without_messages.system_calls_per_message, None);
}

proptest! {
    /// A line is found again from any of its points.
    #[test]
    fn exact_points_give_their_line(
        fixed in -1e9..1e9,
        slope in -1e6..1e6f64,
        xs in prop::collection::btree_set(0u32..10_000_000, 2..20),
    ) {
        let points = xs.iter().map(|x| (f64::from(*x), fixed + slope * f64::from(*x)));
        let line = Line::through(points.clone()).unwrap();
        for (x, y) in points {
            prop_assert!(is_close(line.at(x), y, 1e13), "{:?} at {}: {}", line, x, y);
        }
        let is_visible = slope.abs() > 1.0;
        prop_assert!(!is_visible || line.r_squared > 0.999, "{:?}", line);
    }

    /// No other line has smaller squares.
    #[test]
    fn squares_are_least(
        points in prop::collection::vec((0.0..1e3, -1e3..1e3), 3..20),
        (up, steeper) in (-1.0..1.0, -1.0..1.0),
    ) {
        let Some(line) = Line::through(points.iter().copied()) else { return Ok(()) };
        let other = Line { fixed: line.fixed + up, slope: line.slope + steeper, ..line };
        let squares = |line: &Line| points.iter().map(|(x, y)| (line.at(*x) - y).powi(2)).sum::<f64>();
        prop_assert!(squares(&line) <= squares(&other) * (1.0 + 1e-9) + 1e-6);
        prop_assert!((0.0..=1.0).contains(&line.r_squared), "{:?}", line);
    }

    /// Whatever is measured, the report can be written and read again: JSON has no NaN.
    #[test]
    fn nothing_is_ever_no_number(
        points in prop::collection::vec(
            (any::<u64>(), any::<f64>(), any::<f64>(), any::<f64>(), any::<u64>(), any::<Option<u64>>()),
            0..6,
        ),
    ) {
        let points = points.into_iter().map(|(connections, seconds, bytes, cpu, messages, calls)| Point {
            connections,
            seconds,
            memory: Memory { user_bytes: bytes, tcp_bytes: bytes, ..Memory::default() },
            cpu_seconds: cpu,
            messages,
            system_calls: calls,
        });
        let fit = Fit::of(&points.collect::<Vec<_>>());
        let text = serde_json::to_string(&fit).unwrap();
        let optional = ["idle_cpu_us", "cpu_us_per_message", "system_calls_per_message"];
        for (at, _) in text.match_indices(":null") {
            prop_assert!(optional.iter().any(|name| text[..at].ends_with(&format!("{name}\""))), "{}", text);
        }
        prop_assert!(serde_json::from_str::<Option<Fit>>(&text).is_ok());
    }
}
