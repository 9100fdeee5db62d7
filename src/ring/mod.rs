//! The engine of one shard: sockets in, bytes and completions out.
//!
//! One io_uring per shard (`SINGLE_ISSUER`, `DEFER_TASKRUN`), driven in turns: submit what has
//! gathered ([`Ring::begin_turn`]), then hand on what has completed as [`Event`]s, one by one
//! ([`Ring::next_event`]). An idle socket costs one multishot poll in the kernel and one 12-byte
//! slot here: no buffer, no task. When it becomes readable it is lent a buffer of the shard's
//! pool for one read.
//!
//! What runs for every message is inlined down to whoever takes the events. Not for the calls:
//! an event, a write or a submission that is passed on in memory is stored field by field and
//! read back sixteen bytes at a time, and such a load waits until all of the stores are done.
//!
//! The engine knows no protocol and no executor. Whoever drives it may spin, or sleep on
//! the waker's descriptor between [`Ring::prepare_sleep`] and [`Ring::awake`]; a blocking
//! driver (tests, benches) and glommio do so alike.
//!
//! A socket is closed in three steps: *terminate* (nothing new is started, what is in
//! flight is cancelled), *join* (every operation has answered), *free* (the descriptor is
//! closed, the slot's generation moves on, [`Event::Freed`]).
//!
//! Files: here what the shard calls, `write` what it may send, `submit` what the kernel is
//! asked for, `complete` what it has answered, `probe` whether it would answer at all. All `unsafe` of the crate is in this module.
#![allow(unsafe_code)]

mod buffers;
mod complete;
mod event;
mod gather;
mod operation;
mod probe;
mod sleep;
mod sockets;
mod submit;
#[cfg(test)]
mod tests;
mod timer;
mod wake;
mod write;

// `sleep` takes its atomics from here, and from loom where its test includes it.
use std::sync::atomic;
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Shutdown},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use io_uring::{IoUring, opcode, types};
use rustix::process::{Resource, getrlimit};
use socket2::SockRef;

use self::{
    buffers::Buffers,
    gather::Messages,
    operation::{Tag, WriteBytes, Writes},
    sockets::{Flags, Sockets},
    submit::Descriptor,
    timer::Timer,
};
pub use self::{
    buffers::Received,
    event::{Errno, Event},
    probe::probe,
    wake::{Waker, duplicate},
    write::{Pieces, Spare, Write},
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
    /// Slots whose descriptors are registered with the ring (8 bytes each), which saves a
    /// look-up in the process's table per operation. Sockets in further slots do without.
    pub registered_sockets: u32,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self {
            receive_buffers: 32,
            receive_buffer_bytes: 64 << 10,
            tick: Duration::from_millis(limits::TICK_MS),
            completion_entries: limits::COMPLETION_ENTRIES,
            registered_sockets: 1024,
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
    /// Slots below this are registered while they carry a socket.
    registered: u32,
    buffers: Buffers,
    writes: Writes,
    messages: Messages,
    /// Readable sockets that wait for a buffer, oldest first.
    waiting: VecDeque<SocketId>,
    listener: Option<Listener>,
    tick: Box<types::Timespec>,
    timer: Timer,
    /// Sockets closed since the last turn; the next one tells of them first.
    freed: Vec<SocketId>,
    /// Those that this turn has not told of yet.
    untold: Vec<SocketId>,
    /// Completions that this turn has not looked at yet.
    unseen: usize,
    /// The last turn found something, so the kernel may hold more that it has not shown.
    more: bool,
    metrics: Arc<ShardMetrics>,
}

/// How every ring is set up, the one that is only tried included.
fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all();
    builder
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
        let uring = builder()
            .setup_cqsize(options.completion_entries)
            .build(limits::SUBMISSION_ENTRIES.min(options.completion_entries))?;
        let waker = Waker::new()?;
        uring.submitter().register_eventfd(waker.fd().as_raw_fd())?;
        // The kernel takes no table with more entries than the process may have descriptors.
        // It saves some per cent: where it takes none at all, sockets do without.
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let registered = options.registered_sockets.min(limits::REGISTERED_SOCKETS_MAX);
        let registered = registered.min(u32::try_from(descriptors).unwrap_or(u32::MAX));
        let registered = match uring.submitter().register_files_sparse(registered) {
            Ok(()) => registered,
            Err(error) => {
                log::warn!("{registered} descriptors were not registered with the ring: {error}");
                0
            }
        };
        let mut ring = Self {
            uring,
            waker,
            sockets: Sockets::default(),
            registered,
            buffers: Buffers::new(options.receive_buffers, options.receive_buffer_bytes),
            writes: Writes::default(),
            messages: Messages::default(),
            waiting: VecDeque::new(),
            listener: None,
            tick: Box::new(options.tick.into()),
            timer: Timer::default(),
            freed: Vec::new(),
            untold: Vec::new(),
            unseen: 0,
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

    /// Where the peer of a socket is; `None` where it has none any more.
    pub fn peer_address(&mut self, id: SocketId) -> Option<IpAddr> {
        let fd = self.sockets.get_mut(id)?.fd()?;
        SockRef::from(fd).peer_addr().ok()?.as_socket().map(|address| address.ip())
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
        self.insert(fd)
    }

    /// Starts writing the whole of `write`; [`Event::Sent`] brings back what can be used
    /// again.
    ///
    /// # Errors
    /// Gives it back where the socket is gone or closing, or a write is in flight: there is
    /// one write per socket at a time.
    #[inline(always)]
    pub fn send(&mut self, id: SocketId, write: impl Into<Write>) -> Result<(), Write> {
        let write = write.into();
        let Some(slot) = self.sockets.get_mut(id).filter(|slot| slot.flags.may_write()) else {
            return Err(write);
        };
        slot.flags.set(Flags::WRITE);
        let descriptor = Descriptor::of(slot, id, self.registered);
        let bytes = match write {
            Write::Owned(buffer) => WriteBytes::Owned { buffer, sent: 0 },
            Write::Shared(bytes) => WriteBytes::Shared(bytes),
            Write::Gathered(pieces) => {
                WriteBytes::Gathered { pieces, message: self.messages.take() }
            }
        };
        self.write(id, descriptor, bytes);
        Ok(())
    }

    /// Gives a receive buffer back, and reads the socket on if it has more.
    #[inline(always)]
    pub fn recycle(&mut self, id: SocketId, received: Received) {
        self.buffers.take_back(received);
        let Some(slot) = self.sockets.get_mut(id) else { return };
        slot.flags.clear(Flags::READ);
        if slot.flags.has(Flags::CLOSING) {
            self.free_if_joined(id);
        } else if slot.flags.has(Flags::READABLE) {
            self.read_if_readable(id);
        }
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
        let before = events.len();
        self.begin_turn()?;
        while let Some(event) = self.next_event()? {
            events.push(event);
        }
        Ok(events.len() - before)
    }

    /// Begins a turn whose events are taken one by one from [`Ring::next_event`], each handled
    /// while it is in the cache. `true`: there may be some.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    pub fn begin_turn(&mut self) -> io::Result<bool> {
        self.metrics.ring.turns.inc();
        self.lend_to_waiting();
        self.untold.append(&mut self.freed);
        if self.more || self.has_work() {
            self.enter()?;
        }
        // No more than are there now: what they lead to is for the next turn.
        self.unseen = self.uring.completion().len();
        self.more = self.unseen > 0;
        self.metrics.ring.completions.add(self.unseen as u64);
        Ok(self.more || !self.untold.is_empty())
    }

    /// The next event of this turn; `None` at its end.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    #[inline(always)]
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        // First the ends, then what may take the slots anew.
        if let Some(id) = self.untold.pop() {
            self.sockets.release(id);
            return Ok(Some(Event::Freed(id)));
        }
        while self.unseen > 0 {
            self.unseen -= 1;
            let Some(completion) = self.uring.completion().next() else { break };
            let event = self.complete(&completion)?;
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Waits in the kernel until the ring has something or `at_most` has passed: the cheapest
    /// way to be idle for a moment. It stops the thread, and [`Waker::wake`] does not end it.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<()> {
        // What the next turn has to do without the kernel would not end the wait.
        if !self.freed.is_empty() || (!self.waiting.is_empty() && self.buffers.has_free()) {
            return Ok(());
        }
        let timeout = types::Timespec::from(at_most);
        let arguments = types::SubmitArgs::new().timespec(&timeout);
        self.metrics.ring.enters.inc();
        match self.uring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
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

    /// Closes every socket and drives the ring until all are freed, or `ticks_max` ticks
    /// have passed. Returns those that were freed and that no event has told of.
    pub fn drain(&mut self, ticks_max: usize) -> io::Result<Vec<SocketId>> {
        self.stop_accepting()?;
        for id in self.sockets.ids() {
            self.close(id);
        }
        let (mut events, mut freed, mut ticks) = (Vec::new(), Vec::new(), 0);
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
                    Event::Freed(id) => freed.push(id),
                    Event::Tick => ticks += 1,
                    _ => {}
                }
            }
        }
        Ok(freed)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // What the kernel may still write to or read from must outlive it. After `drain`
        // there is nothing.
        std::mem::forget(std::mem::take(&mut self.writes));
        self.buffers.abandon();
    }
}
