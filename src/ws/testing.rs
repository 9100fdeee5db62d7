//! What the tests of this module share: frames as a client writes them.

use super::frame::Opcode;

/// The bytes of one client frame. Every part is free, so that it can also be wrong.
#[derive(Clone, Debug)]
pub struct ClientFrame {
    /// FIN, the reserved bits and the opcode, as they stand in the first byte.
    pub first: u8,
    /// Bytes of the extended length field: 0, 2 or 8. Too few are raised to what fits.
    pub length_bytes: usize,
    /// Masking key; `None` sends the payload unmasked.
    pub mask_key: Option<[u8; 4]>,
    /// Payload before masking.
    pub payload: Vec<u8>,
}

impl ClientFrame {
    /// A frame as it should be.
    pub fn new(fin: bool, opcode: Opcode, mask_key: [u8; 4], payload: &[u8]) -> Self {
        Self {
            first: u8::from(fin) << 7 | opcode as u8,
            length_bytes: 0,
            mask_key: Some(mask_key),
            payload: payload.to_vec(),
        }
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        let masked = u8::from(self.mask_key.is_some()) << 7;
        let length = self.payload.len();
        let needed = match length {
            0..=125 => 0,
            126..=0xFFFF => 2,
            _ => 8,
        };
        out.push(self.first);
        match self.length_bytes.max(needed) {
            0 => out.push(masked | length as u8),
            2 => {
                out.push(masked | 126);
                out.extend((length as u16).to_be_bytes());
            }
            _ => {
                out.push(masked | 127);
                out.extend((length as u64).to_be_bytes());
            }
        }
        out.extend(self.mask_key.into_iter().flatten());
        let key = self.mask_key.unwrap_or_default();
        out.extend(self.payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    }

    /// The frame alone.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }
}
