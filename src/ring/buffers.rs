//! Receive buffers: few, shared by all sockets of a shard, lent for one read.

/// A buffer that a read is, or was, filled into.
pub(super) type Buffer = Box<[u8]>;

/// Bytes of one read, in a buffer that belongs to the pool.
#[derive(Debug)]
pub struct Received {
    pub(super) buffer: Buffer,
    pub(super) len: usize,
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
    free: Vec<Buffer>,
    lent: usize,
    limit: usize,
    buffer_bytes: usize,
}

impl Buffers {
    pub fn new(limit: usize, buffer_bytes: usize) -> Self {
        Self { free: Vec::new(), lent: 0, limit, buffer_bytes }
    }

    /// A buffer, or `None` while all are lent: the read waits for the next turn.
    pub fn lend(&mut self) -> Option<Buffer> {
        if !self.has_free() {
            return None;
        }
        self.lent += 1;
        // The one given back last is the one still in the cache.
        Some(self.free.pop().unwrap_or_else(|| vec![0; self.buffer_bytes].into_boxed_slice()))
    }

    /// Whether `lend` would give one.
    pub fn has_free(&self) -> bool {
        self.lent < self.limit
    }

    pub fn give_back(&mut self, buffer: Buffer) {
        self.lent -= 1;
        self.free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_no_more_than_its_limit() {
        let mut pool = Buffers::new(2, 16);
        let first = pool.lend().unwrap();
        let _second = pool.lend().unwrap();
        assert!(pool.lend().is_none());
        pool.give_back(first);
        assert_eq!(pool.lend().unwrap().len(), 16);
        assert!(pool.lend().is_none());
    }
}
