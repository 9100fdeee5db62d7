//! What a gateway says of itself on its admin port.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// For each step of the request.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest answer: some hundred lines for each shard.
const BYTES_MAX: u64 = 64 << 20;

/// The answer to `GET /metrics`, its head included.
///
/// # Errors
/// Nobody answers there in time.
pub(super) fn text(admin: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
