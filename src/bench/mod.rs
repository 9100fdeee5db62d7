//! The load generator: many clients of a WebSocket server, on the project's own ring.
//!
//! [`Fleet`] holds the clients, knows HTTP and frames as a client does, and tells a [`Crowd`]
//! what happens to each; a profile is a crowd with a script. Everything of one generator
//! runs on one thread, but for what publishes.
//!
//! | module | what it is |
//! |---|---|
//! | [`target`] ▢ | where the server is, and the addresses to come from |
//! | [`fleet`] | the clients: connect, upgrade, send, receive, leave |
//! | `inbound` ▢ | what a server sends: response heads, frames |
//! | [`stages`] ▢ | how many users there are when |
//! | [`choice`] ▢ | which topics each user picks |
//! | [`publisher`] | the other side of topics: PUBLISH on time |
//! | [`reading`] ▢ | what subscribers received: latency, order, losses |
//! | [`cost`] | what a server on this machine costs, and how that grows |
//! | [`process`] | what the server costs: processor time and memory, from `/proc` |
//! | [`topics`] | profile: subscribers of many topics |
//! | [`spike`] | profile: users that come, stay a while, and go |
//!
//! Latency counts from the moment at which a message was meant to be sent, so that a
//! generator or a server that falls behind does not hide it.

pub mod choice;
pub mod cost;
pub mod fleet;
mod inbound;
pub mod process;
pub mod publisher;
pub mod reading;
pub mod spike;
pub mod stages;
pub mod target;
pub mod topics;

pub use self::fleet::{ClientId, Crowd, End, Fleet};
