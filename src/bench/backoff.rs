//! ▢ How long a client waits before it tries again: longer each time, and never as long as the
//! others.

use rand::{RngExt, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// Longest wait that a server can ask for, in seconds: a client has no more patience.
const RETRY_AFTER_S_MAX: u32 = 3_600;

/// Waits of a client whose attempts fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Backoff {
    /// Before the second attempt at most; twice as long before each further one.
    pub first_ms: u64,
    /// Before any attempt at most.
    pub most_ms: u64,
}

impl Backoff {
    /// Nanoseconds before the next attempt, after `failed` ones in a row: anything from nothing
    /// to the bound, on top of what the server has asked for.
    pub fn wait_ns(&self, failed: u32, retry_after_s: Option<u32>, random: &mut StdRng) -> u64 {
        let doubled = self.first_ms.saturating_mul(1 << failed.saturating_sub(1).min(32));
        let bound_ns = doubled.min(self.most_ms).saturating_mul(1_000_000);
        let asked_s = u64::from(retry_after_s.unwrap_or(0).min(RETRY_AFTER_S_MAX));
        asked_s * 1_000_000_000 + random.random_range(0..=bound_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn waits_are_within_their_bounds(
            failed in 1..100_u32, asked_s in prop::option::of(0..100_u32), seed: u64,
        ) {
            let backoff = Backoff { first_ms: 100, most_ms: 5_000 };
            let mut random = StdRng::seed_from_u64(seed);
            let asked_ms = u64::from(asked_s.unwrap_or(0)) * 1_000;
            let most_ms = 5_000.min(100_u64 << (failed - 1).min(20));
            let wait_ms = backoff.wait_ns(failed, asked_s, &mut random) / 1_000_000;
            prop_assert!((asked_ms..=asked_ms + most_ms).contains(&wait_ms), "{wait_ms}");
        }
    }

    #[test]
    fn those_who_failed_together_do_not_come_back_together() {
        let backoff = Backoff { first_ms: 1_000, most_ms: 1_000 };
        let mut random = StdRng::seed_from_u64(1);
        let waits: Vec<u64> = (0..1_000).map(|_| backoff.wait_ns(1, None, &mut random)).collect();
        let in_first_half = waits.iter().filter(|wait| **wait < 500_000_000).count();
        assert!((400..600).contains(&in_first_half), "{in_first_half}");
    }
}
