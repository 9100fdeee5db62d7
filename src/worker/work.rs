//! One task after another: the delay, the failures that are asked for, the counts.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::{
    Tally, WorkOptions,
    task::{Answer, Task, TaskError},
};

/// A pause is cut into slices of this length, so that a stop is heard within it.
const STOP_SLICE: Duration = Duration::from_millis(50);

/// One thread's work, and what came of it.
pub(super) struct Work {
    options: WorkOptions,
    dice: Dice,
    /// Counts so far. Whoever delivers the answers adds `done` and `lost`.
    pub(super) tally: Tally,
}

impl Work {
    /// The work of thread `index`, whose dice differ from the other threads'.
    pub(super) fn new(options: WorkOptions, index: u64) -> Self {
        let dice = Dice(options.seed.wrapping_add(index.wrapping_mul(Dice::STEP)));
        Self { options, dice, tally: Tally::default() }
    }

    /// Works on what was taken: its answer, or `None` where there is none to give.
    /// A stop cuts the delay short; the answer still comes, for the task is off its queue.
    pub(super) fn perform(
        &mut self,
        task: Result<Task<'_>, TaskError>,
        stop: &AtomicBool,
    ) -> Option<Answer> {
        let task = match task {
            Ok(task) => task,
            Err(error) => {
                self.tally.malformed += 1;
                // A queue full of rubbish must not become a log full of it.
                if self.tally.malformed.is_power_of_two() {
                    log::warn!("worker: malformed task number {}: {error}", self.tally.malformed);
                }
                return None;
            }
        };
        let fails = self.dice.throw() < self.options.fail_rate;
        pause(self.options.delay, stop);
        if fails {
            self.tally.failed += 1;
            return None;
        }
        Some(task.answer())
    }
}

/// Sleeps for `duration`, or until `stop`.
pub(super) fn pause(duration: Duration, stop: &AtomicBool) {
    let start = Instant::now();
    while !stop.load(Relaxed) {
        match duration.checked_sub(start.elapsed()) {
            Some(left) if !left.is_zero() => thread::sleep(left.min(STOP_SLICE)),
            _ => return,
        }
    }
}

/// Steele, Lea and Flood's SplitMix64: enough for dice, and the same on every machine.
struct Dice(u64);

impl Dice {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Evenly spread over 0 (included) to 1 (excluded).
    fn throw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &[u8] = br#"{"session_id":"s","chunk_index":1,"audio_data":"AAAA"}"#;

    fn answered(options: WorkOptions, index: u64, tasks: usize) -> Vec<bool> {
        let mut work = Work::new(options, index);
        let stop = AtomicBool::new(false);
        (0..tasks).map(|_| work.perform(Task::parse(TASK), &stop).is_some()).collect()
    }

    #[test]
    fn fail_rate_drops_that_share_and_the_same_tasks_every_time() {
        for rate in [0.0, 0.3, 1.0] {
            let options = WorkOptions { fail_rate: rate, seed: 7, ..WorkOptions::default() };
            let first = answered(options, 0, 2_000);
            assert_eq!(first, answered(options, 0, 2_000));
            let failed = first.iter().filter(|answered| !**answered).count() as f64 / 2_000.0;
            assert!((failed - rate).abs() < 0.05, "rate {rate}: {failed} failed");
        }
    }

    #[test]
    fn threads_throw_different_dice() {
        let options = WorkOptions { fail_rate: 0.5, ..WorkOptions::default() };
        assert_ne!(answered(options, 0, 64), answered(options, 1, 64));
    }

    #[test]
    fn malformed_tasks_are_counted_and_nothing_else() {
        let mut work = Work::new(WorkOptions { fail_rate: 1.0, ..WorkOptions::default() }, 0);
        assert!(work.perform(Task::parse(b"{"), &AtomicBool::new(false)).is_none());
        assert_eq!(work.tally, Tally { malformed: 1, ..Tally::default() });
    }

    #[test]
    fn a_stop_cuts_the_delay_short_and_the_task_is_still_answered() {
        let options = WorkOptions { delay: Duration::from_secs(3_600), ..WorkOptions::default() };
        assert!(Work::new(options, 0).perform(Task::parse(TASK), &AtomicBool::new(true)).is_some());
    }
}
