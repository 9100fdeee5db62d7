//! Frames as a client writes them, and as one that trusts its server reads them.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

use crate::Failure;

/// The largest payload that a server sends to a client of this tool.
const PAYLOAD_BYTES_MAX: u64 = 64 * 1024;

/// The client's mask: any value costs the server the same.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// One frame at the head of some bytes.
pub struct Frame<'a> {
    /// What it is.
    pub opcode: OpCode,
    /// Unmasked, as servers send it.
    pub payload: &'a [u8],
    /// What follows it.
    pub after: &'a [u8],
}

/// The first frame of `bytes`; none if it is not all there.
pub fn first_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, Failure> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, payload_bytes)) = FrameHeader::parse(&mut cursor)? else { return Ok(None) };
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(format!("a frame of {payload_bytes} bytes to a client that only counts").into());
    }
    let body = &bytes[cursor.position() as usize..];
    let split = body.split_at_checked(payload_bytes as usize);
    Ok(split.map(|(payload, after)| Frame { opcode: header.opcode, payload, after }))
}

/// A frame of its own, masked as a client's or plain as a server's.
pub fn frame(opcode: OpCode, payload: &[u8], mask: Option<[u8; 4]>) -> Result<Vec<u8>, Failure> {
    let mut wire = Vec::new();
    FrameHeader { opcode, mask, ..FrameHeader::default() }
        .format(payload.len() as u64, &mut wire)?;
    let mask = mask.unwrap_or_default();
    wire.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    Ok(wire)
}
