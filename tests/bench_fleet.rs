//! The clients of the load generator, against the gateway and against servers that are none.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use ringgate::bench::{
    ClientId, Crowd, End, Fleet,
    target::{Sources, Target},
};

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::{client::PATIENCE, crowd::raise_descriptors, gateway::http_get, process::Process};

/// Each says so many things, one after the answer to another.
const TURNS: u32 = 5;

#[derive(Default)]
struct Talkers {
    opened: usize,
    answered: BTreeMap<u32, u32>,
    http: Vec<(u16, String)>,
    ends: Vec<(u32, End)>,
}

impl Crowd for Talkers {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        self.opened += 1;
        fleet.send_text(client, &format!("{}: 0", client.user));
    }

    fn on_message(&mut self, fleet: &mut Fleet, client: ClientId, payload: &[u8]) {
        let turn = self.answered.entry(client.user).or_default();
        assert_eq!(payload, format!("{}: {turn}", client.user).as_bytes());
        *turn += 1;
        match *turn {
            TURNS => fleet.leave(client),
            turn => fleet.send_text(client, &format!("{}: {turn}", client.user)),
        }
    }

    fn on_answer(&mut self, _: &mut Fleet, _: ClientId, status: u16, body: &[u8]) {
        self.http.push((status, String::from_utf8_lossy(body).into_owned()));
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        self.ends.push((client.user, end));
    }
}

fn target(address: SocketAddr, path: &str) -> Target {
    format!("ws://{address}{path}").parse().expect("a target")
}

fn turn_until(fleet: &mut Fleet, talkers: &mut Talkers, done: impl Fn(&Fleet, &Talkers) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(fleet, talkers) {
        if !fleet.turn(talkers).expect("a ring") {
            fleet.wait(Duration::from_millis(5)).expect("a ring");
        }
        assert!(Instant::now() < deadline, "{} open, ends {:?}", fleet.open, talkers.ends);
    }
}

#[test]
fn many_clients_talk_and_leave() {
    raise_descriptors();
    let (_gateway, address, admin) = Process::serve(&["--echo", "/echo"]);
    let sources: Sources = "127.0.0.0/28".parse().expect("sources");
    let mut fleet = Fleet::new(sources, 500).expect("a ring");
    let mut talkers = Talkers::default();
    for user in 0..500 {
        fleet.connect(&target(address, "/echo"), user).expect("a socket");
    }
    turn_until(&mut fleet, &mut talkers, |fleet, talkers| {
        let answered = talkers.answered.values().filter(|turns| **turns == TURNS).count();
        answered == 500 && fleet.open == 0 && fleet.leaving == 0
    });
    assert_eq!((talkers.opened, fleet.messages), (500, u64::from(500 * TURNS)));
    assert_eq!(talkers.ends, [], "who leaves is not told that it left");
    // The server's FIN is here before its books are closed.
    let deadline = Instant::now() + PATIENCE;
    let is_goodbye = |line: &str| line.contains("_closed_total{") && line.contains("code=\"1000\"");
    let told = |text: &str| text.lines().any(|line| is_goodbye(line) && line.ends_with(" 500"));
    while !told(&http_get(admin, "/metrics").1) {
        assert!(Instant::now() < deadline, "{}", http_get(admin, "/metrics").1);
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn requests_are_answered_and_refusals_told() {
    let (_gateway, address, _) = Process::serve(&["--echo", "/echo"]);
    let mut fleet = Fleet::new(Sources::default(), 8).expect("a ring");
    let mut talkers = Talkers::default();
    fleet.request(&target(address, "/"), "GET", "/healthz", "", 1).expect("a socket");
    fleet.connect(&target(address, "/nowhere"), 2).expect("a socket");
    turn_until(&mut fleet, &mut talkers, |_, talkers| talkers.ends.len() == 2);
    assert_eq!(talkers.http, [(200, r#"{"status":"ok"}"#.to_owned())]);
    assert!(
        talkers.ends.contains(&(1, End::Answered))
            && talkers.ends.contains(&(2, End::Refused(404, None)))
    );
}

/// A server that says `answer` to whatever it is asked, and closes.
fn rude(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(answer);
    });
    address
}

#[test]
fn servers_that_are_none_end_a_client_and_nothing_else() {
    let absent = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let (silent, rubbish) = (rude(b""), rude(b"220 smtp ready\r\n"));
    let forged = rude(b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: none\r\n\r\n");
    let mut fleet = Fleet::new(Sources::default(), 8).expect("a ring");
    let mut talkers = Talkers::default();
    for (user, address) in [absent, silent, rubbish, forged].into_iter().enumerate() {
        fleet.connect(&target(address, "/"), user as u32).expect("a socket");
    }
    turn_until(&mut fleet, &mut talkers, |_, talkers| talkers.ends.len() == 4);
    let ends: BTreeMap<u32, End> = talkers.ends.into_iter().collect();
    assert!(matches!(&ends[&0], End::Lost(why) if why.contains("refused")), "{ends:?}");
    assert!(matches!(&ends[&1], End::Lost(_)), "{ends:?}");
    assert!(matches!(&ends[&2], End::Broken(_)), "{ends:?}");
    assert!(matches!(&ends[&3], End::Broken(why) if why.contains("Accept")), "{ends:?}");
}
