//! ▢ What one connection has yet to send: gathered over a turn, written at its end.
//!
//! At most one write is in flight per socket. What comes meanwhile gathers here and goes
//! out in the next one, so that a busy connection's messages share a system call.

/// Frames of one connection that wait for the socket.
#[derive(Default, Debug)]
pub struct Outbox {
    gathered: Vec<u8>,
    /// Bytes that the ring is writing now; 0 where no write is in flight.
    in_flight_bytes: usize,
}

impl Outbox {
    /// Bytes that have not been written.
    pub fn bytes(&self) -> usize {
        self.gathered.len() + self.in_flight_bytes
    }

    /// Nothing waits and nothing is in flight: the outbox can be given up.
    pub fn is_idle(&self) -> bool {
        self.bytes() == 0
    }

    /// Where the next frame is appended. Asking whether it may is the caller's part.
    pub fn gather(&mut self) -> &mut Vec<u8> {
        &mut self.gathered
    }

    /// The next write: all that has gathered, unless one is in flight or there is nothing.
    pub fn take_write(&mut self) -> Option<Vec<u8>> {
        if self.in_flight_bytes > 0 || self.gathered.is_empty() {
            return None;
        }
        self.in_flight_bytes = self.gathered.len();
        Some(std::mem::take(&mut self.gathered))
    }

    /// The write is done. Its buffer serves again where it can; otherwise it comes back.
    pub fn written(&mut self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        self.in_flight_bytes = 0;
        if self.gathered.capacity() == 0 {
            self.gathered = buffer;
            return None;
        }
        Some(buffer)
    }

    /// Whether the buffer is small enough to be kept for the next connection.
    pub fn is_small(&self, limit_bytes: usize) -> bool {
        self.gathered.capacity() <= limit_bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However writes and messages interleave: everything goes out once, in order, and
        /// one write at a time.
        #[test]
        fn everything_goes_out_once_and_in_order(steps in prop::collection::vec(any::<Option<u8>>(), 0..200)) {
            let (mut outbox, mut wire, mut expected) = (Outbox::default(), Vec::new(), Vec::new());
            let mut flying: Option<Vec<u8>> = None;
            for step in steps {
                match step {
                    Some(byte) => {
                        outbox.gather().push(byte);
                        expected.push(byte);
                    }
                    None => {
                        if let Some(mut write) = flying.take() {
                            wire.extend_from_slice(&write);
                            write.clear();
                            outbox.written(write);
                        }
                        flying = outbox.take_write();
                        prop_assert!(flying.is_none() || outbox.take_write().is_none());
                    }
                }
                prop_assert_eq!(outbox.bytes(), expected.len() - wire.len());
            }
            while let Some(mut write) = flying.take() {
                wire.extend_from_slice(&write);
                write.clear();
                outbox.written(write);
                flying = outbox.take_write();
            }
            wire.extend(outbox.take_write().unwrap_or_default());
            prop_assert_eq!(wire, expected);
        }
    }
}
