//! ▢ What is measured: the times in which the number of users did not change.

use serde::{Deserialize, Serialize};

use super::super::{
    stages::Stages,
    tally::{Tally, Times},
};

/// One slice of time, of all generators together.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sum {
    /// What they counted.
    pub tally: Tally,
    /// Users that should be there at its end.
    pub wanted: u64,
    /// Open connections at its end.
    pub open: u64,
    /// Processor time of the busiest generator, in seconds.
    pub load_seconds: f64,
    /// Processor time of the server, in seconds.
    pub server_seconds: Option<f64>,
    /// What the server has in memory at its end.
    pub server_resident_bytes: Option<u64>,
}

/// What was measured while there were so many users.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Plateau {
    /// Users that should be there.
    pub users: u64,
    /// The fewest open connections.
    pub open_least: u64,
    /// First second that was measured.
    pub from_s: f64,
    /// How long that was.
    pub seconds: f64,
    /// Messages sent.
    pub sent: u64,
    /// Messages received.
    pub received: u64,
    /// Messages received, a second.
    pub received_per_second: f64,
    /// Mean latency, in milliseconds.
    pub latency_mean_ms: f64,
    /// Half were faster.
    pub latency_p50_ms: f64,
    /// Nine of ten were faster.
    pub latency_p90_ms: f64,
    /// 99 % were faster.
    pub latency_p99_ms: f64,
    /// 99.9 % were faster.
    pub latency_p999_ms: f64,
    /// The slowest.
    pub latency_max_ms: f64,
    /// Processor time of the server; 1 is one core.
    pub server_cores: Option<f64>,
    /// Processor time of the server a message that was received, in microseconds; absent where
    /// there were next to none.
    pub server_us_per_message: Option<f64>,
    /// Processor time of the busiest generator; 1 is one core.
    pub load_cores: f64,
    /// Messages that the load sent over 10 ms too late.
    pub late: u64,
}

/// Of each plateau, which slices count: the whole ones behind its head.
pub fn measured_slices(stages: &Stages, slice_s: f64) -> Vec<(u64, std::ops::Range<usize>)> {
    let slices = |flat: super::super::stages::Flat| {
        let (from_s, to_s) = (flat.from.as_secs_f64(), flat.to.as_secs_f64());
        let head_s = flat.head.as_secs_f64();
        // A little less than a slice is a slice: the lengths are no exact fractions.
        let first = ((from_s + head_s) / slice_s - 1e-6).ceil() as usize;
        let end = (to_s / slice_s + 1e-6).floor() as usize;
        (u64::from(flat.users), first..end.max(first))
    };
    stages.flats().into_iter().map(slices).collect()
}

/// Every plateau that has a slice, and the latency over all of them.
pub fn plateaus(stages: &Stages, slice_s: f64, sums: &[Sum]) -> (Vec<Plateau>, Times) {
    let (mut found, mut latency) = (Vec::new(), Times::default());
    for (users, range) in measured_slices(stages, slice_s) {
        let from_s = range.start as f64 * slice_s;
        let slices = sums.get(range.start..range.end.min(sums.len())).unwrap_or_default();
        if let Some((plateau, times)) = plateau(users, from_s, slice_s, slices) {
            found.push(plateau);
            latency.add(&times);
        }
    }
    (found, latency)
}

fn plateau(users: u64, from_s: f64, slice_s: f64, slices: &[Sum]) -> Option<(Plateau, Times)> {
    let open_least = slices.iter().map(|sum| sum.open).min()?;
    let seconds = slices.len() as f64 * slice_s;
    let mut tally = Tally::default();
    slices.iter().for_each(|sum| tally.add(&sum.tally));
    let server_seconds: Option<f64> = slices.iter().map(|sum| sum.server_seconds).sum();
    let times = &tally.latency;
    // Pings and a message now and then are no traffic.
    let has_traffic = tally.received as f64 >= 10.0 * seconds;
    let plateau = Plateau {
        users,
        open_least,
        from_s,
        seconds,
        sent: tally.sent,
        received: tally.received,
        received_per_second: tally.received as f64 / seconds,
        latency_mean_ms: times.mean_ms(),
        latency_p50_ms: times.quantile_ms(0.5),
        latency_p90_ms: times.quantile_ms(0.9),
        latency_p99_ms: times.quantile_ms(0.99),
        latency_p999_ms: times.quantile_ms(0.999),
        latency_max_ms: times.max_ms(),
        server_cores: server_seconds.map(|server| server / seconds),
        server_us_per_message: server_seconds
            .filter(|_| has_traffic)
            .map(|server| server * 1e6 / tally.received as f64),
        load_cores: slices.iter().map(|sum| sum.load_seconds).sum::<f64>() / seconds,
        late: tally.late,
    };
    Some((plateau, tally.latency))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(count: usize) -> Vec<Sum> {
        let slice = |nth: usize| {
            let mut tally = Tally { sent: 100, received: 100, ..Tally::default() };
            tally.latency.record(nth as u64 * 1_000_000);
            Sum {
                tally,
                open: 10,
                server_seconds: Some(0.05),
                load_seconds: 0.01,
                ..Sum::default()
            }
        };
        (0..count).map(slice).collect()
    }

    #[test]
    fn only_whole_slices_behind_the_head_of_a_plateau_count() {
        let stages: Stages = "2s:10,5s:10,1s:20,1500ms:20".parse().unwrap();
        let ranges: Vec<_> =
            measured_slices(&stages, 0.1).into_iter().map(|(_, range)| range).collect();
        assert_eq!(ranges, [30..70, 83..95]);
        let (found, latency) = plateaus(&stages, 0.1, &sums(95));
        let [first, second] = &found[..] else { panic!("{found:?}") };
        assert_eq!((first.users, first.received, first.seconds), (10, 4000, 4.0));
        assert_eq!((second.users, second.sent), (20, 1200));
        assert_eq!(first.received_per_second.round(), 1000.0);
        assert!((first.server_cores.unwrap() - 0.5).abs() < 1e-9);
        assert!((first.server_us_per_message.unwrap() - 500.0).abs() < 1e-6);
        assert!((first.latency_max_ms - 69.0).abs() < 0.1 && latency.len() == 52);
    }

    #[test]
    fn a_run_that_was_ended_early_has_what_it_had() {
        let stages: Stages = "2s:10,5s:10,1s:20,5s:20".parse().unwrap();
        let (found, _) = plateaus(&stages, 0.1, &sums(50));
        assert_eq!((found.len(), found[0].seconds), (1, 2.0));
        assert_eq!(plateaus(&stages, 0.1, &sums(20)).0, []);
    }
}
