//! ▢ Plain HTTP on the public port, beside the upgrades: requests with a body, answers in
//! JSON, and what browsers of other origins are told.
//!
//! On the data path this stands between the socket's receive buffer and the sessions of
//! topics. It must not know what is asked for, nor of sockets or time: deadlines and the
//! bound on all bodies together belong to the shard.
//!
//! Read in this order: [`body`] (what may follow a head, and gathers it), [`cors`] (who may
//! read the answer), [`answer`].

pub mod answer;
pub mod body;
pub mod cors;

pub use answer::Answer;
pub use body::{Awaits, BodyError, Upload, announced_body};
pub use cors::Reader;
