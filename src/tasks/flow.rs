//! ▢ How far one client is behind with reading what its sessions tell it.
//!
//! A session keeps its results for the merge anyway. So while the outbox of its client is
//! full they wait there, and not in the outbox: a burst of any length, or one message
//! larger than the outbox, takes no more memory than the bound and one message. A client
//! that does not read at all is closed in the end.

/// What one client has been sent since its outbox was last nearly empty.
#[derive(Default, Debug)]
pub struct Flow {
    unread_bytes: usize,
    full_since_ms: Option<u64>,
    /// A close went out: whatever can wait is for another connection.
    closed: bool,
}

impl Flow {
    /// Of a client that is told no more.
    pub fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    /// Counts a message. `true`: it filled the outbox of `limit_bytes`, and somebody has
    /// to say when that has drained.
    pub fn sent(&mut self, bytes: usize, limit_bytes: usize, now_ms: u64) -> bool {
        self.unread_bytes = self.unread_bytes.saturating_add(bytes);
        let fills = !self.is_full() && self.unread_bytes >= limit_bytes;
        if fills {
            self.full_since_ms = Some(now_ms);
        }
        fills
    }

    /// Whether what can wait has to.
    pub fn is_full(&self) -> bool {
        self.closed || self.full_since_ms.is_some()
    }

    /// The outbox is nearly empty.
    pub fn drained(&mut self) {
        *self = Self::default();
    }

    /// When a client that is still behind counts as one that does not read: it has
    /// `patience_ms` for each `limit_bytes` that it was sent. `None` while it is not full.
    pub fn deadline_ms(&self, limit_bytes: usize, patience_ms: u64) -> Option<u64> {
        let shares = self.unread_bytes.div_ceil(limit_bytes.max(1)).max(1) as u64;
        let patience_ms = patience_ms.saturating_mul(shares);
        self.full_since_ms.map(|since_ms| since_ms.saturating_add(patience_ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_full_once_the_bound_is_reached(
            messages in prop::collection::vec(0..400usize, 0..40), limit in 1..1_000usize,
        ) {
            let mut flow = Flow::default();
            let (mut sum, mut filled) = (0, 0);
            for bytes in messages {
                sum += bytes;
                filled += u32::from(flow.sent(bytes, limit, 7));
                prop_assert_eq!(flow.is_full(), sum >= limit);
            }
            prop_assert_eq!(filled, u32::from(sum >= limit), "asked for a notice once");
            let shares = sum.div_ceil(limit) as u64;
            let deadline = flow.is_full().then(|| 7 + 10 * shares);
            prop_assert_eq!(flow.deadline_ms(limit, 10), deadline);
            flow.drained();
            prop_assert!(!flow.is_full());
        }
    }
}
