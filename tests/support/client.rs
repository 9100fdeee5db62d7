//! A WebSocket client of the tasks route, blocking, and a raw one for what no client sends.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client::client, error::Error};

/// Longer than any answer takes on a busy machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A connected client.
pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

/// The answer to a request that was not upgraded.
#[derive(Debug)]
pub struct Refusal {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Client {
    /// Connects, or panics with the refusal.
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::try_connect(address, path).expect("upgraded")
    }

    pub fn try_connect(address: SocketAddr, path: &str) -> Result<Self, Refusal> {
        Self::over(TcpStream::connect(address).expect("the gateway listens"), address, path)
    }

    /// Upgrades a connection that has been made already.
    pub fn over(stream: TcpStream, address: SocketAddr, path: &str) -> Result<Self, Refusal> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        match client(format!("ws://{address}{path}"), stream) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => Err(Refusal {
                status: response.status().as_u16(),
                retry_after: response
                    .headers()
                    .get("retry-after")
                    .map(|v| v.to_str().unwrap().to_owned()),
                body: serde_json::from_slice(response.body().as_deref().unwrap_or_default())
                    .expect("a refusal is JSON"),
            }),
            Err(other) => panic!("handshake: {other}"),
        }
    }

    pub fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).expect("sent");
    }

    /// The next data message.
    pub fn receive(&mut self) -> Value {
        loop {
            match self.socket.read().expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The close code that the gateway sends, after whatever comes before it.
    pub fn close_code(mut self) -> u16 {
        loop {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    return frame.map_or(1005, |frame| u16::from(frame.code));
                }
                Ok(_) => {}
                Err(error) => panic!("no close frame: {error}"),
            }
        }
    }

    pub fn start(&mut self, session: &str) {
        self.send(json!({"action": "start", "session_id": session}));
        let ack = self.receive();
        assert_eq!(
            (&ack["type"], &ack["status"]),
            (&json!("ack"), &json!("session_started")),
            "{ack}"
        );
        assert_eq!(ack["chunk_index"], 0);
        if !session.is_empty() {
            assert_eq!(ack["session_id"], session);
        }
    }

    pub fn chunk(&mut self, session: &str, index: u64, audio: &[u8]) {
        let audio = base64_simd::STANDARD.encode_to_string(audio);
        self.send(json!({
            "action": "chunk", "session_id": session, "chunk_index": index, "audio_data": audio,
        }));
    }

    pub fn finish(&mut self, session: &str) {
        self.send(json!({"action": "finish", "session_id": session}));
    }

    /// A whole session of one chunk, with everything that is promised about it.
    pub fn run_session(&mut self, session: &str) -> Value {
        self.start(session);
        self.chunk(session, 0, &silence(1));
        self.finish(session);
        let (before, last) = self.until_final();
        let kinds: Vec<_> = before.iter().map(|message| message["type"].as_str()).collect();
        assert_eq!(kinds, [Some("ack"), Some("chunk_result")], "{before:?}");
        for message in before.iter().chain([&last]) {
            assert_eq!(message["session_id"], session, "{message}");
        }
        assert_eq!((&last["complete"], &last["chunk_count"]), (&json!(true), &json!(1)), "{last}");
        assert_eq!(last["text"], heard(1));
        last
    }

    /// Reads until the final result; what came before it, and it.
    pub fn until_final(&mut self) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let message = self.receive();
            if message["type"] == "final_result" {
                return (before, message);
            }
            before.push(message);
        }
    }

    pub fn close(mut self) {
        let _ = self.socket.close(None);
        while self.socket.read().is_ok() {}
    }
}

/// So many tenths of a second of silence, 16 kHz and 16 bits.
pub fn silence(tenths: usize) -> Vec<u8> {
    vec![0; 3_200 * tenths]
}

/// What the reference worker hears in that silence.
pub fn heard(tenths: usize) -> String {
    format!("{:.2} s, -inf dBFS, 0 % speech", tenths as f64 / 10.0)
}

/// Sends bytes that are no WebSocket client's, half-closes nothing, and reads to the end.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The gateway may have answered and closed before all is written.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upgraded connection without any client's checks, for broken frames.
pub fn raw_upgraded(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    upgrade(&mut stream, path);
    stream
}

/// Upgrades a connection that has been made already.
pub fn upgrade(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("{}\r\n", upgrade_request(path)).as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the upgrade is answered");
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
}

/// What a raw connection hears until its end: the close code, if there was a close frame.
pub fn raw_close_code(mut stream: TcpStream) -> Option<u16> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    // Server frames of a broken connection are short and unmasked.
    let mut rest = bytes.as_slice();
    while let [first, len, tail @ ..] = rest {
        let len = usize::from(*len);
        if first & 0x0f == 8 {
            return Some(u16::from_be_bytes([tail[0], tail[1]]));
        }
        rest = tail.get(len..)?;
    }
    None
}

/// A masked client frame with the given first byte.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len());
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The header of a client frame, to be followed by bytes that [`MASK`] has masked.
pub fn header(first: u8, payload_bytes: usize) -> Vec<u8> {
    let mut header = vec![first];
    match payload_bytes {
        0..=125 => header.push(0x80 | payload_bytes as u8),
        126..=0xffff => {
            header.push(0x80 | 126);
            header.extend((payload_bytes as u16).to_be_bytes());
        }
        _ => {
            header.push(0x80 | 127);
            header.extend((payload_bytes as u64).to_be_bytes());
        }
    }
    header.extend(MASK);
    header
}

/// The mask of every frame that is made here.
const MASK: [u8; 4] = [1, 2, 3, 4];

/// The head of a good upgrade request, without the empty line that ends it.
pub fn upgrade_request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    )
}
