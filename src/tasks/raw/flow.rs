//! ▢ How far the client of a raw session is behind with reading what it is told.

/// What a client has been sent since its outbox was last nearly empty.
#[derive(Default, Debug)]
pub struct Flow {
    unread_bytes: usize,
    is_full: bool,
}

impl Flow {
    /// Counts a message. `true`: with it the client is `limit_bytes` behind, and somebody
    /// has to say when it has read them.
    pub fn sent(&mut self, bytes: usize, limit_bytes: usize) -> bool {
        self.unread_bytes = self.unread_bytes.saturating_add(bytes);
        let was_full = self.is_full;
        self.is_full = was_full || self.unread_bytes >= limit_bytes;
        self.is_full && !was_full
    }

    /// Whether what else there is has to wait.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// The outbox is nearly empty.
    pub fn drained(&mut self) {
        *self = Self::default();
    }
}
