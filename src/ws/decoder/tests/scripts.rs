//! What clients send, with what should come of it: the model of the properties.

use proptest::sample::Index;

use super::*;

/// Frames of a client that keeps to the protocol, and what they mean.
#[derive(Clone, Debug)]
pub struct Script {
    pub frames: Vec<ClientFrame>,
    pub expected: Vec<Seen>,
}

impl Script {
    pub fn bytes(&self) -> Vec<u8> {
        self.frames.iter().flat_map(ClientFrame::bytes).collect()
    }

    pub fn has_close(&self) -> bool {
        matches!(self.expected.last(), Some(Seen::Close(..)))
    }
}

/// A few messages, whole and fragmented, with control frames before and inside them, and
/// perhaps a close frame at the end.
pub fn scripts() -> impl Strategy<Value = Script> {
    let close = prop::option::of((close_code(), "\\PC{0,30}"));
    (prop::collection::vec(message(), 0..6), close, any::<[u8; 4]>()).prop_map(
        |(messages, close, mask_key)| {
            let mut script = Script { frames: Vec::new(), expected: Vec::new() };
            for message in messages {
                message.append(&mut script);
            }
            if let Some((code, reason)) = close {
                let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
                script.frames.push(ClientFrame::new(true, Opcode::Close, mask_key, &payload));
                script.expected.push(Seen::Close(Some(code), reason));
            }
            script
        },
    )
}

/// Scripts with something wrong: a part of a frame, any byte, or the end is missing.
pub fn damaged_bytes() -> impl Strategy<Value = Vec<u8>> {
    let first =
        prop_oneof![Just(0x00), Just(0x01), Just(0x80), Just(0x81), Just(0x82), any::<u8>()];
    let damage = prop_oneof![
        (any::<Index>(), first).prop_map(|(at, first)| Damage::First(at, first)),
        any::<Index>().prop_map(Damage::Length),
        any::<Index>().prop_map(Damage::Unmasked),
        (any::<Index>(), any::<Index>(), any::<u8>())
            .prop_map(|(at, byte_at, byte)| Damage::Payload(at, byte_at, byte)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<Index>().prop_map(Damage::Truncated),
    ];
    (scripts(), prop::collection::vec(damage, 1..3)).prop_map(|(script, damages)| {
        let mut frames = script.frames.clone();
        for damage in &damages {
            damage.apply_to_frames(&mut frames);
        }
        let mut bytes: Vec<u8> = frames.iter().flat_map(ClientFrame::bytes).collect();
        for damage in &damages {
            damage.apply_to_bytes(&mut bytes);
        }
        bytes
    })
}

#[derive(Clone, Debug)]
enum Damage {
    First(Index, u8),
    Length(Index),
    Unmasked(Index),
    Payload(Index, Index, u8),
    Byte(Index, u8),
    Truncated(Index),
}

impl Damage {
    fn apply_to_frames(&self, frames: &mut [ClientFrame]) {
        let (Self::First(at, _) | Self::Length(at) | Self::Unmasked(at) | Self::Payload(at, ..)) =
            self
        else {
            return;
        };
        if frames.is_empty() {
            return;
        }
        let frame = at.get_mut(frames);
        match self {
            Self::First(_, first) => frame.first = *first,
            Self::Length(_) => frame.length_bytes = 2,
            Self::Unmasked(_) => frame.mask_key = None,
            Self::Payload(_, at, byte) if !frame.payload.is_empty() => {
                *at.get_mut(&mut frame.payload) = *byte;
            }
            _ => {}
        }
    }

    fn apply_to_bytes(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Byte(at, byte) if !bytes.is_empty() => *at.get_mut(bytes.as_mut_slice()) = *byte,
            Self::Truncated(end) => bytes.truncate(end.index(bytes.len() + 1)),
            _ => {}
        }
    }
}

/// One message as a client may cut it.
#[derive(Clone, Debug)]
struct Planned {
    kind: Kind,
    payload: Vec<u8>,
    cuts: Vec<Index>,
    /// Before which of the fragments, ping or pong, payload.
    controls: Vec<(Index, bool, Vec<u8>)>,
    mask_key: [u8; 4],
}

fn message() -> impl Strategy<Value = Planned> {
    let text = prop::collection::vec(any::<char>(), 0..60)
        .prop_map(|text| (Kind::Text, String::from_iter(text).into_bytes()));
    let bytes = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40),
        3 => prop::collection::vec(any::<u8>(), 120..400),
        1 => (65_530usize..65_560, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ];
    let control = (any::<Index>(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..126));
    (
        prop_oneof![text, bytes.prop_map(|bytes| (Kind::Binary, bytes))],
        prop::collection::vec(any::<Index>(), 0..4),
        prop::collection::vec(control, 0..3),
        any::<[u8; 4]>(),
    )
        .prop_map(|((kind, payload), cuts, controls, mask_key)| Planned {
            kind,
            payload,
            cuts,
            controls,
            mask_key,
        })
}

/// Codes that the oracle lets pass too (it does not know 1014).
fn close_code() -> impl Strategy<Value = u16> {
    prop_oneof![
        prop::sample::select(vec![
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013
        ]),
        3000u16..5000,
    ]
}

impl Planned {
    fn append(self, script: &mut Script) {
        let mut ends: Vec<usize> =
            self.cuts.iter().map(|cut| cut.index(self.payload.len() + 1)).collect();
        ends.sort_unstable();
        ends.push(self.payload.len());
        let mut begin = 0;
        for (at, &end) in ends.iter().enumerate() {
            for (before, is_ping, payload) in &self.controls {
                if before.index(ends.len()) == at {
                    let opcode = if *is_ping { Opcode::Ping } else { Opcode::Pong };
                    script.frames.push(ClientFrame::new(true, opcode, self.mask_key, payload));
                    script.expected.push(if *is_ping {
                        Seen::Ping(payload.clone())
                    } else {
                        Seen::Pong(payload.clone())
                    });
                }
            }
            let opcode = match (at, self.kind) {
                (0, Kind::Text) => Opcode::Text,
                (0, Kind::Binary) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            let fin = at == ends.len() - 1;
            let payload = &self.payload[begin..end];
            script.frames.push(ClientFrame::new(fin, opcode, self.mask_key, payload));
            begin = end;
        }
        script.expected.push(Seen::Message(self.kind, self.payload));
    }
}
