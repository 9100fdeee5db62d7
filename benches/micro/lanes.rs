//! What every message passes on its way out: the lane to another shard, the outbox; and the wheel
//! of deadlines.

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use ringgate::{
    ids::ShardId,
    limits::{CONNECTION_WHEEL_SLOTS, COPIED_PIECE_BYTES, TICK_MS},
    metrics::ShardMetrics,
    outbox::Outbox,
    ring::{Spare, Write},
    router::{Lane, Message, Router},
    tasks::RouteTag,
    topics::{InterestId, Publication, Topic, TopicMessage},
    wheel::Wheel,
    ws::{Opcode, write_frame},
};

use crate::{Bench, Run, inputs};

/// Connections on the wheel of a shard.
const KEYS: u32 = 10_000;
/// Between two pings, by default.
const PERIOD_MS: u64 = 30_000;

/// In the order of the data path.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "router-hop",
        operation: "one publication to another shard and out of its lane, on one thread; nobody \
                    sleeps",
        prepare: || hop(1),
    },
    Bench {
        name: "router-hop-64",
        operation: "64 publications in one turn, likewise",
        prepare: || hop(64),
    },
    Bench {
        name: "outbox-owned",
        operation: "a frame of 64 bytes into an outbox, and out of it as a write",
        prepare: owned,
    },
    Bench { name: "outbox-shared", operation: "a shared frame, likewise", prepare: shared },
    Bench {
        name: "outbox-gathered-8",
        operation: "8 shared pieces of 1 KiB with a comma behind each, in one write",
        prepare: gathered,
    },
    Bench { name: "wheel-arm", operation: "a later deadline for one of 10,000 keys", prepare: arm },
    Bench {
        name: "wheel-round",
        operation: "one round of 30 s, in which each of 10,000 keys is due once and armed again",
        prepare: round,
    },
];

fn hop(batch: usize) -> Run {
    let metrics: Vec<Arc<ShardMetrics>> = (0..2).map(|_| Arc::default()).collect();
    let mut routers = Router::<Message>::mesh(&metrics);
    let (mut to, mut from) = (routers.pop().expect("two"), routers.pop().expect("two"));
    let topic = Topic::parse("AAPL").expect("a topic");
    let publication = Arc::new(Publication::encode(&topic, &inputs::price(7), 1));
    let interest = InterestId { slot: 0, number: 0 };
    let tag = RouteTag::new(0).expect("the first route");
    let mut messages = Vec::new();
    let mut turn = move || {
        for _ in 0..batch {
            let publication = black_box(&publication).clone();
            let message = TopicMessage::Publish { interest, of: 0, publication, lost_before: 0 };
            let sent = from.send(ShardId(1), Lane::FanOut, Message::Topics(tag, message));
            assert!(sent.is_ok(), "there is room");
        }
        from.flush();
        to.collect(&mut messages);
        black_box(&messages);
        messages.drain(..).count()
    };
    assert_eq!(turn(), batch);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(turn());
        }
    })
}

/// What the ring does of a write: it hands back what is left.
fn carry_out(write: Write) -> Spare {
    match black_box(write) {
        Write::Owned(mut buffer) => {
            buffer.clear();
            Spare::Buffer(buffer)
        }
        Write::Shared(_) => Spare::None,
        Write::Gathered(mut pieces) => {
            pieces.clear();
            Spare::Pieces(pieces)
        }
    }
}

/// One write of an outbox that `fill` has filled.
fn writer(fill: impl Fn(&mut Outbox) + 'static) -> Run {
    let mut outbox = Outbox::default();
    let mut turn = move || {
        fill(black_box(&mut outbox));
        let write = outbox.take_write();
        let is_some = write.is_some();
        if let Some(write) = write {
            outbox.written(carry_out(write));
        }
        is_some && outbox.is_idle()
    };
    assert!(turn());
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(turn());
        }
    })
}

fn owned() -> Run {
    let payload = inputs::ascii(64);
    writer(move |outbox| write_frame(outbox.gather(), Opcode::Text, black_box(&payload)))
}

fn shared() -> Run {
    let frame = Bytes::from(inputs::ascii(66));
    writer(move |outbox| outbox.share(black_box(&frame)))
}

fn gathered() -> Run {
    let piece = Bytes::from(inputs::ascii(COPIED_PIECE_BYTES));
    writer(move |outbox| {
        for _ in 0..8 {
            outbox.share(black_box(&piece));
            outbox.gather().push(b',');
        }
    })
}

/// Every key armed, spread evenly over a period.
fn armed() -> Wheel {
    let mut wheel = Wheel::new(TICK_MS, CONNECTION_WHEEL_SLOTS);
    for key in 0..KEYS {
        wheel.arm(key, 1 + u64::from(key) * PERIOD_MS / u64::from(KEYS));
    }
    wheel
}

fn arm() -> Run {
    let (mut wheel, mut step) = (armed(), 0_u32);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            // A prime apart: clients speak in no order.
            step = (step + 7_919) % KEYS;
            wheel.arm(black_box(step), black_box(PERIOD_MS));
        }
    })
}

fn round() -> Run {
    let (mut wheel, mut due, mut now_ms) = (armed(), Vec::new(), 0);
    let mut one_round = move || {
        let (until_ms, mut count) = (now_ms + PERIOD_MS, 0);
        while now_ms < until_ms {
            now_ms += TICK_MS;
            wheel.expire(black_box(now_ms), &mut due);
            count += due.len();
            for key in due.drain(..) {
                wheel.arm(key, now_ms + PERIOD_MS);
            }
        }
        count
    };
    assert_eq!(one_round(), KEYS as usize);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(one_round());
        }
    })
}
