//! The reference worker: takes tasks from a queue, measures their audio, publishes the
//! result.
//!
//! It stands where a speech recogniser would: `ringgate worker` for a Redis list or stream
//! ([`redis`]), and the built-in worker of the embedded broker ([`builtin`]). Both share
//! what a task is and what its result looks like ([`task`], ▢), what is heard in it
//! ([`audio`], ▢), and how failures are played (`work`).
//!
//! It knows nothing of sessions beyond their name, and nothing of WebSocket.

pub mod audio;
pub mod builtin;
pub mod redis;
pub mod task;
mod work;

use std::{ops::AddAssign, time::Duration};

pub use self::{
    builtin::WorkerQueue,
    redis::{RedisWorkerOptions, StreamWork, WorkerError},
};

/// What became of the tasks that a worker took.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tally {
    /// Answered; an answer that says what is wrong with the audio counts too.
    pub done: u64,
    /// Dropped without an answer because `fail_rate` said so.
    pub failed: u64,
    /// Not a task: nobody to answer.
    pub malformed: u64,
    /// Worked on, but the answer was refused, or Redis did not come back before the stop.
    pub lost: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.malformed += other.malformed;
        self.lost += other.lost;
    }
}

/// How a worker behaves, wherever its tasks come from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WorkOptions {
    /// Time that each task takes before it is answered: a recogniser's, played.
    pub delay: Duration,
    /// Share of tasks that are dropped without an answer, 0 to 1.
    pub fail_rate: f64,
    /// Seed of the dice that `fail_rate` throws: the same seed drops the same tasks.
    pub seed: u64,
}

impl Default for WorkOptions {
    fn default() -> Self {
        Self { delay: Duration::ZERO, fail_rate: 0.0, seed: 1 }
    }
}
