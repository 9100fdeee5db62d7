//! What the tests say to a broker, and what they wait for.

use std::{fmt::Debug, time::Instant};

use ringgate::broker::{Command, Event, Queue, Task, Ticket};

use crate::harness::{Broker, Client, PATIENCE};

/// Turns until `find` gives something for an event; events before it are for `others`.
pub fn until<T>(
    client: &mut impl Client,
    others: &mut Vec<Event>,
    mut find: impl FnMut(&Event) -> Option<T>,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = None;
        for event in client.turn() {
            match find(&event) {
                Some(value) if found.is_none() => found = Some(value),
                _ => others.push(event),
            }
        }
        if let Some(value) = found {
            return value;
        }
        assert!(Instant::now() < deadline, "waited too long; there were {}", brief(others));
    }
}

/// Turns until exactly these have come; the order is part of it.
pub fn expect(client: &mut impl Client, events: &[Event]) {
    let (mut seen, deadline) = (Vec::new(), Instant::now() + PATIENCE);
    while seen.len() < events.len() {
        seen.extend(client.turn());
        assert!(Instant::now() < deadline, "waited too long; there were {}", brief(&seen));
    }
    assert!(seen == events, "{} instead of {}", brief(&seen), brief(events));
}

pub fn up<B: Broker>(broker: &B) -> B::Client {
    let mut client = broker.client();
    expect(&mut client, &[Event::Up]);
    client
}

pub fn subscribed<B: Broker>(broker: &B, channel: &str) -> B::Client {
    let mut client = up(broker);
    client.submit(subscribe(channel));
    expect(&mut client, &[Event::Subscribed(channel.into())]);
    client
}

pub fn brief(events: &[impl Debug]) -> String {
    let text = format!("{events:?}");
    text.chars().take(2_000).collect()
}

pub fn push(ticket: u64, key: &str, value: &[u8]) -> Command {
    let queue = Queue::List { key: key.into() };
    Command::Push { ticket: Ticket(ticket), queue, task: Task::plain(value.to_vec()) }
}

pub fn fetch(ticket: u64, key: &str) -> Command {
    Command::Fetch { ticket: Ticket(ticket), key: key.into() }
}

pub fn subscribe(channel: &str) -> Command {
    Command::Subscribe { channel: channel.into() }
}

pub fn message(channel: &str, payload: &[u8]) -> Event {
    Event::Message { channel: channel.into(), payload: payload.to_vec() }
}

pub fn is_down(event: &Event) -> Option<String> {
    match event {
        Event::Down { reason } => Some(reason.clone()),
        _ => None,
    }
}

pub fn is_up(event: &Event) -> Option<()> {
    matches!(event, Event::Up).then_some(())
}
