//! ▢ Sessions that a shard has claimed and not got yet.

use std::collections::HashMap;

use super::message::Tenure;
use crate::ids::SocketId;
use crate::tasks::command::Modes;
use crate::tasks::id::SessionId;

/// One claim, until it is answered.
#[derive(Debug)]
pub struct Claim {
    /// Whose session.
    pub id: SessionId,
    /// Whose `start` it was: the last one on this shard. `None`: he has left, or was told
    /// that it takes too long.
    pub waiter: Option<SocketId>,
    /// What that `start` said.
    pub modes: Modes,
    /// When the waiter is told `busy`.
    pub deadline_ms: u64,
    /// Another shard has claimed the session from this one: it goes there at once.
    pub next: Option<Tenure>,
}

/// By the number of their tenure, and by id those that a further `start` here joins.
#[derive(Default, Debug)]
pub struct Claims {
    by_number: HashMap<u64, Claim>,
    open: HashMap<SessionId, u64>,
}

impl Claims {
    /// How many are under way.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Takes a new one in. There must be none that it could have joined.
    pub fn insert(&mut self, number: u64, claim: Claim) {
        self.open.insert(claim.id.clone(), number);
        self.by_number.insert(number, claim);
    }

    /// The claim of this id that a further `start` joins.
    pub fn joinable(&mut self, id: &SessionId) -> Option<(u64, &mut Claim)> {
        let number = *self.open.get(id)?;
        Some((number, self.by_number.get_mut(&number)?))
    }

    /// The claim of that number.
    pub fn get_mut(&mut self, number: u64) -> Option<&mut Claim> {
        self.by_number.get_mut(&number)
    }

    /// Another shard is next. Gives the waiter, whose session it is no more; `None` where
    /// there is no such claim.
    pub fn pass_on(&mut self, number: u64, next: Tenure) -> Option<Option<SocketId>> {
        let claim = self.by_number.get_mut(&number)?;
        claim.next = Some(next);
        if self.open.get(&claim.id) == Some(&number) {
            self.open.remove(&claim.id);
        }
        Some(claim.waiter.take())
    }

    /// It was answered, or could not be sent.
    pub fn remove(&mut self, number: u64) -> Option<Claim> {
        let claim = self.by_number.remove(&number)?;
        if self.open.get(&claim.id) == Some(&number) {
            self.open.remove(&claim.id);
        }
        Some(claim)
    }

    /// Waiters whose time is over; they wait no more.
    pub fn overdue(&mut self, now_ms: u64) -> Vec<(SocketId, SessionId)> {
        let due = self.by_number.values_mut().filter(|claim| claim.deadline_ms <= now_ms);
        due.filter_map(|claim| Some((claim.waiter.take()?, claim.id.clone()))).collect()
    }
}
