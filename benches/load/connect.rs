//! Opens connections one after another, blocking, and hands them on non-blocking.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use ringgate::ring::Event;
use socket2::{Domain, Socket, Type};
use tungstenite::handshake::derive_accept_key;

use crate::Failure;

/// How long one connect, and each read of one handshake, may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// A response head longer than this is not read on.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Any key will do: the server answers with its digest, and keeps nothing.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Where to connect, and what to expect there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Address of the server.
    pub server: SocketAddr,
    /// Plain TCP: no handshake.
    pub raw: bool,
    /// Path of the WebSocket route.
    pub path: String,
}

/// A connection that is ready for messages.
pub struct Opened {
    /// The non-blocking socket.
    pub stream: TcpStream,
    /// Bytes that the server sent behind its handshake, usually none.
    pub surplus: Vec<u8>,
}

/// Opens connection `index`; spread over `sources` loopback addresses, since one address has no
/// more than some 28,000 ports towards one server.
pub fn open(endpoint: &Endpoint, sources: u8, index: u32) -> Result<Opened, Failure> {
    let opened = connect(endpoint.server, sources, index).and_then(|stream| {
        if endpoint.raw { Ok((stream, Vec::new())) } else { upgrade(stream, endpoint) }
    });
    let (stream, surplus) = opened.map_err(|error| format!("connection {}: {error}", index + 1))?;
    stream.set_nonblocking(true)?;
    Ok(Opened { stream, surplus })
}

/// What happens to a connection beside its traffic: a run ends with the first that is lost.
pub fn ended(event: &Event) -> Result<(), Failure> {
    match event {
        Event::PeerFinished(id) => {
            Err(format!("the server closed connection {}", id.slot + 1).into())
        }
        Event::Failed(id, error) => Err(format!("connection {}: {error}", id.slot + 1).into()),
        _ => Ok(()),
    }
}

fn connect(server: SocketAddr, sources: u8, index: u32) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if sources > 1 {
        // Without it, bind takes a port that no other destination may use, and they run out.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        let last = 1 + (index % u32::from(sources)) as u8;
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into())?;
    }
    socket.connect_timeout(&server.into(), STEP_TIMEOUT)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(STEP_TIMEOUT))?;
    Ok(socket.into())
}

/// The client's side of the opening handshake (RFC 6455 section 4.1).
fn upgrade(mut stream: TcpStream, endpoint: &Endpoint) -> Result<(TcpStream, Vec<u8>), Failure> {
    let (path, host) = (&endpoint.path, endpoint.server);
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let received = match stream.read(&mut buffer) {
            Ok(0) => return Err("closed during the handshake".into()),
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("no answer to the handshake: {error}").into()),
        };
        head.extend_from_slice(&buffer[..received]);
        if let Some(head_bytes) = accepted(&head)? {
            return Ok((stream, head.split_off(head_bytes)));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(format!("a response head of over {HEAD_BYTES_MAX} bytes").into());
        }
    }
}

/// The length of the response head, once it is all there and accepts the handshake.
fn accepted(head: &[u8]) -> Result<Option<usize>, Failure> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_bytes) = response.parse(head)? else { return Ok(None) };
    if response.code != Some(101) {
        let text = String::from_utf8_lossy(head);
        return Err(format!("the handshake was refused: {}", text.trim()).into());
    }
    let accept = derive_accept_key(KEY.as_bytes());
    let right = |header: &&httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("sec-websocket-accept")
            && header.value == accept.as_bytes()
    };
    if response.headers.iter().find(right).is_none() {
        return Err("a wrong Sec-WebSocket-Accept".into());
    }
    Ok(Some(head_bytes))
}
