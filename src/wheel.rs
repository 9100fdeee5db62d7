//! ▢ A coarse timing wheel: one deadline a key, keys dense from zero.
//!
//! A shard keeps one for its connections (key = slot of the table) and each tasks route
//! one for its sessions. It must not know what a key stands for, and it reads no clock.
//!
//! A deadline hangs in the slot of its tick modulo the wheel's size. What is further
//! away than one round stays in its slot and is looked at once a round, so the cost is
//! O(1) to arm and to disarm, and one look a round for each key that is armed.
//! Memory: 16 bytes a key, for the highest key ever armed.

use std::num::{NonZeroU32, NonZeroU64};

use crate::chunked::Chunked;

/// Where one key hangs: a node of its slot's doubly linked list.
#[derive(Default, Debug)]
struct Links {
    next: Option<Key>,
    prev: Option<Key>,
    /// The tick at which the key is due; `None` while it is not armed. It is never zero,
    /// because tick zero has passed before anything can be armed.
    due: Option<NonZeroU64>,
}

const _: () = assert!(size_of::<Links>() == 16, "the memory of a connection is a promise");

/// A key plus one, so that a link needs no word of its own to say that it leads nowhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Key(NonZeroU32);

impl Key {
    fn new(key: u32) -> Option<Self> {
        key.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }

    fn get(self) -> u32 {
        self.0.get() - 1
    }
}

/// Deadlines of many keys, looked at a tick at a time.
#[derive(Debug)]
pub struct Wheel {
    tick_ms: u64,
    links: Chunked<Links>,
    /// First key of each slot's list.
    heads: Box<[Option<Key>]>,
    /// The last tick whose slot was emptied.
    tick: u64,
}

impl Wheel {
    /// An empty wheel of `slots` ticks of `tick_ms` milliseconds. Choose a span
    /// (`tick_ms * slots`) above the usual deadline, so that a key is looked at once.
    ///
    /// A `tick_ms` or `slots` of zero counts as one.
    pub fn new(tick_ms: u64, slots: usize) -> Self {
        Self {
            tick_ms: tick_ms.max(1),
            links: Chunked::new(),
            heads: vec![None; slots.max(1)].into_boxed_slice(),
            tick: 0,
        }
    }

    /// Makes `key` due at `deadline_ms`, in place of any deadline that it had. One that
    /// has passed already is due with the next tick. O(1).
    ///
    /// Keys are dense: memory goes with the highest. `u32::MAX` is no key and is ignored.
    pub fn arm(&mut self, key: u32, deadline_ms: u64) {
        let Some(node) = Key::new(key) else { return };
        self.disarm(key);
        // Rounded up: never early, and less than one tick late.
        let tick = deadline_ms.div_ceil(self.tick_ms).max(self.tick.saturating_add(1));
        let slot = self.slot(tick);
        let next = self.heads[slot].replace(node);
        self.links.grow_to(key);
        if let Some(links) = self.links.get_mut(key) {
            *links = Links { next, prev: None, due: NonZeroU64::new(tick) };
        }
        self.set_prev(next, Some(node));
    }

    /// Takes the deadline of `key` away, if it had one. O(1).
    pub fn disarm(&mut self, key: u32) {
        let Some(links) = self.links.get_mut(key) else { return };
        let Links { next, prev, due: Some(tick) } = std::mem::take(links) else { return };
        match prev {
            Some(prev) => {
                if let Some(links) = self.links.get_mut(prev.get()) {
                    links.next = next;
                }
            }
            None => {
                let slot = self.slot(tick.get());
                self.heads[slot] = next;
            }
        }
        self.set_prev(next, prev);
    }

    /// Whether `key` has a deadline.
    pub fn is_armed(&self, key: u32) -> bool {
        self.links.get(key).is_some_and(|links| links.due.is_some())
    }

    /// Appends every key whose deadline has passed to `due`, in no order, and disarms it.
    /// No key comes before its deadline, and none later than the first call a whole tick
    /// past it. However far the clock has jumped, no slot is walked twice; a clock that
    /// goes back changes nothing.
    pub fn expire(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        let now = now_ms / self.tick_ms;
        if now <= self.tick {
            return;
        }
        let ticks = (now - self.tick).min(self.heads.len() as u64);
        for tick in self.tick + 1..=self.tick + ticks {
            let mut at = self.heads[self.slot(tick)];
            while let Some(key) = at {
                let Some(links) = self.links.get(key.get()) else { break };
                at = links.next;
                if links.due.is_some_and(|tick| tick.get() <= now) {
                    self.disarm(key.get());
                    due.push(key.get());
                }
            }
        }
        self.tick = now;
    }

    /// When [`expire`](Self::expire) may find something: not after the first deadline, and
    /// before it only by whole rounds. Looks through the slots up to it.
    pub fn next_ms(&self) -> Option<u64> {
        let mut ticks = self.tick + 1..=self.tick + self.heads.len() as u64;
        let tick = ticks.find(|&tick| self.heads[self.slot(tick)].is_some())?;
        Some(tick * self.tick_ms)
    }

    fn slot(&self, tick: u64) -> usize {
        (tick % self.heads.len() as u64) as usize
    }

    fn set_prev(&mut self, of: Option<Key>, prev: Option<Key>) {
        if let Some(links) = of.and_then(|key| self.links.get_mut(key.get())) {
            links.prev = prev;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn expired(wheel: &mut Wheel, now_ms: u64) -> Vec<u32> {
        let mut due = Vec::new();
        wheel.expire(now_ms, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn a_deadline_beyond_the_span_waits_for_its_own_round() {
        let mut wheel = Wheel::new(100, 4);
        wheel.arm(7, 1_000);
        for now_ms in (0..1_000).step_by(50) {
            assert!(expired(&mut wheel, now_ms).is_empty());
        }
        assert_eq!(expired(&mut wheel, 1_000), [7]);
        assert!(expired(&mut wheel, 5_000).is_empty());
    }

    #[test]
    fn a_jump_over_many_rounds_gives_each_key_once() {
        let mut wheel = Wheel::new(10, 8);
        for key in 0..1_000 {
            wheel.arm(key, u64::from(key) * 13);
        }
        assert_eq!(expired(&mut wheel, u64::MAX), (0..1_000).collect::<Vec<_>>());
        assert!(expired(&mut wheel, u64::MAX).is_empty());
    }

    #[test]
    fn the_last_u32_is_no_key_and_harms_nothing() {
        let mut wheel = Wheel::new(10, 8);
        wheel.arm(u32::MAX, 10);
        wheel.disarm(u32::MAX);
        assert!(!wheel.is_armed(u32::MAX));
        assert!(expired(&mut wheel, 100).is_empty());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arm(u32, u64),
        Disarm(u32),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..40u32, 0..3_000u64).prop_map(|(key, in_ms)| Step::Arm(key, in_ms)),
            1 => (0..40u32).prop_map(Step::Disarm),
            3 => (0..400u64).prop_map(Step::Advance),
            1 => (0..20_000u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map(
            tick_ms in 1..300u64,
            slots in 1..40usize,
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut wheel = Wheel::new(tick_ms, slots);
            // Key → (deadline, when it was armed).
            let mut model = BTreeMap::<u32, (u64, u64)>::new();
            let mut now_ms = 0;
            for step in steps {
                match step {
                    Step::Arm(key, in_ms) => {
                        // Some of them have passed already.
                        let deadline_ms = (now_ms + in_ms).saturating_sub(500);
                        wheel.arm(key, deadline_ms);
                        model.insert(key, (deadline_ms, now_ms));
                    }
                    Step::Disarm(key) => {
                        wheel.disarm(key);
                        model.remove(&key);
                    }
                    Step::Advance(by_ms) => {
                        now_ms += by_ms;
                        for key in expired(&mut wheel, now_ms) {
                            let (deadline_ms, _) = model.remove(&key).expect("armed, and once");
                            prop_assert!(deadline_ms <= now_ms, "early");
                        }
                        for (&deadline_ms, &armed_ms) in model.values().map(|(d, a)| (d, a)) {
                            let late_ms = now_ms.saturating_sub(deadline_ms.max(armed_ms));
                            prop_assert!(late_ms < tick_ms, "late by {late_ms}");
                        }
                    }
                }
                for key in 0..40 {
                    prop_assert_eq!(wheel.is_armed(key), model.contains_key(&key));
                }
                let next_ms = wheel.next_ms();
                prop_assert_eq!(next_ms.is_none(), model.is_empty());
                for &(deadline_ms, armed_ms) in model.values() {
                    let latest_ms = deadline_ms.max(armed_ms) + tick_ms;
                    prop_assert!(next_ms.is_some_and(|next_ms| next_ms <= latest_ms));
                }
            }
            prop_assert_eq!(expired(&mut wheel, u64::MAX), model.into_keys().collect::<Vec<_>>());
        }
    }
}
