//! What the kernel has answered, turned into events: one function for each kind.

use std::{io, os::fd::OwnedFd};

use io_uring::cqueue;

use super::{
    Errno, Event, Received, Ring,
    buffers::Buffer,
    operation::{Operation, Tag},
    sockets::Flags,
};
use crate::ids::SocketId;

impl Ring {
    pub(super) fn complete(
        &mut self,
        completion: &cqueue::Entry,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
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
        buffer: Buffer,
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
            let id = self.insert(fd)?;
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
}

fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
