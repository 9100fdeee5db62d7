//! The engine on real sockets, driven by a blocking loop without any executor.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use super::*;

mod timer;
mod writes;

/// What a test does with an event besides the echo.
type Watch<'a> = dyn FnMut(&mut Ring, &Event) -> bool + 'a;

fn ring(options: RingOptions) -> (Ring, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut ring = Ring::new(&options, Arc::new(ShardMetrics::default())).unwrap();
    ring.listen(listener.into()).unwrap();
    (ring, address)
}

/// Echoes everything until `watch` says that it has seen enough. Each socket's output
/// waits in `outboxes` while a write is in flight, as a shard's does.
fn echo(ring: &mut Ring, watch: &mut Watch) {
    let mut outboxes = std::collections::HashMap::<SocketId, Vec<u8>>::new();
    let mut events = Vec::new();
    loop {
        if ring.turn(&mut events).unwrap() == 0 && ring.prepare_sleep().unwrap() {
            ring.waker().clone().block();
        }
        ring.awake();
        for event in events.drain(..) {
            let done = watch(ring, &event);
            match event {
                Event::Received(id, mut received) => {
                    let outbox = outboxes.entry(id).or_default();
                    outbox.extend_from_slice(received.bytes_mut());
                    ring.recycle(id, received);
                    flush(ring, id, outbox);
                }
                Event::Sent(id, _) => flush(ring, id, outboxes.entry(id).or_default()),
                Event::PeerFinished(id) | Event::Failed(id, _) => ring.close(id),
                Event::Accepted(_) | Event::Freed(_) | Event::AcceptStopped(_) => {}
                Event::Tick | Event::Timer => {}
            }
            if done {
                return;
            }
        }
    }
}

fn flush(ring: &mut Ring, id: SocketId, outbox: &mut Vec<u8>) {
    if !outbox.is_empty()
        && let Err(Write::Owned(unsent)) = ring.send(id, std::mem::take(outbox))
    {
        *outbox = unsent;
    }
}

/// A watch that ends the loop when `count` sockets have been freed.
fn freed(count: usize) -> impl FnMut(&mut Ring, &Event) -> bool {
    let mut seen = 0;
    move |_, event| {
        seen += usize::from(matches!(event, Event::Freed(_)));
        seen == count
    }
}

/// Sends `payload` in one thread and reads its echo in another, then leaves.
fn client(address: SocketAddr, payload: Vec<u8>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let sent = payload.clone();
        let sender = thread::spawn(move || writer.write_all(&sent).unwrap());
        let mut echoed = vec![0; payload.len()];
        stream.read_exact(&mut echoed).unwrap();
        sender.join().unwrap();
        assert!(echoed == payload, "the echo differs");
    })
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 31 + seed * 7) >> 3) as u8).collect()
}

#[test]
fn echoes_and_frees_every_socket() {
    let (mut ring, address) = ring(RingOptions::default());
    let clients: Vec<_> = (0..20).map(|i| client(address, pattern(1000 * i + 1, i))).collect();
    echo(&mut ring, &mut freed(20));
    clients.into_iter().for_each(|c| c.join().unwrap());
    assert_eq!(ring.live_sockets(), 0);
    assert!(ring.writes.is_empty());
}

/// 8 MB through a peer that reads late: writes are short, sockets block, nothing is lost.
#[test]
fn short_writes_go_on_where_they_stopped() {
    let (mut ring, address) = ring(RingOptions::default());
    let large = client(address, pattern(8 << 20, 3));
    echo(&mut ring, &mut freed(1));
    large.join().unwrap();
}

#[test]
fn one_receive_buffer_serves_many_sockets() {
    let options =
        RingOptions { receive_buffers: 1, receive_buffer_bytes: 64, ..RingOptions::default() };
    let (mut ring, address) = ring(options);
    let clients: Vec<_> = (0..30).map(|i| client(address, pattern(2000, i))).collect();
    echo(&mut ring, &mut freed(30));
    clients.into_iter().for_each(|c| c.join().unwrap());
    assert!(ring.metrics.ring.buffer_waits.get() > 0, "the pool was never short: tests nothing");
    let buffer = ring.buffers.lend().expect("the buffer came back");
    assert_eq!(ring.buffers.target(buffer).len(), 64);
}

#[test]
fn sockets_past_the_registered_ones_work_alike() {
    let (mut ring, address) = ring(RingOptions { registered_sockets: 2, ..RingOptions::default() });
    let clients: Vec<_> = (0..30).map(|i| client(address, pattern(2000, i))).collect();
    echo(&mut ring, &mut freed(30));
    clients.into_iter().for_each(|c| c.join().unwrap());
    assert_eq!(ring.live_sockets(), 0);
}

/// Completions that the kernel had to keep aside are not lost.
#[test]
fn a_full_completion_queue_loses_nothing() {
    let options = RingOptions { completion_entries: 8, ..RingOptions::default() };
    let (mut ring, address) = ring(options);
    let clients: Vec<_> = (0..200).map(|i| client(address, pattern(3000, i))).collect();
    echo(&mut ring, &mut freed(200));
    clients.into_iter().for_each(|c| c.join().unwrap());
    assert_eq!(ring.live_sockets(), 0);
    assert!(ring.metrics.ring.overflows.get() > 0, "the queue was never full: tests nothing");
}

#[test]
fn closing_with_operations_in_flight_joins_them_first() {
    let (mut ring, address) = ring(RingOptions::default());
    // Never reads, so that the write stays in flight.
    let _stuck = TcpStream::connect(address).unwrap();
    let (mut id_seen, mut ended) = (None, false);
    echo(&mut ring, &mut |ring, event| {
        match event {
            Event::Accepted(id) => {
                ring.send(*id, vec![7; 64 << 20]).unwrap();
                id_seen = Some(*id);
            }
            Event::Tick => ring.close(id_seen.expect("accepted before the first tick")),
            Event::Freed(id) => {
                assert_eq!(Some(*id), id_seen);
                assert!(ring.send(*id, vec![1]).is_err(), "a freed name takes nothing");
                ended = true;
            }
            Event::Sent(..) => panic!("64 MB don't fit into socket buffers"),
            _ => {}
        }
        ended
    });
    assert!(ring.writes.is_empty());
}

#[test]
fn a_slot_used_again_hears_nothing_of_its_predecessor() {
    let (mut ring, address) = ring(RingOptions::default());
    let mut ids = std::collections::HashSet::new();
    for round in 0..50 {
        let peer = client(address, pattern(10, round));
        let mut all_freed = freed(1);
        echo(&mut ring, &mut |ring, event| {
            if let Event::Accepted(id) = event {
                assert_eq!(id.slot, 0, "the table stays dense");
                assert!(ids.insert(*id), "a name was given twice");
            }
            all_freed(ring, event)
        });
        peer.join().unwrap();
    }
}

#[test]
fn a_paused_socket_is_not_read_until_resumed() {
    let (mut ring, address) = ring(RingOptions::default());
    let peer = client(address, pattern(300_000, 5));
    let (mut paused, mut ticks, mut ended) = (None, 0, freed(1));
    echo(&mut ring, &mut |ring, event| {
        match event {
            Event::Received(id, _) if ticks == 0 && paused.is_none() => {
                ring.pause(*id);
                paused = Some(*id);
            }
            Event::Received(..) if ticks < 2 => panic!("read while paused"),
            Event::Tick => {
                ticks += 1;
                if ticks == 2 {
                    ring.resume(paused.expect("data came within two ticks"));
                }
            }
            _ => {}
        }
        ended(ring, event)
    });
    peer.join().unwrap();
}

#[test]
fn a_waker_ends_the_sleep_from_another_thread() {
    let (mut ring, _address) =
        ring(RingOptions { tick: Duration::from_secs(3600), ..RingOptions::default() });
    let waker = ring.waker().clone();
    let mut events = Vec::new();
    for _ in 0..1000 {
        while ring.turn(&mut events).unwrap() > 0 {}
        assert!(ring.prepare_sleep().unwrap());
        let remote = waker.clone();
        let other = thread::spawn(move || remote.wake());
        waker.block();
        ring.awake();
        other.join().unwrap();
    }
}

#[test]
fn drain_frees_everything_and_stops_listening() {
    let (mut ring, address) = ring(RingOptions::default());
    let idle: Vec<_> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut accepted = 0;
    echo(&mut ring, &mut |_, event| {
        accepted += usize::from(matches!(event, Event::Accepted(_)));
        accepted == idle.len()
    });
    let freed = ring.drain(8).unwrap();
    assert_eq!(freed.len(), idle.len(), "each is told of once");
    assert_eq!(ring.live_sockets(), 0);
    assert!(!ring.is_listening());
    assert!(TcpStream::connect(address).is_err());
}

/// A slot freed and taken again within one turn: the shard must hear of the end of the old
/// socket before the start of the new one, or the old one's teardown finds nothing.
#[test]
fn freed_comes_before_its_slot_is_accepted_again() {
    let (ring, address) = ring(RingOptions::default());
    const THREADS: usize = 4;
    const ROUNDS: usize = 250;
    let storm = || {
        for _ in 0..ROUNDS {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&[1]).unwrap();
            // Fails once the test has: it must not hang then.
            if stream.read_exact(&mut [0]).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(storm);
        }
        let mut live = std::collections::HashMap::new();
        let mut all_freed = freed(THREADS * ROUNDS);
        let mut ring = ring;
        echo(&mut ring, &mut |ring, event| {
            match event {
                Event::Accepted(id) => {
                    let before = live.insert(id.slot, id.generation);
                    assert_eq!(before, None, "slot {} is not free yet", id.slot);
                }
                Event::Freed(id) => assert_eq!(live.remove(&id.slot), Some(id.generation)),
                _ => {}
            }
            all_freed(ring, event)
        });
        assert_eq!(ring.live_sockets(), 0);
    });
}

/// A socket that always has more to read gives its buffer to those that wait for one.
#[test]
fn a_flooding_socket_does_not_starve_those_that_wait_for_a_buffer() {
    let options =
        RingOptions { receive_buffers: 1, receive_buffer_bytes: 64, ..RingOptions::default() };
    let (mut ring, address) = ring(options);
    let mut flood = TcpStream::connect(address).unwrap();
    flood.set_nonblocking(true).unwrap();
    while flood.write(&[1; 1 << 16]).is_ok() {}
    let (mut events, mut first, mut quiet, mut reads) = (Vec::new(), None, None, 0);
    loop {
        ring.turn(&mut events).unwrap();
        for event in events.drain(..) {
            let Event::Received(id, received) = event else { continue };
            ring.recycle(id, received);
            if *first.get_or_insert(id) != id {
                return;
            }
            reads += 1;
            // 64 bytes each of the megabytes that socket buffers hold.
            assert!(reads < 1_000, "the second socket is never read");
            if reads == 10 {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&[2]).unwrap();
                quiet.replace(stream);
            }
        }
    }
}
