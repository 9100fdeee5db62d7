//! A broker inside the process, for one machine with nothing installed.
//!
//! It keeps the promises of the contract that a Redis without persistence keeps: what is
//! in it ends with the process. [`core`] ▢ is what it does, [`thread`] the thread that
//! owns it with the lanes to it, [`ports`] the ends of those lanes at shards and workers.
//! No shard ever waits for a lock or for another shard here.
//!
//! Must not: know what is in a task or in a result.

mod client;
pub mod core;
pub mod ports;
pub mod thread;

pub use ports::{Port, WorkerPort};
pub use thread::{EmbeddedBroker, EmbeddedCounts};
