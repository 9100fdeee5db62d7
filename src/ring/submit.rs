//! What the kernel is asked for: the operations on a socket, and the way into the queue.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsRawFd, OwnedFd},
};

use bytes::Bytes;
use io_uring::{EnterFlags, opcode, squeue, types};
use socket2::SockRef;

use super::{
    Ring,
    buffers::Buffer,
    gather::Message,
    operation::{Operation, Tag},
    sockets::Flags,
    write::Pieces,
};
use crate::{ids::SocketId, limits};

/// A descriptor's number, in the process's table or in the ring's own.
struct Descriptor {
    fd: types::Fd,
    flags: squeue::Flags,
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

    /// What operations on a socket name it by.
    fn descriptor(&mut self, id: SocketId) -> Option<Descriptor> {
        let is_registered = id.slot < self.registered;
        let slot = self.sockets.get_mut(id)?;
        Some(if is_registered {
            Descriptor { fd: types::Fd(id.slot as i32), flags: squeue::Flags::FIXED_FILE }
        } else {
            Descriptor { fd: types::Fd(slot.raw_fd()), flags: squeue::Flags::empty() }
        })
    }

    /// Reads the socket if it wants it: at once, or when those before it have had a buffer.
    pub(super) fn read_if_readable(&mut self, id: SocketId) {
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
                self.read(id, buffer);
            } else {
                self.buffers.give_back(buffer);
            }
        }
    }

    pub(super) fn read(&mut self, id: SocketId, buffer: Buffer) {
        let Some(slot) = self.sockets.get_mut(id) else { return };
        slot.flags.clear(Flags::READABLE);
        slot.flags.set(Flags::READ);
        let Some(Descriptor { fd, flags }) = self.descriptor(id) else { return };
        let index = self.operations.insert(Operation::Read { socket: id, buffer });
        let Operation::Read { buffer, .. } = &mut self.operations[index] else { return };
        let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), buffer.len() as u32)
            .flags(libc::MSG_DONTWAIT)
            .build()
            .flags(flags);
        self.push_or_abort(entry, Tag::Operation(index as u32));
    }

    /// Starts, or goes on with, a write whose flag is set already.
    pub(super) fn write(&mut self, id: SocketId, buffer: Vec<u8>, sent: usize) {
        let Some(Descriptor { fd, flags }) = self.descriptor(id) else { return };
        let index = self.operations.insert(Operation::Write { socket: id, buffer, sent });
        let Operation::Write { buffer, .. } = &self.operations[index] else { return };
        let entry = send(fd, &buffer[sent..]).flags(flags);
        self.push_or_abort(entry, Tag::Operation(index as u32));
    }

    /// The same for bytes that others may send as well.
    pub(super) fn write_shared(&mut self, id: SocketId, rest: Bytes) {
        let Some(Descriptor { fd, flags }) = self.descriptor(id) else { return };
        // Wherever the handle is, its bytes stay where they are.
        let entry = send(fd, &rest).flags(flags);
        let index = self.operations.insert(Operation::WriteShared { socket: id, rest });
        self.push_or_abort(entry, Tag::Operation(index as u32));
    }

    /// The same for pieces, from where `message` stands.
    pub(super) fn write_gathered(
        &mut self,
        id: SocketId,
        pieces: Box<Pieces>,
        mut message: Box<Message>,
    ) {
        let Some(Descriptor { fd, flags }) = self.descriptor(id) else { return };
        let header = message.point_at(&pieces);
        let entry =
            opcode::SendMsg::new(fd, header).flags(libc::MSG_NOSIGNAL as u32).build().flags(flags);
        let operation = Operation::WriteGathered { socket: id, pieces, message };
        let index = self.operations.insert(operation);
        self.push_or_abort(entry, Tag::Operation(index as u32));
    }

    pub(super) fn arm_poll(&mut self, id: SocketId) -> io::Result<()> {
        let Some(slot) = self.sockets.get_mut(id) else { return Ok(()) };
        slot.flags.set(Flags::POLL);
        let Some(Descriptor { fd, flags }) = self.descriptor(id) else { return Ok(()) };
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

    pub(super) fn push(&mut self, entry: squeue::Entry, tag: Tag) -> io::Result<()> {
        let entry = entry.user_data(tag.encode());
        for _ in 0..limits::SUBMIT_ATTEMPTS_MAX {
            // SAFETY: descriptors stay open until their operations have been joined; read
            // and write buffers, shared bytes, pieces and the boxed messages that point to
            // them are owned by `operations` until then, and nothing changes them; the
            // timespecs of tick and timer are boxed and live as long as the ring.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return Ok(());
            }
            self.enter()?;
        }
        Err(io::Error::other("the submission queue stays full"))
    }

    /// A push that must not fail: its buffer or its socket would never be joined. The
    /// kernel takes submissions unless it is out of memory for a hundred tries in a row.
    pub(super) fn push_or_abort(&mut self, entry: squeue::Entry, tag: Tag) {
        if let Err(error) = self.push(entry, tag) {
            log::error!("ring: {error}; ending, since nothing can be sent or received");
            std::process::abort();
        }
    }
}

/// A write of `rest`, or of as much as one operation takes.
fn send(fd: types::Fd, rest: &[u8]) -> squeue::Entry {
    let len = rest.len().min(limits::WRITE_BYTES_MAX) as u32;
    opcode::Send::new(fd, rest.as_ptr(), len).flags(libc::MSG_NOSIGNAL).build()
}
