//! Times of one operation: many short samples, of which the median counts.
//!
//! What disturbs a sample only ever makes it longer, and on a shared machine much does; so the
//! quartiles stand beside the median and say how far it is to be believed.

use std::time::{Duration, Instant};

use crate::Run;

/// Long against reading the clock, short against the time slice of another process.
const SAMPLE: Duration = Duration::from_millis(2);

/// Nanoseconds of one operation.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Time {
    /// Half of the samples took longer.
    pub median_ns: f64,
    /// A quarter of them took less.
    pub low_ns: f64,
    /// A quarter of them took longer.
    pub high_ns: f64,
}

/// Times an operation in so many samples, after as many operations as one sample has at least.
pub fn measure(run: &mut Run, samples: usize) -> Time {
    let mut iterations = 1;
    while timed(run, iterations) < SAMPLE && iterations < 1 << 40 {
        iterations *= 2;
    }
    let sample = |_| timed(run, iterations).as_nanos() as f64 / iterations as f64;
    quartiles((0..samples).map(sample).collect())
}

fn timed(run: &mut Run, iterations: u64) -> Duration {
    let start = Instant::now();
    run(iterations);
    start.elapsed()
}

fn quartiles(mut samples: Vec<f64>) -> Time {
    samples.sort_by(f64::total_cmp);
    let at = |quarters: usize| {
        let index = quarters * samples.len().saturating_sub(1) / 4;
        samples.get(index).copied().unwrap_or_default()
    };
    Time { low_ns: at(1), median_ns: at(2), high_ns: at(3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_between_the_quartiles() {
        let time = quartiles([9.0, 1.0, 5.0, 7.0, 3.0].to_vec());
        assert_eq!(time, Time { low_ns: 3.0, median_ns: 5.0, high_ns: 7.0 });
    }
}
