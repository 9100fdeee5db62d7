//! Writes of every kind, through sockets that take a little at a time.

use std::{os::unix::net::UnixStream, thread};

use bytes::Bytes;
use proptest::prelude::*;
use rustix::process::{Rlimit, setrlimit};

use super::*;
use crate::ring::write::tests::pieces;

/// What one write is made of.
fn parts() -> impl Strategy<Value = Vec<(bool, Vec<u8>)>> {
    let sizes = prop_oneof![6 => 0..40_usize, 2 => 0..5_000_usize, 1 => 0..60_000_usize];
    let part = (any::<bool>(), sizes, any::<u8>());
    let part = part.prop_map(|(shared, len, seed)| (shared, pattern(len, usize::from(seed))));
    prop::collection::vec(part, 1..200)
}

/// The write that an outbox makes of `parts`.
fn write_of(parts: &[(bool, Vec<u8>)]) -> (Write, Vec<u8>) {
    let (pieces, all) = pieces(parts);
    let write = match parts {
        [(true, bytes)] => Write::Shared(Bytes::copy_from_slice(bytes)),
        _ if pieces.is_owned() => Write::Owned(all.clone()),
        _ => Write::Gathered(Box::new(pieces)),
    };
    (write, all)
}

/// A pair whose first end takes about `send_bytes` at a time.
fn narrow_pair(send_bytes: usize) -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    SockRef::from(&ours).set_send_buffer_size(send_bytes).unwrap();
    (ours, theirs)
}

/// Reads all that comes in steps of `step` bytes.
fn read_slowly(mut stream: UnixStream, step: usize) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut all, mut buffer) = (Vec::new(), vec![0; step]);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return all,
                len => all.extend_from_slice(&buffer[..len]),
            }
        }
    })
}

/// Drives the ring until `count` of its writes are done.
fn await_sent(ring: &mut Ring, count: usize) -> Vec<Spare> {
    let (mut spares, mut events) = (Vec::new(), Vec::new());
    while spares.len() < count {
        if ring.turn(&mut events).unwrap() == 0 && ring.prepare_sleep().unwrap() {
            ring.waker().clone().block();
        }
        ring.awake();
        for event in events.drain(..) {
            match event {
                Event::Sent(_, spare) => spares.push(spare),
                Event::Tick => {}
                other => panic!("{other:?}"),
            }
        }
    }
    spares
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the mix of pieces and however short the writes: everything goes out once and
    /// in order, and what comes back is empty.
    #[test]
    fn every_mix_goes_out_once_and_in_order(
        writes in prop::collection::vec(parts(), 1..5),
        send_bytes in 1_usize..20_000,
        step in 1_usize..30_000,
        registered in prop_oneof![Just(0_u32), Just(1024)],
    ) {
        let options = RingOptions { registered_sockets: registered, ..RingOptions::default() };
        let mut ring = Ring::new(&options, Arc::new(ShardMetrics::default())).unwrap();
        let (ours, theirs) = narrow_pair(send_bytes);
        let id = ring.adopt(ours.into()).unwrap();
        let reader = read_slowly(theirs, step.max(200));
        let mut expected = Vec::new();
        for parts in &writes {
            let (write, all) = write_of(parts);
            expected.extend_from_slice(&all);
            ring.send(id, write).unwrap();
            for spare in await_sent(&mut ring, 1) {
                match spare {
                    Spare::None => {}
                    Spare::Buffer(buffer) => prop_assert!(buffer.is_empty()),
                    Spare::Pieces(pieces) => prop_assert!(pieces.is_empty() && pieces.is_owned()),
                }
            }
        }
        ring.finish(id);
        let came = reader.join().unwrap();
        prop_assert!(came == expected, "{} of {} bytes, or others", came.len(), expected.len());
        prop_assert!(ring.writes.is_empty());
        ring.drain(8).unwrap();
    }
}

/// One piece sent by many sockets at once lies in one place.
#[test]
fn a_shared_frame_reaches_thousands_in_one_turn() {
    const SOCKETS: usize = 3_000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let mut ring = Ring::new(&RingOptions::default(), Arc::new(ShardMetrics::default())).unwrap();
    let frame = Bytes::from(pattern(64, 1));
    let mut peers = Vec::new();
    for _ in 0..SOCKETS {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let id = ring.adopt(ours.into()).unwrap();
        ring.send(id, Write::Shared(frame.clone())).unwrap();
        peers.push(theirs);
    }
    let spares = await_sent(&mut ring, SOCKETS);
    assert!(spares.iter().all(|spare| matches!(spare, Spare::None)));
    for mut peer in peers {
        let mut came = [0; 64];
        peer.read_exact(&mut came).unwrap();
        assert_eq!(came[..], frame[..]);
    }
    assert!(frame.is_unique(), "the ring has let go of it");
    ring.drain(8).unwrap();
}

/// A peer that is gone in the middle of it leaves nothing behind.
#[test]
fn closing_joins_gathered_and_shared_writes() {
    let shared = Bytes::from(vec![3; 4 << 20]);
    let mut mixed = Pieces::default();
    mixed.owned().extend_from_slice(b"first");
    mixed.share(shared.clone());
    for write in [Write::Shared(shared.clone()), Write::Gathered(Box::new(mixed))] {
        let mut ring =
            Ring::new(&RingOptions::default(), Arc::new(ShardMetrics::default())).unwrap();
        let (ours, _theirs) = narrow_pair(10_000);
        let id = ring.adopt(ours.into()).unwrap();
        ring.send(id, write).unwrap();
        for _ in 0..10 {
            ring.turn(&mut Vec::new()).unwrap();
        }
        assert!(ring.send(id, vec![1]).is_err(), "the first write is in flight");
        assert_eq!(ring.drain(8).unwrap(), [id]);
        assert!(ring.writes.is_empty());
    }
    assert!(shared.is_unique(), "the ring has let go of it");
}
