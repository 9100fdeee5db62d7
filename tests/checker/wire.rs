//! One connection of a client: connects, says, hears, breaks.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use socket2::SockRef;
use tungstenite::{HandshakeError, Message, WebSocket, client::client, error::Error};

/// For a handshake and for a write: longer than anything takes that is not stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// What comes while a client looks.
pub enum Word {
    Message(Value),
    Nothing,
    /// With the code of the close frame, if there was one.
    End(Option<u16>),
}

/// Why there is no connection.
pub enum NoWire {
    /// Nobody listens, or it died in the middle.
    Broken,
    /// An answer other than the upgrade: status, code of the body.
    Refused(u16, String),
}

pub struct Wire {
    socket: WebSocket<TcpStream>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Result<Self, NoWire> {
        let stream = TcpStream::connect(address).map_err(|_| NoWire::Broken)?;
        let is_self = stream.local_addr().ok() == stream.peer_addr().ok();
        if is_self || Self::prepare(&stream).is_err() {
            return Err(NoWire::Broken);
        }
        match client(format!("ws://{address}/ws/asr"), stream) {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body: Value = serde_json::from_slice(body).unwrap_or_default();
                let code = body["code"].as_str().unwrap_or("no code").to_owned();
                Err(NoWire::Refused(response.status().as_u16(), code))
            }
            Err(HandshakeError::Interrupted(_)) => Err(NoWire::Refused(0, "silence".to_owned())),
            Err(HandshakeError::Failure(_)) => Err(NoWire::Broken),
        }
    }

    fn prepare(stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))
    }

    /// Whether it went out.
    pub fn say(&mut self, message: &Value) -> bool {
        self.socket.send(Message::text(message.to_string())).is_ok()
    }

    /// The next message, waiting for up to `wait`.
    pub fn hear(&mut self, wait: Duration) -> Word {
        let stream = self.socket.get_ref();
        if stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).is_err() {
            return Word::End(None);
        }
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Word::Message(serde_json::from_str(&text).unwrap_or_default());
                }
                Ok(Message::Close(frame)) => {
                    return Word::End(frame.map(|frame| u16::from(frame.code)));
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Word::Nothing;
                }
                Err(_) => return Word::End(None),
            }
        }
    }

    /// Gone without a close frame: with a FIN, or with a reset.
    pub fn drop_it(self, reset: bool) {
        if reset {
            let _ = SockRef::from(self.socket.get_ref()).set_linger(Some(Duration::ZERO));
        }
    }

    pub fn close(mut self) {
        let _ = self.socket.close(None);
        while let Word::Message(_) = self.hear(Duration::from_secs(2)) {}
    }
}
