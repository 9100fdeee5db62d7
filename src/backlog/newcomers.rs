//! ▢ Connections in their first second: what each is still expected to bring.
//!
//! One shard's, of one route. Bounded by the upgrades of that second, which the accept
//! rate and the gate bound.

use std::collections::VecDeque;

use crate::{
    ids::{SocketId, SocketMap},
    limits::NEWCOMER_MS,
};

/// How much one connection moves the average: a sixteenth, so that a change of traffic
/// shows after a few dozen connections, and one odd client hardly.
const WEIGHT: i64 = 16;

#[derive(Default, Debug)]
struct Newcomer {
    /// Tasks that it still stands for.
    expected: u32,
    /// Tasks that it has brought.
    brought: u32,
}

/// The newcomers, and what their predecessors have taught.
#[derive(Default, Debug)]
pub struct Newcomers {
    present: SocketMap<Newcomer>,
    /// When each second is over; in that order. Who has left early is passed over.
    until: VecDeque<(u64, SocketId)>,
    /// Tasks brought by all that are present.
    brought: u64,
    /// Moving average over those whose second is over, in thousandths of a task.
    average_milli: i64,
}

impl Newcomers {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// Tasks that the next one is expected to bring: the average of those before it, or of
    /// those present where that is more (they have not finished, so it can only grow). At
    /// least one, or any number could come in on an empty record.
    pub fn expected(&self) -> u32 {
        let present = self.brought.div_ceil(self.present.len().max(1) as u64);
        let before = u64::try_from(self.average_milli).unwrap_or(0).div_ceil(1000);
        u32::try_from(present.max(before).max(1)).unwrap_or(u32::MAX)
    }

    /// One more, who stands for `expected` tasks.
    pub fn enter(&mut self, socket: SocketId, expected: u32, now_ms: u64) {
        self.present.insert(socket, Newcomer { expected, brought: 0 });
        self.until.push_back((now_ms.saturating_add(NEWCOMER_MS), socket));
    }

    /// A connection has brought a task. How many expected ones that makes real.
    pub fn on_push(&mut self, socket: SocketId) -> u32 {
        let Some(newcomer) = self.present.get_mut(&socket) else { return 0 };
        newcomer.brought = newcomer.brought.saturating_add(1);
        self.brought += 1;
        let released = newcomer.expected.min(1);
        newcomer.expected -= released;
        released
    }

    /// A connection is gone. How many tasks are not expected any more.
    pub fn leave(&mut self, socket: SocketId) -> u32 {
        let Some(newcomer) = self.present.remove(&socket) else { return 0 };
        self.brought -= u64::from(newcomer.brought);
        let difference = i64::from(newcomer.brought) * 1000 - self.average_milli;
        self.average_milli += difference / WEIGHT;
        newcomer.expected
    }

    /// Those whose second is over. How many tasks are not expected any more.
    pub fn expire(&mut self, now_ms: u64) -> u32 {
        let mut released = 0u32;
        while let Some(&(until_ms, socket)) = self.until.front()
            && until_ms <= now_ms
        {
            self.until.pop_front();
            released = released.saturating_add(self.leave(socket));
        }
        released
    }
}
