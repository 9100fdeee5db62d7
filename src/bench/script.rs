//! What a profile is to the generator that runs it: users who begin, act on time, and end.

use super::{Crowd, Fleet, tally::Tally};

/// The users of one generator, and what they do.
///
/// Users are known by their number, which is unique over all generators of a run, so that a
/// user's choices don't depend on how many processes there are.
pub trait Script: Crowd {
    /// The user begins: a connection, mostly.
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64);

    /// The user ends, because a stage has fewer of them.
    fn end(&mut self, fleet: &mut Fleet, user: u32);

    /// Does what is due by `now_ns`; when the next thing is.
    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64>;

    /// How many users are where they should be: those with an open connection, where the profile
    /// has nothing else to wait for.
    fn present(&self, fleet: &Fleet) -> usize {
        fleet.open
    }

    /// So many messages were published in the whole run, and no more will be.
    fn published(&mut self, _messages: u64) {}

    /// Nothing new from here on; what is under way may still end.
    fn stop(&mut self, fleet: &mut Fleet);

    /// Answers that may still come.
    fn under_way(&self) -> u64;

    /// All has come that will: the rest is counted as missing.
    fn settled(&mut self) {}

    /// Whether nobody reads, answers or says goodbye at the end, until the process is told that it
    /// is over.
    fn vanishes(&self) -> bool {
        false
    }

    /// What was counted since this was last taken.
    fn tally(&mut self) -> &mut Tally;
}
