//! Frames of clients: headers, masks, messages, UTF-8.

use std::hint::black_box;

use ringgate::ws::{
    Decoder, Event, Input, Opcode,
    frame::Header,
    mask::Mask,
    utf8::{Progress, is_utf8},
    write_frame,
};

use crate::{Bench, Run, inputs};

/// Bytes of a message that is not short: many reads have one.
const LONG: usize = 4_096;
/// As in `scripts/bench-echo.sh`.
const SHORT: usize = 64;
/// The default of `limits.message_bytes`.
const LIMIT: usize = 16 << 20;

/// In the order of the data path.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "ws-header-64",
        operation: "the header of a masked frame of 64 bytes",
        prepare: || header(SHORT),
    },
    Bench {
        name: "ws-header-4096",
        operation: "the header of a masked frame of 4,096 bytes",
        prepare: || header(LONG),
    },
    Bench { name: "ws-mask-64", operation: "unmasking 64 bytes", prepare: || mask(SHORT) },
    Bench { name: "ws-mask-4096", operation: "unmasking 4,096 bytes", prepare: || mask(LONG) },
    Bench {
        name: "ws-text-64",
        operation: "a text of 64 bytes in one frame: parsed, unmasked, validated where it lies",
        prepare: || message(Opcode::Text, inputs::ascii(SHORT)),
    },
    Bench {
        name: "ws-text-4096",
        operation: "a text of 4,096 bytes, likewise",
        prepare: || message(Opcode::Text, inputs::ascii(LONG)),
    },
    Bench {
        name: "ws-binary-4096",
        operation: "a binary message of 4,096 bytes, likewise but for the validation",
        prepare: || message(Opcode::Binary, inputs::ascii(LONG)),
    },
    Bench {
        name: "ws-text-4096-split",
        operation: "a text of 4,096 bytes whose frame comes in two reads, so that it is copied",
        prepare: split,
    },
    Bench {
        name: "ws-text-4096-fragments",
        operation: "a text of 4,096 bytes in 8 frames of one read",
        prepare: fragments,
    },
    Bench { name: "ws-write-64", operation: "writing a text frame of 64 bytes", prepare: write },
    Bench {
        name: "utf8-ascii-4096",
        operation: "validating 4,096 bytes of ASCII at once",
        prepare: || whole(inputs::ascii(LONG)),
    },
    Bench {
        name: "utf8-mixed-4096",
        operation: "validating 4,096 bytes of several scripts at once",
        prepare: || whole(inputs::mixed(LONG)),
    },
    Bench {
        name: "utf8-pieces-4096",
        operation: "validating 4,096 bytes of several scripts in 8 pieces",
        prepare: pieces,
    },
];

fn header(payload_bytes: usize) -> Run {
    let frame = inputs::client_frame(true, Opcode::Text, &inputs::ascii(payload_bytes));
    assert!(matches!(Header::parse(&frame), Ok(Some((header, _))) if header.fin));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(Header::parse(black_box(&frame)).ok());
        }
    })
}

fn mask(bytes: usize) -> Run {
    let mut payload = inputs::ascii(bytes);
    Box::new(move |iterations| {
        for _ in 0..iterations {
            Mask::new(black_box([1, 2, 3, 4])).apply(black_box(&mut payload));
        }
    })
}

/// Reads everything; how many messages it was, and their bytes.
fn read(decoder: &mut Decoder, bytes: &mut [u8]) -> (usize, usize) {
    let mut input = Input::new(bytes);
    let (mut messages, mut length) = (0, 0);
    while let Ok(Some(event)) = decoder.next(&mut input, black_box(LIMIT)) {
        if let Event::Message { payload, .. } = event {
            messages += 1;
            length += black_box(payload).len();
        }
    }
    (messages, length)
}

fn message(opcode: Opcode, payload: Vec<u8>) -> Run {
    let mut frame = inputs::client_frame(true, opcode, &payload);
    let mut decoder = Decoder::new();
    assert_eq!(read(&mut decoder, &mut frame), (1, payload.len()));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(read(black_box(&mut decoder), black_box(&mut frame)));
        }
    })
}

fn split() -> Run {
    let mut frame = inputs::client_frame(true, Opcode::Text, &inputs::ascii(LONG));
    let mut decoder = Decoder::new();
    let mut read_both = move || {
        let (first, second) = frame.split_at_mut(LONG / 3);
        let before = read(&mut decoder, black_box(first));
        (before, read(&mut decoder, black_box(second)))
    };
    assert_eq!(read_both(), ((0, 0), (1, LONG)));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(read_both());
        }
    })
}

fn fragments() -> Run {
    let payload = inputs::mixed(LONG);
    let mut frames = Vec::new();
    for (index, piece) in payload.chunks(LONG / 8).enumerate() {
        let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
        frames.extend(inputs::client_frame(index == 7, opcode, piece));
    }
    let mut decoder = Decoder::new();
    assert_eq!(read(&mut decoder, &mut frames), (1, LONG));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(read(black_box(&mut decoder), black_box(&mut frames)));
        }
    })
}

fn write() -> Run {
    let (payload, mut out) = (inputs::ascii(SHORT), Vec::with_capacity(1_024));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            out.clear();
            write_frame(&mut out, Opcode::Text, black_box(&payload));
            black_box(&out);
        }
    })
}

fn whole(text: Vec<u8>) -> Run {
    assert!(is_utf8(&text));
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(is_utf8(black_box(&text)));
        }
    })
}

fn pieces() -> Run {
    let text = inputs::mixed(LONG);
    let validate = move || {
        let mut progress = Progress::default();
        let ends = (1..=8).map(|piece| piece * text.len() / 8);
        let good = ends.map(|end| progress.advance(black_box(&text[..end])));
        good.fold(true, |all, one| all & one.is_ok()) && progress.is_complete(&text)
    };
    assert!(validate());
    Box::new(move |iterations| {
        for _ in 0..iterations {
            black_box(validate());
        }
    })
}
