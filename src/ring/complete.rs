//! What the kernel has answered, turned into events: one function for each kind.

use std::{io, os::fd::OwnedFd};

use io_uring::cqueue;

use super::{
    Errno, Event, Ring,
    buffers::BufferIndex,
    operation::{Tag, WriteOperation},
    sockets::Flags,
    submit::Descriptor,
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
            Some(Tag::Read { slot, buffer }) => {
                self.complete_read(slot, buffer, result, flags, events);
            }
            Some(Tag::Write(index)) => self.complete_write(index, result, events),
            Some(Tag::Poll(id)) => self.complete_poll(id, result, cqueue::more(flags), events),
            Some(Tag::Accept) => self.complete_accept(result, cqueue::more(flags), events)?,
            Some(Tag::Tick) => {
                events.push(Event::Tick);
                self.arm_tick()?;
            }
            Some(Tag::Timer) => {
                self.complete_timer();
                events.push(Event::Timer);
            }
            // Was running at that moment and has not seen the cancellation: once more.
            Some(Tag::CancelPoll(id)) if result == -libc::EALREADY => self.cancel_poll(id),
            Some(Tag::CancelPoll(_) | Tag::CancelAccept | Tag::MoveTimer) | None => {}
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

    fn complete_read(
        &mut self,
        slot: u32,
        buffer: BufferIndex,
        result: i32,
        flags: u32,
        events: &mut Vec<Event>,
    ) {
        let Some((id, slot)) = self.sockets.at_mut(slot) else {
            debug_assert!(false, "a read of a socket that is gone");
            return self.buffers.give_back(buffer);
        };
        let closing = slot.flags.has(Flags::CLOSING);
        if let Ok(len @ 1..) = usize::try_from(result)
            && !closing
        {
            // Unix sockets do not tell before Linux 6.17; a full buffer may have been too small.
            if cqueue::sock_nonempty(flags) || self.buffers.is_full(len) {
                slot.flags.set(Flags::READABLE);
            }
            // The read lasts until the buffer comes back: the shard may pause the socket first.
            events.push(Event::Received(id, self.buffers.fill(buffer, len)));
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

    fn complete_write(&mut self, index: u32, result: i32, events: &mut Vec<Event>) {
        let Some(write) = self.writes.try_remove(index as usize) else {
            debug_assert!(false, "a write answered twice");
            return;
        };
        let WriteOperation { socket: id, mut bytes } = write;
        let Some(slot) = self.sockets.get_mut(id) else { return };
        if slot.flags.has(Flags::CLOSING) {
            slot.flags.clear(Flags::WRITE);
            bytes.into_spare(&mut self.messages);
            return self.free_if_joined(id);
        }
        let written = match usize::try_from(result) {
            Ok(0) if !bytes.is_empty() => Err(libc::EPIPE),
            Ok(len) => Ok(len),
            Err(_) if result == -libc::EINTR => Ok(0),
            Err(_) => Err(-result),
        };
        if let Ok(len) = written
            && !bytes.advance(len)
        {
            // A short write: the rest goes on.
            let descriptor = Descriptor::of(slot, id, self.registered);
            return self.write(id, descriptor, bytes);
        }
        slot.flags.clear(Flags::WRITE);
        let spare = bytes.into_spare(&mut self.messages);
        events.push(match written {
            Ok(_) => Event::Sent(id, spare),
            Err(errno) => Event::Failed(id, Errno(errno)),
        });
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
