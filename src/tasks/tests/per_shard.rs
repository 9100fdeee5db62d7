//! Results on the one channel of the shard.

use super::*;

const CHANNEL: &str = "ringgate:results:00000000000000ab:0";

fn client() -> SocketId {
    socket(1)
}

fn world() -> World {
    let config = TasksConfig { reply_to: Some(CHANNEL.into()), ..TasksConfig::default() };
    let mut world = World::new(config);
    world.hear(Event::Up);
    world
}

#[test]
fn one_subscription_serves_every_session() {
    let mut world = world();
    // Before it is in force no start is acked.
    world.start(client(), "early");
    world.chunk(client(), "early", 0, AUDIO);
    assert_eq!(world.heard(client()), Vec::<Value>::new());
    world.settle();
    let heard = world.heard(client());
    assert_eq!((&heard[0]["status"], &heard[1]), (&json!("session_started"), &ack("early", 0)));
    for n in 0..10 {
        // And from then on every start at once.
        let id = format!("s{n}");
        world.start(client(), &id);
        assert_eq!(world.heard(client())[0]["status"], "session_started");
        world.chunk(client(), &id, 0, AUDIO);
    }
    world.settle();
    assert!(world.queue.iter().all(|task| task["reply_to"] == CHANNEL), "{:?}", world.queue);
    world.heard(client());
    for n in (0..10).rev() {
        world.answer(&format!("s{n}"), 0, &format!("t{n}"));
        let (id, text) = (format!("s{n}"), format!("t{n}"));
        assert_eq!(world.heard(client()), [chunk_result(&id, 0, &text)]);
    }
    assert_eq!((world.subscribes, world.subscriptions.len()), (1, 1));
    world.drop_socket(client());
    world.assert_empty();
    assert_eq!(world.subscriptions.len(), 1, "the shard keeps its own");
}

#[test]
fn what_is_nobodys_is_counted() {
    let mut world = world();
    world.settle();
    world.start(client(), "s");
    world.settle();
    for (payload, orphaned, malformed) in [
        (r#"{"session_id":"gone","chunk_index":0}"#, 1, 0),
        (r#"{"chunk_index":0,"text":"whose?"}"#, 2, 0),
        ("junk", 2, 1),
    ] {
        world.hear(Event::Message { channel: CHANNEL.into(), payload: payload.into() });
        let results = &world.metrics.tasks.results;
        assert_eq!((results.orphaned.get(), results.malformed.get()), (orphaned, malformed));
    }
    // Another route on the same shard may want what this one does not know.
    let event = Event::Message {
        channel: CHANNEL.into(),
        payload: br#"{"session_id":"other","chunk_index":0}"#.to_vec(),
    };
    let given_back = world.tasks.on_event(event.clone(), world.now, &mut Vec::new());
    assert_eq!(given_back, Some(event));
    let subscribed = Event::Subscribed(CHANNEL.into());
    let given_back = world.tasks.on_event(subscribed.clone(), world.now, &mut Vec::new());
    assert_eq!(given_back, Some(subscribed));
}

#[test]
fn after_a_reconnect_starts_wait_and_gaps_are_read_from_the_cache() {
    let mut world = world();
    world.settle();
    world.started(client(), "s");
    world.chunk(client(), "s", 0, AUDIO);
    world.settle();
    world.hear(Event::Down { reason: "test".into() });
    world.put_in_cache("s", &result(0, "unheard"));
    world.hear(Event::Up);
    world.start(client(), "t");
    world.settle();
    assert_eq!(world.heard(client()), [ack("s", 0)], "the subscription is not restored yet");
    world.hear(Event::Subscribed(CHANNEL.into()));
    world.settle();
    let heard = world.heard(client());
    assert_eq!(heard[0]["status"], "session_started");
    assert_eq!(heard[1..], [chunk_result("s", 0, "unheard")]);
    assert_eq!(world.subscribes, 1, "the broker restores it");
}

#[test]
fn a_refused_channel_is_asked_for_again() {
    let mut world = world();
    world.start(client(), "s");
    world.execute();
    world.events.clear();
    let refused = broker::Error::Refused("ERR".into());
    world.hear(Event::SubscribeFailed(CHANNEL.into(), refused));
    assert_eq!(world.heard(client()), [error(Some("s"), "broker_unavailable", "System busy")]);
    world.pass(250);
    assert_eq!(world.subscribes, 2);
    world.settle();
    world.started(client(), "s");
    world.drop_socket(client());
    world.assert_empty();
}
