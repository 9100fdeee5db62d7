//! The one timer that is finer than a tick: armed while something waits for a moment, and
//! costing nothing while nothing does.

use std::{io, time::Duration};

use io_uring::{opcode, types};

use super::{Ring, operation::Tag};

/// The timer of one ring.
#[derive(Default)]
pub(super) struct Timer {
    /// When it fires, on the clock of whoever arms it.
    pub(super) armed_ms: Option<u64>,
    /// What the kernel is given; it reads this when it takes the submission.
    timeout: Box<types::Timespec>,
}

impl Ring {
    /// Asks for one [`super::Event::Timer`] at `at_ms`, of a clock on which it is `now_ms`. At
    /// most one is armed: an earlier moment takes the place of a later one, and a later one
    /// changes nothing, so that the event may come before it. Whoever still waits for
    /// something then arms it again.
    ///
    /// # Errors
    /// Only what is wrong with the ring itself.
    pub fn arm_timer(&mut self, at_ms: u64, now_ms: u64) -> io::Result<()> {
        let armed_ms = self.timer.armed_ms;
        if armed_ms.is_some_and(|armed_ms| armed_ms <= at_ms) {
            return Ok(());
        }
        // Both submissions may still be in the queue: the first one then takes the earlier
        // moment, too, and the second changes nothing.
        *self.timer.timeout = Duration::from_millis(at_ms.saturating_sub(now_ms)).into();
        self.timer.armed_ms = Some(at_ms);
        let timeout = &raw const *self.timer.timeout;
        if armed_ms.is_none() {
            return self.push(opcode::Timeout::new(timeout).build(), Tag::Timer);
        }
        // Where it has just fired, this finds nothing, and the event comes early.
        let earlier = opcode::TimeoutUpdate::new(Tag::Timer.encode(), timeout).build();
        self.push(earlier, Tag::MoveTimer)
    }

    /// It has fired, and may be armed again.
    pub(super) fn complete_timer(&mut self) {
        self.timer.armed_ms = None;
    }
}
