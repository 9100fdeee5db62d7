//! ▢ The books of one home: which shard owns each open session whose id is at home here.
//!
//! An entry is made by the first claim and goes with the release of the last tenure, so
//! there are as many as there are sessions and claims under way.

use std::collections::HashMap;

use super::message::Tenure;
use crate::tasks::id::SessionId;

/// Owner by id.
#[derive(Default, Debug)]
pub struct Directory {
    owners: HashMap<SessionId, Tenure>,
}

impl Directory {
    /// From now on it is `tenure` that owns the session; who owned it until now. Here, and
    /// only here, claims that cross each other get their order.
    pub fn claim(&mut self, id: SessionId, tenure: Tenure) -> Option<Tenure> {
        self.owners.insert(id, tenure)
    }

    /// The session has ended under `tenure`; one that was claimed since has not.
    pub fn release(&mut self, id: &SessionId, tenure: Tenure) {
        if self.owners.get(id) == Some(&tenure) {
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
