//! Receive buffers: few, shared by all sockets of a shard, lent for one read.

/// A buffer that a read is, or was, filled into.
type Buffer = Box<[u8]>;

/// The name of a buffer of the pool, which travels with a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BufferIndex(pub u32);

/// Largest index that fits into a submission beside a slot.
pub(super) const BUFFER_INDEX_MAX: u32 = 0x00ff_ffff;

/// Bytes of one read, in a buffer that belongs to the pool.
#[derive(Debug)]
pub struct Received {
    index: BufferIndex,
    buffer: Buffer,
    len: usize,
}

impl Received {
    /// What was read. Mutable: frames are unmasked where they lie.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.len]
    }
}

/// The pool. Memory: `limit` × `buffer_bytes`, reached only when as many sockets were
/// readable in one turn.
#[derive(Debug)]
pub(super) struct Buffers {
    /// By index. Empty where the buffer is with the shard; otherwise free, or with the kernel.
    buffers: Vec<Buffer>,
    /// The one given back last is the one still in the cache.
    free: Vec<BufferIndex>,
    limit: usize,
    buffer_bytes: usize,
}

impl Buffers {
    pub fn new(limit: usize, buffer_bytes: usize) -> Self {
        let limit = limit.min(BUFFER_INDEX_MAX as usize);
        Self { buffers: Vec::new(), free: Vec::new(), limit, buffer_bytes }
    }

    /// A buffer for a read, or `None` while all are lent: the read waits for the next turn.
    #[inline]
    pub fn lend(&mut self) -> Option<BufferIndex> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        if self.buffers.len() >= self.limit {
            return None;
        }
        self.buffers.push(vec![0; self.buffer_bytes].into_boxed_slice());
        Some(BufferIndex(self.buffers.len() as u32 - 1))
    }

    /// Whether `lend` would give one.
    pub fn has_free(&self) -> bool {
        !self.free.is_empty() || self.buffers.len() < self.limit
    }

    /// Where the kernel is to write to; stays there until `fill` or `give_back`.
    #[inline]
    pub fn target(&mut self, index: BufferIndex) -> &mut [u8] {
        self.buffers.get_mut(index.0 as usize).map_or(&mut [], |buffer| &mut buffer[..])
    }

    /// The read has answered with `len` bytes, which go to the shard.
    #[inline]
    pub fn fill(&mut self, index: BufferIndex, len: usize) -> Received {
        let buffer = self.buffers.get_mut(index.0 as usize).map(std::mem::take);
        let buffer = buffer.unwrap_or_default();
        Received { index, len: len.min(buffer.len()), buffer }
    }

    /// Whether that many bytes leave no room in a buffer.
    pub fn is_full(&self, len: usize) -> bool {
        len == self.buffer_bytes
    }

    /// The shard is done with a buffer.
    #[inline]
    pub fn take_back(&mut self, received: Received) {
        // What is not empty is with the kernel, and the buffer is another pool's.
        if let Some(place) = self.buffers.get_mut(received.index.0 as usize)
            && place.is_empty()
        {
            *place = received.buffer;
            self.free.push(received.index);
        }
    }

    /// The read has answered without bytes.
    pub fn give_back(&mut self, index: BufferIndex) {
        self.free.push(index);
    }

    /// Leaves to the kernel what it may still write to.
    pub fn abandon(&mut self) {
        if self.free.len() < self.buffers.len() {
            std::mem::forget(std::mem::take(&mut self.buffers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_no_more_than_its_limit() {
        let mut pool = Buffers::new(2, 16);
        let first = pool.lend().unwrap();
        let second = pool.lend().unwrap();
        assert!(first != second && pool.lend().is_none() && !pool.has_free());
        assert_eq!(pool.target(first).len(), 16);
        pool.give_back(first);
        assert_eq!(pool.lend(), Some(first));
        assert!(pool.lend().is_none());
        let mut received = pool.fill(second, 3);
        assert_eq!(received.bytes_mut().len(), 3);
        assert!(pool.lend().is_none(), "it is with the shard");
        pool.take_back(received);
        assert_eq!(pool.lend(), Some(second));
        assert_eq!(pool.target(second).len(), 16);
    }

    /// A mistake of the caller must not free what the kernel writes to.
    #[test]
    fn takes_no_buffer_of_another_pool() {
        let (mut one, mut other) = (Buffers::new(1, 16), Buffers::new(1, 16));
        let (mine, theirs) = (one.lend().unwrap(), other.lend().unwrap());
        let target = one.target(mine).as_ptr();
        one.take_back(other.fill(theirs, 1));
        assert!(one.lend().is_none());
        assert_eq!(one.target(mine).as_ptr(), target);
    }
}
