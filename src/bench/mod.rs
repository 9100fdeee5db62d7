//! The load generator: many clients of a WebSocket server, on the project's own ring.
//!
//! [`Fleet`] holds the clients, knows HTTP and frames as a client does, and tells a [`Crowd`]
//! what happens to each; a profile is a crowd with a script. Everything of one process of the load
//! runs on one thread.
//!
//! A run has one process that reports and one or more that make the load, each with its share of
//! the users. They share a clock and speak JSON, a line each.
//!
//! | module | what it is |
//! |---|---|
//! | [`run`] | the process that reports: starts the others, hears them, reads the server's cost |
//! | `crew`, [`order`] ▢ | the processes of the load; what is said between them and the run |
//! | [`probe`] | before a run: can this host make the load, and is there a server |
//! | [`generator`] | one process of the load: stages, slices |
//! | [`script`], [`roster`] ▢ | what a profile is; users with one connection each |
//! | [`echo`], [`idle`], [`storm`], [`zombies`], [`tasks`], [`topics`], [`spike`] | the profiles |
//! | [`capacity`] | a search over several runs: what a server holds |
//! | [`session`] ▢, [`backoff`] ▢ | one session of tasks; waits between attempts |
//! | [`worker`] | a worker beside the load, for the queue of tasks |
//! | [`fleet`], `crowd` | the clients: connect, upgrade, send, receive, leave; who is told of it |
//! | `inbound` ▢, `outbound` | what a server sends: response heads, frames; what clients send |
//! | [`stages`] ▢ | how many users there are when |
//! | [`target`] ▢ | where the server is, and the addresses to come from |
//! | [`choice`] ▢ | which topics each user picks |
//! | [`beat`] ▢, [`publisher`] | the other side of topics: what is due when; PUBLISH on time |
//! | [`reading`] ▢, `ledger` ▢ | what a topics route said; what of the due came, and what is missing |
//! | `beside` | what a run does beside its load: publishes, sees that all who vanished are forgotten |
//! | [`tally`] ▢, [`clock`] | what is counted in a slice of time; the clock that processes share |
//! | [`report`] ▢ | what was measured: plateaus, validity, text |
//! | `watch`, [`cost`] | the server during a run; what a server on this machine costs, and how that grows |
//! | `metrics` | what a gateway says of itself on its admin port |
//! | [`process`] | a process of this machine and its memory, from `/proc` |
//!
//! Latency counts from the moment at which a message was meant to be sent, so that a
//! generator or a server that falls behind does not hide it.

pub mod backoff;
pub mod beat;
mod beside;
pub mod capacity;
pub mod choice;
pub mod clock;
pub mod cost;
mod crew;
mod crowd;
pub mod echo;
pub mod fleet;
pub mod generator;
pub mod idle;
mod inbound;
mod ledger;
mod metrics;
pub mod order;
mod outbound;
mod peer;
pub mod probe;
pub mod process;
pub mod publisher;
pub mod reading;
pub mod report;
pub mod roster;
pub mod run;
pub mod script;
pub mod session;
pub mod spike;
pub mod stages;
pub mod storm;
pub mod tally;
pub mod target;
pub mod tasks;
pub mod topics;
mod watch;
pub mod worker;
pub mod zombies;

pub use self::crew::COMMAND as GENERATOR_COMMAND;
pub use self::crowd::{ClientId, Crowd, End};
pub use self::fleet::Fleet;
