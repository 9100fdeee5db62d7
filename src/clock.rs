//! ▢ Time as an argument: read once a turn at the edge, passed down.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since the process started; never goes back. For every deadline.
    pub ms: u64,
    /// Milliseconds since the Unix epoch. Only for timestamps that leave the process.
    pub unix_ms: u64,
}

/// The edge's source of [`Now`].
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Now { ms: self.start.elapsed().as_millis() as u64, unix_ms: unix.as_millis() as u64 }
    }
}
