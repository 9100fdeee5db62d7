//! Any order of commands, answers and losses; any bytes.

use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::limits::CANARY_ANSWER_MS;

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Wrong,
    Fetch(u8),
    Subscribe(u8),
    Unsubscribe(u8),
    Publish(u8),
    Send,
    Receive,
    Canary(Canary),
    Tick,
    /// Only so many bytes of the answers arrive, then the connection is lost.
    Lose(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3u8).prop_map(Step::Push),
        Just(Step::Wrong),
        (0..3u8).prop_map(Step::Fetch),
        (0..4u8).prop_map(Step::Subscribe),
        (0..4u8).prop_map(Step::Unsubscribe),
        (0..4u8).prop_map(Step::Publish),
        Just(Step::Send),
        Just(Step::Receive),
        prop::sample::select(vec![
            Canary::Comes,
            Canary::ComesFirst,
            Canary::Vanishes,
            Canary::MayNotSubscribe,
            Canary::MayNotPublish,
        ])
        .prop_map(Step::Canary),
        Just(Step::Tick),
        any::<prop::sample::Index>().prop_map(Step::Lose),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_each_command_is_answered_once_and_in_order(
        steps in prop::collection::vec(step(), 0..80)
    ) {
        let mut rig = Rig::up();
        rig.model.forbidden = Some("3");
        let mut asked = BTreeMap::new();
        let mut wanted = BTreeSet::new();
        let mut published = VecDeque::new();
        for (ticket, step) in steps.into_iter().enumerate() {
            let ticket = ticket as u64;
            match step {
                Step::Push(key) => {
                    asked.insert(ticket, 'p');
                    rig.submit(push(ticket, &key.to_string(), &ticket.to_be_bytes()));
                }
                Step::Wrong => {
                    asked.insert(ticket, 'w');
                    rig.submit(push(ticket, "wrong", b""));
                }
                Step::Fetch(key) => {
                    asked.insert(ticket, 'f');
                    rig.submit(fetch(ticket, &key.to_string()));
                }
                Step::Subscribe(channel) => {
                    if channel != 3 {
                        wanted.insert(channel.to_string());
                    }
                    rig.submit(subscribe(&channel.to_string()));
                }
                Step::Unsubscribe(channel) => {
                    wanted.remove(&channel.to_string());
                    rig.submit(unsubscribe(&channel.to_string()));
                }
                Step::Publish(channel) => {
                    published.push_back(ticket);
                    rig.model.publish(&channel.to_string(), &ticket.to_be_bytes());
                }
                Step::Send => rig.send(),
                Step::Receive => rig.receive().unwrap(),
                Step::Canary(canary) => rig.model.canary = canary,
                Step::Tick => {
                    // What is on its way is answered in time: silence is tested elsewhere.
                    rig.turn().unwrap();
                    rig.now_ms += CANARY_ANSWER_MS;
                    rig.link.on_tick(rig.now_ms).unwrap();
                }
                Step::Lose(cut) => {
                    let bytes = std::mem::take(&mut rig.model.output);
                    let arrived = &bytes[..cut.index(bytes.len() + 1)];
                    rig.link.on_bytes(arrived, rig.now_ms, &mut rig.events).unwrap();
                    rig.reconnect();
                }
            }
        }
        rig.model.canary = Canary::Comes;
        rig.turn().unwrap();
        rig.now_ms += CANARY_ANSWER_MS;
        rig.link.on_tick(rig.now_ms).unwrap();
        rig.turn().unwrap();
        prop_assert_eq!(rig.metrics.broker.canary.get(), 1);
        let events = rig.take_events();
        let mut answers = Vec::new();
        let mut messages = Vec::new();
        for event in &events {
            match event {
                Event::Pushed(ticket) => answers.push((ticket.0, 'p')),
                Event::PushFailed(ticket, Error::Refused(_)) => answers.push((ticket.0, 'w')),
                Event::Fetched(ticket, _) => answers.push((ticket.0, 'f')),
                Event::Message { payload, .. } => {
                    messages.push(u64::from_be_bytes(payload[..].try_into().unwrap()));
                }
                Event::SubscribeFailed(channel, Error::Refused(_)) => {
                    prop_assert_eq!(&**channel, "3");
                }
                Event::Up | Event::Down { .. } | Event::Subscribed(_) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(answers, asked.into_iter().collect::<Vec<_>>());
        prop_assert!(messages.is_sorted(), "{:?}", messages);
        prop_assert_eq!(&rig.model.channels, &wanted);
        // Appended in order, though perhaps more than once after a loss.
        for list in rig.model.lists.values() {
            let mut seen = BTreeSet::new();
            let first_times: Vec<_> = list.iter().filter(|value| seen.insert(*value)).collect();
            prop_assert!(first_times.is_sorted());
        }
        prop_assert_eq!(rig.link.work.asked(), 0);
        prop_assert_eq!(rig.metrics.broker.pending_bytes.get(), 0);
        prop_assert_eq!(rig.metrics.broker.subscriptions.get(), wanted.len() as u64);
    }

    #[test]
    fn garbage_never_panics(
        tokens in prop::collection::vec(prop::sample::select(vec![
            &b"+OK\r\n"[..], b"+PONG\r\n", b":1\r\n", b"-ERR x\r\n", b"%0\r\n", b"*0\r\n",
            b"$-1\r\n", b"*1\r\n", b">3\r\n", b">0\r\n", b"|1\r\n", b"\x00\xff",
            b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
            b">3\r\n$7\r\nmessage\r\n$1\r\n\xff\r\n$0\r\n\r\n",
            b">3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n",
            b">3\r\n$9\r\nsubscribe\r\n$19\r\nringgate:canary:0:0\r\n:1\r\n",
            b">3\r\n$7\r\nmessage\r\n$19\r\nringgate:canary:0:0\r\n$1\r\n1\r\n",
        ]), 0..20),
    ) {
        let mut rig = Rig::new(LinkLimits::default());
        rig.connect();
        for command in [push(1, "k", b"v"), subscribe("a"), fetch(2, "k"), unsubscribe("a")] {
            rig.submit(command);
        }
        for token in tokens {
            rig.link.take_output(rig.now_ms, &mut Vec::new());
            // Even for a caller that reads on after an error.
            let _ = rig.link.on_bytes(token, rig.now_ms, &mut rig.events);
        }
        rig.reconnect();
        rig.turn().unwrap();
    }
}
