//! Waking a parked shard: the eventfd that the kernel and other threads write to.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd},
    sync::Arc,
};

use super::sleep::SleepFlag;

/// Wakes one shard. Any thread may hold a clone.
///
/// A writer first makes its message visible (sends it to the lane), then calls [`wake`];
/// the shard first announces that it sleeps, then looks at its lanes once more: at least
/// one of them sees the other (`SleepFlag`), so no message waits unseen; and a shard that is
/// awake costs its writers one load and no system call.
///
/// [`wake`]: Waker::wake
#[derive(Clone, Debug)]
pub struct Waker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    eventfd: OwnedFd,
    sleeping: SleepFlag,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointer; a non-negative answer is a descriptor of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above just made it, and nobody else has it.
        let eventfd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self(Arc::new(Inner { eventfd, sleeping: SleepFlag::new() })))
    }

    /// Wakes the shard if it sleeps.
    pub fn wake(&self) {
        if self.0.sleeping.must_signal() {
            let one = 1u64.to_ne_bytes();
            // SAFETY: eight readable bytes, an open descriptor. It can fail only when the
            // counter is full, and then the shard is awake already.
            unsafe { libc::write(self.0.eventfd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    /// Announces that the shard is about to sleep. It must look at its lanes afterwards.
    pub(super) fn announce_sleep(&self) {
        self.0.sleeping.announce_sleep();
    }

    pub(super) fn announce_awake(&self) {
        self.0.sleeping.announce_awake();
    }

    /// Sleeps the calling thread until there is something to do. For drivers without an
    /// executor.
    pub fn block(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes, an open descriptor. An interrupted or failed read
        // is a wake-up for nothing, which every caller allows for.
        unsafe { libc::read(self.0.eventfd.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// The descriptor to await; readable when there is something to do. Reading it
    /// resets it.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.eventfd.as_fd()
    }
}

/// A descriptor of its own for the same file, in whatever type an executor wants to own it.
///
/// # Errors
/// What `fcntl(F_DUPFD_CLOEXEC)` answered: no descriptor left.
pub fn duplicate<T: FromRawFd>(fd: BorrowedFd<'_>) -> io::Result<T> {
    let owned = fd.try_clone_to_owned()?;
    // SAFETY: the duplicate is open, and its only owner gives it up here.
    Ok(unsafe { T::from_raw_fd(owned.into_raw_fd()) })
}
