//! The floor of the echo and fan-out benchmarks: the least that a single-threaded epoll server can
//! do for a message, which is what the gateway's cost is held against.
//!
//! It sends back whatever bytes come in, and whatever is published to everyone: no frames, no
//! checks, no limits, no metrics. Edges rather than levels, because a level-triggered set polls
//! every ready socket a second time. It is a yardstick and must not grow features.
#![allow(unsafe_code, reason = "bare system calls are the point; this is no part of the product")]

use std::io::{Error, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};

use clap::Parser;

/// Events taken by one wait.
const WAIT_EVENTS: usize = 512;
/// The one receive buffer.
const BUFFER_BYTES: usize = 64 * 1024;

/// Bare epoll echo and fan-out server, one thread.
#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Address to listen on for what goes to every connection of the other one.
    #[arg(long)]
    publish: Option<SocketAddr>,
    /// Core to run on.
    #[arg(long)]
    core: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    pin_to(args.core)?;
    // SAFETY: takes a flag and no pointer.
    let epoll_fd = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    let listener = listen(epoll_fd, args.listen)?;
    let publish_listener = args.publish.map(|address| listen(epoll_fd, address)).transpose()?;
    let listener_fd = listener.as_raw_fd();
    let publish_listener_fd = publish_listener.as_ref().map(AsRawFd::as_raw_fd);
    let (mut receivers, mut publishers) = (Vec::new(), Vec::new());

    let mut events = [libc::epoll_event { events: 0, u64: 0 }; WAIT_EVENTS];
    let mut buffer = vec![0u8; BUFFER_BYTES];
    loop {
        // SAFETY: `events` is writable for WAIT_EVENTS entries throughout the call.
        let waited =
            unsafe { libc::epoll_wait(epoll_fd, events.as_mut_ptr(), WAIT_EVENTS as i32, -1) };
        for event in &events[..checked(waited)? as usize] {
            let fd = event.u64 as RawFd;
            if fd == listener_fd {
                accept_all(epoll_fd, listener_fd, &mut receivers)?;
                continue;
            }
            if Some(fd) == publish_listener_fd {
                accept_all(epoll_fd, fd, &mut publishers)?;
                continue;
            }
            let hung_up = event.events as i32 & (libc::EPOLLRDHUP | libc::EPOLLHUP) != 0;
            let publishes = publishers.contains(&fd);
            let goes_on = if publishes {
                publish(fd, &mut buffer, &receivers)
            } else {
                echo(fd, &mut buffer)
            };
            if hung_up || !goes_on {
                let whose = if publishes { &mut publishers } else { &mut receivers };
                whose.retain(|other| *other != fd);
                // SAFETY: the descriptor came from accept4 and is closed here only; closing it
                // takes it out of the epoll set, so no later event names it.
                unsafe { libc::close(fd) };
            }
        }
    }
}

/// Sends back everything that `fd` holds; false once it is at its end or broken.
fn echo(fd: RawFd, buffer: &mut [u8]) -> bool {
    loop {
        // SAFETY: `buffer` is writable for its length throughout the call.
        let received = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if received <= 0 {
            return received < 0 && Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
        }
        let received = received as usize;
        // SAFETY: the first `received` bytes of `buffer` are readable throughout the call.
        let sent = unsafe { libc::send(fd, buffer.as_ptr().cast(), received, libc::MSG_NOSIGNAL) };
        // A peer that does not read is dropped: the load never has that much in flight.
        if sent != received as isize {
            return false;
        }
        // A short read emptied the socket: whatever comes later is a new edge.
        if received < buffer.len() {
            return true;
        }
    }
}

/// Sends everything that `fd` holds to all receivers; false once it is at its end or broken.
fn publish(fd: RawFd, buffer: &mut [u8], receivers: &[RawFd]) -> bool {
    loop {
        // SAFETY: `buffer` is writable for its length throughout the call.
        let received = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if received <= 0 {
            return received < 0 && Error::last_os_error().raw_os_error() == Some(libc::EAGAIN);
        }
        let received = received as usize;
        for receiver in receivers {
            // SAFETY: the first `received` bytes of `buffer` are readable throughout the call.
            let sent = unsafe {
                libc::send(*receiver, buffer.as_ptr().cast(), received, libc::MSG_NOSIGNAL)
            };
            // The load counts what comes, and never has that much in flight.
            if sent != received as isize {
                eprintln!("a receiver took {sent} of {received} bytes");
            }
        }
        if received < buffer.len() {
            return true;
        }
    }
}

fn listen(epoll_fd: RawFd, address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    watch(epoll_fd, listener.as_raw_fd(), libc::EPOLLIN)?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

fn accept_all(epoll_fd: RawFd, listener_fd: RawFd, accepted: &mut Vec<RawFd>) -> Result<()> {
    loop {
        let (flags, none) = (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, std::ptr::null_mut());
        // SAFETY: a null address with a null length asks for no address.
        let fd = unsafe { libc::accept4(listener_fd, none, std::ptr::null_mut(), flags) };
        if fd < 0 {
            let error = Error::last_os_error();
            let empty = error.raw_os_error() == Some(libc::EAGAIN);
            return if empty { Ok(()) } else { Err(error) };
        }
        let on: libc::c_int = 1;
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_NODELAY);
        // SAFETY: the option's value is an int, and `on` outlives the call.
        checked(unsafe { libc::setsockopt(fd, level, name, (&raw const on).cast(), 4) })?;
        watch(epoll_fd, fd, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET)?;
        accepted.push(fd);
    }
}

fn watch(epoll_fd: RawFd, fd: RawFd, events: i32) -> Result<()> {
    let mut event = libc::epoll_event { events: events as u32, u64: fd as u64 };
    // SAFETY: `event` outlives the call, which copies it.
    checked(unsafe { libc::epoll_ctl(epoll_fd, libc::EPOLL_CTL_ADD, fd, &mut event) }).map(drop)
}

fn pin_to(core: usize) -> Result<()> {
    assert!(core < libc::CPU_SETSIZE as usize, "--core is at most {}", libc::CPU_SETSIZE - 1);
    // SAFETY: a cpu_set_t is a plain bit mask, for which all zero means the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is within the mask, as checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the pointer and the size are those of one cpu_set_t.
    checked(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }).map(drop)
}

fn checked(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}
