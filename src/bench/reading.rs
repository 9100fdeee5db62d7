//! ▢ What subscribers received: how late, in which order, and what is missing.

use hdrhistogram::Histogram;
use serde::Deserialize;

use super::publisher::Published;

/// Longest latency that is told apart.
const LATENCY_NS_MAX: u64 = 120_000_000_000;

/// One thing that a topics route said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// A message of the load.
    Update {
        /// Which topic.
        topic: u32,
        /// Its number, from one.
        number: u64,
        /// When it was meant to be published.
        at_ns: u64,
    },
    /// A subscription is in force.
    Subscribed,
    /// So many messages were missed, where that is known.
    Lost(Option<u64>),
    /// A refusal, as it came.
    Error(String),
    /// Anything else.
    Other,
}

#[derive(Deserialize)]
struct Said<'s> {
    op: Option<&'s str>,
    count: Option<u64>,
}

/// Everything that one message of the server says: one thing, or a batch.
pub fn items(message: &[u8]) -> Vec<Item> {
    if message.starts_with(br#"{"op""#) {
        let said = serde_json::from_slice::<Said<'_>>(message);
        return vec![match said {
            Ok(Said { op: Some("subscribed"), .. }) => Item::Subscribed,
            Ok(Said { op: Some("lost"), count }) => Item::Lost(count),
            Ok(Said { op: Some("error"), .. }) => {
                Item::Error(String::from_utf8_lossy(message).into_owned())
            }
            _ => Item::Other,
        }];
    }
    let mut found = Vec::with_capacity(1);
    let mut rest = message;
    while let Some(topic) = number_after(&mut rest, br#""topic":"T"#) {
        let number = number_after(&mut rest, br#""s":"#);
        let at_ns = number_after(&mut rest, br#""t":"#);
        found.push(match number.zip(at_ns) {
            Some((number, at_ns)) => Item::Update { topic: topic as u32, number, at_ns },
            None => Item::Other,
        });
    }
    found
}

/// The number behind the next `mark`; `rest` goes on behind it.
fn number_after(rest: &mut &[u8], mark: &[u8]) -> Option<u64> {
    let at = rest.windows(mark.len()).position(|window| window == mark)?;
    let (mut number, mut after) = (0u64, rest.get(at + mark.len()..)?);
    while let [digit @ b'0'..=b'9', more @ ..] = after {
        number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        after = more;
    }
    *rest = after;
    Some(number)
}

/// What one user has seen of one topic.
#[derive(Clone, Copy, Debug)]
struct Seen {
    topic: u32,
    last: u64,
}

/// What all users have seen.
pub struct Ledger {
    /// By user.
    users: Vec<Vec<Seen>>,
    /// Counts since the last [`Ledger::clear_counts`].
    pub counts: Counts,
    /// From the intended publish to its reception.
    pub latency_ns: Histogram<u64>,
}

/// Sums over all users.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Messages of the load.
    pub received: u64,
    /// Those that came after a later one of their topic, or twice.
    pub disordered: u64,
    /// Numbers skipped: lost, or replaced by later ones.
    pub skipped: u64,
    /// Losses that users were told of.
    pub told_lost: u64,
    /// Notices of a loss whose size the server did not know.
    pub told_gaps: u64,
}

impl Ledger {
    /// For so many users, none of whom has seen anything.
    pub fn new(users: usize) -> Self {
        let latency_ns = Histogram::new_with_bounds(1_000, LATENCY_NS_MAX, 3);
        Self {
            users: vec![Vec::new(); users],
            counts: Counts::default(),
            latency_ns: latency_ns.expect("constant bounds"),
        }
    }

    /// A user begins anew: what it saw before does not count.
    pub fn begin(&mut self, user: u32) {
        if let Some(seen) = self.users.get_mut(user as usize) {
            seen.clear();
        }
    }

    /// Takes one message of a topic, received at `now_ns`.
    pub fn update(&mut self, user: u32, topic: u32, number: u64, at_ns: u64, now_ns: u64) {
        self.counts.received += 1;
        let latency_ns = now_ns.saturating_sub(at_ns).clamp(1_000, LATENCY_NS_MAX);
        self.latency_ns.saturating_record(latency_ns);
        let Some(seen) = self.users.get_mut(user as usize) else { return };
        match seen.iter_mut().find(|seen| seen.topic == topic) {
            Some(seen) if number > seen.last => {
                self.counts.skipped += number - seen.last - 1;
                seen.last = number;
            }
            Some(_) => self.counts.disordered += 1,
            None => seen.push(Seen { topic, last: number }),
        }
    }

    /// A notice of loss.
    pub fn lost(&mut self, count: Option<u64>) {
        match count {
            Some(count) => self.counts.told_lost += count,
            None => self.counts.told_gaps += 1,
        }
    }

    /// Messages at the end of each topic that its subscribers have not seen.
    pub fn unseen(&self, published: &Published) -> u64 {
        let last = |topic: u32| published.last.get(topic as usize).copied().unwrap_or(0);
        let unseen = |seen: &Seen| last(seen.topic).saturating_sub(seen.last);
        self.users.iter().flatten().map(unseen).sum()
    }

    /// Whether every user in `users` has seen something of every topic that it chose.
    pub fn have_seen(&self, users: std::ops::Range<usize>, topics: usize) -> bool {
        self.users.get(users).is_some_and(|users| users.iter().all(|seen| seen.len() >= topics))
    }

    /// Whether the user has seen anything since it began.
    pub fn has_seen(&self, user: u32) -> bool {
        self.users.get(user as usize).is_some_and(|seen| !seen.is_empty())
    }

    /// Measures from here on.
    pub fn clear_counts(&mut self) {
        self.counts = Counts::default();
        self.latency_ns.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::publisher::payload;

    #[test]
    fn messages_batches_and_notices_are_told_apart() {
        let one = format!(r#"{{"topic":"T7","data":{}}}"#, payload(3, 99, 64));
        let update = |topic, number, at_ns| Item::Update { topic, number, at_ns };
        assert_eq!(items(one.as_bytes()), [update(7, 3, 99)]);
        let batch = format!(r#"[{one},{{"topic":"T12","data":{}}}]"#, payload(1, 5, 0));
        assert_eq!(items(batch.as_bytes()), [update(7, 3, 99), update(12, 1, 5)]);
        assert_eq!(items(br#"{"op":"subscribed","topics":["T1"]}"#), [Item::Subscribed]);
        let lost = br#"{"op":"lost","topic":"T1","count":12}"#;
        assert_eq!(items(lost), [Item::Lost(Some(12))]);
        let gap = br#"{"op":"lost","topic":"T1","count":null,"reason":"reconnect"}"#;
        assert_eq!(items(gap), [Item::Lost(None)]);
        assert!(matches!(items(br#"{"op":"error","code":"x"}"#)[..], [Item::Error(_)]));
        assert_eq!(items(b"[]"), []);
    }

    #[test]
    fn gaps_and_disorder_are_counted() {
        let mut ledger = Ledger::new(2);
        for (user, number) in [(0, 4), (0, 5), (0, 8), (0, 7), (1, 1), (1, 1)] {
            ledger.update(user, 3, number, 0, 5_000);
        }
        let Counts { received, disordered, skipped, .. } = ledger.counts;
        assert_eq!((received, disordered, skipped), (6, 2, 2));
        let published = Published { last: vec![0, 0, 0, 9], ..Published::default() };
        assert_eq!(ledger.unseen(&published), 1 + 8);
        assert!(ledger.has_seen(1) && ledger.have_seen(0..2, 1) && !ledger.have_seen(0..2, 2));
        ledger.begin(1);
        assert!(!ledger.has_seen(1));
    }
}
