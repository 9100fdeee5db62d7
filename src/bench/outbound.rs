//! What clients send: their connects, and frames under a mask.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Socket, Type};

use super::target::Sources;
use crate::ws::Opcode;

/// The clients' mask: any value costs the server the same.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A socket whose connect is under way: the ring waits until it can be written.
pub(super) fn begin_connect(to: SocketAddr, sources: &Sources, nth: usize) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), None)?;
    if let Some(source) = sources.nth(nth) {
        // Without it, bind takes a port that no other destination may use, and they run out.
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

/// Appends one frame, whole and masked.
pub(super) fn write_masked(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let at = out.len();
    crate::ws::write_header(out, opcode, payload.len());
    if let Some(length) = out.get_mut(at + 1) {
        *length |= 0x80;
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
}
