//! What a server on this machine costs: memory by component, processor time, system calls, and
//! how they grow with the connections.
//!
//! A [`Probe`] looks at the server while a load is on; what it finds are the [`model`]'s points,
//! through which [`fit`] lays lines.
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] ▢ | the figures, as a report has them |
//! | [`probe`] | reads them, at the end of each time in which the number of users stood still |
//! | [`kernel`] | what the kernel holds for everybody: objects of its caches, pages of TCP queues |
//! | [`slab`] ▢ | `/proc/slabinfo`, with the caches that the kernel has merged |
//! | [`waits`] | polls of rings and items in epoll that the server has, while there are few |
//! | [`share`] ▢ | how much of the kernel's growth is the server's |
//! | [`calls`] | system calls of the server, counted by perf or by its own metrics |
//! | [`fit`] ▢ | the lines through the points |
//! | `text` ▢ | the figures for people |
//!
//! Must not: know any profile; change anything of the host but free slab objects that nobody uses.

pub mod calls;
pub mod fit;
pub mod kernel;
pub mod model;
pub mod probe;
pub mod share;
pub mod slab;
mod text;
pub mod waits;

pub use self::{
    calls::SystemCalls,
    model::{Cost, Point},
    probe::Probe,
    share::Ends,
};
