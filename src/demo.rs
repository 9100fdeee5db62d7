//! The client of `ringgate demo`: streams a recording and prints what comes back.
//!
//! An ordinary client of the tasks route, on a socket, like any other: it shares nothing
//! with the gateway but the process. [`ticker`] publishes prices, [`topics`] subscribes to
//! them.

pub mod ticker;
pub mod topics;

use std::{
    collections::HashMap,
    fs, io,
    io::Write,
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::client};

use crate::worker::audio::RAW_RATE_HZ;

/// Audio of one chunk.
const CHUNK: Duration = Duration::from_secs(1);
/// Between two chunks: ten times as fast as it was spoken, so that one can watch.
const PACE: Duration = Duration::from_millis(100);
/// For the first and for each further message of the gateway.
const PATIENCE: Duration = Duration::from_secs(70);

static SHIPPED: &[u8] = include_bytes!("../assets/demo.wav");

/// Audio as it is streamed: raw 16 kHz mono 16-bit PCM.
pub struct Recording {
    name: String,
    pcm: Vec<u8>,
}

impl Recording {
    /// The one that comes with the program.
    pub fn shipped() -> Self {
        Self::parse("demo.wav", SHIPPED).expect("the shipped recording is tested")
    }

    /// A WAV file, 16 kHz mono 16-bit.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and what is wanted.
    pub fn read(path: &Path) -> Result<Self, String> {
        let name = path.display().to_string();
        let bytes = fs::read(path).map_err(|error| format!("{name}: {error}"))?;
        Self::parse(&name, &bytes)
    }

    fn parse(name: &str, bytes: &[u8]) -> Result<Self, String> {
        let fix = "wanted: a WAV of 16 kHz, mono, 16-bit (sox IN -r 16000 -c 1 -b 16 OUT.wav)";
        let mut wav =
            hound::WavReader::new(bytes).map_err(|error| format!("{name}: {error}; {fix}"))?;
        let spec = wav.spec();
        if (spec.sample_rate, spec.channels, spec.bits_per_sample) != (RAW_RATE_HZ, 1, 16) {
            return Err(format!(
                "{name}: {} Hz, {} channels, {} bits; {fix}",
                spec.sample_rate, spec.channels, spec.bits_per_sample
            ));
        }
        let samples: Result<Vec<i16>, _> = wav.samples::<i16>().collect();
        let samples = samples.map_err(|error| format!("{name}: {error}; {fix}"))?;
        let pcm = samples.into_iter().flat_map(i16::to_le_bytes).collect();
        Ok(Self { name: name.to_owned(), pcm })
    }

    fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.pcm.chunks(2 * RAW_RATE_HZ as usize * CHUNK.as_secs() as usize)
    }
}

/// Streams the recording in one session and prints each result as it comes, then the
/// merged text.
///
/// # Errors
/// The connection, or an answer that the protocol does not have.
pub fn stream(
    address: SocketAddr,
    path: &str,
    recording: &Recording,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut session = Session::open(address, path)?;
    let count = recording.chunks().count();
    writeln!(out, "streaming {} in {count} chunks to ws://{address}{path}", recording.name)?;
    for (index, pcm) in recording.chunks().enumerate() {
        session.send_chunk(index, pcm)?;
        thread::sleep(PACE);
        session.print_available(out)?;
    }
    session.send(json!({ "action": "finish", "session_id": session.id }))?;
    session.socket.get_ref().set_nonblocking(false)?;
    while !session.finished {
        let message = session.socket.read();
        session.on_message(message.map_err(broken)?, out)?;
    }
    // Best effort: everything has been received.
    let _ = session.socket.close(None);
    Ok(())
}

struct Session {
    socket: WebSocket<TcpStream>,
    id: String,
    sent: HashMap<u64, Instant>,
    finished: bool,
}

impl Session {
    fn open(address: SocketAddr, path: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (socket, _) = client(format!("ws://{address}{path}"), stream)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut session = Self { socket, id: String::new(), sent: HashMap::new(), finished: false };
        session.send(json!({ "action": "start", "user_id": "demo" }))?;
        let ack = session.socket.read().map_err(broken)?;
        let ack: Value = serde_json::from_slice(&ack.into_data())?;
        session.id = ack["session_id"].as_str().unwrap_or_default().to_owned();
        Ok(session)
    }

    fn send(&mut self, message: Value) -> io::Result<()> {
        self.socket.get_ref().set_nonblocking(false)?;
        self.socket.send(Message::text(message.to_string())).map_err(broken)
    }

    fn send_chunk(&mut self, index: usize, pcm: &[u8]) -> io::Result<()> {
        self.sent.insert(index as u64, Instant::now());
        self.send(json!({
            "action": "chunk",
            "session_id": self.id,
            "chunk_index": index,
            "audio_data": base64_simd::STANDARD.encode_to_string(pcm),
        }))
    }

    fn print_available(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.socket.get_ref().set_nonblocking(true)?;
        loop {
            match self.socket.read() {
                Ok(message) => self.on_message(message, out)?,
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(());
                }
                Err(error) => return Err(broken(error)),
            }
        }
    }

    fn on_message(&mut self, message: Message, out: &mut impl Write) -> io::Result<()> {
        let Message::Text(text) = message else { return Ok(()) };
        let message: Value = serde_json::from_str(&text)?;
        let text = message["text"].as_str().unwrap_or_default();
        match message["type"].as_str() {
            Some("chunk_result") => {
                let index = message["chunk_index"].as_u64().unwrap_or_default();
                let at = index * CHUNK.as_secs();
                writeln!(out, "  {at:>3} s  {text}")
            }
            Some("final_result") => {
                self.finished = true;
                let (count, seconds) = (&message["chunk_count"], &message["duration"]);
                writeln!(
                    out,
                    "\nfinal: {count} chunks in {seconds} s, complete: {}",
                    message["complete"]
                )?;
                writeln!(out, "merged: {text}")
            }
            Some("error") => Err(io::Error::other(text_of(&message))),
            _ => Ok(()),
        }
    }
}

fn text_of(message: &Value) -> String {
    message["message"].as_str().unwrap_or("an error without a message").to_owned()
}

fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_recording_is_what_the_demo_wants() {
        let recording = Recording::shipped();
        assert!(recording.chunks().count() >= 15);
    }

    #[test]
    fn a_file_of_another_kind_is_refused_with_the_fix() {
        let error = Recording::parse("x.wav", b"RIFFnonsense").err().unwrap();
        assert!(error.contains("x.wav") && error.contains("16 kHz"), "{error}");
    }
}
