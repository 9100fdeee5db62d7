//! ▢ What the link does for its canary: sends it, hears it, and says what is wrong.

use super::Link;
use crate::broker::redis::{canary::Attempt, work::Held};

impl Link {
    /// Holds the canary's commands, if it is time; says whether it is.
    pub(super) fn send_canary(&mut self, now_ms: u64) -> bool {
        let all_restored = self.work.is_restored(&self.subscriptions);
        let Some(attempt) = self.canary.attempt(all_restored, now_ms) else { return false };
        let Some((channel, payload)) = self.canary.message() else { return false };
        let broker = &self.metrics.broker;
        if attempt != Attempt::First {
            broker.canary_retries.inc();
        }
        if attempt == Attempt::Late {
            let why = format!(
                "the message that the gateway published to itself on {channel:?} did not come; \
                 whatever stands between it and Redis must let pub/sub pass"
            );
            broker.canary_reason.set(&why);
            self.complaints.tell("canary", now_ms, || format!("{}: {why}", self.target));
        }
        self.work.hold(Held::Canary { channel, payload });
        true
    }

    /// A message on the canary's channel.
    pub(super) fn on_canary(&mut self, payload: &[u8]) {
        if self.canary.on_message(payload) {
            self.metrics.broker.canary_reason.clear();
            self.give_up_canary();
        }
    }

    /// Redis refused its SUBSCRIBE or its PUBLISH.
    pub(super) fn on_canary_refused(&mut self, text: &str, now_ms: u64) {
        if !self.canary.on_refused(now_ms) {
            return;
        }
        let user = self.target.user.as_deref().unwrap_or("default");
        let why = format!(
            "the gateway may not publish a message to itself, which shows that topics arrive: \
             ACL SETUSER {user} +subscribe +unsubscribe +publish &ringgate:* ({text})"
        );
        self.metrics.broker.canary_reason.set(&why);
        self.complaints.tell("canary", now_ms, || format!("{}: {why}", self.target));
        self.give_up_canary();
    }

    fn give_up_canary(&mut self) {
        if let Some(channel) = self.canary.take_unneeded() {
            self.work.hold(Held::Unsubscribe(channel));
        }
    }
}
