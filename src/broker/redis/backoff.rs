//! ▢ When to try the connection again.

/// First pause, doubled with every attempt that fails.
const FIRST_MS: u64 = 50;
/// Longest pause. A connection that lasted at least as long starts again with the first.
const LONGEST_MS: u64 = 5_000;

/// Pauses between attempts: doubling, and spread over their upper half so that shards that
/// lost the same server don't come back to it at the same moment.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// `seed` makes the spread of this link its own.
    pub fn new(seed: u64) -> Self {
        Self { failures: 0, random: seed }
    }

    /// The connection, or the attempt, is over; `up_ms` is how long it was of use.
    /// Returns the pause before the next attempt.
    pub fn failed(&mut self, up_ms: u64) -> u64 {
        if up_ms >= LONGEST_MS {
            self.failures = 0;
        }
        let pause_ms = (FIRST_MS << self.failures.min(16)).min(LONGEST_MS);
        self.failures = self.failures.saturating_add(1);
        pause_ms / 2 + self.next_random() % (pause_ms / 2 + 1)
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_longest_and_starts_again_after_a_good_connection() {
        let mut backoff = Backoff::new(7);
        for expected in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let pause_ms = backoff.failed(0);
            assert!((expected / 2..=expected).contains(&pause_ms), "{pause_ms} of {expected}");
        }
        for _ in 0..100 {
            backoff.failed(100);
        }
        assert!(backoff.failed(LONGEST_MS) <= FIRST_MS);
    }

    #[test]
    fn links_spread_out() {
        let pauses: std::collections::HashSet<u64> = (0..64)
            .map(|seed| {
                let mut backoff = Backoff::new(seed);
                (0..8).map(|_| backoff.failed(0)).sum()
            })
            .collect();
        assert!(pauses.len() > 48, "{} of 64 differ", pauses.len());
    }
}
