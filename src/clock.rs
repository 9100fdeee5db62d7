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
    /// What `ms` zero was on the wall, when it was last looked at.
    start_unix_ms: u64,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        let mut clock = Self { start: Instant::now(), start_unix_ms: 0 };
        clock.set();
        clock
    }

    /// Looks at the wall clock again, which may have been set. Reading it on every turn
    /// would cost as much as a small message does.
    pub fn set(&mut self) {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.start_unix_ms = (unix.as_millis() as u64).saturating_sub(self.elapsed_ms());
    }

    /// Reads both clocks.
    pub fn now(&self) -> Now {
        let ms = self.elapsed_ms();
        Now { ms, unix_ms: self.start_unix_ms + ms }
    }

    /// Microseconds since the process started: for measuring.
    pub fn now_us(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    fn elapsed_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}
