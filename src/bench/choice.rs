//! ▢ Which topics each user picks: few are wanted by many (Zipf), none twice by one.

use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};
use serde::{Deserialize, Serialize};

/// Apart enough that the seeds of two users have nothing in common (Knuth's multiplier).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Draws for a user before it takes the next topic that it has not got.
const DRAWS_MAX: usize = 64;

/// What users want.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Taste {
    /// How many topics there are.
    pub topics: u32,
    /// Topics of one user.
    pub per_user: usize,
    /// Exponent of the Zipf distribution.
    pub zipf: f64,
}

/// The choices of users, one after another, from a seed.
pub struct Choices {
    random: StdRng,
    zipf: Zipf<f64>,
    topics: u32,
    seed: u64,
}

impl Choices {
    /// Among `topics` topics, with that exponent (1: the second is half as popular as the
    /// first, and so on; 0: all alike).
    ///
    /// # Errors
    /// No topics, or an exponent below zero.
    pub fn new(topics: u32, exponent: f64, seed: u64) -> Result<Self, String> {
        let zipf = Zipf::new(f64::from(topics), exponent).map_err(|error| error.to_string())?;
        Ok(Self { random: StdRng::seed_from_u64(seed), zipf, topics, seed })
    }

    /// The topics of a user in one of its rounds, whoever has chosen before.
    pub fn of_user(&mut self, user: u32, round: u32, count: usize) -> Vec<u32> {
        let own = u64::from(user) << 32 | u64::from(round);
        self.random = StdRng::seed_from_u64(self.seed ^ own.wrapping_add(1).wrapping_mul(SPREAD));
        self.next_user(count)
    }

    /// The topics of the next user, from zero; `count` different ones, or as many as there are.
    pub fn next_user(&mut self, count: usize) -> Vec<u32> {
        let count = count.min(self.topics as usize);
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            let drawn = (0..DRAWS_MAX).map(|_| self.zipf.sample(&mut self.random) as u32 - 1);
            let mut fresh = drawn.filter(|topic| *topic < self.topics && !chosen.contains(topic));
            let next = fresh.next();
            drop(fresh);
            let next = next.or_else(|| (0..self.topics).find(|topic| !chosen.contains(topic)));
            chosen.extend(next);
        }
        chosen
    }
}

/// The name of a topic of the load.
pub fn topic_name(topic: u32) -> String {
    format!("T{topic}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_are_the_most_wanted_and_none_is_twice() {
        let mut choices = Choices::new(500, 1.0, 7).unwrap();
        let mut wanted = vec![0; 500];
        for _ in 0..10_000 {
            let user = choices.next_user(3);
            assert!(
                user.len() == 3 && user[0] != user[1] && user[1] != user[2] && user[0] != user[2]
            );
            user.iter().for_each(|&topic| wanted[topic as usize] += 1);
        }
        assert!(wanted[0] > wanted[1] && wanted[1] > wanted[10] && wanted[10] > wanted[400]);
        assert!(wanted.iter().filter(|&&count| count > 0).count() > 450);
    }

    #[test]
    fn a_user_chooses_the_same_in_every_process() {
        let choices = || Choices::new(500, 1.0, 7).unwrap();
        let [mut one, mut other] = [choices(), choices()];
        other.of_user(3, 0, 3);
        assert_eq!(one.of_user(8, 2, 3), other.of_user(8, 2, 3));
        let different: std::collections::BTreeSet<_> =
            (0..100).map(|user| one.of_user(user, 0, 3)).collect();
        assert!(different.len() > 90, "{different:?}");
    }

    #[test]
    fn whoever_wants_all_gets_all() {
        let mut all = Choices::new(5, 2.0, 1).unwrap().next_user(9);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        assert!(Choices::new(0, 1.0, 1).is_err() && Choices::new(5, -1.0, 1).is_err());
    }
}
