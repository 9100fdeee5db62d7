//! Opens the socket to Redis: the only IO of this module.
//!
//! Resolving a name and connecting block, so they stand on a thread that lives as long as
//! one attempt. An attempt is made at most every 50 ms a shard, and mostly once in the
//! life of the process.

use std::{
    io,
    net::ToSocketAddrs,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, TcpKeepalive, Type};

use super::target::{Address, Target};

/// A peer that vanished without a FIN is noticed by the link's PING; these keep a
/// firewall's state alive, and end a socket that nobody reads any more.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);

/// Dials on a thread of its own and gives the outcome to `done` there.
///
/// # Errors
/// The thread could not be made; `done` is not called.
pub fn spawn_dial(
    target: Target,
    timeout: Duration,
    done: impl FnOnce(io::Result<OwnedFd>) + Send + 'static,
) -> io::Result<()> {
    let dial = move || done(dial(&target, timeout));
    thread::Builder::new().name("redis-dial".to_string()).spawn(dial).map(drop)
}

/// Connects, trying each address of a name in turn. The socket is non-blocking, and closed
/// on exec. Blocks for `timeout` at most, but for the time to resolve a name, which is the
/// resolver's.
///
/// # Errors
/// That of the address tried last.
pub fn dial(target: &Target, timeout: Duration) -> io::Result<OwnedFd> {
    let socket = match &target.address {
        Address::Tcp { host, port } => connect_tcp(host, *port, timeout)?,
        Address::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            // Returns at once: a unix socket is there and listening, or it is not.
            socket.set_nonblocking(true)?;
            socket.connect(&SockAddr::unix(path)?)?;
            socket
        }
    };
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn connect_tcp(host: &str, port: u16, timeout: Duration) -> io::Result<Socket> {
    let deadline = Instant::now() + timeout;
    let mut outcome = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
    for address in (host, port).to_socket_addrs()? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let address = SockAddr::from(address);
        outcome = Socket::new(address.domain(), Type::STREAM, None).and_then(|socket| {
            socket.connect_timeout(&address, left)?;
            socket.set_tcp_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER);
            socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_EVERY))?;
            Ok(socket)
        });
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}
