//! ▢ Two reports against each other: each figure with its ratio, and whether they differ by more
//! than noise.
//!
//! | module | what it is |
//! |---|---|
//! | `noise` ▢ | how far two runs of the same may be apart |
//! | `conditions` ▢ | what else was different: machine, limits, commit, flags |
//! | `text` ▢ | the comparison for people |

mod conditions;
mod noise;
mod text;

use serde::Serialize;

use super::{Moment, Report, plateau::Plateau};
use crate::bench::tally::Times;
pub use noise::RULE;

/// Two runs, A and B.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Comparison {
    /// The first.
    pub a: Side,
    /// The second.
    pub b: Side,
    /// Why the figures may differ for another reason, or mislead.
    pub warnings: Vec<String>,
    /// What is taken for noise.
    pub noise: &'static str,
    /// Plateaus first, one group each, then what a run has once.
    pub groups: Vec<Group>,
}

/// One of the two.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Side {
    /// Where it was read.
    pub file: String,
    /// Its profile.
    pub profile: String,
    /// Its server.
    pub server: String,
    /// When it began.
    pub began: String,
    /// The commit, where it is known.
    pub commit: Option<String>,
}

/// Figures of one thing.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Group {
    /// The users of a plateau, or what else it is about.
    pub name: String,
    /// Its figures.
    pub figures: Vec<Compared>,
}

/// One figure of both.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Compared {
    /// With its unit.
    pub name: String,
    /// In A.
    pub a: Option<f64>,
    /// In B.
    pub b: Option<f64>,
    /// B / A; absent where one is, or where A is nought.
    pub ratio: Option<f64>,
    /// By which factor the two may differ by chance; absent where nothing tells.
    pub noise: Option<f64>,
    /// What that means.
    pub verdict: Verdict,
}

/// What a ratio means.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No further apart than noise.
    Same,
    /// B is better, beyond noise.
    Better,
    /// B is worse, beyond noise.
    Worse,
    /// Beyond noise, and neither is better as such.
    Differs,
    /// A run has the figure once: nothing tells its noise.
    Unjudged,
}

/// Which way a figure is better.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Good {
    Low,
    High,
    Neither,
}

/// Compares two reports, which were read from these files.
pub fn compare(a: (&str, &Report), b: (&str, &Report)) -> Comparison {
    let side = |(file, report): (&str, &Report)| Side {
        file: file.to_owned(),
        profile: report.profile.clone(),
        server: report.server.clone(),
        began: report.began.clone(),
        commit: report.host.commit.clone(),
    };
    let (side_a, side_b, a, b) = (side(a), side(b), a.1, b.1);
    let mut warnings = conditions::differences(a, b);
    let pairs = pairs(&a.plateaus, &b.plateaus);
    for (name, own, matched) in [("A", a, pairs.len()), ("B", b, pairs.len())] {
        let alone = own.plateaus.len() - matched;
        if alone > 0 {
            warnings.push(format!("{alone} of the plateaus are in {name} alone, and left out"));
        }
    }
    let mut groups: Vec<Group> =
        pairs.into_iter().map(|(of_a, of_b)| plateau((a, of_a), (b, of_b))).collect();
    groups.extend([connections(a, b), cost(a, b), own(a, b)]);
    groups.retain(|group| !group.figures.is_empty());
    Comparison { a: side_a, b: side_b, warnings, noise: RULE, groups }
}

impl Comparison {
    /// Figures that differ beyond noise, with the group of each.
    pub fn beyond_noise(&self) -> impl Iterator<Item = (&Group, &Compared)> {
        let all = self
            .groups
            .iter()
            .flat_map(|group| group.figures.iter().map(move |figure| (group, figure)));
        all.filter(|(_, figure)| !matches!(figure.verdict, Verdict::Same | Verdict::Unjudged))
    }
}

/// Plateaus of as many users; where there are several such, in their order.
fn pairs<'r>(a: &'r [Plateau], b: &'r [Plateau]) -> Vec<(&'r Plateau, &'r Plateau)> {
    let mut left: Vec<&Plateau> = b.iter().collect();
    let pair = |of_a: &'r Plateau| {
        let nth = left.iter().position(|of_b| of_b.users == of_a.users)?;
        Some((of_a, left.remove(nth)))
    };
    a.iter().filter_map(pair).collect()
}

fn plateau(a: (&Report, &Plateau), b: (&Report, &Plateau)) -> Group {
    type Figure = fn(&Plateau) -> Option<f64>;
    // Of a slice: what is divided, and by what.
    type Slice = fn(&Moment) -> Option<(f64, f64)>;
    let p50: Slice = |slice| Some((slice.latency_p50_ms?, 1.0));
    let p99: Slice = |slice| Some((slice.latency_p99_ms?, 1.0));
    let figures: [(&str, Good, Figure, Option<Slice>); 12] = [
        (
            "open, least",
            Good::High,
            |it| Some(it.open_least as f64),
            Some(|slice| Some((slice.open as f64, 1.0))),
        ),
        (
            "messages/s",
            Good::High,
            |it| traffic(it, it.received_per_second),
            Some(|slice| Some((slice.received_per_second, 1.0))),
        ),
        ("latency mean, ms", Good::Low, |it| traffic(it, it.latency_mean_ms), Some(p99)),
        ("latency p50, ms", Good::Low, |it| traffic(it, it.latency_p50_ms), Some(p50)),
        ("latency p90, ms", Good::Low, |it| traffic(it, it.latency_p90_ms), Some(p99)),
        ("latency p99, ms", Good::Low, |it| traffic(it, it.latency_p99_ms), Some(p99)),
        ("latency p99.9, ms", Good::Low, |it| traffic(it, it.latency_p999_ms), None),
        ("latency max, ms", Good::Low, |it| traffic(it, it.latency_max_ms), None),
        (
            "server, cores",
            Good::Neither,
            |it| it.server_cores,
            Some(|slice| Some((slice.server_cores?, 1.0))),
        ),
        (
            "server, us/message",
            Good::Low,
            |it| it.server_us_per_message,
            Some(|slice| Some((slice.server_cores? * 1e6, slice.received_per_second))),
        ),
        (
            "load, cores",
            Good::Neither,
            |it| Some(it.load_cores),
            Some(|slice| Some((slice.load_cores, 1.0))),
        ),
        ("sent late", Good::Low, |it| Some(it.late as f64), None),
    ];
    let compared = |(name, good, of, slice): (&str, Good, Figure, Option<Slice>)| {
        let spread = |(report, plateau): (&Report, &Plateau)| {
            noise::spread(slices(report, plateau).filter_map(slice?))
        };
        let noise = spread(a).zip(spread(b)).map(|(a, b)| noise::of_plateaus(a, b));
        Compared::new(name, good, of(a.1), of(b.1), noise)
    };
    let figures = figures.into_iter().map(compared).filter(Compared::is_there).collect();
    Group { name: format!("{} users", a.1.users), figures }
}

/// A figure of messages, where there were any.
fn traffic(plateau: &Plateau, value: f64) -> Option<f64> {
    (plateau.received > 0).then_some(value)
}

/// What a plateau consists of. Ends of slices are no exact fractions.
fn slices<'r>(report: &'r Report, plateau: &Plateau) -> impl Iterator<Item = &'r Moment> + use<'r> {
    let (from_s, to_s) = (plateau.from_s + 1e-6, plateau.from_s + plateau.seconds + 1e-6);
    report.slices.iter().filter(move |slice| slice.at_s > from_s && slice.at_s <= to_s)
}

fn connections(a: &Report, b: &Report) -> Group {
    let mut figures = Vec::new();
    let once = |name: &str, good, of: &dyn Fn(&Report) -> Option<f64>| {
        Compared::new(name, good, of(a), of(b), None)
    };
    let quantile = |times: &Times, share| (!times.is_empty()).then(|| times.quantile_ms(share));
    figures.push(once("opened", Good::High, &|it| Some(it.totals.opened as f64)));
    figures.push(once("opening p50, ms", Good::Low, &|it| quantile(&it.opening, 0.5)));
    figures.push(once("opening p99, ms", Good::Low, &|it| quantile(&it.opening, 0.99)));
    let failed = |it: &Report| Some(it.failures.values().sum::<u64>() as f64);
    figures.push(once("failed", Good::Low, &failed));
    figures.push(once("messages lost", Good::Low, &|it| Some(it.totals.lost as f64)));
    figures.push(once("messages wrong", Good::Low, &|it| Some(it.totals.wrong as f64)));
    figures.retain(Compared::is_there);
    Group { name: "whole run".to_owned(), figures }
}

fn cost(a: &Report, b: &Report) -> Group {
    let fit = |report: &Report| report.cost.as_ref().and_then(|cost| cost.fit);
    let points = |report: &Report| report.cost.as_ref().map_or(0, |cost| cost.points.len());
    let (Some(fit_a), Some(fit_b)) = (fit(a), fit(b)) else {
        return Group { name: "cost".to_owned(), figures: Vec::new() };
    };
    let lines = [
        ("user B/connection", Some((fit_a.user_bytes, fit_b.user_bytes))),
        ("kernel B/connection", Some((fit_a.kernel_bytes, fit_b.kernel_bytes))),
        ("buffer B/connection", Some((fit_a.buffer_bytes, fit_b.buffer_bytes))),
        ("idle us/s/connection", fit_a.idle_cpu_us.zip(fit_b.idle_cpu_us)),
    ];
    let slope = |(name, lines): (&str, Option<_>)| {
        let (of_a, of_b) = lines?;
        let noise = noise::of_slopes((&of_a, points(a)), (&of_b, points(b)));
        Some(Compared::new(name, Good::Low, Some(of_a.slope), Some(of_b.slope), noise))
    };
    let mut figures: Vec<Compared> = lines.into_iter().filter_map(slope).collect();
    let single = [
        ("us/message", fit_a.cpu_us_per_message, fit_b.cpu_us_per_message),
        ("system calls/message", fit_a.system_calls_per_message, fit_b.system_calls_per_message),
    ];
    figures.extend(single.map(|(name, a, b)| Compared::new(name, Good::Low, a, b, None)));
    figures.retain(Compared::is_there);
    Group { name: "cost of the server, fitted".to_owned(), figures }
}

/// What the profile has of its own.
fn own(a: &Report, b: &Report) -> Group {
    let mut figures = Vec::new();
    for figure in &a.figures {
        let of_b = b.figures.iter().find(|other| other.name == figure.name);
        let of_b = of_b.filter(|other| other.unit == figure.unit).map(|other| other.value);
        let comma = if figure.unit.is_empty() { "" } else { ", " };
        let name = format!("{}{comma}{}", figure.name, figure.unit);
        figures.push(Compared::new(&name, Good::Neither, Some(figure.value), of_b, None));
    }
    for (name, count) in &a.counts {
        let of_b = b.counts.get(name).map(|count| *count as f64);
        figures.push(Compared::new(name, Good::Neither, Some(*count as f64), of_b, None));
    }
    for (name, times) in &a.times {
        for (label, share) in [("p50", 0.5), ("p99", 0.99)] {
            let of_b = b.times.get(name).map(|times| times.quantile_ms(share));
            let of_a = Some(times.quantile_ms(share));
            let name = format!("{name} {label}, ms");
            figures.push(Compared::new(&name, Good::Low, of_a, of_b, None));
        }
    }
    Group { name: format!("profile {}", a.profile), figures }
}

impl Compared {
    fn new(name: &str, good: Good, a: Option<f64>, b: Option<f64>, noise: Option<f64>) -> Self {
        let ratio = a.zip(b).filter(|(a, _)| *a != 0.0).map(|(a, b)| b / a);
        let verdict = match (a.zip(b), ratio, noise) {
            (Some((a, b)), ..) if a == b => Verdict::Same,
            (_, Some(ratio), Some(noise)) if ratio.max(1.0 / ratio) <= noise => Verdict::Same,
            (_, Some(ratio), Some(_)) => match good {
                Good::Neither => Verdict::Differs,
                Good::Low if ratio < 1.0 => Verdict::Better,
                Good::High if ratio > 1.0 => Verdict::Better,
                Good::Low | Good::High => Verdict::Worse,
            },
            _ => Verdict::Unjudged,
        };
        Self { name: name.to_owned(), a, b, ratio, noise, verdict }
    }

    fn is_there(&self) -> bool {
        self.a.is_some() || self.b.is_some()
    }
}

#[cfg(test)]
mod tests;
