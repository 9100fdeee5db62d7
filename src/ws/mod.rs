//! ▢ RFC 6455, server side: bytes come in and become a request, then frames, then
//! messages; refusals and frames go out as bytes.
//!
//! On the data path this stands between the socket's receive buffer and the route. It
//! must not know of sockets, routes, sessions or time: deadlines, heartbeats and the
//! choice of a close code belong to the shard.
//!
//! Read in this order: [`head`], [`query`], [`upgrade`], [`refusal`] (before the upgrade), then
//! [`frame`], [`mask`], [`utf8`], [`decoder`], [`close`] (after it).

pub mod close;
pub mod decoder;
pub mod frame;
pub mod head;
pub mod mask;
mod partial;
pub mod query;
pub mod refusal;
pub mod response;
#[cfg(test)]
mod testing;
pub mod upgrade;
pub mod utf8;

pub use close::{CloseCode, Violation, write_close, write_close_answer};
pub use decoder::{Decoder, Event, Input, Kind};
pub use frame::{Opcode, write_frame, write_header};
pub use head::{Head, Version, parse_head};
pub use query::query_value;
pub use refusal::Refusal;
pub use response::write_json_ok;
pub use upgrade::{Upgrade, check_upgrade};
