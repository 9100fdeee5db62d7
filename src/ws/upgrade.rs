//! ▢ The server's half of the opening handshake (RFC 6455 section 4.2).
//!
//! Decides by the request head alone. Routes, origins and limits are the shard's; no
//! extension and no subprotocol is ever agreed to, so their offers are not even read.

use base64_simd::AsOut;
use tungstenite::handshake::derive_accept_key;

use super::head::{Head, Version};
use super::refusal::Refusal;

/// Bytes of the nonce in `Sec-WebSocket-Key`, decoded and as base64.
const NONCE_BYTES: usize = 16;
const KEY_CHARS: usize = 24;

/// A handshake that may be answered with 101.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrade {
    accept_key: String,
}

/// Checks that `head` asks for a WebSocket in the way of RFC 6455.
///
/// # Errors
/// 405 for anything but GET; 426 where no WebSocket or another version is asked for; 400
/// for the rest: HTTP/1.0, a body, no or several `Host`, a bad `Sec-WebSocket-Key`, …
pub fn check_upgrade(head: &Head) -> Result<Upgrade, Refusal> {
    if head.method != "GET" {
        return Err(Refusal::method());
    }
    if head.version != Version::Http11 {
        return Err(Refusal::bad_handshake("HTTP/1.1 is needed for an upgrade"));
    }
    check_no_body(head)?;
    if head.single("Host")?.is_none() {
        return Err(Refusal::bad_handshake("Host is missing"));
    }
    if !head.lists("Upgrade", "websocket") {
        return Err(Refusal::upgrade_required());
    }
    if !head.lists("Connection", "upgrade") {
        return Err(Refusal::bad_handshake("Connection does not list Upgrade"));
    }
    if head.single("Sec-WebSocket-Version")? != Some("13") {
        return Err(Refusal::version());
    }
    let Some(key) = head.single("Sec-WebSocket-Key")? else {
        return Err(Refusal::bad_handshake("Sec-WebSocket-Key is missing"));
    };
    if !is_nonce(key) {
        return Err(Refusal::bad_handshake("Sec-WebSocket-Key is not 16 bytes of base64"));
    }
    Ok(Upgrade { accept_key: derive_accept_key(key.as_bytes()) })
}

impl Upgrade {
    /// Appends the 101 response; what follows it are frames.
    pub fn write_response(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Accept: ",
        );
        out.extend_from_slice(self.accept_key.as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
    }
}

/// A body would be read as frames.
fn check_no_body(head: &Head) -> Result<(), Refusal> {
    let length = head.single("Content-Length")?;
    let is_zero = length.is_none_or(|value| !value.is_empty() && value.bytes().all(|b| b == b'0'));
    if !is_zero || head.single("Transfer-Encoding")?.is_some() {
        return Err(Refusal::bad_handshake("An upgrade has no body"));
    }
    Ok(())
}

fn is_nonce(key: &str) -> bool {
    // The length first: the decoder panics where its answer does not fit.
    let mut decoded = [0; KEY_CHARS / 4 * 3];
    key.len() == KEY_CHARS
        && base64_simd::STANDARD
            .decode(key.as_bytes(), decoded.as_mut_slice().as_out())
            .is_ok_and(|nonce| nonce.len() == NONCE_BYTES)
}

#[cfg(test)]
mod tests;
