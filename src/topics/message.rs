//! ▢ What a topics route asks of its shard, and what its shards tell each other.

use std::sync::Arc;

use super::{Publication, Topic, error::ErrorCode};
use crate::{broker, ids::ShardId, router::Lane, tasks::RouteTag};

/// What the shard is to do, in order.
#[derive(Debug)]
pub enum Action {
    /// Submit a command.
    Broker(broker::Command),
    /// Tell another shard's part of this route. What cannot be sent comes back with
    /// [`Topics::on_unsent`](super::Topics::on_unsent).
    Tell {
        /// Which route.
        route: RouteTag,
        /// Which shard.
        to: ShardId,
        /// What.
        message: TopicMessage,
    },
}

/// One shard's interest in one topic, from its first subscriber to its last. A later interest
/// in the same topic is another one, so that what is on its way to the old one is not taken
/// for the new one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InterestId {
    /// Place in the shard's table.
    pub slot: u32,
    /// How many interests the shard had had before, modulo 2^32.
    pub number: u32,
}

/// What the shards of one route tell each other. *Home* is the shard that hears a topic for
/// all; see [`home_of`](crate::router::home_of).
#[derive(Debug)]
pub enum TopicMessage {
    /// To the home: somebody on a shard wants the topic.
    Want {
        /// Which shard.
        from: ShardId,
        /// Which.
        topic: Topic,
        /// Named in every message about it.
        interest: InterestId,
    },
    /// To the home: nobody there wants it any more.
    Unwant {
        /// Which shard.
        from: ShardId,
        /// Which.
        topic: Topic,
        /// The interest that ends.
        interest: InterestId,
    },
    /// From the home: what is published from now on comes.
    Live {
        /// In which topic.
        interest: InterestId,
    },
    /// From the home: the topic does not come, and the interest is over.
    Refused {
        /// In which topic.
        interest: InterestId,
        /// Why.
        why: ErrorCode,
    },
    /// From the home: what was published for a while did not come; from now on it does.
    Gap {
        /// In which topic.
        interest: InterestId,
    },
    /// From the home: it has lost the broker. None of its topics is live until it says so.
    Away {
        /// Which shard that is.
        home: ShardId,
    },
    /// From the home: a message.
    Publish {
        /// In which topic.
        interest: InterestId,
        /// Where the home has the topic.
        of: u32,
        /// The message.
        publication: Arc<Publication>,
        /// Messages before it that this shard was not sent.
        lost_before: u64,
    },
    /// From the home: messages that this shard was not sent, and none has followed.
    Lost {
        /// In which topic.
        interest: InterestId,
        /// Where the home has the topic.
        of: u32,
        /// How many.
        count: u64,
    },
}

impl TopicMessage {
    /// Messages can be lost, and are told as lost; all else has to arrive.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Publish { .. } | Self::Lost { .. } => Lane::FanOut,
            _ => Lane::Reply,
        }
    }

    /// What each of its clients is sent for it, in bytes; zero where that is bounded in
    /// another way.
    pub fn frame_bytes(&self) -> usize {
        match self {
            Self::Publish { publication, .. } => publication.frame_bytes(),
            _ => 0,
        }
    }

    /// Whether whoever says it knows what to do where it cannot be sent at once. What cannot
    /// is bounded by the subscriptions of a shard.
    pub fn can_fail(&self) -> bool {
        matches!(self, Self::Want { .. } | Self::Publish { .. } | Self::Lost { .. })
    }
}
