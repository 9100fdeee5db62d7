//! What only the embedded broker does: its workers' lanes, slow shards, its end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use ringgate::broker::{Event, Ticket};

use crate::{
    harness::{Broker, Client, Embedded, PATIENCE},
    words::{expect, is_down, is_up, message, push, subscribed, until, up},
};

#[test]
fn workers_of_the_embedded_broker_wait_for_values_and_lose_none() {
    const VALUES: u64 = 2_000;
    let broker = Embedded::start();
    let mut client = up(&broker);
    let sum = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (port, sum) = (broker.broker.worker_port(), sum.clone());
            thread::spawn(move || {
                let mut popped = 0;
                // Waits so short that values and timeouts cross all the time.
                while sum.load(Ordering::Relaxed) < VALUES && !port.is_stopped() {
                    if port.pop("list", Duration::from_millis(1)).is_some() {
                        popped += 1;
                        sum.fetch_add(1, Ordering::Relaxed);
                    }
                }
                popped
            })
        })
        .collect();
    let mut answered = 0;
    for ticket in 0..VALUES {
        client.submit(push(ticket, "list", b"x"));
        if ticket % 10 == 0 {
            answered += client.turn().len() as u64;
        }
    }
    while answered < VALUES {
        answered += client.turn().len() as u64;
    }
    let popped: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(popped, VALUES);
    assert_eq!(broker.broker.depth("list"), 0);
}

#[test]
fn a_shard_that_does_not_read_loses_messages_but_is_told_so() {
    let broker = Embedded::start();
    let mut slow = subscribed(&broker, "c");
    let mut other = subscribed(&broker, "d");
    let payload = vec![0; 64 * 1024];
    for _ in 0..10_000 {
        broker.publish("c", &payload);
    }
    slow.submit(push(1, "list", b"x"));
    // The broker does not wait for the slow one.
    broker.publish("d", b"x");
    expect(&mut other, &[message("d", b"x")]);
    let mut events = Vec::new();
    until(&mut slow, &mut events, is_up);
    assert_eq!(events.iter().filter_map(is_down).count(), 1);
    let dropped = broker.broker.counts().messages_dropped.load(Ordering::Relaxed);
    let heard = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Message { .. })).count() as u64
    };
    assert!(dropped > 0);
    assert_eq!(heard(&events) + dropped, 10_000);
    assert!(events.contains(&Event::Pushed(Ticket(1))), "answers are never dropped");
    if !events.contains(&Event::Subscribed("c".into())) {
        until(&mut slow, &mut events, |event| matches!(event, Event::Subscribed(_)).then_some(()));
    }
    broker.publish("c", b"again");
    until(&mut slow, &mut events, |event| (*event == message("c", b"again")).then_some(()));
}

#[test]
fn a_stopped_embedded_broker_says_so_to_everyone() {
    let broker = Embedded::start();
    let mut client = up(&broker);
    let port = broker.broker.worker_port();
    let waiting = thread::spawn(move || port.pop("list", PATIENCE));
    broker.broker.stop();
    broker.broker.stop();
    assert_eq!(waiting.join().unwrap(), None);
    until(&mut client, &mut Vec::new(), is_down);
    client.submit(push(1, "list", b"x"));
    assert!(client.port.try_next().is_none());
    assert_eq!(broker.broker.depth("list"), 0);
    let metrics = client.metrics.clone();
    drop(client);
    assert_eq!(metrics.broker.pending_bytes.get(), 0);
    assert_eq!(metrics.broker.up.get(), 0);
    assert!(broker.worker.is_stopped());
}
