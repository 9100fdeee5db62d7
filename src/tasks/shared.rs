//! ▢ The one channel on which all results of a shard come (`results = "per-shard"`).
//!
//! Subscribed once when the broker comes up, restored by the broker after a gap, never
//! given up: a session costs no subscription of its own.

use std::sync::Arc;

use crate::broker::Command;

/// The channel, and whether results on it are heard.
#[derive(Debug)]
pub struct SharedChannel {
    name: Arc<str>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// To be asked for.
    Wanted,
    /// Asked for; the broker carries it out as soon as it can.
    Asked,
    /// In force.
    Confirmed,
}

impl SharedChannel {
    /// A channel that nobody has asked for.
    pub fn new(name: Arc<str>) -> Self {
        Self { name, state: State::Wanted }
    }

    /// Whether `channel` is this one.
    pub fn is(&self, channel: &str) -> bool {
        *self.name == *channel
    }

    /// Whether what is published from now on is heard.
    pub fn is_confirmed(&self) -> bool {
        self.state == State::Confirmed
    }

    /// The broker is up: what to ask of it, if that has not been done.
    pub fn ask(&mut self) -> Option<Command> {
        let wanted = self.state == State::Wanted;
        wanted.then(|| {
            self.state = State::Asked;
            Command::Subscribe { channel: self.name.clone() }
        })
    }

    /// The broker is away: it restores by itself what was asked for, and says so.
    pub fn on_down(&mut self) {
        if self.state == State::Confirmed {
            self.state = State::Asked;
        }
    }

    /// It is in force.
    pub fn on_subscribed(&mut self) {
        self.state = State::Confirmed;
    }

    /// It was refused: to be asked for again.
    pub fn on_refused(&mut self) {
        self.state = State::Wanted;
    }
}
