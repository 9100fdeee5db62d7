//! ▢ Conflation: the latest value of each topic, in batches, a batch each period.
//!
//! A connection has one [`Flush`] for each period that its subscriptions ask for. It is due
//! at a phase of its period that goes by the slot of the socket, so that the batches of many
//! connections are spread evenly, and only while there is something in it. A batch that finds
//! its connection over the bound waits until that is drained, and what comes meanwhile takes
//! the place of what is older.

use std::{borrow::Cow, num::NonZeroU32};

use bytes::Bytes;
use slab::Slab;

use super::Clients;
use crate::{
    ids::SocketId,
    limits::{TOPICS_BATCH_KEPT, TOPICS_FLUSH_RETRY_MS, TOPICS_FLUSH_SLOTS, TOPICS_FLUSH_TICK_MS},
    metrics::TopicMetrics,
    wheel::Wheel,
};

/// Names a flush as long as it has subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlushKey(NonZeroU32);

/// Where a subscription's value is in the batch that comes next. It means nothing any more
/// once that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    batch: u32,
    place: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// There is nothing to send.
    Empty,
    /// Stands on the wheel.
    Armed,
    /// Waits until its connection has read most of what is unsent.
    Held,
}

struct Flush {
    socket: SocketId,
    period_ms: NonZeroU32,
    /// What refers to it.
    subscriptions: u32,
    /// Batches sent so far, modulo 2^32.
    batch: u32,
    /// In the order of the first change. An empty one is no value: its subscription ended.
    values: Vec<Bytes>,
    gone: u32,
    state: State,
}

/// The batches of one route on one shard.
pub struct Flushes {
    flushes: Slab<Flush>,
    wheel: Wheel,
    /// When the wheel is to be looked at.
    next_ms: Option<u64>,
    /// Kept for its allocation.
    due: Vec<u32>,
}

impl Default for Flushes {
    fn default() -> Self {
        Self {
            flushes: Slab::new(),
            wheel: Wheel::new(TOPICS_FLUSH_TICK_MS, TOPICS_FLUSH_SLOTS),
            next_ms: None,
            due: Vec::new(),
        }
    }
}

impl Flushes {
    /// When [`expire`](Self::expire) has something to do; it may turn out to be nothing.
    pub fn next_ms(&self) -> Option<u64> {
        self.next_ms
    }

    /// Places of the next batch, with those that were given up.
    #[cfg(test)]
    pub fn places(&self, key: FlushKey) -> usize {
        self.get(key).map_or(0, |flush| flush.values.len())
    }

    /// Whether nobody conflates anything.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.flushes.is_empty()
    }

    /// One more subscription of `socket` with this period. `known`: what its connection has.
    pub fn join(
        &mut self,
        socket: SocketId,
        period_ms: NonZeroU32,
        known: &mut Vec<FlushKey>,
    ) -> FlushKey {
        let same = |key: &&FlushKey| self.get(**key).is_some_and(|f| f.period_ms == period_ms);
        if let Some(&key) = known.iter().find(same) {
            if let Some(flush) = self.get_mut(key) {
                flush.subscriptions += 1;
            }
            return key;
        }
        let slot = self.flushes.insert(Flush {
            socket,
            period_ms,
            subscriptions: 1,
            batch: 0,
            values: Vec::new(),
            gone: 0,
            state: State::Empty,
        });
        let key = FlushKey(NonZeroU32::MIN.saturating_add(slot as u32));
        known.push(key);
        key
    }

    /// One subscription less; the value that waited for it, if one did. The last one ends the
    /// flush.
    pub fn leave(
        &mut self,
        key: FlushKey,
        waiting: Option<Waiting>,
        known: &mut Vec<FlushKey>,
    ) -> Option<Bytes> {
        let flush = self.get_mut(key)?;
        let value = waiting.filter(|waiting| waiting.batch == flush.batch).and_then(|waiting| {
            let place = flush.values.get_mut(waiting.place as usize)?;
            flush.gone += 1;
            Some(std::mem::take(place))
        });
        flush.subscriptions -= 1;
        if flush.subscriptions == 0 {
            self.wheel.disarm(key.slot());
            self.flushes.try_remove(key.slot() as usize);
            known.retain(|&other| other != key);
        }
        value
    }

    /// The period of a flush.
    pub fn period_ms(&self, key: FlushKey) -> Option<NonZeroU32> {
        self.get(key).map(|flush| flush.period_ms)
    }

    /// A new value of one subscription. `true`: an older one has given way to it.
    pub fn put(
        &mut self,
        key: FlushKey,
        waiting: &mut Option<Waiting>,
        value: Bytes,
        now_ms: u64,
    ) -> bool {
        let Some(flush) = self.get_mut(key) else { return false };
        if let Some(old) = waiting.filter(|waiting| waiting.batch == flush.batch)
            && let Some(place) = flush.values.get_mut(old.place as usize)
        {
            *place = value;
            return true;
        }
        let place = flush.take_place(value);
        *waiting = Some(Waiting { batch: flush.batch, place });
        if flush.state == State::Empty {
            flush.state = State::Armed;
            let due_ms = flush.due_ms(now_ms);
            self.arm(key.slot(), due_ms);
        }
        false
    }

    /// Sends the batches that are due.
    pub fn expire(&mut self, now_ms: u64, clients: &mut impl Clients, metrics: &TopicMetrics) {
        if self.next_ms.is_none_or(|next_ms| now_ms < next_ms) {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now_ms, &mut due);
        for slot in due.drain(..) {
            if let Some(flush) = self.flushes.get_mut(slot as usize)
                && !flush.send(clients, metrics)
            {
                flush.state = State::Held;
                clients.await_drain(flush.socket);
            }
        }
        self.due = due;
        self.next_ms = self.wheel.next_ms();
    }

    /// The connection of a flush has read most of what was unsent.
    pub fn on_drained(
        &mut self,
        key: FlushKey,
        now_ms: u64,
        clients: &mut impl Clients,
        metrics: &TopicMetrics,
    ) {
        let Some(flush) = self.get_mut(key).filter(|flush| flush.state == State::Held) else {
            return;
        };
        if !flush.send(clients, metrics) {
            flush.state = State::Armed;
            self.arm(key.slot(), now_ms + TOPICS_FLUSH_RETRY_MS);
        }
    }

    fn arm(&mut self, slot: u32, due_ms: u64) {
        self.wheel.arm(slot, due_ms);
        // The wheel looks at a tick that is over.
        let seen_ms = due_ms.next_multiple_of(TOPICS_FLUSH_TICK_MS);
        self.next_ms = Some(self.next_ms.map_or(seen_ms, |next_ms| next_ms.min(seen_ms)));
    }

    fn get(&self, key: FlushKey) -> Option<&Flush> {
        self.flushes.get(key.slot() as usize)
    }

    fn get_mut(&mut self, key: FlushKey) -> Option<&mut Flush> {
        self.flushes.get_mut(key.slot() as usize)
    }
}

impl FlushKey {
    fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

impl Flush {
    /// The place of a new value: the last, unless so many were given up that the batch would
    /// grow without bound.
    fn take_place(&mut self, value: Bytes) -> u32 {
        let crowded = self.gone > self.subscriptions.saturating_add(TOPICS_BATCH_KEPT as u32);
        let free = crowded.then(|| self.values.iter().position(Bytes::is_empty)).flatten();
        match free {
            Some(place) => {
                self.values[place] = value;
                self.gone -= 1;
                place as u32
            }
            None => {
                self.values.push(value);
                self.values.len() as u32 - 1
            }
        }
    }

    /// The next moment of its phase after `now_ms`.
    fn due_ms(&self, now_ms: u64) -> u64 {
        let period_ms = u64::from(self.period_ms.get());
        // Fibonacci hashing: neighbouring slots land far apart.
        let scattered = u64::from(self.socket.slot).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let phase_ms = (scattered * period_ms) >> 32;
        let since_ms = (now_ms + period_ms - phase_ms) % period_ms;
        now_ms + period_ms - since_ms
    }

    /// Sends what there is; `false`: the connection does not take it now.
    fn send(&mut self, clients: &mut impl Clients, metrics: &TopicMetrics) -> bool {
        let present = |value: &&Bytes| !value.is_empty();
        let values: Cow<'_, [Bytes]> = match self.gone {
            0 => Cow::Borrowed(&self.values),
            _ => Cow::Owned(self.values.iter().filter(present).cloned().collect()),
        };
        if !values.is_empty() {
            if !clients.offer_batch(self.socket, &values) {
                return false;
            }
            metrics.delivered.add(values.len() as u64);
            metrics.flushes.inc();
        }
        self.values.clear();
        self.values.shrink_to(TOPICS_BATCH_KEPT);
        self.gone = 0;
        self.batch = self.batch.wrapping_add(1);
        self.state = State::Empty;
        true
    }
}
