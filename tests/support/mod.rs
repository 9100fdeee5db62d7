//! What the integration tests share. Each test file uses a part of it.

pub mod bench;
pub mod client;
pub mod crowd;
pub mod gateway;
pub mod http;
pub mod log;
pub mod process;
pub mod raw;
pub mod redis;
pub mod stage;
pub mod sysctls;
pub mod topics;
