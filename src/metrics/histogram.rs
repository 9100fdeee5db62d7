//! A histogram of fixed buckets with one writer.

use super::Counter;

/// How often a value fell between the ends of `BUCKETS` buckets, which whoever observes
/// knows. What is above the last end is counted too.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize> {
    counts: [Counter; BUCKETS],
    above: Counter,
    sum: Counter,
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    /// Counts `value` into the first bucket whose end, which is among `ends` in ascending
    /// order, it does not pass.
    pub fn observe(&self, ends: &[u64; BUCKETS], value: u64) {
        let bucket = ends.iter().zip(&self.counts).find(|(end, _)| value <= **end);
        bucket.map_or(&self.above, |(_, count)| count).inc();
        self.sum.add(value);
    }

    /// The count of each bucket and of what is above the last, and the sum of all values.
    pub fn get(&self) -> (Vec<u64>, u64) {
        let counts = self.counts.iter().chain([&self.above]).map(Counter::get);
        (counts.collect(), self.sum.get())
    }
}

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| Counter::default()),
            above: Counter::default(),
            sum: Counter::default(),
        }
    }
}
