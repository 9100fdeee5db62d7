//! How connections live and end: heartbeat, limits, back-pressure, drain, and every exit.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ringgate::{metrics::Refused, ws::CloseCode};
use serde_json::json;
use socket2::{Domain, SockRef, Socket, Type};
use support::{
    client::{
        Client, PATIENCE, header, masked, raw_close_code, raw_upgraded, silence, upgrade,
        upgrade_request,
    },
    gateway::{TestGateway, http_get},
    redis::RedisServer,
    stage::{RedisStage, commands, gateway_on, publish, result},
};
use tungstenite::Message;

const ASR: &str = "/ws/asr";
const ECHO: &str = "/echo";

#[test]
fn a_silent_peer_is_pinged_and_then_closed() {
    let flags = [("echo", ECHO), ("ping", "300ms"), ("idle", "900ms"), ("close-deadline", "300ms")];
    let gateway = TestGateway::start("0", &flags);
    let mut silent = raw_upgraded(gateway.address, ECHO);
    let mut first = [0; 2];
    silent.read_exact(&mut first).unwrap();
    assert_eq!(first, [0x89, 0], "a ping");
    assert_eq!(raw_close_code(silent), Some(4010));
    gateway.until_quiet();
    assert_eq!(gateway.closed(), [(4010, 1)]);
    assert!(gateway.sum(|m| m.connections.pings.get()) >= 1);
}

#[test]
fn a_peer_that_answers_pings_stays() {
    let flags = [("echo", ECHO), ("ping", "300ms"), ("idle", "900ms")];
    let gateway = TestGateway::start("0", &flags);
    let mut client = Client::connect(gateway.address, ECHO);
    // Twice the time after which silence would have ended it.
    for _ in 0..4 {
        assert!(matches!(client.socket.read().unwrap(), Message::Ping(_)));
    }
    client.socket.send(Message::text("here")).unwrap();
    assert_eq!(client.socket.read().unwrap(), Message::text("here"));
    client.close();
    gateway.until_quiet();
    assert_eq!(gateway.closed(), [(1005, 1)]);
}

/// A peer in the middle of everything: a session with an unanswered chunk, half a
/// fragmented message, half a frame.
fn entangled(address: SocketAddr) -> TcpStream {
    let mut peer = raw_upgraded(address, ASR);
    entangle(&mut peer);
    peer
}

fn entangle(peer: &mut TcpStream) {
    peer.write_all(&entangling_frames()).unwrap();
    // The ack says that the subscription is in force and all of this has been read.
    let mut head = [0; 2];
    peer.read_exact(&mut head).unwrap();
    assert!(head[0] == 0x81 && head[1] < 126, "{head:?}");
    let mut ack = vec![0; usize::from(head[1])];
    peer.read_exact(&mut ack).unwrap();
}

fn entangling_frames() -> Vec<u8> {
    let audio = base64_simd::STANDARD.encode_to_string(silence(1));
    let start = json!({"action": "start", "session_id": "s"}).to_string();
    let chunk = json!({"action": "chunk", "session_id": "s", "audio_data": audio}).to_string();
    let mut frames = masked(0x81, start.as_bytes());
    frames.extend(masked(0x81, chunk.as_bytes()));
    frames.extend(masked(0x01, &[b'a'; 5000]));
    frames
}

/// Runs one way out on a gateway of its own, and expects it counted once under `code`.
fn exit(what: &str, code: u16, leave: impl Fn(&TestGateway)) {
    println!("{what}");
    let flags =
        [("idle", "1s"), ("ping", "500ms"), ("close-deadline", "300ms"), ("drain", "500ms")];
    let stage = RedisStage::without_worker("0", &flags, None);
    leave(&stage.gateway);
    stage.gateway.until("one is gone", |g| !g.closed().is_empty());
    stage.gateway.until_quiet();
    assert_eq!(stage.gateway.closed(), [(code, 1)], "{what}");
    assert_eq!(stage.gateway.sum(|m| m.tasks.sessions_abandoned.get()), 1, "{what}");
    stage.gateway.until("subscriptions are given up", |_| {
        let mut redis = stage.commands();
        let channels: Vec<String> = redis::cmd("PUBSUB").arg("CHANNELS").query(&mut redis).unwrap();
        channels.is_empty()
    });
}

/// Ends what has a half-sent message with a close frame: between two fragments it may.
fn say_close(peer: &mut TcpStream, payload: &[u8]) {
    peer.write_all(&masked(0x88, payload)).unwrap();
}

#[test]
fn a_close_frame_is_a_way_out() {
    exit("close 1000", 1000, |g| {
        let mut peer = entangled(g.address);
        say_close(&mut peer, &1000u16.to_be_bytes());
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert!(rest.ends_with(&[0x88, 2, 0x03, 0xe8]), "answered");
    });
    exit("close without a code", 1005, |g| say_close(&mut entangled(g.address), b""));
    // Its own codes, and those that are the gateway's to say, come back as they are.
    for own in [3000u16, 4008, 4999] {
        exit(&format!("close {own}"), 0, |g| {
            let mut peer = entangled(g.address);
            say_close(&mut peer, &own.to_be_bytes());
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).unwrap();
            assert!(rest.ends_with(&[&[0x88, 2][..], &own.to_be_bytes()].concat()), "{rest:?}");
            let counted = |code: CloseCode| g.sum(|m| m.connections.closed(code).get());
            g.until("it is counted", |_| counted(CloseCode::Application) == 1);
        });
    }
}

#[test]
fn fin_and_reset_are_ways_out() {
    exit("FIN", 1006, |g| {
        let mut peer = entangled(g.address);
        peer.shutdown(Shutdown::Write).unwrap();
        let _ = peer.read_to_end(&mut Vec::new());
    });
    exit("both halves closed", 1006, |g| drop(entangled(g.address)));
    exit("RST", 1006, |g| {
        let peer = entangled(g.address);
        SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        drop(peer);
    });
}

/// Fault 6: vanished clients stayed as zombies. Nothing is heard of this one, not even a FIN.
#[test]
fn fault_6_a_client_that_vanished_is_torn_down_and_counted() {
    exit("idle", 4010, |g| {
        let peer = entangled(g.address);
        g.until("it is gone", |g| !g.closed().is_empty());
        drop(peer);
    });
}

#[test]
fn the_death_of_the_peer_is_a_way_out() {
    exit("SIGKILL", 1006, |g| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{} && cat >&3 && sleep 1000 </dev/null",
            g.address.port()
        );
        let mut peer =
            Command::new("bash").args(["-c", &script]).stdin(Stdio::piped()).spawn().expect("bash");
        let mut input = peer.stdin.take().unwrap();
        input.write_all(format!("{}\r\n", upgrade_request(ASR)).as_bytes()).unwrap();
        input.write_all(&entangling_frames()).unwrap();
        g.until("its chunk is accepted", |g| g.sum(|m| m.tasks.chunks.get()) == 1);
        g.until("its half message is held", |g| g.sum(|m| m.connections.held_bytes.get()) > 0);
        peer.kill().unwrap();
        peer.wait().unwrap();
    });
}

#[test]
fn drain_is_a_way_out() {
    exit("drain", 1012, |g| {
        let peer = entangled(g.address);
        g.ender().drain();
        assert_eq!(raw_close_code(peer), Some(1012));
    });
}

#[test]
fn the_end_at_once_is_a_way_out() {
    exit("end", 1006, |g| {
        let peer = entangled(g.address);
        g.ender().end();
        assert_eq!(raw_close_code(peer), None, "nothing was said");
    });
}

#[test]
fn drain_lets_open_work_finish() {
    let redis = RedisServer::start();
    let gateway = gateway_on(&redis, "0-1", &[("drain", "4s")], None);
    gateway.until("broker up", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let idle: Vec<_> = (0..8).map(|_| Client::connect(gateway.address, ASR)).collect();
    let mut working = Client::connect(gateway.address, ASR);
    working.start("s");
    working.chunk("s", 0, &silence(1));
    assert_eq!(working.receive()["status"], "received");
    assert_eq!(gateway.admin_get("/readyz").0.split(' ').nth(1), Some("200"));

    let began = Instant::now();
    gateway.ender().drain();
    let (head, body) = gateway.admin_get("/readyz");
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(body.contains("draining"), "{body}");
    gateway
        .until("the listeners are closed", |g| g.each(|m| m.connections.listening.get()) == [0, 0]);
    // The sockets themselves a moment later: the ring closes them.
    gateway.until("nobody listens", |g| TcpStream::connect(g.address).is_err());

    publish(&mut commands(&redis), "s", &result(0, "done"));
    assert_eq!(working.receive()["text"], "done");
    working.finish("s");
    assert_eq!(working.until_final().1["complete"], true);
    assert_eq!(working.close_code(), 1012);
    for client in idle {
        assert_eq!(client.close_code(), 1012);
    }
    gateway.until_quiet();
    assert_eq!(gateway.closed(), [(1012, 9)]);
    gateway.wait().expect("drained");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn the_connection_limit() {
    let gateway = TestGateway::start("0-1", &[("connections", "2"), ("echo", ECHO)]);
    let mut first = Client::connect(gateway.address, ASR);
    let second = Client::connect(gateway.address, ECHO);
    for path in [ASR, ECHO] {
        let refusal = Client::try_connect(gateway.address, path).err().expect("full");
        assert_eq!((refusal.status, refusal.retry_after.as_deref()), (503, Some("5")));
        let text = "Connection limit reached, please try again later";
        assert_eq!(refusal.body, json!({"error": text, "code": "connection_limit"}));
    }
    for _ in 0..4 {
        let (head, body) = http_get(gateway.address, "/healthz");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, r#"{"status":"ok"}"#);
    }
    first.run_session("unimpressed");
    let refused =
        |g: &TestGateway| g.sum(|m| m.connections.refused(Refused::ConnectionLimit).get());
    assert_eq!(refused(&gateway), 2);
    second.close();
    gateway.until("a place is free", |g| g.sum(|m| m.connections.open.get()) == 1);
    let third = Client::connect(gateway.address, ECHO);
    third.close();
    first.close();
    gateway.until_quiet();
}

#[test]
fn the_handshake_limit() {
    let gateway = TestGateway::start("0", &[("handshakes", "4"), ("echo", ECHO)]);
    let connect = || TcpStream::connect(gateway.address).unwrap();
    let mut waiting: Vec<_> = (0..4).map(|_| connect()).collect();
    gateway.until("four wait", |g| g.sum(|m| m.connections.handshaking.get()) == 4);
    let mut fifth = connect();
    fifth.set_read_timeout(Some(PATIENCE)).unwrap();
    let end = fifth.read(&mut [0; 16]);
    assert!(matches!(end, Ok(0)) || end.is_err_and(|e| e.raw_os_error() == Some(104)), "closed");
    assert_eq!(gateway.sum(|m| m.connections.refused(Refused::HandshakeLimit).get()), 1);
    let mut upgraded = waiting.remove(0);
    upgraded.set_read_timeout(Some(PATIENCE)).unwrap();
    upgrade(&mut upgraded, ECHO);
    gateway.until("three wait", |g| g.sum(|m| m.connections.handshaking.get()) == 3);
    Client::connect(gateway.address, ECHO).close();
    drop((waiting, upgraded));
    gateway.until_quiet();
}

/// A connection that takes little before the sender notices.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

#[test]
fn a_slow_reader_of_results_is_closed_and_nobody_else() {
    let flags =
        [("outbox-bytes", "64KiB"), ("close-deadline", "20s"), ("unread-deadline", "200ms")];
    let stage = RedisStage::without_worker("0", &flags, None);
    let (address, mut redis) = (stage.gateway.address, stage.commands());
    let mut slow = Client::over(narrow(address), address, ASR).expect("upgraded");
    slow.start("slow");
    for index in 0..50 {
        slow.chunk("slow", index, &silence(1));
        assert_eq!(slow.receive()["status"], "received");
    }
    let mut other = Client::connect(address, ASR);
    other.start("other");
    other.chunk("other", 0, &silence(1));
    assert_eq!(other.receive()["status"], "received");

    let long = "x".repeat(256 << 10);
    for index in 0..50 {
        publish(&mut redis, "slow", &result(index, &long));
    }
    // On the same link behind them, so that all of them have been handled by then.
    publish(&mut redis, "other", &result(0, "undisturbed"));
    assert_eq!(other.receive()["text"], "undisturbed");
    let waiting = stage.gateway.sum(|m| m.connections.outbox_bytes.get());
    assert!(waiting < 2 * (long.len() as u64 + (64 << 10)), "{waiting} bytes for one client");

    // It has 200 ms for each 64 KiB of one result. From the close on it has no session.
    stage.gateway.until("the slow one is closed", |g| g.sum(|m| m.tasks.sessions.get()) == 1);
    assert_eq!(slow.close_code(), 4008);
    other.finish("other");
    assert_eq!(other.until_final().1["complete"], true);
    other.close();
    stage.gateway.until_quiet();
    assert_eq!(stage.gateway.closed(), [(1005, 1), (4008, 1)]);
}

#[test]
fn fifty_megabytes_that_nobody_reads_wait_outside() {
    const MESSAGE: usize = 4096;
    const COUNT: usize = 50 * 1024 * 1024 / MESSAGE;
    let flags = [("echo", ECHO), ("receive-buffers", "16"), ("outbox-bytes", "256KiB")];
    let gateway = TestGateway::start("0", &flags);
    // Half the outbox, and what all receive buffers of the shard hold.
    let bound = (256 << 10) / 2 + 16 * (16 << 10) + (16 << 10);
    let outbox = |g: &TestGateway| g.sum(|m| m.connections.outbox_bytes.get());
    let mut reader = raw_upgraded(gateway.address, ECHO);
    let mut writer = reader.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        for n in 0..COUNT as u64 {
            writer.write_all(&masked(0x82, &n.to_le_bytes().repeat(MESSAGE / 8))).unwrap();
        }
    });
    gateway.until("the gateway stops reading", |g| {
        assert!(outbox(g) <= bound, "{} bytes", outbox(g));
        g.sum(|m| m.connections.pauses.get()) > 0
    });
    let mut most = 0;
    for n in 0..COUNT as u64 {
        let mut frame = [0; 4 + MESSAGE];
        reader.read_exact(&mut frame).unwrap();
        assert_eq!(frame[..4], [0x82, 126, (MESSAGE >> 8) as u8, 0]);
        assert!(frame[4..].chunks(8).all(|part| part == n.to_le_bytes()), "message {n}");
        most = most.max(outbox(&gateway));
    }
    writing.join().unwrap();
    assert!(most <= bound, "{most} bytes");
    drop(reader);
    gateway.until_quiet();
}

#[test]
fn a_fragmented_message_of_sixteen_mebibytes() {
    const PIECE: usize = 1 << 20;
    let gateway = TestGateway::start("0", &[("echo", ECHO)]);
    let mut peer = raw_upgraded(gateway.address, ECHO);
    let piece = |n: u8| (0..PIECE).map(|at| (at as u8) ^ n).collect::<Vec<u8>>();
    for n in 0..16 {
        let first = if n == 0 { 0x02 } else { 0x00 } | if n == 15 { 0x80 } else { 0 };
        peer.write_all(&masked(first, &piece(n))).unwrap();
        if n == 7 {
            peer.write_all(&masked(0x89, b"between")).unwrap();
            let mut pong = [0; 9];
            peer.read_exact(&mut pong).unwrap();
            assert_eq!(&pong, b"\x8a\x07between", "a ping is answered between fragments");
        }
    }
    let mut head = [0; 10];
    peer.read_exact(&mut head).unwrap();
    assert_eq!(head, [0x82, 127, 0, 0, 0, 0, 1, 0, 0, 0]);
    let mut echoed = vec![0; PIECE];
    for n in 0..16 {
        peer.read_exact(&mut echoed).unwrap();
        assert!(echoed == piece(n), "piece {n}");
    }
    // One byte more than is allowed, and the connection is told so at the header.
    peer.write_all(&header(0x82, (16 << 20) + 1)).unwrap();
    assert_eq!(raw_close_code(peer), Some(1009));
    gateway.until_quiet();
}
