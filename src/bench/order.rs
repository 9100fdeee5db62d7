//! ▢ What the processes of a run say to each other: one order down, slices up; a line of JSON each.

use serde::{Deserialize, Serialize};

use super::{
    echo, idle,
    stages::Stages,
    tally::Tally,
    target::{Sources, Target},
};

/// What one generator has to do.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Order {
    /// What the users do.
    pub job: Job,
    /// The server's route.
    pub target: Target,
    /// Addresses to connect from.
    pub sources: Sources,
    /// Users of all generators together.
    pub stages: Stages,
    /// Which of the generators this one is.
    pub share: Share,
    /// When the stages begin, by [`clock::now_ns`](super::clock::now_ns).
    pub origin_ns: u64,
    /// Length of a slice.
    pub slice_ms: u64,
    /// Core to run on.
    pub core: Option<usize>,
    /// Of all choices.
    pub seed: u64,
}

/// What the users of a run do; each profile's own settings.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// [`echo`].
    Echo(echo::Job),
    /// [`idle`].
    Idle(idle::Job),
}

impl Job {
    /// Whether it goes without WebSocket.
    pub fn is_raw(&self) -> bool {
        matches!(self, Self::Echo(job) if job.raw)
    }
}

/// One generator of several: it has every `of`th user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Share {
    /// From zero.
    pub nth: u32,
    /// How many there are.
    pub of: u32,
}

impl Share {
    /// How many of so many users are this generator's.
    pub fn of_users(self, users: u32) -> u32 {
        users.saturating_sub(self.nth).div_ceil(self.of.max(1))
    }

    /// The number, over all generators, of the user that is the `local`th here.
    pub fn user(self, local: u32) -> u32 {
        local.saturating_mul(self.of).saturating_add(self.nth)
    }

    /// The opposite of [`Share::user`].
    pub fn local(self, user: u32) -> usize {
        (user / self.of.max(1)) as usize
    }
}

/// One line of a generator.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Said {
    /// Another slice has passed.
    Slice(Box<Slice>),
    /// What came after the last whole slice, until all was answered.
    Rest(Box<Slice>),
    /// It cannot go on, and why.
    Failed(String),
    /// It is done.
    Done,
}

/// What a generator did in one slice of time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Slice {
    /// From zero at the origin.
    pub nth: u32,
    /// Users that should be there at its end.
    pub wanted: u32,
    /// Open connections at its end.
    pub open: u32,
    /// Processor time of the generator meanwhile.
    pub processor_ns: u64,
    /// What was counted meanwhile.
    pub tally: Tally,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_user_has_one_generator(users in 0..1000_u32, of in 1..20_u32) {
            let shares = (0..of).map(|nth| Share { nth, of });
            let mut all: Vec<u32> = shares
                .flat_map(|share| {
                    (0..share.of_users(users)).map(move |local| {
                        assert_eq!(share.local(share.user(local)), local as usize);
                        share.user(local)
                    })
                })
                .collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..users).collect::<Vec<_>>());
        }
    }
}
