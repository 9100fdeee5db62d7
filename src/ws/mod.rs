//! ▢ RFC 6455, server side.

pub mod close;

pub use close::CloseCode;
