//! ▢ Who is let in: the connection limit of the process and the accept rate of a shard.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::ws::Refusal;

/// Places, shared by all shards: for WebSockets, taken on upgrade, so that health checks and
/// refused requests take none; and for sessions of topics that wait.
#[derive(Debug)]
pub struct Places {
    taken: AtomicUsize,
    limit: AtomicUsize,
}

impl Places {
    /// `limit` places, all free.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), limit: AtomicUsize::new(limit) })
    }

    /// Takes one. `false`: there is none.
    pub fn take(&self) -> bool {
        let limit = self.limit.load(Relaxed);
        self.taken.fetch_update(Relaxed, Relaxed, |n| (n < limit).then_some(n + 1)).is_ok()
    }

    /// So many places from now on. Who has one keeps it, though there be fewer.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Relaxed);
    }

    /// Gives one place back.
    pub fn give_back(&self) {
        self.taken.fetch_sub(1, Relaxed);
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Relaxed)
    }
}

/// One shard's decision on one request.
#[derive(Debug)]
pub struct Admission {
    places: Arc<Places>,
    bucket: TokenBucket,
}

impl Admission {
    /// `upgrades_per_second` is this shard's share of the rate.
    pub fn new(places: Arc<Places>, upgrades_per_second: u32) -> Self {
        Self { places, bucket: TokenBucket::new(upgrades_per_second) }
    }

    /// Takes a place for a WebSocket.
    ///
    /// # Errors
    /// The refusal; no place is taken then.
    pub fn admit(&mut self, now_ms: u64) -> Result<(), Refusal> {
        self.admit_request(now_ms)?;
        if !self.places.take() {
            return Err(Refusal::connection_limit());
        }
        Ok(())
    }

    /// Lets a request in that wants no place, at the rate of those that do: what it makes here
    /// costs about what an upgrade does.
    ///
    /// # Errors
    /// The refusal.
    pub fn admit_request(&mut self, now_ms: u64) -> Result<(), Refusal> {
        if self.bucket.take(now_ms) { Ok(()) } else { Err(Refusal::accept_rate()) }
    }

    /// Another share of the rate from now on.
    pub fn set_rate(&mut self, upgrades_per_second: u32) {
        self.bucket.set_rate(upgrades_per_second);
    }

    /// Gives a place back, once for each that was taken.
    pub fn leave(&self) {
        self.places.give_back();
    }
}

/// So many a second, a second's worth at once.
#[derive(Debug)]
struct TokenBucket {
    per_second: u64,
    /// Tokens in thousandths, so that a millisecond adds `per_second` of them.
    milli_tokens: u64,
    filled_ms: u64,
}

impl TokenBucket {
    fn new(per_second: u32) -> Self {
        let per_second = u64::from(per_second.max(1));
        Self { per_second, milli_tokens: per_second * 1000, filled_ms: 0 }
    }

    /// What has gathered stays, as far as it fits.
    fn set_rate(&mut self, per_second: u32) {
        self.per_second = u64::from(per_second.max(1));
        self.milli_tokens = self.milli_tokens.min(self.per_second * 1000);
    }

    fn take(&mut self, now_ms: u64) -> bool {
        let passed_ms = now_ms.saturating_sub(self.filled_ms).min(1000);
        self.filled_ms = self.filled_ms.max(now_ms);
        let full = self.per_second * 1000;
        self.milli_tokens = (self.milli_tokens + passed_ms * self.per_second).min(full);
        let has = self.milli_tokens >= 1000;
        self.milli_tokens -= if has { 1000 } else { 0 };
        has
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// In any second and whatever the arrivals: never more than the rate plus one burst.
        #[test]
        fn the_rate_is_kept(rate in 1u32..500, gaps_ms in prop::collection::vec(0u64..50, 1..2000)) {
            let mut admission = Admission::new(Places::new(usize::MAX), rate);
            let (mut now_ms, mut admitted) = (0, 0u64);
            for gap_ms in gaps_ms {
                now_ms += gap_ms;
                admitted += u64::from(admission.admit(now_ms).is_ok());
                prop_assert!(admitted <= u64::from(rate) + now_ms * u64::from(rate) / 1000);
            }
        }
    }

    #[test]
    fn places_are_shared_and_come_back() {
        let places = Places::new(2);
        let mut one = Admission::new(places.clone(), 100);
        let mut two = Admission::new(places.clone(), 100);
        assert_eq!(one.admit(0), Ok(()));
        assert_eq!(two.admit(0), Ok(()));
        assert_eq!(one.admit(0), Err(Refusal::connection_limit()));
        two.leave();
        assert_eq!(one.admit(0), Ok(()));
        assert_eq!(places.taken(), 2);
    }

    #[test]
    fn a_lower_limit_takes_no_place_away() {
        let places = Places::new(3);
        let mut admission = Admission::new(places.clone(), 100);
        assert_eq!([admission.admit(0), admission.admit(0)], [Ok(()), Ok(())]);
        places.set_limit(1);
        assert_eq!(admission.admit(0), Err(Refusal::connection_limit()));
        admission.leave();
        assert_eq!(admission.admit(0), Err(Refusal::connection_limit()), "one is in, one may be");
        admission.leave();
        assert_eq!(admission.admit(0), Ok(()));
    }

    #[test]
    fn another_rate_holds_at_once() {
        let mut admission = Admission::new(Places::new(usize::MAX), 100);
        admission.set_rate(2);
        assert_eq!([admission.admit(0), admission.admit(0)], [Ok(()), Ok(())]);
        assert_eq!(admission.admit(0), Err(Refusal::accept_rate()));
        admission.set_rate(1_000);
        assert_eq!(admission.admit(1), Ok(()), "a millisecond brings one");
    }
}
