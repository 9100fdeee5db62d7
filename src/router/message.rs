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
    /// The lane that it takes.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Tasks(..) | Self::Sessions(_) => Lane::Reply,
            Self::Topics(_, message) => message.lane(),
        }
    }
}
