//! ▢ What shards send each other.

use super::Lane;
use crate::tasks::{PeerMessage, RouteTag};
use crate::topics::{TopicMessage, sessions::SessionMessage};

/// One message. A plain value; what many shards are to have, they share.
#[derive(Debug)]
pub enum Message {
    /// About sessions, for one tasks route.
    Tasks(RouteTag, PeerMessage),
    /// About topics, for one topics route.
    Topics(RouteTag, TopicMessage),
    /// About sessions of topics.
    Sessions(SessionMessage),
}

// One place of a lane; there are thousands.
const _: () = assert!(size_of::<Message>() <= 64);

impl Message {
    /// What it adds to the outboxes of clients, where it goes to many.
    pub fn frame_bytes(&self) -> usize {
        match self {
            Self::Topics(_, message) => message.frame_bytes(),
            Self::Tasks(..) | Self::Sessions(_) => 0,
        }
    }

    /// The lane that it takes.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Tasks(..) | Self::Sessions(_) => Lane::Reply,
            Self::Topics(_, message) => message.lane(),
        }
    }
}
