//! What every broker promises, on each of them.

use ringgate::broker::{Backlog, Command, Event, Queue, Ticket};

use crate::{
    harness::{Broker, Client},
    words::{expect, fetch, message, push, subscribe, subscribed, up},
};

fn commands_take_effect_in_order_and_are_answered_once<B: Broker>(broker: &B) {
    let mut client = up(broker);
    client.submit(push(1, "list", b"one"));
    client.submit(fetch(2, "list"));
    client.submit(push(3, "list", b"two"));
    client.submit(subscribe("c"));
    client.submit(fetch(4, "list"));
    client.submit(fetch(5, "none"));
    expect(
        &mut client,
        &[
            Event::Pushed(Ticket(1)),
            Event::Fetched(Ticket(2), vec![b"one".to_vec()]),
            Event::Pushed(Ticket(3)),
            Event::Subscribed("c".into()),
            Event::Fetched(Ticket(4), vec![b"one".to_vec(), b"two".to_vec()]),
            Event::Fetched(Ticket(5), vec![]),
        ],
    );
    assert_eq!(broker.pop("list").as_deref(), Some(&b"one"[..]));
    assert_eq!(broker.pop("list").as_deref(), Some(&b"two"[..]));
    assert_eq!(broker.pop("list"), None);
    // And no second answer: the next event is that of the next command.
    client.submit(push(6, "list", b""));
    expect(&mut client, &[Event::Pushed(Ticket(6))]);
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
}

fn the_depth_of_a_list_is_its_length<B: Broker>(broker: &B) {
    let mut client = up(broker);
    let queue = Queue::List { key: "list".into() };
    let observe = |ticket| Command::Observe {
        ticket: Ticket(ticket),
        queue: queue.clone(),
        heartbeats: None,
    };
    client.submit(observe(1));
    (2..5).for_each(|ticket| client.submit(push(ticket, "list", b"x")));
    client.submit(observe(5));
    let observed =
        |ticket, depth| Event::Observed(Ticket(ticket), Backlog { depth, workers: None });
    let pushed = (2..5).map(|ticket| Event::Pushed(Ticket(ticket)));
    let expected: Vec<Event> =
        [observed(1, 0)].into_iter().chain(pushed).chain([observed(5, 3)]).collect();
    expect(&mut client, &expected);
    broker.pop("list");
    client.submit(observe(6));
    expect(&mut client, &[observed(6, 2)]);
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
}

fn thousands_of_pushes_are_answered_in_order<B: Broker>(broker: &B) {
    const PUSHES: u64 = 20_000;
    let mut client = up(broker);
    (0..PUSHES).for_each(|ticket| client.submit(push(ticket, "list", &ticket.to_be_bytes())));
    let expected: Vec<Event> = (0..PUSHES).map(|ticket| Event::Pushed(Ticket(ticket))).collect();
    expect(&mut client, &expected);
    client.submit(fetch(0, "list"));
    let values: Vec<Vec<u8>> = (0..PUSHES).map(|value| value.to_be_bytes().to_vec()).collect();
    expect(&mut client, &[Event::Fetched(Ticket(0), values)]);
}

fn messages_come_after_subscribed_and_in_order<B: Broker>(broker: &B) {
    let mut one = subscribed(broker, "both");
    let mut two = subscribed(broker, "both");
    let mut expected = Vec::new();
    for number in 0..200u32 {
        broker.publish("both", &number.to_be_bytes());
        broker.publish("nobody", b"x");
        expected.push(message("both", &number.to_be_bytes()));
    }
    expect(&mut one, &expected);
    expect(&mut two, &expected);
}

fn unsubscribe_stops_and_a_second_subscribe_is_answered_again<B: Broker>(broker: &B) {
    let mut client = subscribed(broker, "c");
    client.submit(subscribe("c"));
    expect(&mut client, &[Event::Subscribed("c".into())]);
    broker.publish("c", b"once");
    expect(&mut client, &[message("c", b"once")]);
    assert_eq!(client.metrics().broker.subscriptions.get(), 1);
    client.submit(Command::Unsubscribe { channel: "c".into() });
    // Its answer says that the command before it has taken effect.
    client.submit(fetch(1, "none"));
    expect(&mut client, &[Event::Fetched(Ticket(1), vec![])]);
    broker.publish("c", b"nobody hears this");
    client.submit(subscribe("c"));
    expect(&mut client, &[Event::Subscribed("c".into())]);
    broker.publish("c", b"again");
    expect(&mut client, &[message("c", b"again")]);
    client.submit(Command::Unsubscribe { channel: "c".into() });
    client.submit(Command::Unsubscribe { channel: "never".into() });
    client.submit(fetch(2, "none"));
    expect(&mut client, &[Event::Fetched(Ticket(2), vec![])]);
    assert_eq!(client.metrics().broker.subscriptions.get(), 0);
}

fn what_workers_append_is_fetched<B: Broker>(broker: &B) {
    let mut client = up(broker);
    let values: Vec<Vec<u8>> = (0..50u8).map(|value| vec![value, b'\r', b'\n', 0, 255]).collect();
    values.iter().for_each(|value| broker.append("results", value));
    client.submit(fetch(1, "results"));
    expect(&mut client, &[Event::Fetched(Ticket(1), values)]);
}

fn large_and_binary_values_arrive_whole<B: Broker>(broker: &B) {
    let large: Vec<u8> =
        (0..16u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut client = subscribed(broker, "c");
    client.submit(push(1, "list", &large));
    client.submit(fetch(2, "list"));
    expect(
        &mut client,
        &[Event::Pushed(Ticket(1)), Event::Fetched(Ticket(2), vec![large.clone()])],
    );
    broker.publish("c", &large);
    expect(&mut client, &[message("c", &large)]);
    assert!(broker.pop("list") == Some(large));
}

fn many_channels_are_each_heard<B: Broker>(broker: &B) {
    const CHANNELS: usize = 10_000;
    let mut client = up(broker);
    let name = |number: usize| format!("asr_result_{number}");
    (0..CHANNELS).for_each(|number| client.submit(subscribe(&name(number))));
    let expected: Vec<Event> =
        (0..CHANNELS).map(|number| Event::Subscribed(name(number).into())).collect();
    expect(&mut client, &expected);
    for number in (0..CHANNELS).step_by(997) {
        broker.publish(&name(number), b"x");
        expect(&mut client, &[message(&name(number), b"x")]);
    }
    assert_eq!(client.metrics().broker.subscriptions.get(), CHANNELS as u64);
    (0..CHANNELS)
        .for_each(|number| client.submit(Command::Unsubscribe { channel: name(number).into() }));
    client.submit(fetch(1, "none"));
    expect(&mut client, &[Event::Fetched(Ticket(1), vec![])]);
    assert_eq!(client.metrics().broker.subscriptions.get(), 0);
}

macro_rules! on_every_broker {
    ($($test:ident),* $(,)?) => {
        mod embedded {
            $(#[test] fn $test() { super::$test(&crate::harness::Embedded::start()); })*
        }
        mod redis_server {
            $(#[test] fn $test() {
                super::$test(&crate::harness::Redis { server: crate::support::redis::RedisServer::start() });
            })*
        }
    };
}

on_every_broker!(
    commands_take_effect_in_order_and_are_answered_once,
    the_depth_of_a_list_is_its_length,
    thousands_of_pushes_are_answered_in_order,
    messages_come_after_subscribed_and_in_order,
    unsubscribe_stops_and_a_second_subscribe_is_answered_again,
    what_workers_append_is_fetched,
    large_and_binary_values_arrive_whole,
    many_channels_are_each_heard,
);
