//! What is measured with: messages as clients, workers and Redis send them (docs/tasks.md,
//! docs/topics.md), of the sizes that the other measurements have.

use ringgate::ws::Opcode;

/// Bytes of a chunk's audio: 100 ms of 16 bit at 16 kHz, as in `scripts/bench-tasks.sh`.
pub const AUDIO_BYTES: usize = 3_200;

/// Chunks of a session: ten seconds of speech.
pub const SESSION_CHUNKS: u32 = 100;

/// An id as the gateway makes them.
pub const SESSION_ID: &str = "6f1c1a52-08f7-4c8e-9a55-2d1f0b7d9c31";

/// A frame of a client. The key is zero, so that to unmask it takes the same instructions as with
/// any other and leaves the text as it is, for the next time.
pub fn client_frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(fin) << 7 | opcode as u8];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Text of so many bytes, of the letters of JSON in English.
pub fn ascii(bytes: usize) -> Vec<u8> {
    br#"{"price":227.5,"name":"Apple"},"#.iter().copied().cycle().take(bytes).collect()
}

/// Text of so many bytes in which characters of one, two, three and four bytes stand; filled up
/// with blanks where the last one has no room.
pub fn mixed(bytes: usize) -> Vec<u8> {
    let mut text = String::new();
    let letters = "Grüße aus Köln, 你好世界, привет мир, ok 🙂 ".chars().cycle();
    text.extend(letters.scan(0, |length, letter| {
        *length += letter.len_utf8();
        (*length <= bytes).then_some(letter)
    }));
    text.extend(std::iter::repeat_n(' ', bytes - text.len()));
    text.into_bytes()
}

/// Audio: what it is does not matter, but that it differs.
pub fn audio() -> Vec<u8> {
    (0..AUDIO_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A chunk as a browser's `JSON.stringify` writes it.
pub fn chunk(session: &str, index: u32) -> Vec<u8> {
    let audio = base64_simd::STANDARD.encode_to_string(audio());
    format!(
        r#"{{"action":"chunk","session_id":"{session}","user_id":"u-1","chunk_index":{index},"audio_data":"{audio}"}}"#
    )
    .into_bytes()
}

/// A result as a worker's Python `json.dumps` writes it.
pub fn result(session: &str, index: u32) -> Vec<u8> {
    format!(
        r#"{{"session_id": "{session}", "chunk_index": {index}, "text": "the quick brown fox", "duration": 0.1, "error": ""}}"#
    )
    .into_bytes()
}

/// A price as the price engine publishes it.
pub fn price(n: u64) -> Vec<u8> {
    format!(
        r#"{{"price":{}.{:02},"bid":227.48,"ask":227.52,"ts":1700000000{:03}}}"#,
        200 + n % 50,
        n % 100,
        n % 1_000
    )
    .into_bytes()
}

/// What Redis writes to a subscriber (RESP3).
pub fn pushed_message(channel: &str, payload: &[u8]) -> Vec<u8> {
    let (channel_bytes, payload_bytes) = (channel.len(), payload.len());
    let mut bytes =
        format!(">3\r\n$7\r\nmessage\r\n${channel_bytes}\r\n{channel}\r\n${payload_bytes}\r\n")
            .into_bytes();
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
