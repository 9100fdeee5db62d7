//! Random bytes at the sockets of a running gateway, before and after the upgrade, from
//! several connections at once: it neither fails nor keeps anything, and a client beside
//! them notices nothing. The seed is printed; `RINGGATE_FUZZ_SEED` gives it again.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use support::{
    client::{Client, raw_upgraded},
    gateway::TestGateway,
};

const LASTS: Duration = Duration::from_secs(4);
const ATTACKERS: u64 = 6;
/// An attacker reads what it is answered for at most this long.
const ANSWER: Duration = Duration::from_millis(20);

const REQUEST: &[u8] = b"GET /echo HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

const POST: &[u8] = b"POST /v1/sessions HTTP/1.1\r\nHost: test\r\nContent-Length: 41\r\n\r\n\
    {\"topics\":[\"a\",\"b\"],\"user_id\":\"somebody\"}";

/// Sessions end with their connection, or soon.
const FILE: &str = r#"
[[route]]
path = "/ws/asr"
kind = "tasks"
resume_ms = 0
[[route]]
path = "/ws/topics"
kind = "topics"
session_ttl = "1s"
"#;

#[test]
fn random_bytes_harm_nobody_and_leave_nothing() {
    let seed = std::env::var("RINGGATE_FUZZ_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64)
    });
    println!("RINGGATE_FUZZ_SEED={seed}");
    let flags = [("echo", "/echo"), ("close-deadline", "200ms")];
    let gateway = TestGateway::start_with("0,1", &flags, Some(FILE));
    gateway.until("the broker", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let (address, until) = (gateway.address, Instant::now() + LASTS);
    let rounds: u64 = thread::scope(|scope| {
        let attackers: Vec<_> = (0..ATTACKERS)
            .map(|index| scope.spawn(move || attack(address, seed.wrapping_add(index), until)))
            .collect();
        bystand(address, until);
        attackers.into_iter().map(|attacker| attacker.join().expect("an attacker")).sum()
    });
    assert!(rounds > ATTACKERS, "no attack at all");
    gateway.until_quiet();
    bystand(address, Instant::now());
    gateway.until_quiet();
    assert_eq!(gateway.each(|m| m.connections.listening.get()), [1, 1]);
}

/// Sessions, one after another, each of which must be complete.
fn bystand(address: SocketAddr, until: Instant) {
    let mut client = Client::connect(address, "/ws/asr");
    for round in 0.. {
        let session = format!("bystander-{round}");
        client.start(&session);
        (0..5).for_each(|index| client.chunk(&session, index, &[0; 320]));
        client.finish(&session);
        let (_, last) = client.until_final();
        assert_eq!((&last["complete"], &last["session_id"]), (&true.into(), &session.into()));
        if Instant::now() >= until {
            return client.close();
        }
    }
}

fn attack(address: SocketAddr, seed: u64, until: Instant) -> u64 {
    let (mut dice, mut rounds) = (Dice(seed), 0);
    while Instant::now() < until {
        let mut stream = match dice.below(3) {
            0 => TcpStream::connect(address).expect("it listens"),
            1 => raw_upgraded(address, "/echo"),
            _ => raw_upgraded(address, "/ws/asr"),
        };
        stream.set_read_timeout(Some(ANSWER)).expect("a timeout");
        stream.set_write_timeout(Some(ANSWER)).expect("a timeout");
        for _ in 0..=dice.below(4) {
            let bytes = input(&mut dice);
            // The gateway may have closed it by now.
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
        match dice.below(4) {
            0 => drop(stream.shutdown(Shutdown::Write)),
            1 => drop(stream.read(&mut [0; 4096])),
            2 => drop(stream.read_to_end(&mut Vec::new())),
            _ => {}
        }
        rounds += 1;
    }
    rounds
}

/// Noise, a request with noise in it, or frames with noise in their heads or payloads.
fn input(dice: &mut Dice) -> Vec<u8> {
    match dice.below(4) {
        0 => dice.bytes(600),
        1 => {
            let whole = if dice.below(3) == 0 { POST } else { REQUEST };
            let mut request = whole.to_vec();
            for _ in 0..dice.below(4) {
                let at = dice.below(request.len() as u64) as usize;
                request[at] = dice.next() as u8;
            }
            request.truncate(1 + dice.below(2 * whole.len() as u64) as usize);
            request
        }
        2 => {
            let mut bytes = Vec::new();
            (0..dice.below(20)).for_each(|_| frame(dice, &mut bytes));
            bytes
        }
        _ => {
            let mut bytes = Vec::new();
            (0..dice.below(20)).for_each(|_| frame(dice, &mut bytes));
            let at = dice.below(bytes.len() as u64 + 1) as usize;
            bytes.insert(at, dice.next() as u8);
            bytes
        }
    }
}

/// A masked frame of any opcode; often a text one with half-right JSON.
fn frame(dice: &mut Dice, out: &mut Vec<u8>) {
    const TEXTS: [&[u8]; 5] = [
        br#"{"action":"start"}"#,
        br#"{"action":"start","session_id":"fuzz"}"#,
        br#"{"action":"chunk","session_id":"fuzz","chunk_index":-1,"audio_data":"AAAA"}"#,
        br#"{"action":"chunk","session_id":"fuzz","chunk_index":99999999999,"audio_data":"!"}"#,
        br#"{"action":"finish","session_id":"fuzz"}"#,
    ];
    let (first, payload) = match dice.below(3) {
        0 => (dice.next() as u8, dice.bytes(125)),
        1 => (0x80 | dice.below(11) as u8, dice.bytes(125)),
        _ => (0x81, TEXTS[dice.below(5) as usize].to_vec()),
    };
    let mask = (dice.next() as u32).to_be_bytes();
    out.extend([first, 0x80 | payload.len().min(125) as u8]);
    out.extend(mask);
    out.extend(payload.iter().take(125).enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        (0..self.below(length_max)).map(|_| self.next() as u8).collect()
    }
}
