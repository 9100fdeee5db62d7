//! The contract of `ringgate::broker`, checked on every broker by the same tests; and what
//! each of them does alone.

#[expect(dead_code, reason = "each test file uses a part of it")]
#[path = "../support/mod.rs"]
mod support;

mod embedded_only;
mod every_broker;
mod harness;
mod redis_only;
mod streams;
mod upkeep;
mod words;
