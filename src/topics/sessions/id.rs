//! ▢ The name of a session, which says where it lives and cannot be guessed.

use std::fmt;

use crate::ids::ShardId;

/// Digits of the shard, and of the random part.
const SHARD_DIGITS: usize = 4;
const SECRET_DIGITS: usize = 32;

/// The name of a session: its home and 128 random bits, together 36 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    home: ShardId,
    secret: [u8; 16],
}

impl SessionId {
    /// A new one, which nobody can guess, of a session at home on `home`.
    pub fn random(home: ShardId) -> Self {
        // Six bits of a random UUID are fixed, not at the same place in its halves.
        let half = || {
            let (high, low) = uuid::Uuid::new_v4().as_u64_pair();
            high ^ low
        };
        let secret = u128::from(half()) << 64 | u128::from(half());
        Self { home, secret: secret.to_be_bytes() }
    }

    /// The id that `text` spells, if there are as many as `shards` shards. Whoever asks may
    /// have made it up.
    pub fn parse(text: &str, shards: usize) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != SHARD_DIGITS + SECRET_DIGITS || !text.bytes().all(is_digit) {
            return None;
        }
        let (home, secret) = text.split_at_checked(SHARD_DIGITS)?;
        let home = ShardId(u16::from_str_radix(home, 16).ok()?);
        let secret = u128::from_str_radix(secret, 16).ok()?.to_be_bytes();
        (home.index() < shards).then_some(Self { home, secret })
    }

    /// Where the session lives.
    pub fn home(self) -> ShardId {
        self.home
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:04x}{:032x}", self.home.0, u128::from_be_bytes(self.secret))
    }
}

/// Without the secret: who reads a log must not be able to take the session.
impl fmt::Debug for SessionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SessionId({:04x}…)", self.home.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_leads_home(home in 0..64u16, shards in 1..65usize) {
            let id = SessionId::random(ShardId(home));
            let parsed = SessionId::parse(&id.to_string(), shards);
            prop_assert_eq!(parsed, (usize::from(home) < shards).then_some(id));
        }

        #[test]
        fn no_text_panics(text in any::<String>(), digits in "[0-9a-f]{36}", hex in "[0-9a-fA-F+äg]{34,38}") {
            let _ = SessionId::parse(&text, 2);
            let _ = SessionId::parse(&hex, usize::MAX);
            let id = SessionId::parse(&digits, usize::MAX).unwrap();
            prop_assert_eq!(id.to_string(), digits, "one spelling");
        }
    }

    #[test]
    fn every_bit_of_the_secret_is_random() {
        let (mut ones, mut zeros) = (0, 0);
        for _ in 0..200 {
            let secret = u128::from_be_bytes(SessionId::random(ShardId(1)).secret);
            (ones, zeros) = (ones | secret, zeros | !secret);
        }
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }

    #[test]
    fn a_log_does_not_tell_the_secret() {
        let id = SessionId::random(ShardId(3));
        assert!(!format!("{id:?}").contains(&id.to_string()[4..]));
    }
}
