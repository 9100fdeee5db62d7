//! What a server on this machine costs: memory by component, processor time, system calls, and
//! how they grow with the connections.
//!
//! | module | what it is |
//! |---|---|
//! | [`model`] ▢ | the figures, as a report has them, and the lines that are fitted to them |
//!
//! Must not: know any profile; change anything of the host but free slab objects that nobody uses.

pub mod model;
