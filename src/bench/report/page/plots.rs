//! ▢ What the plots of the page show: their lines, axes and captions. The page's script draws any
//! of them without knowing what they are.

use serde::Serialize;

use super::super::{Moment, Report, amount::Unit};
use crate::bench::{
    cost::model::{Cost, Fit, Memory, Point},
    tally::Times,
};

/// The furthest percentile: 99.999 %.
const TAIL_MAX: f64 = 1e5;
/// Points of a percentile curve for each further nine.
const POINTS_A_NINE: u32 = 40;
/// A slice of a tenth of a second is a rough sample of processor time: it is averaged over so
/// many seconds.
const PROCESSOR_MEAN_S: f64 = 1.0;
/// Distributions of the profile's own that are drawn, so that there are colours for them.
const DISTRIBUTIONS_MAX: usize = 6;

/// One plot.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Plot {
    /// Name in the page.
    pub(super) id: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// How that was measured.
    pub(super) caption: &'static str,
    /// Plots of one axis share their cursor.
    pub(super) x: Axis,
    /// Of all lines.
    pub(super) y: Axis,
    /// Where the values of every line are, ascending.
    pub(super) at: Vec<f64>,
    /// One value at each place, or none there.
    pub(super) lines: Vec<Line>,
    /// From where to where was measured.
    pub(super) measured: Vec<(f64, f64)>,
}

/// What one direction shows.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Axis {
    /// With the unit, where the numbers have none.
    pub(super) label: &'static str,
    /// Of the numbers.
    pub(super) unit: Unit,
    /// Logarithmic.
    pub(super) log: bool,
}

/// One line; later ones are drawn over earlier ones, so that dashes are seen on what they equal.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Line {
    /// Its name.
    pub(super) label: String,
    /// How it is drawn.
    pub(super) look: Look,
    /// One a place.
    pub(super) values: Vec<Option<f64>>,
}

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Look {
    /// What was measured.
    Solid,
    /// What was meant or computed.
    Dashed,
    /// On top of the line before it, filled.
    Stacked,
}

const TIME: Axis = Axis { label: "time, s", unit: Unit::Seconds, log: false };

/// The plots for which the report has anything.
pub(super) fn plots(report: &Report) -> Vec<Plot> {
    let mut found = vec![
        users(report),
        messages(report),
        latency(report),
        percentiles(report),
        processor(report),
        resident(report),
    ];
    found.extend(report.cost.as_ref().map(memory));
    for plot in &mut found {
        plot.lines.retain(|line| line.values.iter().any(Option::is_some));
    }
    found.retain(|plot| !plot.lines.is_empty());
    found
}

fn users(report: &Report) -> Plot {
    let lines = vec![
        line(report, "open", Look::Solid, |moment| Some(moment.open as f64)),
        line(report, "wanted", Look::Dashed, |moment| Some(moment.wanted as f64)),
    ];
    let caption = "Users that should be there, and WebSockets that are open.";
    let y = Axis { label: "connections", unit: Unit::Count, log: false };
    over_time(report, "users", ("Connections", caption), y, lines)
}

fn messages(report: &Report) -> Plot {
    let lines = [
        line(report, "received", Look::Solid, |moment| Some(moment.received_per_second)),
        line(report, "sent", Look::Dashed, |moment| Some(moment.sent_per_second)),
    ];
    let some = lines.into_iter().filter(|line| line.values.iter().flatten().any(|&n| n > 0.0));
    let caption = "Messages that the load sent and received, without those of the protocol.";
    let y = Axis { label: "messages a second", unit: Unit::PerSecond, log: false };
    over_time(report, "messages", ("Throughput", caption), y, some.collect())
}

fn latency(report: &Report) -> Plot {
    let above_nought = |ms: Option<f64>| ms.filter(|&ms| ms > 0.0);
    let lines = vec![
        line(report, "p50", Look::Solid, |moment| above_nought(moment.latency_p50_ms)),
        line(report, "p99", Look::Solid, |moment| above_nought(moment.latency_p99_ms)),
    ];
    let caption = "From the time at which a message should have been sent to its answer, of each \
                   slice of time.";
    let y = Axis { label: "latency, ms", unit: Unit::Milliseconds, log: true };
    over_time(report, "latency", ("Latency over time", caption), y, lines)
}

fn processor(report: &Report) -> Plot {
    let slice_s = report.slices.first().map_or(PROCESSOR_MEAN_S, |moment| moment.at_s);
    let window = (PROCESSOR_MEAN_S / slice_s).round().max(1.0) as usize;
    let mut lines = vec![
        line(report, "server", Look::Solid, |moment| moment.server_cores),
        line(report, "load, busiest process", Look::Dashed, |moment| Some(moment.load_cores)),
    ];
    lines.iter_mut().for_each(|line| line.values = means(&line.values, window));
    let caption = "Processor time, user and system, as the mean over the last second. The load is \
                   one thread a process: at 1 it measures itself.";
    let y = Axis { label: "cores", unit: Unit::Cores, log: false };
    over_time(report, "processor", ("Processor time", caption), y, lines)
}

fn resident(report: &Report) -> Plot {
    let resident = |moment: &Moment| moment.server_resident_bytes.map(|bytes| bytes as f64);
    let lines = vec![line(report, "resident", Look::Solid, resident)];
    let caption = "What the server has in memory, without what the kernel has for it.";
    let y = Axis { label: "memory of the server", unit: Unit::Bytes, log: false };
    over_time(report, "resident", ("Memory over time", caption), y, lines)
}

fn over_time(
    report: &Report,
    id: &'static str,
    (title, caption): (&'static str, &'static str),
    y: Axis,
    lines: Vec<Line>,
) -> Plot {
    let at = report.slices.iter().map(|moment| moment.at_s).collect();
    let measured = report.plateaus.iter().map(|flat| (flat.from_s, flat.from_s + flat.seconds));
    Plot { id, title, caption, x: TIME, y, at, lines, measured: measured.collect() }
}

fn line(report: &Report, label: &str, look: Look, value: impl Fn(&Moment) -> Option<f64>) -> Line {
    Line { label: label.to_owned(), look, values: report.slices.iter().map(value).collect() }
}

/// Of each value, the mean of the `window` values up to it.
fn means(values: &[Option<f64>], window: usize) -> Vec<Option<f64>> {
    let mean = |last: usize| {
        let known = values[(last + 1).saturating_sub(window)..=last].iter().flatten();
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
        values[last].map(|_| sum / count)
    };
    (0..values.len()).map(mean).collect()
}

fn percentiles(report: &Report) -> Plot {
    let own = report.times.iter().map(|(name, times)| (name.as_str(), times));
    let distributions: Vec<(&str, &Times)> =
        [("message", &report.latency), ("opening a connection", &report.opening)]
            .into_iter()
            .chain(own)
            .filter(|(_, times)| !times.is_empty())
            .take(DISTRIBUTIONS_MAX)
            .collect();
    let most = distributions.iter().map(|(_, times)| times.len()).max().unwrap_or(0);
    let at = tails(most);
    let line = |(label, times): &(&str, &Times)| {
        // Beyond the slowest one there is nothing to tell.
        let known = |tail: f64| tail <= times.len() as f64;
        let value = |&tail: &f64| known(tail).then(|| times.quantile_ms(1.0 - 1.0 / tail));
        Line {
            label: (*label).to_owned(),
            look: Look::Solid,
            values: at.iter().map(value).collect(),
        }
    };
    Plot {
        id: "percentiles",
        title: "Percentiles",
        caption: "Which share was not slower, the rarer the wider. Messages of all plateaus, and \
                  openings of the whole run.",
        x: Axis { label: "percentile", unit: Unit::Percentile, log: true },
        y: Axis { label: "time, ms", unit: Unit::Milliseconds, log: true },
        lines: distributions.iter().map(line).collect(),
        at,
        measured: Vec::new(),
    }
}

/// `1 / (1 - share)`, from the least to what so many times can tell.
fn tails(count: u64) -> Vec<f64> {
    let most = (count as f64).clamp(1.0, TAIL_MAX);
    let steps = (most.log10() * f64::from(POINTS_A_NINE)).floor() as u32;
    let tail = |step: u32| 10_f64.powf(f64::from(step) / f64::from(POINTS_A_NINE));
    (0..=steps).map(tail).collect()
}

fn memory(cost: &Cost) -> Plot {
    let mut points: Vec<&Point> = cost.points.iter().collect();
    points.sort_by_key(|point| point.connections);
    let at = std::iter::once(0.0).chain(points.iter().map(|point| point.connections as f64));
    let at: Vec<f64> = at.collect();
    let component = |(label, bytes): (&str, Bytes)| Line {
        label: label.to_owned(),
        look: Look::Stacked,
        values: std::iter::once(None)
            .chain(points.iter().map(|point| Some(bytes(&point.memory).max(0.0))))
            .collect(),
    };
    let is_there = |line: &Line| line.values.iter().flatten().any(|&bytes| bytes > 0.0);
    let mut lines: Vec<Line> = COMPONENTS.into_iter().map(component).filter(is_there).collect();
    lines.extend(cost.fit.as_ref().map(|fit| Line {
        label: "fitted line".to_owned(),
        look: Look::Dashed,
        values: at.iter().map(|&connections| Some(fitted(fit, connections))).collect(),
    }));
    Plot {
        id: "memory",
        title: "Memory against connections",
        caption: "Of the server's end, by what takes it, stacked; and the straight line through \
                  the sums.",
        x: Axis { label: "connections", unit: Unit::Count, log: false },
        y: Axis { label: "memory", unit: Unit::Bytes, log: false },
        at,
        lines,
        measured: Vec::new(),
    }
}

/// One part of memory.
type Bytes = fn(&Memory) -> f64;

/// The parts of memory, from the bottom of the stack upwards.
pub(super) const COMPONENTS: [(&str, Bytes); 8] = [
    ("user", |memory| memory.user_bytes),
    ("TCP", |memory| memory.tcp_bytes),
    ("socket inode", |memory| memory.socket_inode_bytes),
    ("file", |memory| memory.file_bytes),
    ("dentry", |memory| memory.dentry_bytes),
    ("io_uring", |memory| memory.io_uring_bytes),
    ("epoll", |memory| memory.epoll_bytes),
    ("buffers", |memory| memory.buffer_bytes),
];

fn fitted(fit: &Fit, connections: f64) -> f64 {
    let lines = [fit.user_bytes, fit.kernel_bytes, fit.buffer_bytes];
    lines.iter().map(|line| line.fixed + line.slope * connections).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::plateau::Plateau;

    fn report(slices: usize) -> Report {
        let moment = |nth: usize| Moment {
            at_s: (nth + 1) as f64 * 0.5,
            wanted: 10,
            open: 9,
            received_per_second: 100.0,
            latency_p50_ms: (nth > 0).then_some(1.5),
            server_cores: Some((nth % 2) as f64),
            ..Moment::default()
        };
        let plateau = Plateau { from_s: 1.0, seconds: 2.0, ..Plateau::default() };
        Report {
            slices: (0..slices).map(moment).collect(),
            plateaus: vec![plateau],
            ..Report::default()
        }
    }

    #[test]
    fn there_is_a_plot_for_whatever_was_measured_and_for_nothing_else() {
        let ids = |report: &Report| plots(report).iter().map(|plot| plot.id).collect::<Vec<_>>();
        assert_eq!(ids(&Report::default()), [""; 0]);
        let mut report = report(6);
        assert_eq!(ids(&report), ["users", "messages", "latency", "processor"]);
        report.opening.record(1_000_000);
        report.slices[0].server_resident_bytes = Some(1);
        report.cost = Some(Cost { points: vec![Point::default()], ..Cost::default() });
        assert_eq!(ids(&report)[3..], ["percentiles", "processor", "resident"]);
        report.cost.as_mut().expect("set").points[0].memory.tcp_bytes = 2_500.0;
        assert_eq!(ids(&report).last(), Some(&"memory"));
    }

    #[test]
    fn every_line_has_a_value_or_none_at_each_place() {
        let mut report = report(6);
        (1..=1_000).for_each(|ms| report.latency.record(ms * 1_000_000));
        report.times.insert("again".into(), report.latency.clone());
        let plots = plots(&report);
        for plot in &plots {
            let counts = plot.lines.iter().map(|line| line.values.len());
            assert!(counts.clone().all(|count| count == plot.at.len()), "{}", plot.id);
            assert!(plot.at.is_sorted(), "{}", plot.id);
        }
        let users = &plots[0];
        assert_eq!((users.at[5], users.measured[0]), (3.0, (1.0, 3.0)));
        let processor = plots.iter().find(|plot| plot.id == "processor").expect("a plot");
        assert_eq!(processor.lines[0].values[..3], [Some(0.0), Some(0.5), Some(0.5)]);
    }

    #[test]
    fn a_percentile_curve_ends_where_nothing_is_known() {
        let mut report = Report::default();
        (1..=1_000).for_each(|ms| report.latency.record(ms * 1_000_000));
        (0..10).for_each(|_| report.opening.record(3_000_000));
        let plot = percentiles(&report);
        let [message, opening] = &plot.lines[..] else { panic!("{plot:?}") };
        let near = |value: Option<f64>, ms: f64| (value.expect("one") - ms).abs() < ms / 400.0;
        let place = |tail: f64| plot.at.iter().position(|at| (at / tail - 1.0).abs() < 1e-9);
        let [least, ten, hundred] = [1.0, 10.0, 100.0].map(|tail| place(tail).expect("a place"));
        assert!(near(message.values[least], 1.0) && near(message.values[ten], 900.0));
        assert!(near(message.values[hundred], 990.0) && message.values.iter().all(Option::is_some));
        assert_eq!((opening.values[hundred], plot.at.len()), (None, 121));
        assert!(near(opening.values[ten], 3.0));
        assert_eq!((tails(0), tails(u64::MAX).len()), (vec![1.0], 201));
    }

    #[test]
    fn memory_is_stacked_by_component_with_the_line_through_the_sums() {
        let point = |connections: u64, user_bytes: f64| Point {
            connections,
            memory: Memory { user_bytes, tcp_bytes: 100.0, ..Memory::default() },
            ..Point::default()
        };
        let mut fit = Fit::default();
        (fit.user_bytes.fixed, fit.kernel_bytes.slope) = (50.0, 3.0);
        let cost = Cost {
            points: vec![point(20, 200.0), point(10, 90.0)],
            fit: Some(fit),
            ..Cost::default()
        };
        let plot = memory(&cost);
        assert_eq!(plot.at, [0.0, 10.0, 20.0]);
        let labels: Vec<&str> = plot.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["user", "TCP", "fitted line"]);
        assert_eq!(plot.lines[0].values, [None, Some(90.0), Some(200.0)]);
        assert_eq!(plot.lines[2].values, [Some(50.0), Some(80.0), Some(110.0)]);
    }
}
