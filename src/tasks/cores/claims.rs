//! ▢ Sessions that a shard has claimed and not got yet.

use std::collections::HashMap;

use super::message::Tenure;
use crate::ids::SocketId;
use crate::tasks::id::SessionId;

/// One claim, until it is answered. `Q`: what a client may ask for beside the id.
#[derive(Debug)]
pub struct Claim<Q> {
    /// Whose session.
    pub id: SessionId,
    /// Whose wish it was: the last one on this shard. `None`: he has left, or was told
    /// that it takes too long.
    pub waiter: Option<SocketId>,
    /// What he asked for.
    pub request: Q,
    /// When the waiter is told `busy`.
    pub deadline_ms: u64,
    /// Another shard has claimed the session from this one: it goes there at once.
    pub next: Option<Tenure>,
}

/// By the number of their tenure, and by id those that a further wish here joins.
#[derive(Debug)]
pub struct Claims<Q> {
    by_number: HashMap<u64, Claim<Q>>,
    open: HashMap<SessionId, u64>,
}

impl<Q> Default for Claims<Q> {
    fn default() -> Self {
        Self { by_number: HashMap::new(), open: HashMap::new() }
    }
}

impl<Q> Claims<Q> {
    /// How many are under way.
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    /// Takes a new one in. There must be none that it could have joined.
    pub fn insert(&mut self, number: u64, claim: Claim<Q>) {
        self.open.insert(claim.id.clone(), number);
        self.by_number.insert(number, claim);
    }

    /// The claim of this id that a further wish joins.
    pub fn joinable(&mut self, id: &SessionId) -> Option<(u64, &mut Claim<Q>)> {
        let number = *self.open.get(id)?;
        Some((number, self.by_number.get_mut(&number)?))
    }

    /// A waiter has left.
    pub fn forget_waiter(&mut self, number: u64) {
        if let Some(claim) = self.by_number.get_mut(&number) {
            claim.waiter = None;
        }
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
    pub fn remove(&mut self, number: u64) -> Option<Claim<Q>> {
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
