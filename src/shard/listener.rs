//! One listening socket a shard on the same address: the kernel spreads the connections.

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits;

/// Binds and listens. Accepted sockets inherit `TCP_NODELAY`.
///
/// # Errors
/// The address is in use by another program, or not ours.
pub fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// Binds one listener for each of `shards`, all on the port that the first one got (port
/// 0 lets the kernel choose).
///
/// # Errors
/// As [`bind`]. Whether the port is in use is asked without `SO_REUSEPORT` first: with it,
/// a second gateway of the same user would silently share the first one's connections.
pub fn bind_all(address: SocketAddr, shards: usize) -> io::Result<(Vec<OwnedFd>, SocketAddr)> {
    if address.port() != 0 {
        probe(address)?;
    }
    let first = bind(address)?;
    let local = local_address(&first)?;
    let mut listeners = vec![first];
    for _ in 1..shards {
        listeners.push(bind(local)?);
    }
    Ok((listeners, local))
}

/// Whether the port is free. A gateway that was killed leaves its listener to the kernel's
/// io_uring workers, who close it a moment after the process is gone: its successor waits
/// for them instead of failing.
fn probe(address: SocketAddr) -> io::Result<()> {
    let give_up = Instant::now() + Duration::from_millis(limits::BIND_PATIENCE_MS);
    loop {
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        match probe.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < give_up => {
                thread::sleep(Duration::from_millis(limits::BIND_RETRY_MS));
            }
            outcome => return outcome,
        }
    }
}

fn local_address(listener: &OwnedFd) -> io::Result<SocketAddr> {
    let address = socket2::SockRef::from(listener).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("a listener without an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_port_and_a_second_gateway_does_not() {
        let any = "127.0.0.1:0".parse().unwrap();
        let (listeners, address) = bind_all(any, 3).unwrap();
        assert_eq!(listeners.len(), 3);
        let error = bind_all(address, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
