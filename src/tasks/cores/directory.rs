//! ▢ The books of one home: which route and which shard own each open session whose id is
//! at home here.
//!
//! One for all routes of the shard, since workers tell results by the id alone: who claims
//! an id that is open on another route does not get it. An entry is made by the first claim
//! and goes with the release of the last tenure, so there are as many as there are sessions
//! and claims under way.

use std::collections::HashMap;

use super::message::Tenure;
use crate::tasks::id::SessionId;
use crate::tasks::ticket::RouteTag;

/// Owner by id.
#[derive(Default, Debug)]
pub struct Directory {
    owners: HashMap<SessionId, Owner>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Owner {
    route: RouteTag,
    tenure: Tenure,
}

/// What a claim meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claimed {
    /// Nobody's: it is the claimant's now.
    Vacant,
    /// It is the claimant's now, and was this one's.
    From(Tenure),
    /// Another route has it, and keeps it.
    OnOtherRoute,
}

impl Directory {
    /// From now on it is `tenure` that owns the session, unless another route has it. Here,
    /// and only here, claims that cross each other get their order.
    pub fn claim(&mut self, id: SessionId, route: RouteTag, tenure: Tenure) -> Claimed {
        let before = self.owners.get(&id).copied();
        if before.is_some_and(|before| before.route != route) {
            return Claimed::OnOtherRoute;
        }
        self.owners.insert(id, Owner { route, tenure });
        before.map_or(Claimed::Vacant, |before| Claimed::From(before.tenure))
    }

    /// The session has ended under `tenure`; one that was claimed since has not.
    pub fn release(&mut self, id: &SessionId, route: RouteTag, tenure: Tenure) {
        if self.owners.get(id) == Some(&Owner { route, tenure }) {
            self.owners.remove(id);
        }
    }

    /// Whether somebody owns the session.
    pub fn has(&self, id: &SessionId) -> bool {
        self.owners.contains_key(id)
    }

    /// How many sessions are in the books.
    pub fn len(&self) -> usize {
        self.owners.len()
    }
}
