//! What only Redis can do to its link: die, freeze, refuse, come later.

use std::{
    collections::{HashMap, HashSet},
    io::{ErrorKind, Read},
    net::TcpStream,
    time::{Duration, Instant},
};

use ringgate::broker::{
    Error, Event, Ticket,
    redis::{LinkLimits, Target, dial},
};

use crate::{
    harness::{Broker, Client, PATIENCE, Redis},
    support::redis::RedisServer,
    words::{expect, fetch, is_down, is_up, message, push, subscribe, until, up},
};

#[test]
fn a_killed_redis_costs_nothing_that_was_submitted() {
    const PUSHES: u64 = 3_000;
    let mut redis = Redis { server: RedisServer::start() };
    let mut client = up(&redis);
    let channels: Vec<String> = (0..600).map(|number| format!("c{number}")).collect();
    channels.iter().for_each(|channel| client.submit(subscribe(channel)));
    let mut seen = Vec::new();
    while seen.len() < channels.len() {
        seen.extend(client.turn());
    }
    // Killed three times amid pushes of which some are answered, some on their way.
    let (mut next, mut events) = (0, Vec::new());
    for round in 1..=3 {
        let end = PUSHES / 3 * round;
        while next < end - 300 {
            client.submit(push(next, "list", &next.to_be_bytes()));
            next += 1;
            if next % 50 == 0 {
                events.extend(client.turn());
            }
        }
        redis.server.kill();
        until(&mut client, &mut events, is_down);
        assert_eq!(client.metrics().broker.up.get(), 0);
        while next < end {
            client.submit(push(next, "list", &next.to_be_bytes()));
            next += 1;
        }
        client.submit(subscribe(&format!("late{round}")));
        redis.server.restart();
        let before = events.len();
        until(&mut client, &mut events, is_up);
        let mut missing: HashSet<String> = channels.iter().cloned().collect();
        missing.extend((1..=round).map(|round| format!("late{round}")));
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = before;
        while !missing.is_empty() {
            assert!(Instant::now() < deadline, "not restored: {missing:?}");
            events.extend(client.turn());
            for event in &events[looked_at..] {
                if let Event::Subscribed(channel) = event {
                    missing.remove(&**channel);
                }
            }
            looked_at = events.len();
        }
        redis.publish("c599", &round.to_be_bytes());
        let payload = round.to_be_bytes().to_vec();
        until(&mut client, &mut events, |event| match event {
            Event::Message { payload: heard, .. } if *heard == payload => Some(()),
            _ => None,
        });
    }
    let answered = |events: &[Event]| {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        for event in events {
            match event {
                Event::Pushed(ticket) => *counts.entry(ticket.0).or_default() += 1,
                Event::PushFailed(..) => panic!("{event:?}"),
                _ => {}
            }
        }
        counts
    };
    let deadline = Instant::now() + PATIENCE;
    while (answered(&events).len() as u64) < PUSHES {
        assert!(Instant::now() < deadline, "{} answered", answered(&events).len());
        events.extend(client.turn());
    }
    assert!(answered(&events).values().all(|&times| times == 1), "each once");
    let list: Vec<Vec<u8>> =
        redis::cmd("LRANGE").arg("list").arg(0).arg(-1).query(&mut redis.worker()).unwrap();
    let mut seen = HashSet::new();
    let first_times: Vec<u64> = list
        .iter()
        .map(|value| u64::from_be_bytes(value[..].try_into().unwrap()))
        .filter(|value| seen.insert(*value))
        .collect();
    assert_eq!(first_times, (0..PUSHES).collect::<Vec<_>>(), "all there, in order");
    assert_eq!(client.metrics().broker.pending_bytes.get(), 0);
    assert_eq!(client.metrics().broker.reconnects.get(), 3);
}

#[test]
fn a_frozen_redis_is_down_until_it_thaws() {
    let redis = Redis { server: RedisServer::start() };
    let limits = LinkLimits { answer_timeout_ms: 300, ping_after_ms: 100, ..LinkLimits::default() };
    let mut client = redis.client_with(&redis.server.url(), limits);
    let mut events = Vec::new();
    until(&mut client, &mut events, is_up);
    redis.server.freeze();
    client.submit(push(1, "list", b"x"));
    let reason = until(&mut client, &mut events, is_down);
    assert!(reason.contains("no answer"), "{reason}");
    assert!(!events.contains(&Event::Pushed(Ticket(1))));
    redis.server.thaw();
    until(&mut client, &mut events, is_up);
    until(&mut client, &mut events, |event| (*event == Event::Pushed(Ticket(1))).then_some(()));
}

#[test]
fn an_idle_link_notices_that_redis_froze() {
    let redis = Redis { server: RedisServer::start() };
    let limits = LinkLimits { answer_timeout_ms: 300, ping_after_ms: 100, ..LinkLimits::default() };
    let mut client = redis.client_with(&redis.server.url(), limits);
    let mut events = Vec::new();
    until(&mut client, &mut events, is_up);
    redis.server.freeze();
    until(&mut client, &mut events, is_down);
    redis.server.thaw();
    until(&mut client, &mut events, is_up);
}

#[test]
fn a_wrong_password_or_database_is_named_and_a_right_one_works() {
    let redis = Redis { server: RedisServer::start_with(&["--requirepass", "s3cret"]) };
    let port = redis.server.port();
    let mut events = Vec::new();
    for (place, word) in [
        (format!("redis://127.0.0.1:{port}"), "password"),
        (format!("redis://:wr0ng@127.0.0.1:{port}"), "password"),
        (format!("redis://nobody:s3cret@127.0.0.1:{port}"), "password"),
        (format!("redis://:s3cret@127.0.0.1:{port}/99"), "database 99"),
    ] {
        let mut client = redis.client_with(&place, LinkLimits::default());
        let reason = until(&mut client, &mut events, is_down);
        assert!(reason.contains(word), "{reason}");
        assert!(!reason.contains("wr0ng") && !reason.contains("s3cret"), "{reason}");
        assert!(!client.link.is_up());
    }
    assert_eq!(events, [], "never up");
    let socket = redis.server.socket();
    for place in [
        format!("redis://:s3cret@127.0.0.1:{port}/3"),
        format!("redis://default:s3cret@localhost:{port}/3"),
        format!("redis+unix://{}?db=3&pass=s3cret", socket.display()),
    ] {
        let mut client = redis.client_with(&place, LinkLimits::default());
        until(&mut client, &mut events, is_up);
    }
}

#[test]
fn refusals_carry_the_words_of_redis() {
    let redis = Redis { server: RedisServer::start() };
    redis::cmd("SET").arg("text").arg("x").exec(&mut redis.worker()).unwrap();
    let mut client = up(&redis);
    client.submit(push(1, "text", b"x"));
    client.submit(fetch(2, "text"));
    client.submit(push(3, "list", b"x"));
    let mut events = Vec::new();
    until(&mut client, &mut events, |event| (*event == Event::Pushed(Ticket(3))).then_some(()));
    match &events[..] {
        [
            Event::PushFailed(Ticket(1), Error::Refused(one)),
            Event::FetchFailed(Ticket(2), Error::Refused(two)),
        ] => assert!(one.starts_with("WRONGTYPE ") && two.starts_with("WRONGTYPE ")),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.metrics().broker.failed.get(), 2);
    redis::cmd("CONFIG").arg(&["SET", "maxmemory", "1"]).exec(&mut redis.worker()).unwrap();
    client.submit(push(4, "list", b"x"));
    let full = Event::PushFailed(Ticket(4), Error::Full);
    until(&mut client, &mut events, |event| (*event == full).then_some(()));
}

#[test]
fn a_forbidden_channel_fails_alone() {
    let redis = Redis { server: RedisServer::start() };
    let acl = ["SETUSER", "bob", "on", ">pw", "+@all", "~*", "resetchannels", "&ok*"];
    redis::cmd("ACL").arg(&acl).exec(&mut redis.worker()).unwrap();
    let url = format!("redis://bob:pw@127.0.0.1:{}", redis.server.port());
    let mut client = redis.client_with(&url, LinkLimits::default());
    for command in [subscribe("ok1"), subscribe("no"), subscribe("ok2"), push(1, "l", b"x")] {
        client.submit(command);
    }
    let mut missing = 5;
    let mut events = Vec::new();
    until(&mut client, &mut events, |event| {
        match event {
            Event::SubscribeFailed(channel, Error::Refused(text)) => {
                assert!(&**channel == "no" && text.starts_with("NOPERM "), "{channel} {text}");
            }
            Event::Up | Event::Subscribed(_) | Event::Pushed(_) => {}
            other => panic!("{other:?}"),
        }
        missing -= 1;
        (missing == 0).then_some(())
    });
    redis.publish("ok2", b"x");
    expect(&mut client, &[message("ok2", b"x")]);
}

#[test]
fn a_redis_that_comes_later_is_found_and_held_commands_are_carried_out() {
    let mut redis = Redis { server: RedisServer::absent() };
    let mut client = redis.client();
    client.submit(push(1, "list", b"early"));
    client.submit(subscribe("c"));
    client.submit(fetch(2, "list"));
    let mut events = Vec::new();
    let reason = until(&mut client, &mut events, is_down);
    assert!(reason.contains("refused"), "{reason}");
    redis.server.restart();
    expect(
        &mut client,
        &[
            Event::Up,
            Event::Pushed(Ticket(1)),
            Event::Subscribed("c".into()),
            Event::Fetched(Ticket(2), vec![b"early".to_vec()]),
        ],
    );
    assert_eq!(client.metrics().broker.reconnects.get(), 0);
}

#[test]
fn dialling_on_a_thread_gives_a_socket_or_the_reason() {
    let server = RedisServer::start();
    let absent = RedisServer::absent();
    let outcome = |url: String| {
        let (done, outcome) = crossbeam_channel::bounded(1);
        let target = Target::parse(&url).unwrap();
        let hand_over = move |outcome| done.send(outcome).unwrap();
        dial::spawn_dial(target, Duration::from_secs(5), hand_over).unwrap();
        outcome.recv_timeout(PATIENCE).unwrap()
    };
    let mut socket = TcpStream::from(outcome(server.url()).unwrap());
    let error = socket.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock, "it does not block");
    assert!(socket.nodelay().unwrap());
    let error = outcome(absent.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let nowhere = outcome(format!("unix://{}", absent.socket().display())).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::NotFound);
}
