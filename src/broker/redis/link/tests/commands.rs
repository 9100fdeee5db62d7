//! One promise of the link after another.

use super::*;
use crate::limits::SUBSCRIBE_WINDOW;

#[test]
fn any_split_of_the_answers_gives_the_same_events() {
    let mut expected = None;
    let mut length = 1;
    let mut cut = 0;
    while cut < length {
        let mut rig = Rig::up();
        for command in [
            subscribe("a"),
            push(1, "list", b"\r\n$1\r\n"),
            push(2, "wrong", b"x"),
            fetch(3, "list"),
            subscribe("b"),
            unsubscribe("a"),
            fetch(4, "none"),
        ] {
            rig.submit(command);
        }
        rig.send();
        rig.model.publish("b", b"\x00\xff\r\n");
        let bytes = std::mem::take(&mut rig.model.output);
        length = bytes.len();
        let (first, second) = bytes.split_at(cut);
        for piece in [first, second] {
            rig.link.on_bytes(piece, rig.now_ms, &mut rig.events).unwrap();
        }
        let events = rig.take_events();
        assert_eq!(events.len(), 6, "{events:?}");
        assert_eq!(*expected.get_or_insert(events.clone()), events, "cut at {cut}");
        cut += 1;
    }
}

#[test]
fn what_was_not_answered_is_sent_again_before_what_is_newer() {
    let mut rig = Rig::up();
    rig.submit(push(1, "list", b"1"));
    rig.submit(push(2, "list", b"2"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    rig.submit(push(3, "list", b"3"));
    rig.reconnect();
    rig.submit(push(4, "list", b"4"));
    rig.turn().unwrap();
    assert_eq!(rig.model.lists["list"], [b"1", b"2", b"3", b"4"]);
    let events = rig.take_events();
    assert!(matches!(events[0], Event::Down { .. }));
    assert_eq!(events[1], Event::Up);
    let tickets: Vec<Event> = (1..=4).map(|ticket| Event::Pushed(Ticket(ticket))).collect();
    assert_eq!(events[2..], tickets);
    assert_eq!(rig.metrics.broker.pending_bytes.get(), 0);
    assert_eq!(rig.metrics.broker.reconnects.get(), 1);
}

#[test]
fn many_subscriptions_are_sent_in_batches_and_restored_in_batches() {
    const CHANNELS: usize = 2 * SUBSCRIBE_WINDOW + 100;
    let mut rig = Rig::up();
    for number in 0..CHANNELS {
        rig.submit(subscribe(&number.to_string()));
    }
    rig.turn().unwrap();
    assert_eq!(rig.take_events().len(), CHANNELS);
    rig.reconnect();
    rig.send();
    rig.receive().unwrap();
    rig.send();
    assert_eq!(rig.model.channels.len(), 256, "one batch after another");
    // Given up while it was to be restored: it is not.
    rig.submit(unsubscribe(&(CHANNELS - 1).to_string()));
    rig.turn().unwrap();
    let subscribed =
        rig.take_events().iter().filter(|event| matches!(event, Event::Subscribed(_))).count();
    assert_eq!(subscribed, CHANNELS - 1);
    assert_eq!(rig.model.channels.len(), CHANNELS - 1);
    assert_eq!(rig.model.largest_subscribe, 256);
}

#[test]
fn one_forbidden_channel_does_not_take_its_neighbours_with_it() {
    let mut rig = Rig::up();
    rig.model.forbidden = Some("b");
    for channel in ["a", "b", "c"] {
        rig.submit(subscribe(channel));
    }
    rig.submit(push(1, "list", b"x"));
    rig.turn().unwrap();
    let events = rig.take_events();
    let refused = Error::Refused("NOPERM no".into());
    for event in [
        Event::Subscribed("a".into()),
        Event::SubscribeFailed("b".into(), refused),
        Event::Subscribed("c".into()),
        Event::Pushed(Ticket(1)),
    ] {
        assert!(events.contains(&event), "{event:?} in {events:?}");
    }
    assert_eq!(rig.metrics.broker.subscriptions.get(), 2);
}

#[test]
fn messages_share_the_name_of_their_channel() {
    let mut rig = Rig::up();
    let channel: Arc<str> = "a".into();
    rig.submit(Command::Subscribe { channel: channel.clone() });
    rig.turn().unwrap();
    rig.model.publish("a", b"x");
    rig.take_events();
    rig.receive().unwrap();
    match &rig.take_events()[..] {
        [Event::Message { channel: name, .. }] => assert!(Arc::ptr_eq(name, &channel)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn past_the_limits_commands_fail_at_once() {
    let limits = LinkLimits { pending_bytes: 1000, subscriptions: 2, ..LinkLimits::default() };
    let mut rig = Rig::new(limits);
    rig.submit(push(1, "list", &[0; 500]));
    rig.submit(push(2, "list", &[0; 500]));
    rig.submit(fetch(3, &"k".repeat(300)));
    for channel in ["a", "b", "c"] {
        rig.submit(subscribe(channel));
    }
    assert_eq!(
        rig.take_events(),
        [
            Event::PushFailed(Ticket(2), Error::Full),
            Event::FetchFailed(Ticket(3), Error::Full),
            Event::SubscribeFailed("c".into(), Error::Full),
        ]
    );
    assert_eq!(rig.metrics.broker.failed.get(), 3);
    assert!(rig.metrics.broker.pending_bytes.get() > 500);
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.metrics.broker.pending_bytes.get(), 0);
    drop(rig.link);
    assert_eq!(rig.metrics.broker.subscriptions.get(), 0);
    assert_eq!(rig.metrics.broker.up.get(), 0);
}

#[test]
fn subscribing_and_giving_up_while_away_leaves_nothing_behind() {
    let limits = LinkLimits { subscriptions: 1000, ..LinkLimits::default() };
    let mut rig = Rig::new(limits);
    for _ in 0..10_000 {
        rig.submit(subscribe("a"));
        rig.submit(unsubscribe("a"));
    }
    rig.take_events();
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events(), [Event::Up]);
    assert!(rig.model.channels.is_empty());
    assert_eq!(rig.link.work.asked(), 0);
}

#[test]
fn what_was_given_up_while_away_takes_no_room_from_what_is_wanted() {
    let limits = LinkLimits { subscriptions: 10_000, ..LinkLimits::default() };
    let mut rig = Rig::new(limits);
    rig.submit(subscribe("wanted"));
    for number in 0..50_000 {
        let channel = number.to_string();
        rig.submit(subscribe(&channel));
        rig.submit(unsubscribe(&channel));
        assert!(rig.link.work.asked() <= SUBSCRIBE_WINDOW + 8, "{}", rig.link.work.asked());
    }
    assert_eq!(rig.take_events(), [], "nothing was refused for lack of room");
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events(), [Event::Up, Event::Subscribed("wanted".into())]);
    assert_eq!(rig.link.work.asked(), 0);
}

#[test]
fn silence_is_noticed_idle_or_not() {
    let mut rig = Rig::up();
    rig.link.on_tick(rig.now_ms + 4_999).unwrap();
    assert!(!rig.link.has_output());
    rig.now_ms += 5_000;
    rig.link.on_tick(rig.now_ms).unwrap();
    assert!(rig.link.has_output(), "a PING");
    rig.turn().unwrap();
    rig.submit(push(1, "list", b"x"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    rig.link.on_tick(rig.now_ms + 5_000).unwrap();
    let error = rig.link.on_tick(rig.now_ms + 5_001).unwrap_err();
    assert!(matches!(error, LinkError::Silent { .. }), "{error}");
}

#[test]
fn a_server_that_is_loading_is_down_and_the_reason_is_told_once() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.model.ping_error = Some("LOADING Redis is loading the dataset in memory");
    for _ in 0..3 {
        rig.connect();
        let error = rig.turn().unwrap_err();
        assert!(matches!(error, LinkError::NotReady(_)), "{error}");
        rig.link.on_closed(&error.to_string(), rig.now_ms, &mut rig.events);
    }
    let events = rig.take_events();
    assert!(matches!(&events[..], [Event::Down { reason }] if reason.contains("loading")));
    assert!(!rig.link.is_up());
    rig.model.ping_error = None;
    rig.model.output.clear();
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events(), [Event::Up]);
}

#[test]
fn a_server_without_resp3_is_named() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.connect();
    let bytes = b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n";
    let error = rig.link.on_bytes(bytes, 1, &mut rig.events).unwrap_err();
    assert!(error.to_string().contains("version 6"), "{error}");
}

#[test]
fn an_answer_of_another_form_is_no_answer() {
    let mut rig = Rig::up();
    rig.submit(push(1, "list", b"x"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    rig.link.on_bytes(b"+OK\r\n", rig.now_ms, &mut rig.events).unwrap_err();
    rig.reconnect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events().last(), Some(&Event::Pushed(Ticket(1))));
}

#[test]
fn a_list_too_large_to_read_ends_its_fetch_and_not_the_link() {
    let mut rig = Rig::up();
    rig.submit(fetch(1, "huge"));
    rig.submit(fetch(2, "list"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    let error = rig.link.on_bytes(b"*99999999\r\n", rig.now_ms, &mut rig.events).unwrap_err();
    assert!(error.to_string().contains("limit"), "{error}");
    assert!(matches!(rig.take_events()[..], [Event::FetchFailed(Ticket(1), Error::Refused(_))]));
    rig.reconnect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events().last(), Some(&Event::Fetched(Ticket(2), vec![])));
}

#[test]
fn a_replica_is_not_used_and_is_named() {
    let mut rig = Rig::new(LinkLimits::default());
    rig.connect();
    let bytes = b"%1\r\n$4\r\nrole\r\n$7\r\nreplica\r\n";
    let error = rig.link.on_bytes(bytes, 1, &mut rig.events).unwrap_err();
    assert!(error.to_string().contains("primary"), "{error}");
}

/// Attempts that fail now for one reason and then for another would fill the log.
#[test]
fn reasons_that_alternate_are_told_once_each_until_it_was_up() {
    let mut rig = Rig::new(LinkLimits::default());
    let fail = |rig: &mut Rig| {
        for _ in 0..5 {
            for reason in ["refused", "reset"] {
                rig.connect();
                rig.link.on_closed(reason, rig.now_ms, &mut rig.events);
            }
        }
        rig.take_events().len()
    };
    assert_eq!(fail(&mut rig), 2);
    assert!(rig.metrics.broker.down_reason.get().is_some_and(|reason| reason.contains("reset")));
    rig.model.output.clear();
    rig.connect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events(), [Event::Up]);
    rig.link.on_closed("reset", rig.now_ms, &mut rig.events);
    assert_eq!(rig.take_events().len(), 1);
}

/// A server that fails over answers READONLY: the task waits for the next primary.
#[test]
fn a_task_that_a_replica_refuses_is_held() {
    let mut rig = Rig::up();
    rig.submit(push(1, "list", b"x"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    let refusal = b"-READONLY You can't write against a read only replica.\r\n";
    let error = rig.link.on_bytes(refusal, rig.now_ms, &mut rig.events).unwrap_err();
    assert!(error.to_string().contains("primary"), "{error}");
    assert_eq!(rig.take_events(), []);
    rig.reconnect();
    rig.turn().unwrap();
    assert_eq!(rig.take_events().last(), Some(&Event::Pushed(Ticket(1))));
}

#[test]
fn a_full_server_is_full_and_not_a_refusal() {
    let mut rig = Rig::up();
    rig.submit(push(1, "list", b"x"));
    rig.link.take_output(rig.now_ms, &mut Vec::new());
    let refusal = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    rig.link.on_bytes(refusal, rig.now_ms, &mut rig.events).unwrap();
    assert_eq!(rig.take_events(), [Event::PushFailed(Ticket(1), Error::Full)]);
}
