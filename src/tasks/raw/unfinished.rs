//! ▢ The tasks of one raw session that are not done.
//!
//! Nothing is remembered of a task that has ended: its number is below the next one and
//! it is not here.

use std::collections::BTreeMap;

use crate::tasks::ticket::CHUNKS_MAX;

#[derive(Debug)]
struct Task {
    /// `None`: the broker has not answered yet whether it takes it.
    deadline_ms: Option<u64>,
    /// Number of the next result, of a worker that numbers them.
    next_number: u64,
}

/// What [`Unfinished::tell`] made of a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// There never was such a task.
    Unknown,
    /// The task has ended.
    Ended,
    /// A result of this number, or a later one, was told before.
    Repeated,
    /// The next one.
    Next {
        /// Results that the worker numbered and that did not come.
        skipped: u64,
        /// The broker had not said yet that it has the task.
        early: bool,
    },
}

/// Numbers the tasks of a session and knows those that are not done.
#[derive(Default, Debug)]
pub struct Unfinished {
    next_seq: u64,
    tasks: BTreeMap<u64, Task>,
    /// Those that the broker is not known to have.
    pushing: usize,
}

impl Unfinished {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// How many the broker is not known to have, or to have refused.
    pub fn pushing(&self) -> usize {
        self.pushing
    }

    /// The number of the next task.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// A new task, which the broker does not have yet.
    pub fn take(&mut self) -> u64 {
        let seq = self.next_seq;
        // 2^64 messages do not fit into the life of a connection.
        self.next_seq = seq.wrapping_add(1);
        self.tasks.insert(seq, Task { deadline_ms: None, next_number: 0 });
        self.pushing += 1;
        seq
    }

    /// What names a task in a ticket, which has less room than a number.
    pub fn ordinal(seq: u64) -> u32 {
        (seq % u64::from(CHUNKS_MAX)) as u32
    }

    /// The youngest task of that ordinal. Pushes are answered long before a million more
    /// are under way.
    pub fn seq_of(&self, ordinal: u32) -> Option<u64> {
        let period = u64::from(CHUNKS_MAX);
        let last = self.next_seq.checked_sub(1)?;
        let behind = (last % period + period).checked_sub(u64::from(ordinal))? % period;
        last.checked_sub(behind)
    }

    /// The broker took it. `false` if that was known, or the task has ended.
    pub fn accept(&mut self, seq: u64, deadline_ms: u64) -> bool {
        let task = self.tasks.get_mut(&seq).filter(|task| task.deadline_ms.is_none());
        let Some(task) = task else { return false };
        task.deadline_ms = Some(deadline_ms);
        self.pushing -= 1;
        true
    }

    /// The broker did not take it. `false` if a worker has it nevertheless.
    pub fn refuse(&mut self, seq: u64) -> bool {
        let waits = self.tasks.get(&seq).is_some_and(|task| task.deadline_ms.is_none());
        if waits {
            self.tasks.remove(&seq);
            self.pushing -= 1;
        }
        waits
    }

    /// A worker's result. The deadline is for a task that the broker was not known to have.
    pub fn tell(&mut self, seq: u64, number: Option<u32>, done: bool, deadline_ms: u64) -> Told {
        if seq >= self.next_seq {
            return Told::Unknown;
        }
        let Some(task) = self.tasks.get_mut(&seq) else { return Told::Ended };
        let mut skipped = 0;
        if let Some(number) = number.map(u64::from) {
            let Some(ahead) = number.checked_sub(task.next_number) else { return Told::Repeated };
            skipped = ahead;
            task.next_number = number + 1;
        }
        let early = task.deadline_ms.is_none();
        task.deadline_ms.get_or_insert(deadline_ms);
        self.pushing -= usize::from(early);
        if done {
            self.tasks.remove(&seq);
        }
        Told::Next { skipped, early }
    }

    /// When the next task is past its deadline. The broker answers pushes in order, so the
    /// oldest task has the earliest deadline, or none comes before it has one.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        self.tasks.first_key_value().and_then(|(_, task)| task.deadline_ms)
    }

    /// Ends the oldest task if it is past its deadline.
    pub fn expire_one(&mut self, now_ms: u64) -> Option<u64> {
        self.next_deadline_ms().filter(|deadline_ms| *deadline_ms <= now_ms)?;
        self.tasks.pop_first().map(|(seq, _)| seq)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEXT: Told = Told::Next { skipped: 0, early: false };

    #[test]
    fn numbered_results_come_once_and_gaps_are_seen() {
        let mut tasks = Unfinished::default();
        assert_eq!((tasks.take(), tasks.take()), (0, 1));
        assert!(tasks.accept(0, 9) && !tasks.accept(0, 9));
        assert_eq!(tasks.tell(0, Some(0), false, 9), NEXT);
        assert_eq!(tasks.tell(0, Some(0), false, 9), Told::Repeated);
        assert_eq!(tasks.tell(0, Some(3), false, 9), Told::Next { skipped: 2, early: false });
        assert_eq!(tasks.tell(0, Some(2), true, 9), Told::Repeated);
        assert_eq!(tasks.tell(0, None, false, 9), NEXT);
        assert_eq!(
            tasks.tell(0, Some(u32::MAX), false, 9),
            Told::Next { skipped: u64::from(u32::MAX) - 4, early: false }
        );
        assert_eq!(tasks.tell(0, Some(u32::MAX), true, 9), Told::Repeated);
        assert_eq!(tasks.tell(0, None, true, 9), NEXT);
        assert_eq!(tasks.tell(0, None, true, 9), Told::Ended);
        assert_eq!(tasks.tell(1, None, false, 9), Told::Next { skipped: 0, early: true });
        assert!(!tasks.refuse(1), "a worker has it");
        assert_eq!(tasks.tell(2, None, true, 9), Told::Unknown);
    }

    #[test]
    fn tasks_expire_in_their_order() {
        let mut tasks = Unfinished::default();
        for seq in 0..3 {
            tasks.take();
            tasks.accept(seq, 10 + seq);
        }
        tasks.take();
        assert_eq!((tasks.next_deadline_ms(), tasks.expire_one(9)), (Some(10), None));
        assert_eq!((tasks.expire_one(11), tasks.expire_one(11)), (Some(0), Some(1)));
        assert_eq!((tasks.expire_one(11), tasks.expire_one(12)), (None, Some(2)));
        assert_eq!((tasks.next_deadline_ms(), tasks.expire_one(u64::MAX)), (None, None));
        assert!(tasks.refuse(3) && !tasks.refuse(3));
        assert_eq!(tasks.len(), 0);
    }

    proptest! {
        #[test]
        fn an_ordinal_names_one_of_the_last_million(
            next_seq in 1..1u64 << 40,
            behind in 0..u64::from(CHUNKS_MAX),
        ) {
            let tasks = Unfinished { next_seq, ..Unfinished::default() };
            let Some(seq) = (next_seq - 1).checked_sub(behind) else { return Ok(()) };
            prop_assert_eq!(tasks.seq_of(Unfinished::ordinal(seq)), Some(seq));
        }
    }
}
