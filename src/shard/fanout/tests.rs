//! Frames to real sockets: what comes out there, and what is counted.

use std::{io::Read, os::unix::net::UnixStream, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    metrics::ShardMetrics,
    ring::{Event, Ring, RingOptions},
    shard::{
        RouteId,
        connection::{Phase, WebSocket},
    },
    ws::{Decoder, write_frame},
};

const LIMIT_BYTES: usize = 4_000;

/// A wire with one open WebSocket, and its peer.
fn wire() -> (Wire, SocketId, UnixStream) {
    let metrics = Arc::new(ShardMetrics::default());
    let options = RingOptions { tick: Duration::from_secs(3600), ..RingOptions::default() };
    let ring = Ring::new(&options, metrics.clone()).unwrap();
    let mut wire = Wire::new(ring, metrics, LIMIT_BYTES, 1_000);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let id = wire.ring.adopt(ours.into()).unwrap();
    let socket = WebSocket { decoder: Decoder::new(), ping_due: 0, route: RouteId(0) };
    wire.connections.insert(id, Phase::Open(socket), 0);
    (wire, id, theirs)
}

/// Turns as the shard does until all is written.
fn write_out(wire: &mut Wire) {
    let mut events = Vec::new();
    wire.flush();
    while unsent(wire) > 0 {
        wire.ring.turn(&mut events).unwrap();
        for event in events.drain(..) {
            if let Event::Sent(id, spare) = event {
                wire.sent(id, spare);
            }
        }
        wire.flush();
    }
}

fn unsent(wire: &Wire) -> u64 {
    wire.metrics.connections.outbox_bytes.get()
}

fn assert_comes(peer: &mut UnixStream, expected: &[u8]) {
    let mut came = vec![0; expected.len()];
    peer.read_exact(&mut came).unwrap();
    assert!(came == expected, "{:?}\ninstead of\n{:?}", came, expected);
    peer.set_nonblocking(true).unwrap();
    assert!(peer.read(&mut [0]).is_err(), "more came");
    peer.set_nonblocking(false).unwrap();
}

fn text_frame(payload: &[u8]) -> Bytes {
    let mut frame = Vec::new();
    write_frame(&mut frame, Opcode::Text, payload);
    frame.into()
}

/// What is said to a client in one turn.
#[derive(Clone, Debug)]
enum Said {
    Frame(Vec<u8>),
    Batch(Vec<Vec<u8>>),
    Text(String),
}

fn said() -> impl Strategy<Value = Said> {
    // Both sides of what is copied.
    let json = prop_oneof![4 => "[0-9]{1,300}", 1 => "[0-9]{1000,1300}"];
    let json = json.prop_map(String::into_bytes).boxed();
    prop_oneof![
        json.clone().prop_map(Said::Frame),
        prop::collection::vec(json, 0..12).prop_map(Said::Batch),
        "[a-z]{0,20}".prop_map(Said::Text),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is said in however many turns: every frame that was taken comes, in order and
    /// whole; what was not taken leaves no trace; nothing stays counted as unsent.
    #[test]
    fn what_is_taken_comes_and_nothing_else(turns in prop::collection::vec(prop::collection::vec(said(), 0..8), 1..6)) {
        let (mut wire, id, mut peer) = wire();
        let mut frames = 0;
        for turn in turns {
            let mut expected = Vec::new();
            for said in turn {
                let before = unsent(&wire);
                let (taken, frame) = match said {
                    Said::Frame(payload) => {
                        let frame = text_frame(&payload);
                        (wire.offer(id, &frame), frame)
                    }
                    Said::Batch(elements) => {
                        let list = elements.join(&b","[..]);
                        let frame = text_frame(&[b"[", &list[..], b"]"].concat());
                        let elements: Vec<Bytes> = elements.into_iter().map(Bytes::from).collect();
                        (wire.offer_batch(id, &elements), frame)
                    }
                    Said::Text(text) => (wire.say(id, &text), text_frame(text.as_bytes())),
                };
                prop_assert_eq!(unsent(&wire), before + if taken { frame.len() as u64 } else { 0 });
                prop_assert!(taken || before as usize + frame.len() + 14 > LIMIT_BYTES);
                if taken {
                    expected.extend_from_slice(&frame);
                    frames += 1;
                }
            }
            write_out(&mut wire);
            assert_comes(&mut peer, &expected);
        }
        prop_assert_eq!(wire.metrics.connections.messages_out.get(), frames);
        wire.terminate(id, CloseCode::Abnormal);
        wire.forget(id);
        prop_assert_eq!(unsent(&wire), 0);
    }
}

#[test]
fn a_full_outbox_refuses_but_an_empty_one_takes_anything() {
    let (mut wire, id, mut peer) = wire();
    let large = text_frame(&vec![b'1'; 3 * LIMIT_BYTES]);
    assert!(wire.offer(id, &large));
    assert!(!wire.offer(id, &text_frame(b"1")));
    assert!(!wire.offer_batch(id, &[Bytes::from_static(b"1")]));
    assert!(wire.say(id, "heard all the same"));
    write_out(&mut wire);
    assert_comes(&mut peer, &[&large[..], &text_frame(b"heard all the same")].concat());
    assert!(wire.offer_batch(id, std::slice::from_ref(&large)));
    write_out(&mut wire);
    assert_comes(&mut peer, &text_frame(&[b"[", &large[..], b"]"].concat()));
}

#[test]
fn whoever_is_being_closed_takes_nothing() {
    let (mut wire, id, _peer) = wire();
    wire.now_ms = 5;
    Clients::close(&mut wire, id, CloseCode::SlowConsumer, "too slow");
    let closing = unsent(&wire);
    assert!(closing > 0, "the close frame is said");
    assert!(!wire.offer(id, &text_frame(b"1")));
    assert!(!wire.offer_batch(id, &[Bytes::from_static(b"1")]));
    assert!(!wire.say(id, "1"));
    assert_eq!(unsent(&wire), closing);
    let stranger = SocketId { slot: id.slot, generation: id.generation + 1 };
    assert!(!wire.offer(stranger, &text_frame(b"1")));
    write_out(&mut wire);
}
