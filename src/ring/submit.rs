//! What the kernel is asked for: the operations on a socket, and the way into the queue.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsRawFd, OwnedFd},
};

use io_uring::{EnterFlags, opcode, squeue, types};
use socket2::SockRef;

use super::{
    Ring,
    buffers::BufferIndex,
    operation::{Tag, WriteBytes, WriteOperation},
    sockets::{Flags, Slot},
};
use crate::{ids::SocketId, limits};

/// What an operation names a socket by: its number in the process's table of descriptors, or
/// in the ring's own.
#[derive(Clone, Copy)]
pub(super) struct Descriptor {
    fd: types::Fd,
    flags: squeue::Flags,
}

impl Descriptor {
    /// Of the socket in `slot`, where those below `registered` are in the ring's own table.
    pub fn of(slot: &Slot, id: SocketId, registered: u32) -> Self {
        if id.slot < registered {
            Self { fd: types::Fd(id.slot as i32), flags: squeue::Flags::FIXED_FILE }
        } else {
            Self { fd: types::Fd(slot.raw_fd()), flags: squeue::Flags::empty() }
        }
    }
}

impl Ring {
    pub(super) fn insert(&mut self, fd: OwnedFd) -> io::Result<SocketId> {
        let raw = fd.as_raw_fd();
        let id = self.sockets.insert(fd);
        if id.slot < self.registered {
            // It can only fail for lack of memory; then nothing else goes on either.
            self.uring.submitter().register_files_update(id.slot, &[raw])?;
        }
        self.arm_poll(id)?;
        Ok(id)
    }

    /// Reads the socket if it wants it: at once, or when those before it have had a buffer.
    pub(super) fn read_if_readable(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.get_mut(id).filter(|slot| slot.flags.wants_read()) else {
            return;
        };
        // Whoever gives a buffer back may want it again at once; it goes behind the others.
        if self.waiting.is_empty()
            && let Some(buffer) = self.buffers.lend()
        {
            let descriptor = slot.start_read(id, self.registered);
            return self.read(id, descriptor, buffer);
        }
        slot.flags.set(Flags::QUEUED);
        self.waiting.push_back(id);
        self.metrics.ring.buffer_waits.inc();
    }

    pub(super) fn lend_to_waiting(&mut self) {
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
                let descriptor = slot.start_read(id, self.registered);
                self.read(id, descriptor, buffer);
            } else {
                self.buffers.give_back(buffer);
            }
        }
    }

    fn read(&mut self, id: SocketId, descriptor: Descriptor, buffer: BufferIndex) {
        let target = self.buffers.target(buffer);
        let entry = Transfer {
            opcode: opcode::Recv::CODE,
            descriptor,
            address: target.as_mut_ptr() as u64,
            len: target.len() as u32,
            flags: libc::MSG_DONTWAIT,
        };
        self.push_or_abort(entry.build(), Tag::Read { slot: id.slot, buffer });
    }

    /// Starts, or goes on with, a write whose flag is set already. What is pointed to stays
    /// where it is when its owner moves.
    #[inline(always)]
    pub(super) fn write(&mut self, id: SocketId, descriptor: Descriptor, mut bytes: WriteBytes) {
        let (opcode, address, len) = match &mut bytes {
            WriteBytes::Owned { buffer, sent } => send(&buffer[*sent..]),
            WriteBytes::Shared(rest) => send(rest),
            WriteBytes::Gathered { pieces, message } => {
                (opcode::SendMsg::CODE, message.point_at(pieces) as u64, 1)
            }
        };
        let flags = libc::MSG_NOSIGNAL;
        let index = self.writes.insert(WriteOperation { socket: id, bytes });
        let entry = Transfer { opcode, descriptor, address, len, flags };
        self.push_or_abort(entry.build(), Tag::Write(index));
    }

    pub(super) fn arm_poll(&mut self, id: SocketId) -> io::Result<()> {
        let Some(slot) = self.sockets.get_mut(id) else { return Ok(()) };
        slot.flags.set(Flags::POLL);
        let Descriptor { fd, flags } = Descriptor::of(slot, id, self.registered);
        let entry = opcode::PollAdd::new(fd, (libc::POLLIN | libc::POLLRDHUP) as u32).multi(true);
        self.push(entry.build().flags(flags), Tag::Poll(id))
    }

    pub(super) fn cancel_poll(&mut self, id: SocketId) {
        if self.sockets.get_mut(id).is_some_and(|slot| slot.flags.has(Flags::POLL)) {
            let cancel = opcode::PollRemove::new(Tag::Poll(id).encode()).build();
            self.push_or_abort(cancel, Tag::CancelPoll(id));
        }
    }

    pub(super) fn arm_tick(&mut self) -> io::Result<()> {
        let entry = opcode::Timeout::new(&raw const *self.tick).build();
        self.push(entry, Tag::Tick)
    }

    pub(super) fn free_if_joined(&mut self, id: SocketId) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        if slot.flags.has(Flags::CLOSING) && slot.flags.at_rest() {
            if id.slot < self.registered {
                // The socket lives as long as either knows it.
                let _ = self.uring.submitter().register_files_update(id.slot, &[-1]);
            }
            self.sockets.remove(id);
            self.freed.push(id);
        }
    }

    pub(super) fn shutdown(&mut self, id: SocketId, how: Shutdown) {
        if let Some(fd) = self.sockets.get_mut(id).and_then(|slot| slot.fd()) {
            // It fails only where the peer is gone already, which is what is wanted.
            let _ = SockRef::from(fd).shutdown(how);
        }
    }

    pub(super) fn has_work(&mut self) -> bool {
        let submission = self.uring.submission();
        !submission.is_empty() || submission.taskrun() || submission.cq_overflow()
    }

    pub(super) fn enter(&mut self) -> io::Result<()> {
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

    /// Inlined into whoever builds the entry, which is then written where it belongs: passed
    /// on, it would be read back, wider than it was written, which stalls the processor.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: squeue::Entry, tag: Tag) -> io::Result<()> {
        let entry = entry.user_data(tag.encode());
        if self.try_push(&entry) {
            return Ok(());
        }
        self.push_when_full(entry.clone())
    }

    #[inline(always)]
    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: descriptors stay open until their operations have been joined; receive
        // buffers stay in their pool until then; what writes point to, which is the bytes and
        // for gathered ones the boxed message as well, is owned by `writes` until then and
        // nothing changes it; the timespecs of tick and timer are boxed and live as long as
        // the ring.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    #[cold]
    fn push_when_full(&mut self, entry: squeue::Entry) -> io::Result<()> {
        for _ in 1..limits::SUBMIT_ATTEMPTS_MAX {
            self.enter()?;
            if self.try_push(&entry) {
                return Ok(());
            }
        }
        Err(io::Error::other("the submission queue stays full"))
    }

    /// A push that must not fail: its buffer or its socket would never be joined. The
    /// kernel takes submissions unless it is out of memory for a hundred tries in a row.
    #[inline(always)]
    pub(super) fn push_or_abort(&mut self, entry: squeue::Entry, tag: Tag) {
        if let Err(error) = self.push(entry, tag) {
            abort(&error);
        }
    }
}

#[cold]
fn abort(error: &io::Error) -> ! {
    log::error!("ring: {error}; ending, since nothing can be sent or received");
    std::process::abort();
}

impl Slot {
    /// Notes that a read is in flight, and says where.
    fn start_read(&mut self, id: SocketId, registered: u32) -> Descriptor {
        self.flags.clear(Flags::READABLE);
        self.flags.set(Flags::READ);
        Descriptor::of(self, id, registered)
    }
}

/// What sends `rest`, or as much of it as one operation takes: opcode, address and length.
fn send(rest: &[u8]) -> (u8, u64, u32) {
    let len = rest.len().min(limits::WRITE_BYTES_MAX) as u32;
    (opcode::Send::CODE, rest.as_ptr() as u64, len)
}

/// A RECV, SEND or SENDMSG: the entries of which there is one for every message.
struct Transfer {
    opcode: u8,
    descriptor: Descriptor,
    /// Of the bytes, or of the header of the message.
    address: u64,
    len: u32,
    /// As of recv(2) and send(2).
    flags: i32,
}

impl Transfer {
    /// The entry, as `<linux/io_uring.h>` lays it out. In words, because the crate's builders
    /// write its fields one by one and then copy them sixteen bytes at a time: a load that is
    /// wider than the stores it needs waits for all of them.
    #[inline(always)]
    fn build(self) -> squeue::Entry {
        let Descriptor { fd, flags } = self.descriptor;
        let head = u64::from(self.opcode) | u64::from(flags.bits()) << 8;
        let head = head | u64::from(fd.0 as u32) << 32;
        let tail = u64::from(self.len) | u64::from(self.flags as u32) << 32;
        let words = [head, 0, self.address, tail, 0, 0, 0, 0];
        // SAFETY: an entry is 64 bytes of integers in the order of the kernel's structure, for
        // which any value is one; what they mean is compared with the builders in the tests.
        unsafe { std::mem::transmute::<[u64; 8], squeue::Entry>(words) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(entry: squeue::Entry) -> [u64; 8] {
        // SAFETY: as in `Transfer::build`.
        unsafe { std::mem::transmute::<squeue::Entry, [u64; 8]>(entry) }
    }

    #[test]
    fn transfers_are_laid_out_as_the_builders_do() {
        let mut buffer = [0_u8; 40];
        let header = std::ptr::dangling::<libc::msghdr>();
        for (fd, flags) in [(7, squeue::Flags::empty()), (0x0102_0304, squeue::Flags::FIXED_FILE)] {
            let descriptor = Descriptor { fd: types::Fd(fd), flags };
            let (address, len) = (buffer.as_mut_ptr(), buffer.len() as u32);
            let built = |opcode, address, len, flags| {
                words(Transfer { opcode, descriptor, address, len, flags }.build())
            };
            let recv = opcode::Recv::new(descriptor.fd, address, len).flags(libc::MSG_DONTWAIT);
            assert_eq!(
                built(opcode::Recv::CODE, address as u64, len, libc::MSG_DONTWAIT),
                words(recv.build().flags(flags))
            );
            let send = opcode::Send::new(descriptor.fd, address, len).flags(libc::MSG_NOSIGNAL);
            assert_eq!(
                built(opcode::Send::CODE, address as u64, len, libc::MSG_NOSIGNAL),
                words(send.build().flags(flags))
            );
            let gathered = opcode::SendMsg::new(descriptor.fd, header);
            assert_eq!(
                built(opcode::SendMsg::CODE, header as u64, 1, libc::MSG_NOSIGNAL),
                words(gathered.flags(libc::MSG_NOSIGNAL as u32).build().flags(flags))
            );
        }
    }
}
