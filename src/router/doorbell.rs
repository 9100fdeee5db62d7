//! Which of its peers have something for a shard: one bit each, so that a turn looks into
//! the lanes that have something and into no other.
//!
//! Lock-free and ours, so every interleaving of it is tested: `tests/wakeups.rs` includes
//! this file with loom's atomics in place of `super::atomic`.

use super::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

const BITS: usize = u64::BITS as usize;

/// The bells of one shard: any peer rings, the shard alone answers.
#[derive(Debug)]
pub struct Doorbell {
    words: Box<[AtomicU64]>,
}

impl Doorbell {
    /// With a bell for each of `peers`, none of them ringing.
    pub fn new(peers: usize) -> Self {
        Self { words: (0..peers.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Peer: what it has sent before this will be seen by whoever answers.
    pub fn ring(&self, peer: usize) {
        if let Some(word) = self.words.get(peer / BITS) {
            word.fetch_or(1 << (peer % BITS), AcqRel);
        }
    }

    /// Shard: whether any bell rings.
    pub fn is_ringing(&self) -> bool {
        self.words.iter().any(|word| word.load(Relaxed) != 0)
    }

    /// Shard: silences the bells and names who rang. It must look into their lanes
    /// afterwards: what is sent after that look rings again.
    pub fn answer(&self, mut who: impl FnMut(usize)) {
        for (index, word) in self.words.iter().enumerate() {
            // Nearly always nobody rang, and a load leaves the line where it is.
            if word.load(Relaxed) == 0 {
                continue;
            }
            let mut bits = word.swap(0, Acquire);
            while bits != 0 {
                who(index * BITS + bits.trailing_zeros() as usize);
                bits &= bits - 1;
            }
        }
    }
}
