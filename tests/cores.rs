//! A session that its client takes along to another core, from end to end: on both brokers,
//! with a result channel for each session and with one for each shard.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::collections::BTreeMap;

use serde_json::json;
use support::{
    client::{Client, heard, silence},
    gateway::TestGateway,
    stage::{RedisStage, Worker},
};

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
        let left = |m: &ringgate::metrics::ShardMetrics| {
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

/// A connection to that shard; the kernel chooses, so others are made and closed.
fn connect_to(gateway: &TestGateway, shard: usize) -> Client {
    let mut others = Vec::new();
    loop {
        let before = gateway.each(|m| m.connections.upgraded.get());
        let client = Client::connect(gateway.address, ASR);
        let after = gateway.each(|m| m.connections.upgraded.get());
        if after[shard] > before[shard] {
            others.into_iter().for_each(Client::close);
            return client;
        }
        others.push(client);
        assert!(others.len() < 200, "the kernel gives shard {shard} nothing");
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

#[test]
fn two_who_start_at_once_on_two_cores_do_not_both_have_it() {
    everywhere(|gateway| {
        for round in 0..10 {
            let session = format!("race-{round}");
            let mut clients = [connect_to(gateway, 0), connect_to(gateway, 1)];
            for client in &mut clients {
                client.send(json!({"action": "start", "session_id": session}));
            }
            // One of them is closed with 4009; the other has a session that works.
            let taken = |g: &TestGateway| {
                g.sum(|m| m.connections.closed(ringgate::ws::CloseCode::TakenOver).get())
            };
            let before = round as u64;
            gateway.until("one has lost it", |g| {
                g.sum(|m| m.tasks.sessions.get()) == 1 && g.sum(|m| m.tasks.claims.get()) == 0
            });
            let mut owners = 0;
            for mut client in clients {
                client.send(json!({"action": "finish", "session_id": session}));
                loop {
                    match client.socket.read() {
                        Ok(tungstenite::Message::Text(text)) => {
                            let message: serde_json::Value = serde_json::from_str(&text).unwrap();
                            if message["type"] == "final_result" {
                                owners += 1;
                                client.close();
                                break;
                            }
                        }
                        Ok(tungstenite::Message::Close(frame)) => {
                            assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(4009));
                            while client.socket.read().is_ok() {}
                            break;
                        }
                        Ok(_) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            assert_eq!(owners, 1);
            gateway.until("4009", |g| taken(g) == before + 1);
        }
    });
}
