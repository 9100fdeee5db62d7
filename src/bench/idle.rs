//! Profile `idle`: connections that do nothing but answer pings.

use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet, order::Order, roster::Roster, script::Script, tally::Tally,
};

/// Nothing to choose.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Job {}

/// Users who are there.
pub struct Users(Roster);

impl Users {
    /// Nobody yet.
    pub fn new(_: &Job, order: &Order) -> Self {
        Self(Roster::new(order.target.clone(), order.share))
    }

    /// The user's connection, which is no business of this script any more.
    pub(super) fn abandon(&mut self, user: u32) -> Option<ClientId> {
        self.0.forget(user)
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        self.0.connect(fleet, user, now_ns);
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        if let Some(client) = self.0.forget(user) {
            fleet.leave(client);
        }
    }

    fn act(&mut self, _: &mut Fleet, _: u64) -> Option<u64> {
        None
    }

    fn stop(&mut self, _: &mut Fleet) {}

    fn under_way(&self) -> u64 {
        0
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.0.tally
    }
}

impl Crowd for Users {
    fn on_open(&mut self, _: &mut Fleet, client: ClientId) {
        self.0.opened(client);
    }

    fn on_message(&mut self, _: &mut Fleet, _: ClientId, _: &[u8]) {
        self.0.tally.received += 1;
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        self.0.ended(client, &end);
    }
}
