//! ▢ A table that grows without moving what it holds.
//!
//! A `Vec` that doubles copies everything and, for a while, needs three times its
//! size. With a million connections that is a pause and a peak; a list of fixed
//! chunks has neither, and its memory is proportional to what has been used.

/// Entries of one chunk. 1024 entries of 64 bytes are 64 KiB: one allocation per
/// thousand connections, and at most one chunk of slack.
const CHUNK_ENTRIES: usize = 1024;

/// A table of `T`, indexed densely by `u32`, growing a chunk at a time.
#[derive(Debug)]
pub struct Chunked<T> {
    chunks: Vec<Box<[T]>>,
}

impl<T: Default> Chunked<T> {
    /// An empty table that owns no memory.
    pub const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Number of entries that exist, a multiple of the chunk size.
    pub fn len(&self) -> u32 {
        (self.chunks.len() * CHUNK_ENTRIES) as u32
    }

    /// Whether no chunk exists yet.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Makes every index up to and including `index` exist, new ones as `T::default()`.
    pub fn grow_to(&mut self, index: u32) {
        while self.len() <= index {
            self.chunks.push((0..CHUNK_ENTRIES).map(|_| T::default()).collect());
        }
    }

    /// The entry at `index`, or `None` past the end.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        self.chunks.get(index / CHUNK_ENTRIES).map(|chunk| &chunk[index % CHUNK_ENTRIES])
    }

    /// The entry at `index`, or `None` past the end.
    #[inline]
    pub fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let index = index as usize;
        self.chunks.get_mut(index / CHUNK_ENTRIES).map(|chunk| &mut chunk[index % CHUNK_ENTRIES])
    }
}

impl<T: Default> Default for Chunked<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_chunks_and_keeps_what_it_holds() {
        let mut table = Chunked::<u64>::new();
        assert!(table.get(0).is_none());
        table.grow_to(0);
        *table.get_mut(7).unwrap() = 42;
        let before = table.get(7).unwrap() as *const u64;
        table.grow_to(5000);
        assert_eq!(table.len(), 5 * 1024);
        assert_eq!(table.get(7), Some(&42));
        assert_eq!(table.get(7).unwrap() as *const u64, before, "entries never move");
        assert!(table.get(5120).is_none());
    }
}
