//! What the kernel has answered, turned into events: one function for each kind.

use std::{io, os::fd::OwnedFd};

use io_uring::cqueue;

use super::{
    Errno, Event, Ring,
    buffers::BufferIndex,
    operation::{Tag, WriteBytes, WriteOperation},
    sockets::Flags,
    submit::Descriptor,
};
use crate::ids::SocketId;

impl Ring {
    #[inline(always)]
    pub(super) fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<Option<Event>> {
        let (result, flags) = (completion.result(), completion.flags());
        Ok(match Tag::decode(completion.user_data()) {
            Some(Tag::Read { slot, buffer }) => self.complete_read(slot, buffer, result, flags),
            Some(Tag::Write(index)) => self.complete_write(index, result),
            Some(Tag::Poll(id)) => self.complete_poll(id, result, cqueue::more(flags)),
            Some(Tag::Accept) => self.complete_accept(result, cqueue::more(flags))?,
            Some(Tag::Tick) => {
                self.arm_tick()?;
                Some(Event::Tick)
            }
            Some(Tag::Timer) => {
                self.complete_timer();
                Some(Event::Timer)
            }
            Some(Tag::CancelPoll(id)) => {
                // Was running at that moment and has not seen the cancellation: once more.
                if result == -libc::EALREADY {
                    self.cancel_poll(id);
                }
                None
            }
            Some(Tag::CancelAccept | Tag::MoveTimer) | None => None,
        })
    }

    #[inline(always)]
    fn complete_poll(&mut self, id: SocketId, result: i32, more: bool) -> Option<Event> {
        let slot = self.sockets.get_mut(id)?;
        if !more {
            slot.flags.clear(Flags::POLL);
        }
        if slot.flags.has(Flags::CLOSING) {
            self.free_if_joined(id);
            return None;
        }
        if result < 0 {
            return Some(Event::Failed(id, Errno(-result)));
        }
        slot.flags.set(Flags::READABLE);
        let dead = result & i32::from(libc::POLLERR | libc::POLLHUP) != 0;
        if dead && slot.flags.has(Flags::PAUSED) {
            // No read will find out while it is paused.
            return Some(Event::Failed(id, Errno(libc::ECONNRESET)));
        }
        if !more && let Err(error) = self.arm_poll(id) {
            return Some(Event::Failed(id, errno_of(&error)));
        }
        self.read_if_readable(id);
        None
    }

    #[inline(always)]
    fn complete_read(
        &mut self,
        slot: u32,
        buffer: BufferIndex,
        result: i32,
        flags: u32,
    ) -> Option<Event> {
        let Some((id, slot)) = self.sockets.at_mut(slot) else {
            debug_assert!(false, "a read of a socket that is gone");
            self.buffers.give_back(buffer);
            return None;
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
            return Some(Event::Received(id, self.buffers.fill(buffer, len)));
        }
        slot.flags.clear(Flags::READ);
        self.buffers.give_back(buffer);
        self.complete_empty_read(id, result)
    }

    /// A read that has brought nothing, or nothing that is still wanted.
    #[cold]
    fn complete_empty_read(&mut self, id: SocketId, result: i32) -> Option<Event> {
        let slot = self.sockets.get_mut(id)?;
        match -result {
            _ if slot.flags.has(Flags::CLOSING) => self.free_if_joined(id),
            0 => {
                slot.flags.set(Flags::FINISHED);
                return Some(Event::PeerFinished(id));
            }
            libc::EAGAIN => self.read_if_readable(id),
            libc::EINTR => {
                // Nothing was read, and the edge that said there is something has passed.
                slot.flags.set(Flags::READABLE);
                self.read_if_readable(id);
            }
            errno => return Some(Event::Failed(id, Errno(errno))),
        }
        None
    }

    #[inline(always)]
    fn complete_write(&mut self, index: u32, result: i32) -> Option<Event> {
        let Some(write) = self.writes.remove(index) else {
            debug_assert!(false, "a write answered twice");
            return None;
        };
        let WriteOperation { socket: id, mut bytes } = write;
        let slot = self.sockets.get_mut(id)?;
        if slot.flags.has(Flags::CLOSING) {
            slot.flags.clear(Flags::WRITE);
            bytes.into_spare(&mut self.messages);
            self.free_if_joined(id);
            return None;
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
            let descriptor = Descriptor::of(slot, id, self.registered);
            self.write_rest(id, descriptor, bytes);
            return None;
        }
        slot.flags.clear(Flags::WRITE);
        let spare = bytes.into_spare(&mut self.messages);
        Some(match written {
            Ok(_) => Event::Sent(id, spare),
            Err(errno) => Event::Failed(id, Errno(errno)),
        })
    }

    /// After a short write.
    #[cold]
    fn write_rest(&mut self, id: SocketId, descriptor: Descriptor, bytes: WriteBytes) {
        self.write(id, descriptor, bytes);
    }

    #[inline(never)]
    fn complete_accept(&mut self, result: i32, more: bool) -> io::Result<Option<Event>> {
        if let Some(listener) = &mut self.listener {
            listener.armed &= more;
        }
        let mut event = None;
        if result >= 0 {
            // SAFETY: a successful accept made this descriptor, and only this completion
            // names it.
            let fd = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(result) };
            event = Some(Event::Accepted(self.insert(fd)?));
        }
        if more {
            return Ok(event);
        }
        if self.listener.as_ref().is_none_or(|listener| listener.stopping) {
            self.listener = None;
            return Ok(event);
        }
        match -result {
            // Out of something that only time or a closed connection brings back. Trying
            // again at once would spin.
            errno @ (libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                return Ok(Some(Event::AcceptStopped(Errno(errno))));
            }
            errno @ (libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                return Err(io::Error::from_raw_os_error(errno));
            }
            // That one connection failed before it was accepted, or the kernel ended the
            // multishot (its completion found no room).
            _ => self.accept()?,
        }
        Ok(event)
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
