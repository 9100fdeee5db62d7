//! ▢ How far two runs of the same may be apart.
//!
//! A run knows nothing of the next one. What it does know is how far its own parts are apart, and
//! that is taken: not divided by the root of their number, as if the parts were independent, for
//! what makes two runs differ (placement, frequency, neighbours) lasts longer than a part.

use crate::bench::cost::model::Line;

/// Parts of a plateau.
const PARTS: usize = 8;
/// Fewer say nothing about their spread.
const PARTS_MIN: usize = 4;
/// Standard deviations beyond which something is no chance.
const DEVIATIONS: f64 = 2.0;
/// Never less, as a factor: no two runs are closer.
const LEAST: f64 = 1.02;
/// 97.5th percentile of Student's t, by degrees of freedom from 1 on.
const STUDENT_T: [f64; 10] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23];

/// The rule, for people.
pub const RULE: &str = "the factor that is twice the spread (standard deviation of the logarithms) \
    between the eighths of a plateau, of both runs together, and at least 1.02; mean and p90 have \
    that of p99. For a fitted slope: its 95 % interval, from three points on. What a run has once \
    is not judged.";

/// Spread between the logarithms of the parts of a plateau, so that half and twice are as far from
/// one. A slice has what is divided and by what.
pub(super) fn spread(slices: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let slices: Vec<(f64, f64)> = slices.collect();
    let count = slices.len().min(PARTS);
    if count < PARTS_MIN {
        return None;
    }
    let part = |nth: usize| {
        let range = nth * slices.len() / count..(nth + 1) * slices.len() / count;
        let sums = slices[range].iter().fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let of_part = sums.0 / sums.1;
        (sums.1 > 0.0 && of_part > 0.0).then(|| of_part.ln())
    };
    let parts: Vec<f64> = (0..count).filter_map(part).collect();
    if parts.len() < PARTS_MIN {
        return None;
    }
    let mean = parts.iter().sum::<f64>() / parts.len() as f64;
    let squares: f64 = parts.iter().map(|part| (part - mean).powi(2)).sum();
    Some((squares / (parts.len() - 1) as f64).sqrt())
}

/// By which factor two plateaus may differ, from the spread in each.
pub(super) fn of_plateaus(a: f64, b: f64) -> f64 {
    (DEVIATIONS * a.hypot(b)).exp().max(LEAST)
}

/// By which factor two slopes may differ, from how well their lines go through so many
/// points; nothing, where they go through two as any line does.
pub(super) fn of_slopes(a: (&Line, usize), b: (&Line, usize)) -> Option<f64> {
    let interval = |(line, points): (&Line, usize)| {
        let freedom = points.checked_sub(2).filter(|&freedom| freedom > 0)?;
        let t = STUDENT_T[freedom.min(STUDENT_T.len()) - 1];
        // The relative standard error of a slope is a matter of R² and the points alone.
        let unexplained = (1.0 / line.r_squared - 1.0).max(0.0);
        let interval = t * (unexplained / freedom as f64).sqrt();
        interval.is_finite().then_some(interval)
    };
    interval(a).zip(interval(b)).map(|(a, b)| (1.0 + a.hypot(b)).max(LEAST))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_spread_is_that_of_parts_and_not_of_slices() {
        let ones = |values: &[f64]| spread(values.iter().map(|&value| (value, 1.0)));
        assert!(ones(&[5.0; 40]).expect("a spread") < 1e-9);
        assert_eq!(ones(&[5.0; 3]), None);
        assert_eq!(ones(&[0.0; 40]), None);
        // What changes from slice to slice is even over the parts; what lasts is not.
        let flicker: Vec<f64> = (0..80).map(|nth| 10.0 + f64::from(nth % 2)).collect();
        let drift: Vec<f64> = (0..80).map(|nth| 10.0 + f64::from(nth / 40)).collect();
        assert!(ones(&flicker).expect("a spread") < 1e-9);
        assert!((ones(&drift).expect("a spread") - 0.0509).abs() < 1e-3);
        // Divided by what the slices had, not by their number.
        let busy = (1..81).map(|nth| (f64::from(nth) * 7.0, f64::from(nth)));
        assert!(spread(busy).expect("a spread") < 1e-9);
    }

    #[test]
    fn a_line_through_two_points_tells_nothing_of_its_slope() {
        let line = |r_squared| Line { fixed: 0.0, slope: 1.0, r_squared };
        let noise = |r_squared, points| of_slopes((&line(r_squared), points), (&line(1.0), 3));
        assert_eq!(noise(1.0, 2), None);
        assert_eq!(noise(0.0, 3), None);
        assert_eq!(noise(1.0, 3), Some(LEAST));
        let [three, five] = [3, 5].map(|points| noise(0.999, points).expect("an interval"));
        assert!((three - 1.0 - 12.71 * (1.0 / 0.999_f64 - 1.0).sqrt()).abs() < 1e-9);
        assert!(five - 1.0 < (three - 1.0) / 5.0);
        assert!(noise(0.999, 1_000).expect("an interval") < five);
    }

    proptest! {
        /// Whatever is in a report: a spread is a number, or there is none.
        #[test]
        fn a_spread_is_a_number(slices in prop::collection::vec((0.0..1e9, 0.0..1e9), 0..100)) {
            if let Some(spread) = spread(slices.into_iter()) {
                prop_assert!(spread.is_finite() && of_plateaus(spread, spread) >= LEAST);
            }
        }
    }
}
