//! ▢ Which topics each user picks: few are wanted by many (Zipf), none twice by one.

use rand::{SeedableRng, rngs::StdRng};
use rand_distr::{Distribution, Zipf};

/// Draws for a user before it takes the next topic that it has not got.
const DRAWS_MAX: usize = 64;

/// The choices of users, one after another, from a seed.
pub struct Choices {
    random: StdRng,
    zipf: Zipf<f64>,
    topics: u32,
}

impl Choices {
    /// Among `topics` topics, with that exponent (1: the second is half as popular as the
    /// first, and so on; 0: all alike).
    ///
    /// # Errors
    /// No topics, or an exponent below zero.
    pub fn new(topics: u32, exponent: f64, seed: u64) -> Result<Self, String> {
        let zipf = Zipf::new(f64::from(topics), exponent).map_err(|error| error.to_string())?;
        Ok(Self { random: StdRng::seed_from_u64(seed), zipf, topics })
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
    fn whoever_wants_all_gets_all() {
        let mut all = Choices::new(5, 2.0, 1).unwrap().next_user(9);
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        assert!(Choices::new(0, 1.0, 1).is_err() && Choices::new(5, -1.0, 1).is_err());
    }
}
