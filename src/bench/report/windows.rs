//! ▢ What slow readers cost the others: windows in which all read against those in which some
//! don't.

use super::{
    super::{stages::Stages, tally::Times},
    Figure,
    plateau::{Sum, measured_slices},
};

/// Of a window, what is not measured: whatever the one before has left.
const HEAD_SHARE: f64 = 0.2;

/// The 99th percentiles of each pair of windows on a plateau, in milliseconds: all read, some
/// don't. A window with an even number from the beginning is one in which all read.
pub fn pairs(stages: &Stages, slice_s: f64, sums: &[Sum], window_s: f64) -> Vec<(f64, f64)> {
    let mut found = Vec::new();
    for (_, slices) in measured_slices(stages, slice_s) {
        let end_s = slices.end.min(sums.len()) as f64 * slice_s;
        let mut nth = (slices.start as f64 * slice_s / window_s / 2.0).ceil() as usize * 2;
        while (nth + 2) as f64 * window_s <= end_s + slice_s / 2.0 {
            let [all, some] = [nth, nth + 1].map(|nth| window(nth, slice_s, sums, window_s));
            found.extend(all.zip(some));
            nth += 2;
        }
    }
    found
}

/// Its 99th percentile, where anything came.
fn window(nth: usize, slice_s: f64, sums: &[Sum], window_s: f64) -> Option<f64> {
    let (from_s, to_s) = (nth as f64 * window_s, (nth + 1) as f64 * window_s);
    let first = ((from_s + window_s * HEAD_SHARE) / slice_s - 1e-6).ceil() as usize;
    let end = (to_s / slice_s + 1e-6).floor() as usize;
    let mut latency = Times::default();
    sums.get(first..end.min(sums.len()))?.iter().for_each(|sum| latency.add(&sum.tally.latency));
    (!latency.is_empty()).then(|| latency.quantile_ms(0.99))
}

/// Medians over all pairs, and their ratio.
pub fn figures(pairs: &[(f64, f64)]) -> Vec<Figure> {
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let (all, some) = pairs.iter().copied().unzip();
    let (Some(all), Some(some)) = (median(all), median(some)) else { return Vec::new() };
    let figure = |name: &str, value, unit: &str| Figure {
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
    };
    vec![
        figure("p99 all read", all, "ms"),
        figure("p99 some don't", some, "ms"),
        figure("ratio of p99", some / all, ""),
        figure("window pairs", pairs.len() as f64, ""),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_windows_are_compared_without_their_heads() {
        let stages: Stages = "3s:10,12s:10".parse().unwrap();
        // Slices of 500 ms, windows of 2 s: 10 ms while all read, 20 ms while some don't, and
        // what a window has left in the first slice of the next one.
        let slice = |nth: usize| {
            let mut sum = Sum::default();
            let ms = match nth {
                _ if nth.is_multiple_of(4) => 500,
                _ if (nth / 4).is_multiple_of(2) => 10,
                _ => 20,
            };
            sum.tally.latency.record(ms * 1_000_000);
            sum
        };
        let sums: Vec<Sum> = (0..30).map(slice).collect();
        let found = pairs(&stages, 0.5, &sums, 2.0);
        // Measured from 4 s to 15 s: the pairs from 4 s and from 8 s.
        assert_eq!(found.len(), 2, "{found:?}");
        let figures = figures(&found);
        assert!((figures[2].value - 2.0).abs() < 0.01 && figures[3].value == 2.0, "{figures:?}");
        assert_eq!(pairs(&stages, 0.5, &sums[..15], 2.0).len(), 0);
        assert_eq!(super::figures(&[]), []);
    }
}
