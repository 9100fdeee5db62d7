//! A session that its client takes along to another core, from end to end: on both brokers,
//! with a result channel for each session and with one for each shard.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    time::{Duration, Instant},
};

use ringgate::{metrics::ShardMetrics, ws::CloseCode};
use serde_json::json;
use support::{
    client::{Client, PATIENCE, heard, silence},
    gateway::TestGateway,
    stage::{RedisStage, Worker},
};
use tungstenite::{Message, error::Error};

const ASR: &str = "/ws/asr";
const CHUNKS: u64 = 40;

/// Two cores, each broker with its worker, each way of the results.
fn everywhere(test: impl Fn(&TestGateway)) {
    for results in ["per-session", "per-shard"] {
        let file = format!(
            "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nresults = \"{results}\"\n\
             chunk_deadline = \"2s\"\n"
        );
        println!("{results} on the embedded broker:");
        let gateway = TestGateway::start_with("0-1", &[], Some(&file));
        test(&gateway);
        until_quiet(&gateway);
        drop(gateway);
        println!("{results} on Redis:");
        let stage = RedisStage::without_worker("0-1", &[], Some(&file));
        let worker = Worker::start(&stage.redis);
        test(&stage.gateway);
        until_quiet(&stage.gateway);
        drop(worker);
    }
}

/// Nothing is open, no shard waits for another, no book has an entry.
fn until_quiet(gateway: &TestGateway) {
    gateway.until_quiet();
    gateway.until("no claims, owners or forwards", |g| {
        let left = |m: &ShardMetrics| {
            let tasks = &m.tasks;
            tasks.claims.get()
                + tasks.directory.get()
                + tasks.forwards.get()
                + tasks.held_bytes.get()
                + m.router.waiting.get()
        };
        g.sum(left) == 0
    });
    assert_eq!(gateway.sum(|m| m.router.undelivered.get()), 0);
}

fn connect_to(gateway: &TestGateway, shard: usize) -> Client {
    Client::over(gateway.stream_to(shard), gateway.address, ASR).expect("upgraded")
}

/// Who of the two is left when the other one has been closed with 4009.
fn survivor(mut clients: Vec<Client>) -> Client {
    let patience = Instant::now() + PATIENCE;
    for client in &clients {
        client.socket.get_ref().set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    }
    loop {
        for n in 0..clients.len() {
            match clients[n].socket.read() {
                Ok(Message::Close(frame)) => {
                    assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(4009));
                    clients.remove(n).close();
                    let client = clients.remove(0);
                    client.socket.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
                    return client;
                }
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(message) => assert!(message.is_text(), "{message}"),
                Err(error) => panic!("{error}"),
            }
        }
        assert!(Instant::now() < patience, "both have the session, or none is told");
    }
}

#[test]
fn a_session_is_taken_over_on_another_core_while_results_are_in_flight() {
    everywhere(|gateway| {
        for round in 0..6 {
            let session = format!("round-{round}");
            let (from, to) = (round % 2, 1 - round % 2);
            let mut old = connect_to(gateway, from);
            let mut new = connect_to(gateway, to);
            let before = gateway.sum(|m| m.tasks.chunks.get());
            let moved = gateway.sum(|m| m.tasks.sessions_moved_in.get());
            old.start(&session);
            for index in 0..CHUNKS {
                old.chunk(&session, index, &silence(1));
            }
            let some = before + 1 + round as u64;
            gateway.until("some are queued", |g| g.sum(|m| m.tasks.chunks.get()) >= some);
            new.start(&session);
            // What the old connection had not been acked may not have been taken.
            for index in 0..CHUNKS {
                new.chunk(&session, index, &silence(1));
            }
            new.finish(&session);
            let (told, last) = new.until_final();
            let mut results = BTreeMap::new();
            for message in told.iter().filter(|message| message["type"] == "chunk_result") {
                *results.entry(message["chunk_index"].as_u64().unwrap()).or_insert(0) += 1;
            }
            let once: BTreeMap<u64, i32> = (0..CHUNKS).map(|index| (index, 1)).collect();
            assert_eq!(results, once, "every result, once");
            assert_eq!(last["complete"], json!(true), "{last}");
            assert_eq!(last["text"], vec![heard(1); CHUNKS as usize].join(" "));
            assert_eq!(old.close_code(), 4009);
            assert_eq!(gateway.sum(|m| m.tasks.sessions_moved_in.get()), moved + 1);
            new.close();
        }
    });
}

#[test]
fn a_session_that_was_left_is_found_on_every_core() {
    everywhere(|gateway| {
        let mut first = connect_to(gateway, 0);
        first.start("s");
        first.chunk("s", 0, &silence(1));
        assert_eq!(
            (&first.receive()["type"], &first.receive()["text"]),
            (&json!("ack"), &json!(heard(1)))
        );
        drop(first);
        gateway.until("detached", |g| g.sum(|m| m.tasks.sessions_detached.get()) == 1);
        let mut second = connect_to(gateway, 1);
        second.start("s");
        assert_eq!(second.receive()["text"], heard(1));
        second.finish("s");
        assert_eq!(second.receive()["type"], "final_result");
        assert_eq!(gateway.sum(|m| m.tasks.sessions_moved_in.get()), 1);
        second.close();
    });
}

/// Either may come first, and both starts have to be heard before one ends the session: who
/// starts an id that has ended gets a new session, and rightly so.
#[test]
fn two_who_start_at_once_on_two_cores_do_not_both_have_it() {
    everywhere(|gateway| {
        for round in 0..10 {
            let session = format!("race-{round}");
            let mut clients = vec![connect_to(gateway, 0), connect_to(gateway, 1)];
            for client in &mut clients {
                client.send(json!({"action": "start", "session_id": session}));
            }
            let mut client = survivor(clients);
            client.finish(&session);
            let (_, last) = client.until_final();
            assert_eq!(last["complete"], json!(true), "{last}");
            client.close();
            gateway.until("one 4009 a round", |g| {
                let taken = |m: &ShardMetrics| m.connections.closed(CloseCode::TakenOver).get();
                g.sum(taken) == round + 1
            });
        }
    });
}
