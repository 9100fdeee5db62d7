//! ▢ What one generator counted in one slice of time, and how such counts are added up.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Longest time that is told apart; longer ones count as this.
const TIME_NS_MAX: u64 = 600_000_000_000;
/// Kinds of failures that are told apart, so that a server that answers rubbish fills no table.
const FAILURES_MAX: usize = 20;
/// A message that is sent later than this after its time was sent too late.
pub(super) const LATE_NS: u64 = 10_000_000;

/// Times, in nanoseconds; HDR with three digits, so that they can be merged without loss.
///
/// A histogram takes 180 KiB, and a run has thousands of slices: where there is no time there is
/// none.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Times(Option<Histogram<u64>>);

impl Times {
    /// Takes one.
    pub fn record(&mut self, ns: u64) {
        self.histogram().saturating_record(ns.clamp(1, TIME_NS_MAX));
    }

    fn histogram(&mut self) -> &mut Histogram<u64> {
        let new = || Histogram::new_with_bounds(1_000, TIME_NS_MAX, 3);
        // Both bounds are constants that the library takes.
        self.0.get_or_insert_with(|| new().expect("constant bounds"))
    }

    /// Takes all of `other`.
    pub fn add(&mut self, other: &Self) {
        if let Some(other) = &other.0 {
            // Same bounds on both sides: it cannot fail.
            let _ = self.histogram().add(other);
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time that `share` of all do not exceed, in milliseconds; 0 where there is none.
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.as_ref().map_or(0.0, |times| times.value_at_quantile(share) as f64 / 1e6)
    }

    /// The longest, in milliseconds.
    pub fn max_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |times| times.max() as f64 / 1e6)
    }

    /// The mean, in milliseconds.
    pub fn mean_ms(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |times| times.mean() / 1e6)
    }
}

/// As pairs of a value and how often it was.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let recorded = self.0.iter().flat_map(Histogram::iter_recorded);
        out.collect_seq(recorded.map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut times = Self::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(from)? {
            times.histogram().record_n(value.min(TIME_NS_MAX), count).map_err(D::Error::custom)?;
        }
        Ok(times)
    }
}

/// Counts of one slice of time, or of many.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Connections that were begun.
    pub begun: u64,
    /// Connections that came to be open.
    pub opened: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages received, without those of the protocol.
    pub received: u64,
    /// Messages that the load is due to receive, as far as it knows yet.
    pub expected: u64,
    /// Of those expected, the ones that cannot come any more: their connection is gone.
    pub lost: u64,
    /// Of those expected, the ones that the server said are lost.
    #[serde(default)]
    pub told: u64,
    /// Messages that came twice, out of order, or with other bytes than were sent.
    pub wrong: u64,
    /// Messages that were not sent, because too many of their connection were under way.
    pub withheld: u64,
    /// Messages sent over 10 ms after their time, by this generator's fault.
    pub late: u64,
    /// Pings answered.
    pub pings: u64,
    /// Connections that ended by themselves or did not come about, by what happened.
    pub failures: BTreeMap<String, u64>,
    /// Whatever else a profile counts, by name.
    pub counts: BTreeMap<String, u64>,
    /// Times of the profile's own, by name.
    pub times: BTreeMap<String, Times>,
    /// From the time at which a message should have been sent to its answer.
    pub latency: Times,
    /// From the first packet to the open WebSocket.
    pub opening: Times,
}

impl Tally {
    /// A connection failed.
    pub fn fail(&mut self, why: &str) {
        self.fail_times(why, 1);
    }

    fn fail_times(&mut self, why: &str, times: u64) {
        let known = self.failures.len() < FAILURES_MAX || self.failures.contains_key(why);
        *self.failures.entry(if known { why } else { "others" }.to_owned()).or_default() += times;
    }

    /// A message leaves at `now_ns` that should have left at `due_ns`.
    pub fn send(&mut self, due_ns: u64, now_ns: u64) {
        self.sent += 1;
        self.late += u64::from(now_ns.saturating_sub(due_ns) > LATE_NS);
    }

    /// Something of the profile's own.
    pub fn count(&mut self, name: &str, times: u64) {
        *self.counts.entry(name.to_owned()).or_default() += times;
    }

    /// A time of the profile's own.
    pub fn time(&mut self, name: &str, ns: u64) {
        self.times.entry(name.to_owned()).or_default().record(ns);
    }

    /// Adds what another counted.
    pub fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.opened += other.opened;
        self.sent += other.sent;
        self.received += other.received;
        self.expected += other.expected;
        self.lost += other.lost;
        self.told += other.told;
        self.wrong += other.wrong;
        self.withheld += other.withheld;
        self.late += other.late;
        self.pings += other.pings;
        other.failures.iter().for_each(|(why, times)| self.fail_times(why, *times));
        other.counts.iter().for_each(|(name, times)| self.count(name, *times));
        for (name, times) in &other.times {
            self.times.entry(name.clone()).or_default().add(times);
        }
        self.latency.add(&other.latency);
        self.opening.add(&other.opening);
    }

    /// All failures together.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Counting apart and adding up is counting together, also through JSON.
        #[test]
        fn merged_is_the_same_as_counted_together(
            latencies in prop::collection::vec((0..3_u8, 0..700_000_000_000_u64), 0..200),
        ) {
            let mut together = Tally::default();
            let mut apart = vec![Tally::default(); 3];
            for (place, ns) in latencies {
                for tally in [&mut together, &mut apart[usize::from(place)]] {
                    tally.latency.record(ns);
                    tally.send(0, ns);
                    tally.fail(&format!("kind {place}"));
                    tally.count("seen", 2);
                }
            }
            let mut sum = Tally::default();
            for tally in apart {
                let said = serde_json::to_string(&tally).expect("JSON");
                let heard: Tally = serde_json::from_str(&said).expect("the same");
                sum.add(&heard);
            }
            for share in [0.0, 0.5, 0.99, 1.0] {
                let [a, b] = [&sum, &together].map(|tally| tally.latency.quantile_ms(share));
                prop_assert!((a - b).abs() <= b * 0.002, "{a} {b}");
            }
            prop_assert_eq!(sum.latency.len(), together.latency.len());
            let plain = |tally: &Tally| (tally.sent, tally.late, tally.failures.clone(), tally.counts.clone());
            prop_assert_eq!(plain(&sum), plain(&together));
        }
    }

    #[test]
    fn failures_of_too_many_kinds_are_put_together() {
        let mut tally = Tally::default();
        (0..100).for_each(|kind| tally.fail(&kind.to_string()));
        assert_eq!((tally.failed(), tally.failures.len()), (100, FAILURES_MAX + 1));
        assert_eq!(tally.failures["others"], 80);
    }
}
