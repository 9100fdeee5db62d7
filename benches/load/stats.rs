//! Medians and quartiles of windows.

/// From the smallest to the largest.
pub fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Of sorted values, between two of them where it falls there; 0 where there is none.
pub fn quantile(sorted: &[f64], quantile: f64) -> f64 {
    let place = quantile * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(low_value), Some(high_value)) => {
            low_value + (high_value - low_value) * (place - place.floor())
        }
        _ => 0.0,
    }
}

/// To three places, for people.
pub fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
