//! ▢ A session's deadlines, and its reads of the cache of results.
//!
//! The cache is read after the start of an id that the client named, after a reconnect of
//! the broker, before chunks are given up, and at the finish deadline; never more than
//! once at a time.

use super::{End, Session};
use crate::broker::Command;
use crate::limits::TASKS_FINAL_LOOK_MS;
use crate::tasks::chunks::{Answered, Taken};
use crate::tasks::context::Context;
use crate::tasks::result::WorkerResult;
use crate::tasks::ticket::Purpose;

/// A read of the cache that is under way.
#[derive(Debug)]
pub struct Lookup {
    /// It was begun past the finish deadline: the session ends with its answer.
    last: bool,
    /// It may have been answered from before a gap in the subscription.
    again: bool,
    /// The subscription is in force, and only this is waited for.
    pub(super) confirms: bool,
}

impl Session {
    /// When [`on_deadline`](Self::on_deadline) is due, if that is earlier than what this
    /// said before.
    pub fn new_alarm_ms(&mut self) -> Option<u64> {
        let next_ms = self.next_deadline_ms()?;
        if self.armed_ms.is_some_and(|armed_ms| armed_ms <= next_ms) {
            return None;
        }
        self.armed_ms = Some(next_ms);
        self.armed_ms
    }

    /// The cache was read; `None`: it could not be, which counts as empty.
    pub fn on_fetched(&mut self, values: Option<&[Vec<u8>]>, cx: &mut Context<'_>) -> Option<End> {
        let lookup = self.lookup.take()?;
        for value in values.unwrap_or_default() {
            self.on_cached(value, cx);
        }
        self.to_recover &= values.is_none();
        cx.metrics.chunks_expired.add(self.chunks.expire_overdue().into());
        if lookup.last {
            return self.conclude(cx);
        }
        // It may be overdue chunks that were looked for, with no subscription in force yet.
        let confirms = lookup.confirms && !self.confirmed;
        let end = if confirms { self.confirm(cx) } else { self.conclude_if_settled(cx) };
        // What has become overdue meanwhile, the next tick finds.
        if end.is_none() && lookup.again {
            self.look_up(cx);
        }
        end
    }

    /// What [`new_alarm_ms`](Self::new_alarm_ms) asked for. Coming early is harmless.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.armed_ms = None;
        let now_ms = cx.now.ms;
        if self.detachment.is_some_and(|detachment| detachment.until_ms <= now_ms) {
            cx.metrics.resume_expired.inc();
            return Some(End::Abandoned);
        }
        if self.concluded_ms.is_some() {
            return None;
        }
        if self.finish_deadline_ms.is_some_and(|ms| now_ms >= last_moment_ms(ms)) {
            return self.conclude(cx);
        }
        if self.lookup.is_none() && self.is_overdue(now_ms) {
            self.look_up(cx);
        }
        None
    }

    fn next_deadline_ms(&mut self) -> Option<u64> {
        let resume_ms = self.detachment.map(|detachment| detachment.until_ms);
        resume_ms.into_iter().chain(self.next_work_ms()).min()
    }

    fn next_work_ms(&mut self) -> Option<u64> {
        if self.concluded_ms.is_some() {
            return None;
        }
        if self.lookup.is_some() {
            // The answer decides about overdue chunks. Only a client that waits for its
            // final result does not wait for a broker that is away.
            return self.finish_deadline_ms.map(last_moment_ms);
        }
        let chunk_ms = self.chunks.next_deadline_ms();
        chunk_ms.into_iter().chain(self.finish_deadline_ms).min()
    }

    fn is_overdue(&mut self, now_ms: u64) -> bool {
        self.finish_deadline_ms.is_some_and(|ms| ms <= now_ms)
            || self.chunks.next_deadline_ms().is_some_and(|ms| ms <= now_ms)
    }

    pub(super) fn look_up(&mut self, cx: &mut Context<'_>) {
        if let Some(lookup) = &mut self.lookup {
            lookup.again = true;
            return;
        }
        self.chunks.mark_overdue(cx.now.ms);
        let last = self.finish_deadline_ms.is_some_and(|ms| ms <= cx.now.ms);
        self.lookup = Some(Lookup { last, again: false, confirms: false });
        let ticket = cx.ticket(self.key, Purpose::Fetch);
        cx.command(Command::Fetch { ticket, key: self.id.cache_key() });
    }

    /// Every result is published and cached: one that is known already is no duplicate.
    fn on_cached(&mut self, value: &[u8], cx: &mut Context<'_>) {
        let Ok(result) = WorkerResult::parse(value) else {
            return cx.metrics.results.malformed.inc();
        };
        let text_bytes = cx.text_limit_bytes;
        let mut answered = self.chunks.answer(&result, text_bytes);
        if answered == Answered::Unknown && self.to_recover {
            match self.chunks.take(result.index, cx.chunks_per_session()) {
                Taken::New(ordinal) => {
                    self.chunks.answer(&result, text_bytes);
                    // It was counted and acked in its earlier life.
                    answered = Answered::First(ordinal);
                    if let Some(chunk) = self.chunks.get_mut(ordinal) {
                        chunk.acked = true;
                    }
                }
                Taken::Repeated(_) | Taken::Full => cx.metrics.results.orphaned.inc(),
            }
        }
        self.on_answered(answered, &result, cx);
    }
}

/// When a final result goes out even though the cache has not been read.
fn last_moment_ms(finish_deadline_ms: u64) -> u64 {
    finish_deadline_ms.saturating_add(TASKS_FINAL_LOOK_MS)
}
