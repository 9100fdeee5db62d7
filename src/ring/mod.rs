//! The engine of one shard: sockets in, bytes and completions out.
//!
//! One io_uring per shard (`SINGLE_ISSUER`, `DEFER_TASKRUN`), driven by [`Ring::turn`]:
//! submit what has gathered, reap what has completed, hand it on as [`Event`]s. An idle
//! socket costs one multishot poll in the kernel and one 12-byte slot here: no buffer, no
//! task. When it becomes readable it is lent a buffer of the shard's pool for one read.
//!
//! The engine knows no protocol and no executor. Whoever drives it may spin, or sleep on
//! the waker's descriptor between [`Ring::prepare_sleep`] and [`Ring::awake`]; a blocking
//! driver (tests, benches) and glommio do so alike.
//!
//! A socket is closed in three steps: *terminate* (nothing new is started, what is in
//! flight is cancelled), *join* (every operation has answered), *free* (the descriptor is
//! closed, the slot's generation moves on, [`Event::Freed`]).
//!
//! All `unsafe` of the crate is in this module.
#![allow(unsafe_code)]

mod buffers;
mod event;
mod operation;
mod sockets;
#[cfg(test)]
mod tests;
mod wake;

use std::{
    collections::VecDeque,
    io,
    net::Shutdown,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use slab::Slab;
use socket2::SockRef;

use self::{
    buffers::Buffers,
    operation::{Operation, Tag},
    sockets::{Flags, Sockets},
};
pub use self::{
    buffers::Received,
    event::{Errno, Event},
    wake::{Waker, duplicate},
};
use crate::{ids::SocketId, limits, metrics::ShardMetrics};

/// What a ring is made for.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Reads in flight at once; each holds one buffer.
    pub receive_buffers: usize,
    /// Size of a receive buffer.
    pub receive_buffer_bytes: usize,
    /// Period of [`Event::Tick`].
    pub tick: Duration,
    /// Completions that the kernel may leave before it keeps them aside; a power of two.
    pub completion_entries: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            receive_buffers: 256,
            receive_buffer_bytes: 16 << 10,
            tick: Duration::from_millis(limits::TICK_MS),
            completion_entries: limits::COMPLETION_ENTRIES,
        }
    }
}

/// One shard's io_uring and everything that is in flight on it.
///
/// Must be driven by the thread that made it (`SINGLE_ISSUER`).
pub struct Ring {
    uring: IoUring,
    waker: Waker,
    sockets: Sockets,
    buffers: Buffers,
    operations: Slab<Operation>,
    /// Readable sockets that wait for a buffer, oldest first.
    waiting: VecDeque<SocketId>,
    listener: Option<Listener>,
    tick: Box<types::Timespec>,
    /// Sockets closed since the last turn; the next one tells of them first.
    freed: Vec<SocketId>,
    completions: Vec<cqueue::Entry>,
    /// The last turn found something, so the kernel may hold more that it has not shown.
    more: bool,
    metrics: Arc<ShardMetrics>,
}

/// The listening socket. It stays open until its accept has been joined.
#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    armed: bool,
    stopping: bool,
}

impl Ring {
    /// Makes the ring and starts its tick.
    ///
    /// # Errors
    /// What io_uring_setup answered: `ENOSYS` or `EINVAL` before Linux 6.1, `EPERM` where
    /// `kernel.io_uring_disabled` or a seccomp filter forbids it, `ENOMEM` past memlock.
    pub fn new(options: &RingOptions, metrics: Arc<ShardMetrics>) -> io::Result<Self> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(options.completion_entries)
            .build(limits::SUBMISSION_ENTRIES.min(options.completion_entries))?;
        let waker = Waker::new()?;
        uring.submitter().register_eventfd(waker.fd().as_raw_fd())?;
        let mut ring = Self {
            uring,
            waker,
            sockets: Sockets::default(),
            buffers: Buffers::new(options.receive_buffers, options.receive_buffer_bytes),
            operations: Slab::new(),
            waiting: VecDeque::new(),
            listener: None,
            tick: Box::new(options.tick.into()),
            freed: Vec::new(),
            completions: Vec::new(),
            more: true,
            metrics,
        };
        ring.uring.completion().disable_eventfd();
        ring.arm_tick()?;
        Ok(ring)
    }

    /// Wakes this ring's shard from any thread.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Sockets whose [`Event::Freed`] has not been told.
    pub fn live_sockets(&self) -> usize {
        self.sockets.live()
    }

    /// Starts accepting on a listening socket, which the ring keeps.
    pub fn listen(&mut self, fd: OwnedFd) -> io::Result<()> {
        self.listener = Some(Listener { fd, armed: false, stopping: false });
        self.accept()
    }

    /// Accepts (again, after [`Event::AcceptStopped`]); nothing where it does already.
    pub fn accept(&mut self) -> io::Result<()> {
        let Some(listener) = self.listener.as_mut().filter(|l| !l.armed && !l.stopping) else {
            return Ok(());
        };
        listener.armed = true;
        let fd = types::Fd(listener.fd.as_raw_fd());
        let entry = opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build();
        self.push(entry, Tag::Accept)
    }

    /// Stops accepting; the listening socket is closed once its accept has been joined.
    pub fn stop_accepting(&mut self) -> io::Result<()> {
        match &mut self.listener {
            Some(listener) if listener.armed => {
                listener.stopping = true;
                let cancel = opcode::AsyncCancel::new(Tag::Accept.encode()).build();
                self.push(cancel, Tag::CancelAccept)
            }
            _ => {
                self.listener = None;
                Ok(())
            }
        }
    }

    /// Whether there is a listening socket.
    pub fn is_listening(&self) -> bool {
        self.listener.as_ref().is_some_and(|listener| !listener.stopping)
    }

    /// Takes a connected stream socket in. Made blocking: it is io_uring that waits.
    pub fn adopt(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        SockRef::from(&fd).set_nonblocking(false)?;
        let id = self.sockets.insert(fd);
        self.arm_poll(id)?;
        Ok(id)
    }

    /// Starts writing the whole of `buffer`; [`Event::Sent`] brings it back.
    ///
    /// # Errors
    /// Gives the buffer back where the socket is gone or closing, or a write is in flight:
    /// there is one write per socket at a time.
    pub fn send(&mut self, id: SocketId, buffer: Vec<u8>) -> Result<(), Vec<u8>> {
        match self.sockets.get_mut(id) {
            Some(slot) if !slot.flags.has(Flags::CLOSING) && !slot.flags.has(Flags::WRITE) => {
                slot.flags.set(Flags::WRITE);
            }
            _ => return Err(buffer),
        }
        self.write(id, buffer, 0);
        Ok(())
    }

    /// Gives a receive buffer back, and reads the socket on if it has more.
    pub fn recycle(&mut self, id: SocketId, received: Received) {
        self.buffers.give_back(received.buffer);
        let Some(slot) = self.sockets.get_mut(id) else { return };
        slot.flags.clear(Flags::READ);
        self.free_if_joined(id);
        self.read_if_readable(id);
    }

    /// Reads no more from the socket; TCP tells its peer.
    pub fn pause(&mut self, id: SocketId) {
        if let Some(slot) = self.sockets.get_mut(id) {
            slot.flags.set(Flags::PAUSED);
        }
    }

    /// Reads again what was paused.
    pub fn resume(&mut self, id: SocketId) {
        if let Some(slot) = self.sockets.get_mut(id) {
            slot.flags.clear(Flags::PAUSED);
            self.read_if_readable(id);
        }
    }

    /// Sends FIN after what has been written; reading goes on.
    pub fn finish(&mut self, id: SocketId) {
        self.shutdown(id, Shutdown::Write);
    }

    /// Terminates the socket; [`Event::Freed`] follows when it has been joined.
    pub fn close(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        if slot.flags.has(Flags::CLOSING) {
            return;
        }
        slot.flags.set(Flags::CLOSING);
        let flags = slot.flags;
        if flags.has(Flags::WRITE) {
            // A write to a peer that does not read waits for ever otherwise.
            self.shutdown(id, Shutdown::Both);
        }
        if flags.has(Flags::POLL) {
            self.cancel_poll(id);
        }
        self.free_if_joined(id);
    }

    /// One turn: submits what has gathered, reaps what has completed, appends the events.
    /// Never blocks; without anything to do it costs no system call.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    pub fn turn(&mut self, events: &mut Vec<Event>) -> io::Result<usize> {
        self.metrics.ring.turns.inc();
        self.lend_to_waiting();
        let before = events.len();
        for id in self.freed.drain(..) {
            self.sockets.release(id);
            events.push(Event::Freed(id));
        }
        if self.more || self.has_work() {
            self.enter()?;
        }
        self.completions.extend(self.uring.completion());
        self.more = !self.completions.is_empty();
        self.metrics.ring.completions.add(self.completions.len() as u64);
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            self.complete(&completion, events)?;
        }
        self.completions = completions;
        Ok(events.len() - before)
    }

    /// First half of going to sleep: from now on completions and [`Waker::wake`] make the
    /// waker's descriptor readable. `false`: there is something to do, don't sleep.
    /// The caller then looks at whatever else may have work for it, awaits the descriptor,
    /// and calls [`Ring::awake`] in any case.
    pub fn prepare_sleep(&mut self) -> io::Result<bool> {
        self.waker.announce_sleep();
        self.uring.completion().enable_eventfd();
        self.enter()?;
        // What the kernel has not taken, or holds back, would not wake us; nor would a
        // buffer that came back from a read that found nothing.
        let waits = !self.waiting.is_empty() && self.buffers.has_free();
        let told = self.uring.completion().is_empty() && self.freed.is_empty();
        let idle = told && !waits && !self.has_work();
        self.metrics.ring.parks.add(u64::from(idle));
        Ok(idle)
    }

    /// Second half: the shard runs again and needs no more signals.
    pub fn awake(&mut self) {
        self.waker.announce_awake();
        self.uring.completion().disable_eventfd();
        self.more = true;
    }

    /// Closes every socket and drives the ring until all are freed, or `turns_max` ticks
    /// have passed.
    pub fn drain(&mut self, ticks_max: usize) -> io::Result<()> {
        self.stop_accepting()?;
        for id in self.sockets.ids() {
            self.close(id);
        }
        let (mut events, mut ticks) = (Vec::new(), 0);
        while (self.sockets.live() > 0 || self.listener.is_some()) && ticks < ticks_max {
            if self.turn(&mut events)? == 0
                && self.freed.is_empty()
                && let Err(error) = self.uring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            for event in events.drain(..) {
                match event {
                    Event::Received(id, received) => self.recycle(id, received),
                    Event::Accepted(id) => self.close(id),
                    Event::Tick => ticks += 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn complete(&mut self, completion: &cqueue::Entry, events: &mut Vec<Event>) -> io::Result<()> {
        let (result, flags) = (completion.result(), completion.flags());
        match Tag::decode(completion.user_data()) {
            Some(Tag::Operation(index)) => self.complete_operation(index, result, flags, events),
            Some(Tag::Poll(id)) => self.complete_poll(id, result, cqueue::more(flags), events),
            Some(Tag::Accept) => self.complete_accept(result, cqueue::more(flags), events)?,
            Some(Tag::Tick) => {
                events.push(Event::Tick);
                self.arm_tick()?;
            }
            // Was running at that moment and has not seen the cancellation: once more.
            Some(Tag::CancelPoll(id)) if result == -libc::EALREADY => self.cancel_poll(id),
            Some(Tag::CancelPoll(_) | Tag::CancelAccept) | None => {}
        }
        Ok(())
    }

    fn complete_poll(&mut self, id: SocketId, result: i32, more: bool, events: &mut Vec<Event>) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        if !more {
            slot.flags.clear(Flags::POLL);
        }
        if slot.flags.has(Flags::CLOSING) {
            return self.free_if_joined(id);
        }
        if result < 0 {
            events.push(Event::Failed(id, Errno(-result)));
            return;
        }
        slot.flags.set(Flags::READABLE);
        let dead = result & i32::from(libc::POLLERR | libc::POLLHUP) != 0;
        if dead && slot.flags.has(Flags::PAUSED) {
            // No read will find out while it is paused.
            events.push(Event::Failed(id, Errno(libc::ECONNRESET)));
            return;
        }
        if !more && let Err(error) = self.arm_poll(id) {
            events.push(Event::Failed(id, errno_of(&error)));
            return;
        }
        self.read_if_readable(id);
    }

    fn complete_operation(&mut self, index: u32, result: i32, flags: u32, events: &mut Vec<Event>) {
        match self.operations.try_remove(index as usize) {
            Some(Operation::Read { socket, buffer }) => {
                self.complete_read(socket, buffer, result, flags, events);
            }
            Some(Operation::Write { socket, buffer, sent }) => {
                self.complete_write(socket, buffer, sent, result, events);
            }
            None => debug_assert!(false, "an operation answered twice"),
        }
    }

    fn complete_read(
        &mut self,
        id: SocketId,
        buffer: buffers::Buffer,
        result: i32,
        flags: u32,
        events: &mut Vec<Event>,
    ) {
        let Some(slot) = self.sockets.get_mut(id) else {
            return self.buffers.give_back(buffer);
        };
        let closing = slot.flags.has(Flags::CLOSING);
        if let Ok(len @ 1..) = usize::try_from(result)
            && !closing
        {
            // Unix sockets do not tell before Linux 6.17; a full buffer may have been too small.
            if cqueue::sock_nonempty(flags) || len == buffer.len() {
                slot.flags.set(Flags::READABLE);
            }
            // The read lasts until the buffer comes back: the shard may pause the socket first.
            events.push(Event::Received(id, Received { buffer, len }));
            return;
        }
        slot.flags.clear(Flags::READ);
        self.buffers.give_back(buffer);
        match -result {
            _ if closing => self.free_if_joined(id),
            0 => {
                slot.flags.set(Flags::FINISHED);
                events.push(Event::PeerFinished(id));
            }
            libc::EAGAIN => self.read_if_readable(id),
            libc::EINTR => {
                // Nothing was read, and the edge that said there is something has passed.
                slot.flags.set(Flags::READABLE);
                self.read_if_readable(id);
            }
            errno => events.push(Event::Failed(id, Errno(errno))),
        }
    }

    fn complete_write(
        &mut self,
        id: SocketId,
        mut buffer: Vec<u8>,
        sent: usize,
        result: i32,
        events: &mut Vec<Event>,
    ) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        slot.flags.clear(Flags::WRITE);
        if slot.flags.has(Flags::CLOSING) {
            return self.free_if_joined(id);
        }
        match usize::try_from(result) {
            Ok(len) if sent + len == buffer.len() => {
                buffer.clear();
                events.push(Event::Sent(id, buffer));
            }
            // A short write: the rest goes on.
            Ok(len @ 1..) => {
                slot.flags.set(Flags::WRITE);
                self.write(id, buffer, sent + len);
            }
            Ok(_) => events.push(Event::Failed(id, Errno(libc::EPIPE))),
            Err(_) if result == -libc::EINTR => {
                slot.flags.set(Flags::WRITE);
                self.write(id, buffer, sent);
            }
            Err(_) => events.push(Event::Failed(id, Errno(-result))),
        }
    }

    fn complete_accept(
        &mut self,
        result: i32,
        more: bool,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        if let Some(listener) = &mut self.listener {
            listener.armed &= more;
        }
        if result >= 0 {
            // SAFETY: a successful accept made this descriptor, and only this completion
            // names it.
            let fd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(result) };
            let id = self.sockets.insert(fd);
            self.arm_poll(id)?;
            events.push(Event::Accepted(id));
        }
        if more {
            return Ok(());
        }
        if self.listener.as_ref().is_none_or(|listener| listener.stopping) {
            self.listener = None;
            return Ok(());
        }
        match -result {
            // Out of something that only time or a closed connection brings back. Trying
            // again at once would spin.
            errno @ (libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                events.push(Event::AcceptStopped(Errno(errno)));
                Ok(())
            }
            errno @ (libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                Err(io::Error::from_raw_os_error(errno))
            }
            // That one connection failed before it was accepted, or the kernel ended the
            // multishot (its completion found no room).
            _ => self.accept(),
        }
    }

    /// Reads the socket if it wants it: at once, or when those before it have had a buffer.
    fn read_if_readable(&mut self, id: SocketId) {
        if !self.sockets.get_mut(id).is_some_and(|slot| slot.flags.wants_read()) {
            return;
        }
        // Whoever gives a buffer back may want it again at once; it goes behind the others.
        let buffer = if self.waiting.is_empty() { self.buffers.lend() } else { None };
        match buffer {
            Some(buffer) => self.read(id, buffer),
            None => {
                if let Some(slot) = self.sockets.get_mut(id) {
                    slot.flags.set(Flags::QUEUED);
                }
                self.waiting.push_back(id);
                self.metrics.ring.buffer_waits.inc();
            }
        }
    }

    fn lend_to_waiting(&mut self) {
        while let Some(&id) = self.waiting.front() {
            let Some(buffer) = self.buffers.lend() else { return };
            self.waiting.pop_front();
            let Some(slot) = self.sockets.get_mut(id) else {
                self.buffers.give_back(buffer);
                continue;
            };
            slot.flags.clear(Flags::QUEUED);
            // It may have been paused or closed meanwhile.
            if slot.flags.wants_read() {
                self.read(id, buffer);
            } else {
                self.buffers.give_back(buffer);
            }
        }
    }

    fn read(&mut self, id: SocketId, buffer: buffers::Buffer) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        slot.flags.clear(Flags::READABLE);
        slot.flags.set(Flags::READ);
        let fd = types::Fd(slot.raw_fd());
        let index = self.operations.insert(Operation::Read { socket: id, buffer });
        let Operation::Read { buffer, .. } = &mut self.operations[index] else { return };
        let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), buffer.len() as u32)
            .flags(libc::MSG_DONTWAIT)
            .build();
        self.push_or_abort(entry, Tag::Operation(index as u32));
    }

    /// Starts, or goes on with, a write whose flag is set already.
    fn write(&mut self, id: SocketId, buffer: Vec<u8>, sent: usize) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        let fd = types::Fd(slot.raw_fd());
        let index = self.operations.insert(Operation::Write { socket: id, buffer, sent });
        let Operation::Write { buffer, .. } = &self.operations[index] else { return };
        let rest = &buffer[sent..];
        let len = rest.len().min(limits::WRITE_BYTES_MAX) as u32;
        let entry = opcode::Send::new(fd, rest.as_ptr(), len).flags(libc::MSG_NOSIGNAL).build();
        self.push_or_abort(entry, Tag::Operation(index as u32));
    }

    fn arm_poll(&mut self, id: SocketId) -> io::Result<()> {
        let Some(slot) = self.sockets.get_mut(id) else { return Ok(()) };
        slot.flags.set(Flags::POLL);
        let fd = types::Fd(slot.raw_fd());
        let entry = opcode::PollAdd::new(fd, (libc::POLLIN | libc::POLLRDHUP) as u32).multi(true);
        self.push(entry.build(), Tag::Poll(id))
    }

    fn cancel_poll(&mut self, id: SocketId) {
        if self.sockets.get_mut(id).is_some_and(|slot| slot.flags.has(Flags::POLL)) {
            let cancel = opcode::PollRemove::new(Tag::Poll(id).encode()).build();
            self.push_or_abort(cancel, Tag::CancelPoll(id));
        }
    }

    fn arm_tick(&mut self) -> io::Result<()> {
        let entry = opcode::Timeout::new(&raw const *self.tick).build();
        self.push(entry, Tag::Tick)
    }

    fn free_if_joined(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        if slot.flags.has(Flags::CLOSING) && slot.flags.at_rest() {
            self.sockets.remove(id);
            self.freed.push(id);
        }
    }

    fn shutdown(&mut self, id: SocketId, how: Shutdown) {
        if let Some(fd) = self.sockets.get_mut(id).and_then(|slot| slot.fd()) {
            // It fails only where the peer is gone already, which is what is wanted.
            let _ = SockRef::from(fd).shutdown(how);
        }
    }

    fn has_work(&mut self) -> bool {
        let submission = self.uring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    fn enter(&mut self) -> io::Result<()> {
        let submission = self.uring.submission();
        let len = submission.len() as u32;
        self.metrics.ring.overflows.add(u64::from(submission.cq_overflow()));
        drop(submission);
        self.metrics.ring.enters.inc();
        // SAFETY: no argument structure is passed. GETEVENTS with nothing to wait for runs
        // the deferred task work, which `submit()` would leave undone.
        let entered = unsafe {
            let flags = EnterFlags::GETEVENTS.bits();
            self.uring.submitter().enter::<libc::sigset_t>(len, 0, flags, None)
        };
        match entered {
            Ok(_) => Ok(()),
            // EBUSY and EAGAIN: the completions are to be reaped first; the queue keeps
            // what was not taken.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn push(&mut self, entry: squeue::Entry, tag: Tag) -> io::Result<()> {
        let entry = entry.user_data(tag.encode());
        for _ in 0..limits::SUBMIT_ATTEMPTS_MAX {
            // SAFETY: descriptors stay open until their operations have been joined; read
            // and write buffers are owned by `operations` until then; the tick's timespec
            // is boxed and lives as long as the ring.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter()?;
        }
        Err(io::Error::other("the submission queue stays full"))
    }

    /// A push that must not fail: its buffer or its socket would never be joined. The
    /// kernel takes submissions unless it is out of memory for a hundred tries in a row.
    fn push_or_abort(&mut self, entry: squeue::Entry, tag: Tag) {
        if let Err(error) = self.push(entry, tag) {
            log::error!("ring: {error}; ending, since nothing can be sent or received");
            std::process::abort();
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // What the kernel may still write to or read from must outlive it. After `drain`
        // there is nothing.
        std::mem::forget(std::mem::take(&mut self.operations));
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
