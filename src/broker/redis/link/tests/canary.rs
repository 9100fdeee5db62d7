//! A connection is proven by a message that the link sends to itself, and by nothing else.

use super::*;
use crate::limits::{CANARY_ANSWER_MS, CANARY_RETRY_MS};

impl Rig {
    fn is_proven(&self) -> bool {
        self.metrics.broker.canary.get() == 1
    }

    fn canary_reason(&self) -> String {
        self.metrics.broker.canary_reason.get().unwrap_or_default()
    }

    fn tick_after(&mut self, pause_ms: u64) {
        self.now_ms += pause_ms;
        self.link.on_tick(self.now_ms).unwrap();
        self.turn().unwrap();
    }

    /// Connected, with what the model does to the canary.
    fn with(canary: Canary) -> Self {
        let mut rig = Self::new(LinkLimits::default());
        rig.model.canary = canary;
        rig.connect();
        rig.turn().unwrap();
        assert_eq!(rig.take_events(), [Event::Up], "commands do not wait for it");
        rig
    }
}

#[test]
fn a_message_that_comes_back_proves_the_connection_and_leaves_no_subscription() {
    for canary in [Canary::Comes, Canary::ComesFirst] {
        let mut rig = Rig::with(canary);
        assert!(rig.is_proven() && rig.model.channels.is_empty(), "{canary:?}");
        assert_eq!(rig.metrics.broker.subscriptions.get(), 0);
        rig.reconnect();
        assert!(!rig.is_proven(), "the new connection is not");
        rig.turn().unwrap();
        assert!(rig.is_proven() && rig.model.channels.is_empty());
        assert_eq!(rig.metrics.broker.canary_retries.get(), 0);
        rig.tick_after(10 * CANARY_ANSWER_MS);
        assert_eq!(rig.model.published_among.len(), 2, "one a connection");
        drop(rig.link);
        assert_eq!(rig.metrics.broker.canary.get(), 0);
    }
}

#[test]
fn it_is_sent_after_every_channel_is_restored() {
    const CHANNELS: usize = 1_000;
    let mut rig = Rig::up();
    (0..CHANNELS).for_each(|number| rig.submit(subscribe(&number.to_string())));
    rig.turn().unwrap();
    // The last batch has a channel that is forbidden by now, and is asked for one by one.
    rig.model.forbidden = Some("999");
    rig.reconnect();
    rig.send();
    rig.receive().unwrap();
    rig.send();
    assert!(rig.link.is_up() && !rig.is_proven(), "a batch is on its way");
    rig.turn().unwrap();
    assert!(rig.is_proven());
    assert_eq!(rig.model.published_among, [1, CHANNELS], "all but one, and its own");
    assert_eq!(rig.model.channels.len(), CHANNELS - 1);
    // Where nothing of what there was is left to restore, it is sent all the same.
    (0..CHANNELS).for_each(|number| rig.submit(unsubscribe(&number.to_string())));
    rig.reconnect();
    rig.turn().unwrap();
    assert!(rig.is_proven());
}

#[test]
fn one_that_does_not_come_is_sent_again_until_it_does() {
    let mut rig = Rig::with(Canary::Vanishes);
    rig.tick_after(CANARY_ANSWER_MS - 1);
    assert_eq!((rig.model.published_among.len(), rig.canary_reason().len()), (1, 0));
    rig.tick_after(1);
    assert_eq!(rig.model.published_among.len(), 2);
    assert!(rig.canary_reason().contains("did not come"), "{}", rig.canary_reason());
    rig.model.canary = Canary::Comes;
    rig.tick_after(CANARY_ANSWER_MS);
    assert!(rig.is_proven() && rig.model.channels.is_empty());
    assert_eq!(rig.metrics.broker.canary_retries.get(), 2);
    assert_eq!(rig.canary_reason(), "");
    assert_eq!(rig.take_events(), [], "nobody else hears of it");
}

/// It is proven by whichever of its messages comes, and what was asked again meanwhile
/// leaves nothing behind.
#[test]
fn one_that_comes_late_proves_as_well() {
    let mut rig = Rig::with(Canary::Vanishes);
    rig.now_ms += CANARY_ANSWER_MS;
    rig.link.on_tick(rig.now_ms).unwrap();
    rig.model.publish(CANARY, b"1");
    rig.receive().unwrap();
    assert!(rig.is_proven());
    rig.turn().unwrap();
    assert!(rig.is_proven() && rig.model.channels.is_empty());
}

#[test]
fn a_message_of_another_connection_proves_nothing() {
    let mut rig = Rig::with(Canary::Vanishes);
    rig.reconnect();
    rig.turn().unwrap();
    for payload in [&b"1"[..], b"", b"3", b"02"] {
        rig.model.publish(CANARY, payload);
    }
    rig.receive().unwrap();
    assert!(!rig.is_proven());
    rig.model.publish(CANARY, b"2");
    rig.receive().unwrap();
    assert!(rig.is_proven());
    let events = rig.take_events();
    assert!(matches!(events[..], [Event::Down { .. }, Event::Up]), "{events:?}");
}

#[test]
fn a_refusal_is_told_with_its_remedy_and_tried_again() {
    for refusal in [Canary::MayNotSubscribe, Canary::MayNotPublish] {
        let mut rig = Rig::with(refusal);
        assert!(!rig.is_proven() && rig.model.channels.is_empty(), "{refusal:?}");
        let reason = rig.canary_reason();
        for part in ["ACL SETUSER u ", "+publish", "&ringgate:*", "NOPERM no"] {
            assert!(reason.contains(part), "{part} in {reason}");
        }
        rig.submit(push(1, "list", b"x"));
        rig.turn().unwrap();
        assert_eq!(rig.take_events(), [Event::Pushed(Ticket(1))], "the rest goes on");
        rig.tick_after(CANARY_RETRY_MS - 1);
        assert_eq!(rig.metrics.broker.canary_retries.get(), 0);
        rig.model.canary = Canary::Comes;
        rig.tick_after(1);
        assert!(rig.is_proven() && rig.model.channels.is_empty());
        assert_eq!((rig.metrics.broker.canary_retries.get(), rig.canary_reason().len()), (1, 0));
    }
}

#[test]
fn without_a_channel_there_is_none() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.link.canary = Default::default();
    rig.connect();
    rig.turn().unwrap();
    rig.tick_after(CANARY_ANSWER_MS);
    assert_eq!(rig.model.published_among, [0; 0]);
    assert!(!rig.is_proven());
}

/// One that is held belongs to the connection that was to be proven; the next has its own,
/// and not before its channels are back.
#[test]
fn a_canary_goes_with_its_connection() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.connect();
    rig.send();
    rig.receive().unwrap();
    assert!(rig.link.is_up() && rig.link.has_output(), "it is held");
    rig.reconnect();
    rig.turn().unwrap();
    assert_eq!(rig.model.published_among, [1]);
    assert!(rig.is_proven() && rig.model.channels.is_empty());
}
