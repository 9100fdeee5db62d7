//! ▢ What passes the network card: packets and bits, with every header that the wire carries.
//!
//! Upper bounds: each message goes in segments of its own, and is acknowledged by packets of their
//! own, one for two segments. A busy connection does with less.

use serde::Serialize;

use super::traffic::{Flows, Stream};

/// Payload of one TCP segment: 1,500 less IP 20, TCP 20 and timestamps 12.
pub const SEGMENT_BYTES: f64 = 1_448.0;
/// Those headers.
const HEADER_BYTES: f64 = 52.0;
/// Ethernet: header 14, checksum 4, preamble 8, gap 12.
const ETHERNET_BYTES: f64 = 38.0;
const BITS_PER_BYTE: f64 = 8.0;
/// A client's frame is masked.
const MASK_BYTES: f64 = 4.0;

/// Both directions.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Network {
    /// From clients.
    pub inbound: Direction,
    /// To clients.
    pub outbound: Direction,
}

/// One direction.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Direction {
    /// WebSocket messages.
    pub messages_per_second: f64,
    /// Their payload.
    pub payload_bytes_per_second: f64,
    /// Packets, acknowledgements included.
    pub packets_per_second: f64,
    /// Bits on the wire.
    pub bits_per_second: f64,
}

/// What `flows` come to on the wire, to and from clients; Redis is in [`super::redis`].
pub fn estimate(flows: &Flows) -> Network {
    let inbound = [flows.messages, flows.chunks, flows.pings];
    let outbound = [flows.replies, flows.acks, flows.results, flows.fan_out, flows.pings];
    let (received, sent) = (segments(&inbound, MASK_BYTES), segments(&outbound, 0.0));
    Network {
        inbound: direction(&inbound, MASK_BYTES, received.data, sent.acknowledgements),
        outbound: direction(&outbound, 0.0, sent.data, received.acknowledgements),
    }
}

/// Bytes of a frame's header without its mask (RFC 6455, section 5.2).
pub fn frame_header_bytes(payload_bytes: f64) -> f64 {
    match payload_bytes {
        bytes if bytes <= 125.0 => 2.0,
        bytes if bytes <= 65_535.0 => 4.0,
        _ => 10.0,
    }
}

struct Segments {
    data: f64,
    acknowledgements: f64,
}

fn segments(streams: &[Stream], mask_bytes: f64) -> Segments {
    let of = |stream: &Stream| (frame_bytes(stream, mask_bytes) / SEGMENT_BYTES).ceil();
    let sum = |one: &dyn Fn(&Stream) -> f64| {
        streams.iter().map(|stream| stream.per_second * one(stream)).sum()
    };
    Segments { data: sum(&of), acknowledgements: sum(&|stream| (of(stream) / 2.0).ceil()) }
}

fn direction(streams: &[Stream], mask_bytes: f64, data: f64, acknowledgements: f64) -> Direction {
    let frames: f64 =
        streams.iter().map(|stream| stream.per_second * frame_bytes(stream, mask_bytes)).sum();
    let packets = data + acknowledgements;
    let bytes = frames + packets * (HEADER_BYTES + ETHERNET_BYTES);
    Direction {
        messages_per_second: streams.iter().map(|stream| stream.per_second).sum(),
        payload_bytes_per_second: streams.iter().map(Stream::bytes_per_second).sum(),
        packets_per_second: packets,
        bits_per_second: bytes * BITS_PER_BYTE,
    }
}

fn frame_bytes(stream: &Stream, mask_bytes: f64) -> f64 {
    stream.bytes + frame_header_bytes(stream.bytes) + mask_bytes
}
