//! ▢ Sessions whose connection is gone and that may be taken over: which was left first.
//!
//! Bounded by the route's `detached_per_shard`, and by the bytes of result texts that a
//! shard keeps: past either the one that was left first ends.

use std::collections::BTreeMap;

/// Names one detachment: a session that was taken over and left again has another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct DetachedNumber(u64);

/// Slots of detached sessions, in the order in which they were left.
#[derive(Default, Debug)]
pub struct Detached {
    by_number: BTreeMap<DetachedNumber, u32>,
    next: u64,
}

impl Detached {
    /// Takes a session in.
    pub fn insert(&mut self, slot: u32) -> DetachedNumber {
        let number = DetachedNumber(self.next);
        self.next = self.next.wrapping_add(1);
        self.by_number.insert(number, slot);
        number
    }

    /// It was taken over, or has ended.
    pub fn remove(&mut self, number: DetachedNumber) {
        self.by_number.remove(&number);
    }

    /// Who was left first.
    pub fn oldest(&self) -> Option<u32> {
        self.by_number.first_key_value().map(|(_, &slot)| slot)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_number.is_empty()
    }
}
