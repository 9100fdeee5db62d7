//! The shard's one connection to Redis.
//!
//! Commands → [`Link`] ▢ → bytes to write; bytes that were read → [`Link`] → events. The
//! shard owns the socket, [`dial`] opens it. Everything that Redis may do to us (refuse,
//! stall, vanish, come back empty or as a replica) is decided in the link, without IO.
//!
//! | file | what it is |
//! |---|---|
//! | [`target`] ▢ | where Redis is, from the `redis` option |
//! | [`link`] ▢ | commands and answers of one connection after another |
//! | `work` ▢ | what is held and what is on its way, bounded |
//! | [`frames`] ▢ | bytes to whole RESP3 values |
//! | [`resp`] ▢ | the commands that carry tasks, to bytes |
//! | `scripts` ▢ | what is asked of a stream and its group, in one step each |
//! | `subscriptions` ▢ | the channels, interned |
//! | `canary` ▢ | the proof that pub/sub works on a connection |
//! | `upkeep` ▢ | when streams are looked after |
//! | `complaints` ▢ | what Redis refuses, logged once in a while |
//! | `backoff` ▢ | when to dial again |
//! | [`dial`] | opens the socket: the only IO here |
//!
//! `frames` and `resp` are public for the micro-benchmarks, nobody else needs them.
//!
//! Must not: know what is in a task or in a result.

mod backoff;
mod canary;
mod complaints;
pub mod dial;
pub mod frames;
pub mod link;
pub mod resp;
mod scripts;
mod subscriptions;
pub mod target;
mod upkeep;
mod work;

pub use link::{Link, LinkError, LinkLimits};
pub use target::{Address, Target, TargetError};
pub use upkeep::StreamUpkeep;
