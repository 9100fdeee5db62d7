//! Ringgate: a WebSocket gateway of pinned executors, each with its own io_uring for its
//! sockets and its own connection to Redis.
//!
//! # Code map
//!
//! The data path reads downward: socket → frame → session → broker → result → socket.
//! Modules marked ▢ are sans-IO: no sockets, no executor, no clock; bytes and time come
//! in, actions go out.
//!
//! | module | what it is |
//! |---|---|
//! | [`ring`] | the engine of one shard: sockets, buffers, completions. All `unsafe` lives here |
//! | [`shard`] | one core: listener, admission, connection table, the turn loop, teardown |
//! | [`ws`] ▢ | RFC 6455, server side: handshake, frames, messages, close codes |
//! | [`http`] ▢ | plain requests beside the upgrades: bodies, answers in JSON, CORS |
//! | [`outbox`] ▢ | what one connection has yet to send, bounded in bytes |
//! | [`backlog`] ▢ | what waits for the workers, and whether a new connection may add to it |
//! | [`tasks`] ▢ | sessions of the tasks route: chunks, acks, results, merge, deadlines; [`tasks::raw`]: its raw dialect |
//! | [`topics`] ▢ | topics: who subscribed, what is published, who is too slow for it; [`topics::sessions`]: made over REST, used by a WebSocket |
//! | [`broker`] | the contract with what carries tasks; Redis, and one inside the process |
//! | [`worker`] | the reference worker: measures audio, for a Redis list or stream, or the embedded broker |
//! | [`router`] | lanes between the shards, with their wake-up; which shard answers for a name |
//! | [`wheel`] ▢ | coarse timers, one wheel a shard |
//! | [`config`] | raw input to a validated configuration, with the source of every value |
//! | [`limits`] ▢ | every bound that is not configurable: value, unit, why |
//! | [`metrics`] | counters with one writer each, and their Prometheus text |
//! | [`admin`] | the admin port: health, readiness, metrics |
//! | [`gateway`] | the process: shards, broker, worker and admin port together |
//! | [`host`] | what this host allows: descriptors, kernel |
//! | [`doctor`] | this host against what so many connections need; [`doctor::wanted`] ▢ has the arithmetic |
//! | [`mod@plan`] ▢ | capacity planning: what connections and traffic need, which limit binds first |
//! | [`rt`] | the only file that names glommio |
//! | [`cli`] | the commands |
//! | [`bench`](mod@bench) | the load generator of `ringgate bench`, on the same ring |
//! | [`demo`] | the clients of `ringgate demo`, and its ticker |
//! | [`chunked`], [`clock`], [`decimal`], [`ids`] ▢ | the little that everything shares |

pub mod admin;
pub mod backlog;
pub mod bench;
pub mod broker;
pub mod chunked;
pub mod cli;
pub mod clock;
pub mod config;
pub mod decimal;
pub mod demo;
pub mod doctor;
pub mod gateway;
pub mod host;
pub mod http;
pub mod ids;
pub mod limits;
pub mod metrics;
pub mod outbox;
pub mod plan;
pub mod ring;
pub mod router;
pub mod rt;
pub mod shard;
pub mod tasks;
pub mod topics;
pub mod wheel;
pub mod worker;
pub mod ws;
