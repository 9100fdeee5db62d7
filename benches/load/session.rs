//! One session of a tasks route, as bytes: what its client sends, prepared, and what comes back,
//! counted.

use std::collections::VecDeque;
use std::time::Instant;

use hdrhistogram::Histogram;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::Failure;
use crate::frames::first_frame;

/// The client's mask: any value costs the server the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// Digits of a chunk's index; JSON allows blanks before a number, but no zeros.
const INDEX_DIGITS: usize = 10;
/// Standard base64.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What the frames that came in one read were.
#[derive(Clone, Copy, Default)]
pub struct Came {
    /// The start was acked.
    pub started: bool,
    /// Chunks acked.
    pub acks: u64,
    /// Results of chunks.
    pub results: u64,
}

/// A client's half of one session.
pub struct Session {
    /// The frame of one chunk, masked, with a blank index.
    chunk: Vec<u8>,
    /// Where in it the index stands.
    index_at: usize,
    next_index: u64,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    /// Send times of the chunks without an ack, oldest first.
    unacked: VecDeque<Instant>,
    /// Send times of the chunks without a result.
    unanswered: VecDeque<Instant>,
}

impl Session {
    /// A session of that name, whose chunks are `chunk_bytes` of audio.
    pub fn new(name: &str, chunk_bytes: usize) -> Result<Self, Failure> {
        let head = format!(r#"{{"action":"chunk","session_id":"{name}","chunk_index":"#);
        let blank = " ".repeat(INDEX_DIGITS);
        let audio = base64(chunk_bytes);
        let json = format!(r#"{head}{blank},"audio_data":"{audio}"}}"#);
        let chunk = frame(json.as_bytes())?;
        let index_at = chunk.len() - json.len() + head.len();
        Ok(Self {
            chunk,
            index_at,
            next_index: 0,
            partial: Vec::new(),
            unacked: VecDeque::new(),
            unanswered: VecDeque::new(),
        })
    }

    /// The frame that starts the session `name`.
    pub fn start(name: &str) -> Result<Vec<u8>, Failure> {
        frame(format!(r#"{{"action":"start","session_id":"{name}"}}"#).as_bytes())
    }

    /// Chunks without an ack.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Chunks without a result.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Bytes of the frame of one chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk.len()
    }

    /// Appends the next chunk.
    pub fn write_chunk(&mut self, now: Instant, wire: &mut Vec<u8>) {
        let at = wire.len() + self.index_at;
        wire.extend_from_slice(&self.chunk);
        let (mut left, mut place) = (self.next_index, at + INDEX_DIGITS);
        let masked_from = wire.len() - self.chunk.len() + header_bytes(self.chunk.len());
        while place > at {
            place -= 1;
            wire[place] = (b'0' + (left % 10) as u8) ^ MASK[(place - masked_from) % 4];
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.next_index += 1;
        self.unacked.push_back(now);
        self.unanswered.push_back(now);
    }

    /// Takes what came, and notes how long it took.
    pub fn read(
        &mut self,
        received: &[u8],
        now: Instant,
        ack_ns: &mut Histogram<u64>,
        result_ns: &mut Histogram<u64>,
    ) -> Result<Came, Failure> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(received);
        let (mut rest, mut came) = (bytes.as_slice(), Came::default());
        while let Some(frame) = first_frame(rest)? {
            rest = frame.after;
            let text = frame.payload;
            if frame.opcode == OpCode::Control(Control::Ping) {
                return Err("a ping in a window: the heartbeat is to be longer".into());
            } else if text.starts_with(br#"{"type":"chunk_result""#) {
                came.results += 1;
                took(&mut self.unanswered, now, result_ns)?;
            } else if text.ends_with(br#""status":"received"}"#) {
                came.acks += 1;
                took(&mut self.unacked, now, ack_ns)?;
            } else if text.ends_with(br#""status":"session_started"}"#) {
                came.started = true;
            } else {
                let text = String::from_utf8_lossy(text);
                return Err(format!("neither ack nor result: {text}").into());
            }
        }
        let read = bytes.len() - rest.len();
        bytes.drain(..read);
        self.partial = bytes;
        Ok(came)
    }
}

fn took(
    sent_at: &mut VecDeque<Instant>,
    now: Instant,
    into: &mut Histogram<u64>,
) -> Result<(), Failure> {
    let sent_at = sent_at.pop_front().ok_or("more answers than chunks")?;
    into.saturating_record((now - sent_at).as_nanos() as u64);
    Ok(())
}

/// Base64 of so many bytes of something that is not all alike.
fn base64(bytes: usize) -> String {
    let digits = (bytes * 8).div_ceil(6);
    let mut text: String =
        (0..digits).map(|place| char::from(ALPHABET[(place * 37 + place / 64) % 64])).collect();
    text.extend(std::iter::repeat_n('=', (4 - digits % 4) % 4));
    text
}

/// Bytes of a masked frame before its payload, of a frame of so many bytes.
fn header_bytes(frame_bytes: usize) -> usize {
    match frame_bytes {
        0..=131 => 6,
        132..=65_543 => 8,
        _ => 14,
    }
}

fn frame(payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let opcode = OpCode::Data(Data::Text);
    let mut wire = Vec::new();
    FrameHeader { opcode, mask: Some(MASK), ..FrameHeader::default() }
        .format(payload.len() as u64, &mut wire)?;
    wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    Ok(wire)
}
