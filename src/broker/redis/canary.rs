//! ▢ The canary: a message that a link publishes to itself, on every connection, once all
//! channels are restored there. When it has come back, pub/sub works on this connection, and
//! whatever is published from then on is heard; that HELLO and PING were answered says
//! nothing of it. Its channel is given up at once: without clients there are no
//! subscriptions.
//!
//! Must not: know of the commands' order, which is `work`'s.

use std::sync::Arc;

use crate::limits::{CANARY_ANSWER_MS, CANARY_RETRY_MS};

/// Where the canary of the present connection has come to.
#[derive(Default, Debug)]
pub struct Canary {
    /// `None`: no canary is wanted.
    channel: Option<Arc<str>>,
    state: State,
    /// Number of the connection, which its message says.
    connection: u64,
    /// The channel is subscribed.
    listening: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
enum State {
    #[default]
    NoConnection,
    /// To be sent once everything is restored.
    Due,
    /// Its commands are held or on their way.
    Asked,
    /// Redis has published it, and it has not come.
    Published {
        at_ms: u64,
    },
    Refused {
        at_ms: u64,
    },
    Proven,
}

/// Why the canary is sent now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt {
    /// The first on this connection.
    First,
    /// The one before was published and did not come in time.
    Late,
    /// The one before was refused, a while ago.
    Refused,
}

impl Canary {
    /// One on `channel`, which nobody else subscribes to.
    pub fn on(channel: &str) -> Self {
        Self { channel: Some(channel.into()), ..Self::default() }
    }

    /// Its channel, where `name` is that.
    pub fn channel(&self, name: &[u8]) -> Option<&Arc<str>> {
        self.channel.as_ref().filter(|channel| channel.as_bytes() == name)
    }

    /// Whether its message has come on this connection.
    pub fn is_proven(&self) -> bool {
        self.state == State::Proven
    }

    /// A connection carries out commands.
    pub fn connected(&mut self) {
        if self.channel.is_some() {
            self.connection += 1;
            self.state = State::Due;
        }
    }

    /// The connection is gone, with its subscriptions.
    pub fn connection_lost(&mut self) {
        (self.state, self.listening) = (State::NoConnection, false);
    }

    /// Why its commands are to be sent now, if they are. The caller then does, and they are
    /// answered by what follows.
    pub fn attempt(&mut self, all_restored: bool, now_ms: u64) -> Option<Attempt> {
        let is_over = |since_ms: u64, pause_ms| now_ms.saturating_sub(since_ms) >= pause_ms;
        let attempt = match self.state {
            State::Due if all_restored => Attempt::First,
            State::Published { at_ms } if is_over(at_ms, CANARY_ANSWER_MS) => Attempt::Late,
            State::Refused { at_ms } if is_over(at_ms, CANARY_RETRY_MS) => Attempt::Refused,
            _ => return None,
        };
        self.state = State::Asked;
        Some(attempt)
    }

    /// Its channel and what to publish there.
    pub fn message(&self) -> Option<(Arc<str>, String)> {
        Some((self.channel.clone()?, self.connection.to_string()))
    }

    /// SUBSCRIBE was carried out.
    pub fn on_subscribed(&mut self) {
        self.listening = true;
    }

    /// PUBLISH was carried out.
    pub fn on_published(&mut self, now_ms: u64) {
        if self.state == State::Asked {
            self.state = State::Published { at_ms: now_ms };
        }
    }

    /// One of the two was refused. `true`: that is news.
    pub fn on_refused(&mut self, now_ms: u64) -> bool {
        let is_news = self.state == State::Asked;
        if is_news {
            self.state = State::Refused { at_ms: now_ms };
        }
        is_news
    }

    /// A message came on its channel. `true`: now it is proven.
    pub fn on_message(&mut self, payload: &[u8]) -> bool {
        let is_news =
            self.state != State::Proven && payload == self.connection.to_string().as_bytes();
        if is_news {
            self.state = State::Proven;
        }
        is_news
    }

    /// The channel that is to be given up now: for the caller to UNSUBSCRIBE.
    pub fn take_unneeded(&mut self) -> Option<Arc<str>> {
        let needed = matches!(self.state, State::Asked | State::Published { .. });
        let unneeded = self.listening && !needed;
        self.listening &= needed;
        self.channel.clone().filter(|_| unneeded)
    }
}
