//! ▢ What the processes of a run say to each other: one order down, slices up; a line of JSON each.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    echo, idle,
    publisher::Feed,
    report::{Figure, Report},
    spike,
    stages::Stages,
    storm,
    tally::Tally,
    target::{Sources, Target},
    tasks, topics, zombies,
};

/// The first one of a window is not measured: it has what the window before has left.
const SLICES_OF_WINDOW: u64 = 4;

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
    /// [`storm`].
    Storm(storm::Job),
    /// [`zombies`].
    Zombies(zombies::Job),
    /// [`tasks`].
    Tasks(tasks::Job),
    /// [`topics`].
    Topics(topics::Job),
    /// [`spike`].
    Spike(spike::Job),
}

/// For the answers that are under way at the end of a run.
const SETTLE: Duration = Duration::from_secs(5);

impl Job {
    /// Whether it goes without WebSocket.
    pub fn is_raw(&self) -> bool {
        matches!(self, Self::Echo(job) if job.raw)
    }

    /// How long what is under way at the end may take.
    pub fn settle(&self) -> Duration {
        match self {
            Self::Tasks(job) => SETTLE.max(Duration::from_nanos(job.patience_ns)),
            // Batches come late by intention.
            Self::Topics(topics::Job { conflate_ms, .. })
            | Self::Spike(spike::Job { conflate_ms, .. }) => {
                SETTLE + Duration::from_millis(conflate_ms.unwrap_or(0).into())
            }
            _ => SETTLE,
        }
    }

    /// Ports that one user has in the course of a run: one that was dropped is not free at once
    /// (TIME_WAIT).
    pub fn ports_per_user(&self) -> u64 {
        match self {
            Self::Storm(job) => job.drops_ns.len() as u64 + 1,
            _ => 1,
        }
    }

    /// The profile's own figures, out of what was counted.
    pub fn figures(&self, report: &Report) -> Vec<Figure> {
        match self {
            Self::Storm(job) => job.figures(report),
            Self::Tasks(job) => job.figures(report),
            _ => Vec::new(),
        }
    }

    /// Path of its route where nothing else is said.
    pub fn path(&self) -> &'static str {
        match self {
            Self::Echo(_) | Self::Idle(_) | Self::Storm(_) | Self::Zombies(_) => "/echo",
            Self::Tasks(_) => "/ws/asr",
            Self::Topics(_) | Self::Spike(_) => "/ws/topics",
        }
    }

    /// What is published meanwhile, once for all generators.
    pub fn feed(&self) -> Option<&Feed> {
        match self {
            Self::Topics(job) => job.feed.as_ref(),
            Self::Spike(job) => job.feed.as_ref(),
            _ => None,
        }
    }

    /// Where the server's connections are read when all users vanish at the end.
    pub fn vanish(&self) -> Option<SocketAddr> {
        match self {
            Self::Topics(job) => job.vanish,
            _ => None,
        }
    }

    /// Longest slice that is of use to it.
    pub fn slice_ms_max(&self) -> Option<u64> {
        match self {
            Self::Topics(job) => job.slow.map(|slow| slow.window_ns / 1_000_000 / SLICES_OF_WINDOW),
            _ => None,
        }
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

/// A line to a generator behind its order; the end of the lines is the end of its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Word {
    /// So many messages were published in all, and no more will be.
    Published(u64),
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
