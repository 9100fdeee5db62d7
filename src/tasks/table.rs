//! ▢ The sessions of one route on one shard, by slot and by id.

use std::collections::HashMap;

use super::id::SessionId;
use super::session::Session;
use super::ticket::{GENERATION_MASK, SessionKey};
use crate::chunked::Chunked;

#[derive(Default)]
struct Slot {
    generation: u32,
    /// Boxed, so that a slot that was used once costs 16 bytes and not a session.
    session: Option<Box<Session>>,
}

/// Every open session. Slots are dense, so that a wheel can use them as keys.
#[derive(Default)]
pub struct Table {
    slots: Chunked<Slot>,
    /// Freed slots, the last one first.
    free: Vec<u32>,
    /// Slots ever used.
    used: u32,
    by_id: HashMap<SessionId, u32>,
}

impl Table {
    /// Sessions that are open.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Takes in the session that `make` returns for its key. Its id must not be open yet.
    pub fn insert(&mut self, make: impl FnOnce(SessionKey) -> Session) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        self.slots.grow_to(slot);
        if let Some(entry) = self.slots.get_mut(slot) {
            let session = make(SessionKey { slot, generation: entry.generation });
            let was = self.by_id.insert(session.id().clone(), slot);
            debug_assert!(was.is_none(), "an id is open once");
            entry.session = Some(Box::new(session));
        }
        slot
    }

    /// Takes the session of `slot` out; tickets that name it are void from now on.
    pub fn remove(&mut self, slot: u32) -> Option<Box<Session>> {
        let entry = self.slots.get_mut(slot)?;
        let session = entry.session.take()?;
        entry.generation = (entry.generation + 1) & GENERATION_MASK;
        self.by_id.remove(session.id());
        self.free.push(slot);
        Some(session)
    }

    /// The slot of the open session with this id.
    pub fn find(&self, id: &str) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    /// Slots that have, or had, a session.
    pub fn slots(&self) -> std::ops::Range<u32> {
        0..self.used
    }

    /// The session of `slot`.
    pub fn get(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot)?.session.as_deref()
    }

    /// The session of `slot`.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.slots.get_mut(slot)?.session.as_deref_mut()
    }

    /// The slot of the session that `key` names, if it is still that session's.
    pub fn slot_of(&self, key: SessionKey) -> Option<u32> {
        let entry = self.slots.get(key.slot)?;
        (entry.generation == key.generation && entry.session.is_some()).then_some(key.slot)
    }
}
