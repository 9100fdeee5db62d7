//! ▢ The topics route: what is published on a channel reaches every connection that asked.

mod clients;
mod topic;

pub use self::{
    clients::Clients,
    topic::{BadTopic, ChannelPattern, Topic, is_reserved},
};
