//! A raw session that its client takes along to another core, from end to end: on both
//! brokers, with a result channel for each session and with one for each shard.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use ringgate::{metrics::ShardMetrics, ws::CloseCode};
use serde_json::{Value, json};
use support::{
    client::Client,
    gateway::TestGateway,
    raw::{Hands, RAW, Worker, file},
    stage::RedisStage,
};
use tungstenite::Message;

const TASKS: usize = 40;
const PARTS: usize = 3;

/// Two cores, each broker with a worker, each way of the results.
fn everywhere(test: impl Fn(&TestGateway)) {
    for results in ["per-session", "per-shard"] {
        let file = file(&format!("results = \"{results}\"\nresume_ms = 2000"));
        println!("{results} on the embedded broker:");
        let gateway = TestGateway::start_with("0-1", &[], Some(&file));
        let hands = Hands::Embedded(gateway.worker_port().expect("embedded"));
        let worker = Worker::start(hands, in_parts);
        test(&gateway);
        until_quiet(&gateway);
        drop(worker);
        drop(gateway);
        println!("{results} on Redis:");
        let stage = RedisStage::without_worker("0-1", &[], Some(&file));
        let worker = Worker::start(Hands::Redis(Box::new(stage.commands())), in_parts);
        test(&stage.gateway);
        until_quiet(&stage.gateway);
        drop(worker);
    }
}

/// What the task was, three times; parts have no numbers, so that nobody can tell which of
/// two that are alike came twice.
fn in_parts(task: &Value) -> Vec<Vec<u8>> {
    let part = |n| {
        let (id, seq, data) = (&task["session_id"], &task["seq"], &task["data"]);
        json!({"session_id": id, "seq": seq, "data": data, "done": n + 1 == PARTS})
    };
    (0..PARTS).map(|n| part(n).to_string().into_bytes()).collect()
}

/// Nothing is open, no shard waits for another or hears for it, no book has an entry.
fn until_quiet(gateway: &TestGateway) {
    gateway.until_quiet();
    gateway.until("no claims, owners or ears", |g| {
        let left = |m: &ShardMetrics| {
            let tasks = &m.tasks;
            let ours = [&tasks.claims, &tasks.directory, &tasks.forwards, &tasks.held_bytes];
            let waiting = m.router.waiting.get() + tasks.kept_bytes.get();
            ours.iter().map(|gauge| gauge.get()).sum::<u64>() + waiting
        };
        g.sum(left) == 0
    });
    assert_eq!(gateway.sum(|m| m.router.undelivered.get()), 0);
}

/// A client of that session on that shard.
fn connect_to(gateway: &TestGateway, shard: usize, id: &str) -> Client {
    let path = format!("{RAW}?session={id}");
    Client::over(gateway.stream_to(shard), gateway.address, &path).expect("upgraded")
}

fn opened(client: &mut Client, id: &str, resumed: bool) -> usize {
    let open = client.receive();
    assert_eq!((&open["type"], &open["session_id"]), (&json!("open"), &json!(id)), "{open}");
    assert_eq!(open["resumed"], resumed, "{open}");
    open["next_seq"].as_u64().expect("a number") as usize
}

fn say(client: &mut Client, text: &str) {
    client.socket.send(Message::text(text)).expect("sent");
}

fn next(client: &mut Client) -> Message {
    loop {
        match client.socket.read().expect("a message") {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

#[test]
fn a_session_is_taken_over_on_another_core_while_results_are_in_flight() {
    everywhere(|gateway| {
        for round in 0..6 {
            let id = format!("round-{round}");
            let mut heard = Vec::new();
            let mut client = connect_to(gateway, round % 2, &id);
            let (mut sent, moves) = (opened(&mut client, &id, false), 4);
            let before = gateway.sum(|m| m.tasks.chunks.get());
            // Back and forth, and never back to the beginning.
            for turn in 1..=moves {
                let until = sent + TASKS / moves;
                (sent..until).for_each(|n| say(&mut client, &n.to_string()));
                let some = before + (sent + turn + round) as u64;
                gateway.until("some are queued", |g| g.sum(|m| m.tasks.chunks.get()) >= some);
                let mut next_client = connect_to(gateway, (round + turn) % 2, &id);
                loop {
                    match next(&mut client) {
                        Message::Text(text) => heard.push(text.as_str().to_owned()),
                        Message::Close(frame) => {
                            assert_eq!(frame.map(|frame| u16::from(frame.code)), Some(4009));
                            break client.close();
                        }
                        other => panic!("{other}"),
                    }
                }
                sent = opened(&mut next_client, &id, true);
                assert!(sent <= until, "{sent} of {until}");
                client = next_client;
            }
            while heard.len() < sent * PARTS {
                let Message::Text(text) = next(&mut client) else { panic!("text") };
                heard.push(text.as_str().to_owned());
            }
            let all: Vec<String> =
                (0..sent).flat_map(|n| std::iter::repeat_n(n.to_string(), PARTS)).collect();
            assert_eq!(heard, all, "each once, in its order");
            // Nothing is left over.
            say(&mut client, "last");
            (0..PARTS).for_each(|_| assert_eq!(next(&mut client), Message::text("last")));
            client.close();
        }
        assert_eq!(gateway.sum(|m| m.tasks.sessions_moved_in.get()), 24);
    });
}

#[test]
fn a_session_that_was_left_is_found_on_every_core() {
    everywhere(|gateway| {
        let mut first = connect_to(gateway, 0, "s");
        opened(&mut first, "s", false);
        say(&mut first, "a");
        gateway.until("taken", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
        (0..PARTS).for_each(|_| assert_eq!(next(&mut first), Message::text("a")));
        say(&mut first, "b");
        drop(first);
        gateway.until("detached", |g| g.sum(|m| m.tasks.sessions_detached.get()) == 1);
        let mut second = connect_to(gateway, 1, "s");
        let next_seq = opened(&mut second, "s", true);
        assert!(next_seq == 1 || next_seq == 2);
        say(&mut second, "c");
        while next(&mut second) != Message::text("c") {}
        second.close();
    });
}

#[test]
fn an_id_is_open_on_one_route_on_whichever_core() {
    let both = format!("{}\n[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\n", file(""));
    let gateway = TestGateway::start_with("0-1", &[], Some(&both));
    for (round, (here, there)) in [(0, 1), (1, 0), (0, 1), (1, 0)].into_iter().enumerate() {
        let id = format!("asr-first-{round}");
        let mut asr =
            Client::over(gateway.stream_to(here), gateway.address, "/ws/asr").expect("upgraded");
        asr.start(&id);
        let mut raw = connect_to(&gateway, there, &id);
        let error = raw.receive();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_session_id")));
        assert_eq!(raw.close_code(), CloseCode::TryAgainLater.number());
        asr.finish(&id);
        assert_eq!(asr.until_final().1["complete"], true);
        gateway.until("ended", |g| g.sum(|m| m.tasks.sessions.get()) == round as u64);
        let id = format!("raw-first-{round}");
        let mut raw = connect_to(&gateway, here, &id);
        opened(&mut raw, &id, false);
        asr.send(json!({"action": "start", "session_id": id}));
        let error = asr.receive();
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("bad_session_id")));
        raw.close();
        asr.close();
        gateway.until("gone", |g| g.sum(|m| m.connections.open.get()) == 0);
        gateway
            .until("detached", |g| g.sum(|m| m.tasks.sessions_detached.get()) == round as u64 + 1);
    }
}

#[test]
fn a_core_that_drains_hears_on_for_a_session_elsewhere() {
    let stage = RedisStage::without_worker("0-1", &[], Some(&file("")));
    let gateway = &stage.gateway;
    let mut first = connect_to(gateway, 0, "s");
    opened(&mut first, "s", false);
    let mut second = connect_to(gateway, 1, "s");
    opened(&mut second, "s", true);
    assert_eq!(first.close_code(), 4009);
    gateway.until("one client", |g| g.sum(|m| m.connections.open.get()) == 1);
    say(&mut second, "late");
    gateway.until("queued", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
    gateway.ender().drain();
    gateway.until("draining", |g| g.sum(|m| m.connections.listening.get()) == 0);
    let mut hands = Hands::Redis(Box::new(stage.commands()));
    let task = hands.take().expect("queued");
    in_parts(&task).iter().for_each(|part| hands.publish(&task, part));
    (0..PARTS).for_each(|_| assert_eq!(next(&mut second), Message::text("late")));
    assert_eq!(second.close_code(), CloseCode::Restart.number());
}
