//! What goes to Redis and comes back: RESP by itself, and through the link of a shard.

use std::{hint::black_box, sync::Arc};

use ringgate::{
    broker::{
        Command, Event, Queue, Task, Ticket,
        redis::{Link, LinkLimits, Target, frames::Frames, resp::Writer},
    },
    metrics::ShardMetrics,
};

use crate::{Bench, Run, inputs};

/// Answers in one read while a shard is busy: docs/measurements.md has depths of 37 to 197.
const DEPTH: usize = 64;
const KEY: &str = "asr_chunk_queue";

/// In the order of the data path.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "rpush-pack",
        operation: "writing RPUSH of one task with 3,200 bytes of audio",
        prepare: pack,
    },
    Bench {
        name: "resp-integers-64",
        operation: "reading 64 integers, the answers to RPUSH, that come together",
        prepare: || read(b":12\r\n".repeat(DEPTH), DEPTH),
    },
    Bench {
        name: "resp-push",
        operation: "reading one published result",
        prepare: || read(result_push(), 1),
    },
    Bench {
        name: "resp-push-64",
        operation: "reading 64 published results that come together",
        prepare: || read(result_push().repeat(DEPTH), DEPTH),
    },
    Bench {
        name: "resp-push-4096",
        operation: "reading one published message of 4,096 bytes",
        prepare: || read(inputs::pushed_message("prices:AAPL", &inputs::ascii(4_096)), 1),
    },
    Bench {
        name: "link-push-64",
        operation: "64 tasks of 3,200 bytes of audio: submitted, packed, answered",
        prepare: link_push,
    },
    Bench {
        name: "link-message",
        operation: "one published result, from its bytes to the event of its channel",
        prepare: link_message,
    },
];

fn channel() -> String {
    format!("asr_result_{}", inputs::SESSION_ID)
}

fn result_push() -> Vec<u8> {
    inputs::pushed_message(&channel(), &inputs::result(inputs::SESSION_ID, 7))
}

fn pack() -> Run {
    let (task, mut output) = (inputs::chunk(inputs::SESSION_ID, 7), Vec::with_capacity(64 << 10));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            output.clear();
            let mut command = Writer::begin(&mut output, 3);
            command.argument(b"RPUSH").argument(black_box(KEY.as_bytes()));
            command.argument(black_box(&task));
            black_box(&output);
        }
    })
}

fn read(bytes: Vec<u8>, expected: usize) -> Run {
    let (mut frames, mut values) = (Frames::default(), Vec::new());
    assert_eq!(frames.read(&bytes, &mut values), Ok(()));
    assert_eq!(values.len(), expected);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            values.clear();
            let _ = black_box(frames.read(black_box(&bytes), &mut values));
            black_box(&values);
        }
    })
}

/// A link that Redis has let in.
fn connected() -> Link {
    let target = Target::parse("redis://127.0.0.1:6379/0").expect("the address of a Redis");
    let metrics = Arc::new(ShardMetrics::default());
    let mut link = Link::new(&target, "micro", LinkLimits::default(), metrics, 1);
    assert!(link.wants_dial(0));
    link.on_connected(0);
    let mut events = Vec::new();
    link.take_output(0, &mut Vec::new());
    let hello = b"%2\r\n$5\r\nproto\r\n:3\r\n$4\r\nrole\r\n$6\r\nmaster\r\n+PONG\r\n";
    link.on_bytes(hello, 0, &mut events).expect("what Redis answers to HELLO 3");
    assert_eq!(events, [Event::Up]);
    link
}

fn link_push() -> Run {
    let (mut link, answers) = (connected(), b":12\r\n".repeat(DEPTH));
    let queue = Queue::List { key: KEY.into() };
    let (payload, mut output, mut events) = (inputs::chunk(inputs::SESSION_ID, 7), vec![], vec![]);
    let mut turn = move || {
        events.clear();
        for ticket in 0..DEPTH as u64 {
            let (queue, task) = (queue.clone(), Task::plain(black_box(&payload).clone()));
            link.submit(Command::Push { ticket: Ticket(ticket), queue, task }, &mut events);
        }
        while link.has_output() {
            output.clear();
            link.take_output(1, &mut output);
            black_box(&output);
        }
        let _ = black_box(link.on_bytes(black_box(&answers), 1, &mut events));
        black_box(&events).len()
    };
    assert_eq!(turn(), DEPTH);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(turn());
        }
    })
}

fn link_message() -> Run {
    let (mut link, mut events, channel) = (connected(), Vec::new(), channel());
    link.submit(Command::Subscribe { channel: channel.as_str().into() }, &mut events);
    link.take_output(1, &mut Vec::new());
    let length = channel.len();
    let confirmed = format!(">3\r\n$9\r\nsubscribe\r\n${length}\r\n{channel}\r\n:1\r\n");
    link.on_bytes(confirmed.as_bytes(), 1, &mut events).expect("an answer to SUBSCRIBE");
    assert_eq!(events, [Event::Subscribed(channel.as_str().into())]);
    let message = result_push();
    Box::new(move |iterations| {
        for _ in 0..iterations {
            events.clear();
            let _ = black_box(link.on_bytes(black_box(&message), 1, &mut events));
            assert_eq!(black_box(&events).len(), 1);
        }
    })
}
