//! The slot table: which sockets a shard has, and what is in flight on each.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::{chunked::Chunked, ids::SocketId};

/// Bits of a generation that fit beside an operation and a slot in 64 bits.
pub(super) const GENERATION_MASK: u32 = 0x00ff_ffff;

/// What may be in flight on, or noted of, one socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags(u8);

impl Flags {
    /// The multishot poll is armed.
    pub const POLL: Self = Self(1);
    /// A read is in flight, or its bytes are with the shard.
    pub const READ: Self = Self(2);
    /// A write is in flight.
    pub const WRITE: Self = Self(4);
    /// Became readable while a read was in flight, or while it could not be read.
    pub const READABLE: Self = Self(8);
    /// Not to be read until resumed.
    pub const PAUSED: Self = Self(16);
    /// Being closed: nothing new is started, the descriptor goes when all is joined.
    pub const CLOSING: Self = Self(32);
    /// Waits in the queue for a receive buffer.
    pub const QUEUED: Self = Self(64);
    /// The peer has sent its FIN: there is nothing more to read.
    pub const FINISHED: Self = Self(128);
    /// What keeps the descriptor and its buffers alive.
    const IN_FLIGHT: Self = Self(1 | 2 | 4);

    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub fn set(&mut self, flag: Self) {
        self.0 |= flag.0;
    }

    pub fn clear(&mut self, flag: Self) {
        self.0 &= !flag.0;
    }

    /// Whether a read is due: there is something, and nothing stands against it.
    pub fn wants_read(self) -> bool {
        let against = Self::READ.0 | Self::PAUSED.0 | Self::CLOSING.0;
        let against = against | Self::QUEUED.0 | Self::FINISHED.0;
        self.has(Self::READABLE) && self.0 & against == 0
    }

    /// Whether a write may be started: none is in flight, and it is not being closed.
    pub fn may_write(self) -> bool {
        self.0 & (Self::WRITE.0 | Self::CLOSING.0) == 0
    }

    /// Whether every operation has been joined.
    pub fn at_rest(self) -> bool {
        self.0 & Self::IN_FLIGHT.0 == 0
    }
}

/// One slot: 12 bytes. Free where it has no descriptor.
#[derive(Default, Debug)]
pub(super) struct Slot {
    fd: Option<OwnedFd>,
    generation: u32,
    pub flags: Flags,
}

impl Slot {
    /// The descriptor's number, for a submission. Only of a slot that was looked up by
    /// a live id, which has one.
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    pub fn fd(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }
}

/// All sockets of a shard, grown as they are used, never by a limit read from the system.
#[derive(Default, Debug)]
pub(super) struct Sockets {
    slots: Chunked<Slot>,
    free: Vec<u32>,
    used: u32,
    live: usize,
}

impl Sockets {
    /// Gives `fd` a slot, the one freed last, so that the table stays as dense as it can.
    pub fn insert(&mut self, fd: OwnedFd) -> SocketId {
        let slot = self.free.pop().unwrap_or_else(|| {
            let fresh = self.used;
            self.used += 1;
            self.slots.grow_to(fresh);
            fresh
        });
        let entry = self.slots.get_mut(slot).expect("the table was grown to the slot");
        entry.fd = Some(fd);
        entry.flags = Flags::default();
        self.live += 1;
        SocketId { slot, generation: entry.generation }
    }

    /// The slot of a live socket; `None` for a name whose socket is gone.
    pub fn get_mut(&mut self, id: SocketId) -> Option<&mut Slot> {
        self.slots.get_mut(id.slot).filter(|s| s.generation == id.generation && s.fd.is_some())
    }

    /// The socket that a slot carries now, and its name.
    pub fn at_mut(&mut self, slot: u32) -> Option<(SocketId, &mut Slot)> {
        let entry = self.slots.get_mut(slot).filter(|entry| entry.fd.is_some())?;
        Some((SocketId { slot, generation: entry.generation }, entry))
    }

    /// Closes the descriptor; the slot's generation moves on. `true`: this was the name of a
    /// live socket, and [`Sockets::release`] is due.
    pub fn remove(&mut self, id: SocketId) -> bool {
        let Some(slot) = self.get_mut(id) else { return false };
        slot.fd = None;
        slot.generation = (slot.generation + 1) & GENERATION_MASK;
        true
    }

    /// Lets the slot of a removed socket be taken again: when its end is being told, so that
    /// nobody hears of a new socket in a slot that is not empty yet.
    pub fn release(&mut self, id: SocketId) {
        self.free.push(id.slot);
        self.live -= 1;
    }

    /// Sockets whose end has not been told.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Every live socket.
    pub fn ids(&self) -> Vec<SocketId> {
        (0..self.used)
            .filter_map(|slot| {
                let entry = self.slots.get(slot)?;
                entry.fd.as_ref()?;
                Some(SocketId { slot, generation: entry.generation })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some_fd() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn a_slot_is_small() {
        assert_eq!(size_of::<Slot>(), 12);
    }

    proptest! {
        /// However sockets come and go, a live name finds its own socket and a dead one none.
        #[test]
        fn names_never_find_another_socket(steps in prop::collection::vec(any::<(bool, u8)>(), 1..200)) {
            let mut sockets = Sockets::default();
            let (mut live, mut dead) = (Vec::<(SocketId, RawFd)>::new(), Vec::<SocketId>::new());
            for (insert, pick) in steps {
                if insert || live.is_empty() {
                    let fd = some_fd();
                    let raw = fd.as_raw_fd();
                    live.push((sockets.insert(fd), raw));
                } else {
                    let (id, _) = live.swap_remove(pick as usize % live.len());
                    prop_assert!(sockets.remove(id));
                    prop_assert!(!sockets.remove(id));
                    sockets.release(id);
                    dead.push(id);
                }
                prop_assert_eq!(sockets.live(), live.len());
                for (id, raw) in &live {
                    prop_assert_eq!(sockets.get_mut(*id).unwrap().raw_fd(), *raw);
                }
                for id in &dead {
                    prop_assert!(sockets.get_mut(*id).is_none());
                }
            }
        }
    }

    #[test]
    fn a_generation_wraps_within_its_bits() {
        let mut sockets = Sockets::default();
        let id = sockets.insert(some_fd());
        sockets.get_mut(id).unwrap().generation = GENERATION_MASK;
        let last = SocketId { slot: id.slot, generation: GENERATION_MASK };
        assert!(sockets.remove(last));
        sockets.release(last);
        assert_eq!(sockets.insert(some_fd()).generation, 0);
    }
}
