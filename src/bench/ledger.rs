//! ▢ What subscribers received of what they were due: in which order, and what is missing.
//!
//! A message is due to a user whose subscription was in force when it was due to be published,
//! and who was there until it could come. Under conflation only the last one of a topic is, for
//! it takes the place of those before it.

use super::{beat::Beat, tally::Tally};

/// What one user has seen of one topic. Numbers count from one; zero: none.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    topic: u32,
    /// The last one that came.
    came: u32,
    /// Up to this one all have come, are missing, or were never due; `u32::MAX` while nobody knows.
    settled: u32,
    missing: u32,
    /// How many the server said are lost.
    told: u32,
    /// The server said that some are lost, and does not know how many.
    is_told_of_gap: bool,
}

/// What one user has seen.
#[derive(Default, Debug)]
struct User {
    /// Topics in their order.
    seen: Vec<Seen>,
    /// The server has said which topics they are: there is no other.
    is_confirmed: bool,
}

/// Topics of a user whose subscription was not confirmed, at most: what a server makes up has a
/// bound.
const UNCONFIRMED_TOPICS_MAX: usize = 1_024;

/// What all users of one kind have seen.
pub struct Ledger {
    /// What is due when; `None`: somebody else publishes.
    beat: Option<Beat>,
    is_conflated: bool,
    names: Names,
    /// By place.
    users: Vec<User>,
    /// How many messages were published in all, once that is known.
    published: Option<u64>,
    /// Topics of users who have not come to the last one.
    behind: u64,
    counts: Counts,
}

/// What the counts of a ledger are called in a report.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Messages that did not come.
    pub missed: &'static str,
    /// Those that the server said are lost.
    pub told: &'static str,
}

/// Since they were last handed over.
#[derive(Clone, Copy, Default, Debug)]
struct Counts {
    missed: u64,
    told: u64,
    replaced: u64,
    told_but_came: u64,
}

impl Ledger {
    /// Nobody has seen anything.
    pub fn new(beat: Option<Beat>, is_conflated: bool, names: Names) -> Self {
        Self {
            beat,
            is_conflated,
            names,
            users: Vec::new(),
            published: None,
            behind: 0,
            counts: Counts::default(),
        }
    }

    /// The subscription of the user in that place is in force: whatever is due from now on is due
    /// to it.
    pub fn subscribed(&mut self, place: usize, topics: &[u32], now_ns: u64) {
        let before = self.beat.map(|beat| beat.messages_before(now_ns.saturating_add(1)));
        let seen = |topic: &u32| {
            let settled = self.beat.zip(before).map(|(beat, count)| beat.last_of(*topic, count));
            Seen { topic: *topic, settled: number(settled.unwrap_or(0)), ..Seen::default() }
        };
        let mut all: Vec<Seen> = topics.iter().map(seen).collect();
        all.sort_unstable_by_key(|seen| seen.topic);
        *self.user(place) = User { seen: all, is_confirmed: true };
    }

    /// Message `nth` of a topic came; `false` where it came twice, behind a later one, or to a user
    /// who has not subscribed to it.
    pub fn update(&mut self, place: usize, topic: u32, nth: u64, tally: &mut Tally) -> bool {
        let (nth, is_conflated, is_beaten) = (number(nth), self.is_conflated, self.beat.is_some());
        let mut skipped = 0;
        let is_new = self.change(place, topic, |seen| {
            if nth <= seen.came {
                return false;
            }
            // Without a beat nobody knows what the first one should be.
            let is_known = is_beaten || seen.came > 0;
            skipped = nth.saturating_sub(seen.settled.saturating_add(1)) * u32::from(is_known);
            if !is_conflated {
                seen.missing = seen.missing.saturating_add(skipped);
            }
            (seen.came, seen.settled) = (nth, seen.settled.max(nth));
            true
        });
        if is_new != Some(true) {
            tally.wrong += 1;
            return false;
        }
        tally.received += 1;
        tally.expected += 1;
        if is_conflated {
            self.counts.replaced += u64::from(skipped);
        } else {
            tally.expected += u64::from(skipped);
        }
        true
    }

    /// The server said that so many messages of a topic are lost to the user.
    pub fn lost(&mut self, place: usize, topic: u32, count: Option<u64>) {
        // A notice for a topic that the user has not asked for excuses nothing.
        let _ = self.change(place, topic, |seen| match count {
            Some(count) => seen.told = seen.told.saturating_add(number(count)),
            None => seen.is_told_of_gap = true,
        });
    }

    /// The user has left: what has not come yet need not.
    pub fn left(&mut self, place: usize, tally: &mut Tally) {
        for seen in self.take(place) {
            self.settle(seen, tally);
        }
    }

    /// The user's connection is gone: what was due to it and has not come is lost.
    pub fn gone(&mut self, place: usize, now_ns: u64, tally: &mut Tally) {
        let due = self.beat.map_or(0, |beat| beat.messages_before(now_ns));
        let due = self.published.map_or(due, |published| due.min(published));
        for seen in self.take(place) {
            let tail = self.tail(&seen, due);
            tally.expected += tail;
            tally.lost += tail;
            self.settle(seen, tally);
        }
    }

    /// So many messages were published, and no more will be.
    pub fn published(&mut self, messages: u64) {
        self.published = Some(messages);
        let seen = self.users.iter().flat_map(|user| &user.seen);
        self.behind = seen.filter(|seen| self.is_behind(seen)).count() as u64;
    }

    /// Topics of users who have not come to the last message; all, where that is not known yet.
    pub fn behind(&self) -> u64 {
        match self.beat {
            Some(_) if self.published.is_none() => 1,
            _ => self.behind,
        }
    }

    /// Nothing more will come: what has not is missing.
    pub fn close(&mut self, tally: &mut Tally) {
        let published = self.published.unwrap_or(0);
        for mut seen in std::mem::take(&mut self.users).into_iter().flat_map(|user| user.seen) {
            let tail = self.tail(&seen, published);
            tally.expected += tail;
            seen.missing = seen.missing.saturating_add(number(tail));
            self.settle(seen, tally);
        }
        self.behind = 0;
    }

    /// Hands over what the profile counts by name.
    pub fn count_into(&mut self, tally: &mut Tally) {
        let Counts { missed, told, replaced, told_but_came } = std::mem::take(&mut self.counts);
        let counts = [
            (self.names.missed, missed),
            (self.names.told, told),
            ("conflated", replaced),
            ("told but came", told_but_came),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            tally.count(name, count);
        }
    }

    fn user(&mut self, place: usize) -> &mut User {
        if self.users.len() <= place {
            self.users.resize_with(place + 1, User::default);
        }
        &mut self.users[place]
    }

    /// `None`: the user has not subscribed to it.
    fn change<T>(
        &mut self,
        place: usize,
        topic: u32,
        change: impl FnOnce(&mut Seen) -> T,
    ) -> Option<T> {
        let User { seen, is_confirmed } = self.user(place);
        let at = match seen.binary_search_by_key(&topic, |seen| seen.topic) {
            Ok(at) => at,
            Err(_) if *is_confirmed || seen.len() >= UNCONFIRMED_TOPICS_MAX => return None,
            Err(at) => {
                // Subscribed without a confirmation: what came before the first one is not missed.
                seen.insert(at, Seen { topic, settled: u32::MAX, ..Seen::default() });
                at
            }
        };
        let seen = seen.get_mut(at)?;
        let before = *seen;
        let changed = change(seen);
        if before.settled == u32::MAX && seen.came > 0 {
            seen.settled = seen.came;
        }
        let after = *seen;
        if self.published.is_some() && self.is_behind(&before) && !self.is_behind(&after) {
            self.behind = self.behind.saturating_sub(1);
        }
        Some(changed)
    }

    fn take(&mut self, place: usize) -> Vec<Seen> {
        let User { seen, .. } = self.users.get_mut(place).map(std::mem::take).unwrap_or_default();
        if self.published.is_some() {
            let behind = seen.iter().filter(|seen| self.is_behind(seen)).count() as u64;
            self.behind = self.behind.saturating_sub(behind);
        }
        seen
    }

    fn is_behind(&self, seen: &Seen) -> bool {
        let told_beyond = u64::from(seen.told.saturating_sub(seen.missing));
        self.published.is_some_and(|published| self.tail(seen, published) > told_beyond)
    }

    /// How many of the first so many messages are due behind the last that is settled.
    fn tail(&self, seen: &Seen, messages: u64) -> u64 {
        let last = self.beat.map_or(0, |beat| beat.last_of(seen.topic, messages));
        let tail = last.saturating_sub(seen.settled.into());
        if self.is_conflated { tail.min(1) } else { tail }
    }

    fn settle(&mut self, seen: Seen, tally: &mut Tally) {
        let Seen { missing, told, is_told_of_gap, .. } = seen;
        let excused = if is_told_of_gap { missing } else { missing.min(told) };
        tally.told += u64::from(excused);
        self.counts.missed += u64::from(missing);
        self.counts.told += u64::from(told.max(excused));
        if !self.is_conflated {
            self.counts.told_but_came += u64::from(told.saturating_sub(missing));
        }
    }
}

/// Numbers are 32 bits wide here, which is 4 days of 10,000 a second.
fn number(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
