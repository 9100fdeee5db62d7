//! ▢ Frame headers, both ways (RFC 6455 section 5.2), and nothing of what they carry.

use super::close::Violation;

/// Payload bytes that a control frame may have (section 5.5).
pub const CONTROL_PAYLOAD_BYTES_MAX: usize = 125;

/// Bytes of the longest header that a client may send: 2, 8 of length, 4 of mask.
pub const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// In the second byte: the length stands in the next two bytes.
const LENGTH_IN_2: u8 = 126;
/// In the second byte: the length stands in the next eight bytes.
const LENGTH_IN_8: u8 = 127;

/// What a frame is (section 11.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// The next piece of a fragmented message.
    Continuation = 0x0,
    /// A text message, or its first piece.
    Text = 0x1,
    /// A binary message, or its first piece.
    Binary = 0x2,
    /// The end.
    Close = 0x8,
    /// To be answered with a pong.
    Ping = 0x9,
    /// The answer to a ping, or a sign of life.
    Pong = 0xA,
}

impl Opcode {
    const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0x0 => Some(Self::Continuation),
            0x1 => Some(Self::Text),
            0x2 => Some(Self::Binary),
            0x8 => Some(Self::Close),
            0x9 => Some(Self::Ping),
            0xA => Some(Self::Pong),
            _ => None,
        }
    }

    /// Close, ping or pong: never fragmented, may stand inside a fragmented message.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The header of one frame of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Whether the message ends with this frame.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// Length of the payload, below 2^63.
    pub payload_bytes: u64,
    /// Masking key.
    pub mask_key: [u8; 4],
}

impl Header {
    /// Reads the header at the start of `bytes`: the header and its own length in bytes,
    /// or `None` where it is not complete.
    ///
    /// # Errors
    /// Whatever breaks the protocol in a header alone, as soon as its byte is there.
    /// More bytes never change the answer.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let [first, ref after @ ..] = *bytes else { return Ok(None) };
        if first & RESERVED != 0 {
            // Section 5.2: no extension was negotiated that would give them a meaning.
            return Err(Violation::protocol("reserved bits are set"));
        }
        let Some(opcode) = Opcode::from_bits(first & 0x0F) else {
            return Err(Violation::protocol("unknown opcode"));
        };
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Violation::protocol("fragmented control frame"));
        }

        let [second, ref after @ ..] = *after else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::protocol("frame is not masked"));
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_PAYLOAD_BYTES_MAX {
            return Err(Violation::protocol("control frame is too long"));
        }

        let (payload_bytes, length_bytes) = match short {
            LENGTH_IN_2 => {
                let Some(&length) = after.first_chunk::<2>() else { return Ok(None) };
                (u64::from(u16::from_be_bytes(length)), 2)
            }
            LENGTH_IN_8 => {
                let Some(&length) = after.first_chunk::<8>() else { return Ok(None) };
                (u64::from_be_bytes(length), 8)
            }
            _ => (u64::from(short), 0),
        };
        let minimal_bytes = match payload_bytes {
            0..=125 => 0,
            126..=0xFFFF => 2,
            _ => 8,
        };
        if length_bytes != minimal_bytes {
            return Err(Violation::protocol("length is not encoded minimally"));
        }
        if payload_bytes >> 63 != 0 {
            return Err(Violation::protocol("length has its top bit set"));
        }

        let Some(&mask_key) = after.get(length_bytes..).and_then(<[u8]>::first_chunk) else {
            return Ok(None);
        };
        let header = Self { fin, opcode, payload_bytes, mask_key };
        Ok(Some((header, 2 + length_bytes + mask_key.len())))
    }
}

/// Appends the header of an unmasked, unfragmented frame of `payload_bytes`.
///
/// A control frame may carry at most [`CONTROL_PAYLOAD_BYTES_MAX`]; a debug build checks.
#[inline]
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    debug_assert!(!opcode.is_control() || payload_bytes <= CONTROL_PAYLOAD_BYTES_MAX);
    let first = FIN | opcode as u8;
    match payload_bytes {
        0..=125 => out.extend_from_slice(&[first, payload_bytes as u8]),
        126..=0xFFFF => {
            let [a, b] = (payload_bytes as u16).to_be_bytes();
            out.extend_from_slice(&[first, LENGTH_IN_2, a, b]);
        }
        _ => {
            out.extend_from_slice(&[first, LENGTH_IN_8]);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

/// Appends one unmasked, unfragmented frame. The same condition as [`write_header`].
#[inline]
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests;
