//! ▢ Where results go that come to a shard for a session that has left it.
//!
//! Workers publish to where the session was when its chunk was queued: on its own channel,
//! which the old owner hears until the new one does, or on the channel of the old owner's
//! shard, which nobody else hears. An entry lives as long as such a chunk can be
//! unanswered: its deadline. There are at most [`TASKS_FORWARDS`]; past that, results are
//! found in the cache at the deadline of their chunks.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::cores::Tenure;
use crate::limits::TASKS_FORWARDS;
use crate::tasks::id::SessionId;

/// Where one session went.
#[derive(Debug)]
pub struct Forward {
    /// Its next owner.
    pub to: Tenure,
    /// Its own channel, while it is heard here, and for whom.
    channel: Option<(Arc<str>, Tenure)>,
    until_ms: u64,
}

/// By id. Every entry of one table lives equally long.
#[derive(Default, Debug)]
pub struct Forwards {
    by_id: HashMap<SessionId, Forward>,
    /// In the order in which they end. Also those that have been removed or replaced.
    ends: VecDeque<(u64, SessionId)>,
}

impl Forwards {
    /// Where the session of that id went.
    pub fn find(&self, id: &str) -> Option<(&SessionId, &Forward)> {
        self.by_id.get_key_value(id)
    }

    /// A session has left, or was passed on. `channel`: of its own, which is still heard for
    /// `to`.
    ///
    /// # Errors
    /// There is no room; gives back the channel, which nobody needs to hear then. What was
    /// known of that id is forgotten too: results that went where the session is no more
    /// could come round for ever.
    pub fn insert(
        &mut self,
        id: SessionId,
        to: Tenure,
        channel: Option<Arc<str>>,
        until_ms: u64,
    ) -> Result<(), Option<Arc<str>>> {
        if self.ends.len() >= TASKS_FORWARDS {
            let heard_before = self.remove(&id);
            return Err(channel.or(heard_before));
        }
        self.ends.push_back((until_ms, id.clone()));
        let heard_before = self.by_id.remove(&id).and_then(|forward| forward.channel);
        let channel = channel.map(|channel| (channel, to)).or(heard_before);
        self.by_id.insert(id, Forward { to, channel, until_ms });
        Ok(())
    }

    /// The session is here again, or another one of its id. Its channel, if that is still
    /// heard.
    pub fn remove(&mut self, id: &SessionId) -> Option<Arc<str>> {
        self.by_id.remove(id)?.channel.map(|(channel, _)| channel)
    }

    /// The new owner hears the channel itself: the channel that need not be heard here.
    pub fn heard(&mut self, id: &SessionId, by: Tenure) -> Option<Arc<str>> {
        let channel = &mut self.by_id.get_mut(id)?.channel;
        channel.take_if(|(_, heard_for)| *heard_for == by).map(|(channel, _)| channel)
    }

    /// Takes out what is over; the channels that were heard until then.
    pub fn expire(&mut self, now_ms: u64, channels: &mut Vec<(SessionId, Arc<str>)>) {
        while self.ends.front().is_some_and(|(until_ms, _)| *until_ms <= now_ms) {
            let Some((until_ms, id)) = self.ends.pop_front() else { return };
            if self.by_id.get(&id).is_some_and(|forward| forward.until_ms == until_ms) {
                let channel = self.remove(&id);
                channels.extend(channel.map(|channel| (id, channel)));
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;

    #[test]
    fn without_room_the_old_way_is_forgotten_too() {
        let to = |number| Tenure { shard: ShardId(1), number };
        let id = |number: usize| SessionId::parse(&format!("s{number}")).unwrap();
        let mut forwards = Forwards::default();
        forwards.insert(id(0), to(0), Some("c".into()), 9).unwrap();
        (1..TASKS_FORWARDS).for_each(|n| forwards.insert(id(n), to(0), None, 9).unwrap());
        assert!(forwards.find("s0").is_some());
        assert_eq!(forwards.insert(id(0), to(1), None, 9), Err(Some("c".into())));
        assert!(forwards.find("s0").is_none());
        assert_eq!(forwards.len(), TASKS_FORWARDS - 1);
    }
}
