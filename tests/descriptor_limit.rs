//! No descriptors left. The limit is the process's, so this file has one test.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use support::{
    client::{Client, PATIENCE},
    gateway::TestGateway,
};
use tungstenite::Message;

/// Descriptors that the process may have.
const LIMIT: usize = 200;
/// Of these, those that are left to accept with.
const ROOM: usize = 20;

fn open_descriptors() -> usize {
    // The listing itself has one open.
    std::fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

fn echoes(client: &mut Client, text: &str) {
    client.socket.send(Message::text(text)).unwrap();
    loop {
        match client.socket.read().unwrap() {
            Message::Ping(_) => {}
            message => return assert_eq!(message, Message::text(text)),
        }
    }
}

#[test]
fn without_descriptors_accepting_pauses_and_goes_on() {
    let limit = Some(LIMIT as u64);
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let gateway = TestGateway::start("0", &[("echo", "/echo")]);
    let mut old = Client::connect(gateway.address, "/echo");
    echoes(&mut old, "before");
    // Clients share the process: they have their descriptors before the gateway runs out.
    let unconnected = || Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let sockets: Vec<Socket> = (open_descriptors()..LIMIT - ROOM).map(|_| unconnected()).collect();
    assert!(sockets.len() > 3 * ROOM, "{} sockets", sockets.len());
    assert_eq!(getrlimit(Resource::Nofile).current, limit);
    let mut waiting: Vec<TcpStream> = sockets
        .into_iter()
        .map(|socket| {
            // The kernel completes a connect whether or not anyone accepts.
            socket.connect(&gateway.address.into()).unwrap();
            socket.into()
        })
        .collect();
    waiting.reverse();

    gateway.until("accepting pauses", |g| g.sum(|m| m.connections.accept_errors.get()) > 0);
    let accepted = |g: &TestGateway| g.sum(|m| m.connections.accepted.get()) as usize - 1;
    let at_first = accepted(&gateway);
    assert!((ROOM / 2..2 * ROOM).contains(&at_first), "{at_first} accepted");
    echoes(&mut old, "during");
    // It doesn't spin on what it cannot have: one try a tick.
    let (errors, since) = (gateway.sum(|m| m.connections.accept_errors.get()), Instant::now());
    gateway.until("two more tries", |g| g.sum(|m| m.connections.accept_errors.get()) >= errors + 2);
    assert!(since.elapsed() >= Duration::from_millis(240), "{:?}", since.elapsed());

    // Each accepted client that leaves frees two descriptors of the process.
    while let Some(stream) = waiting.pop() {
        let mut client = Client::over(stream, gateway.address, "/echo").expect("accepted at last");
        echoes(&mut client, "waited");
        drop(client);
    }
    let deadline = Instant::now() + PATIENCE;
    while gateway.sum(|m| m.connections.open.get()) > 1 {
        assert!(Instant::now() < deadline, "their teardown");
        std::thread::yield_now();
    }
    echoes(&mut old, "after");
    Client::connect(gateway.address, "/echo").close();
    old.close();
    gateway.until_quiet();
}
