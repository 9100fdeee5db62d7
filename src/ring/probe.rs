//! Whether this kernel lets a shard have its ring: found out by doing it, not by its version.

use std::{
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    time::Duration,
};

use io_uring::{cqueue, opcode, register, squeue, types};

use super::builder;

/// Entries of the ring that is tried.
const ENTRIES: u32 = 8;
/// How long a completion that is due may take. It is there at once, or never.
const PATIENCE: Duration = Duration::from_secs(2);

/// The operations of a shard, by their names in `<linux/io_uring.h>`.
const OPERATIONS: [(&str, u8); 9] = [
    ("ACCEPT", opcode::Accept::CODE),
    ("POLL_ADD", opcode::PollAdd::CODE),
    ("POLL_REMOVE", opcode::PollRemove::CODE),
    ("RECV", opcode::Recv::CODE),
    ("SEND", opcode::Send::CODE),
    ("SENDMSG", opcode::SendMsg::CODE),
    ("TIMEOUT", opcode::Timeout::CODE),
    ("TIMEOUT_REMOVE", opcode::TimeoutUpdate::CODE),
    ("ASYNC_CANCEL", opcode::AsyncCancel::CODE),
];

/// Makes a ring as [`super::Ring::new`] does, asks it for the operations of a shard, and lets it
/// poll and accept once. Returns what it lacks, by name: nothing where a shard would run.
/// Touches nothing outside of this process.
///
/// # Errors
/// There is no ring at all: what io_uring_setup answered (as [`super::Ring::new`]), or what kept
/// the trial from being made.
pub fn probe() -> io::Result<Vec<&'static str>> {
    let uring = builder().build(ENTRIES)?;
    let mut known = register::Probe::new();
    uring.submitter().register_probe(&mut known)?;
    let lacks = |(_, code): &&(&str, u8)| !known.is_supported(*code);
    let mut missing: Vec<_> = OPERATIONS.iter().filter(lacks).map(|(name, _)| *name).collect();
    if !polls_on()? {
        missing.push("multishot POLL_ADD");
    }
    if !accepts_on()? {
        missing.push("multishot ACCEPT");
    }
    Ok(missing)
}

/// Whether a poll goes on after it has told of something.
fn polls_on() -> io::Result<bool> {
    let (mut ours, theirs) = UnixStream::pair()?;
    io::Write::write_all(&mut ours, &[0])?;
    let fd = types::Fd(theirs.as_raw_fd());
    let entry = opcode::PollAdd::new(fd, libc::POLLIN as u32).multi(true).build();
    let told = answer(&entry)?;
    Ok(told.is_some_and(|told| told.result() > 0 && cqueue::more(told.flags())))
}

/// Whether an accept goes on after it has taken a connection. In the abstract name space, so
/// that it needs neither a file nor a port.
fn accepts_on() -> io::Result<bool> {
    let name = format!("ringgate-probe-{}", uuid::Uuid::new_v4());
    let address = SocketAddr::from_abstract_name(name)?;
    let listener = UnixListener::bind_addr(&address)?;
    let _client = UnixStream::connect_addr(&address)?;
    let fd = types::Fd(listener.as_raw_fd());
    let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
    let Some(told) = answer(&entry)? else { return Ok(false) };
    if told.result() < 0 {
        return Ok(false);
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(told.result()) });
    Ok(cqueue::more(told.flags()))
}

/// The first completion of `entry` on a ring of its own; `None` where none came in time.
fn answer(entry: &squeue::Entry) -> io::Result<Option<cqueue::Entry>> {
    let mut uring = builder().build(ENTRIES)?;
    // SAFETY: neither poll nor accept points to memory of ours, and the descriptors of both
    // are looked up here, when they are submitted.
    unsafe { uring.submission().push(entry) }.map_err(io::Error::other)?;
    let timeout = types::Timespec::from(PATIENCE);
    match uring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&timeout)) {
        Ok(_) => Ok(uring.completion().next()),
        Err(error) if error.raw_os_error() == Some(libc::ETIME) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_runs_the_other_tests_lacks_nothing() {
        assert_eq!(probe().expect("a ring"), Vec::<&str>::new());
    }

    #[test]
    fn what_does_not_go_on_is_noticed() {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        io::Write::write_all(&mut ours, &[0]).expect("a byte");
        let entry = opcode::PollAdd::new(types::Fd(theirs.as_raw_fd()), libc::POLLIN as u32);
        let told = answer(&entry.build()).expect("submitted").expect("a completion");
        assert!(told.result() > 0 && !cqueue::more(told.flags()), "one shot is one shot");
    }
}
