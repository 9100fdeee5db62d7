//! Logging to standard error, begun with the effective configuration.

use env_logger::Target;
use log::LevelFilter;

use crate::config::{Effective, EffectiveValue};

/// Starts logging at the configured level and logs every value in force with its source,
/// secrets masked.
pub fn start(effective: &Effective) {
    start_at(effective.config.log_level);
    for EffectiveValue { key, value, source } in &effective.values {
        log::info!("config: {key} = {value} ({source})");
    }
}

/// Starts logging at `level`. `log::set_max_level` changes it afterwards: the logger lets
/// everything of ours pass. Libraries are heard from their warnings on.
pub fn start_at(level: LevelFilter) {
    let logger = env_logger::Builder::new()
        .filter_level(LevelFilter::Warn)
        .filter_module("ringgate", LevelFilter::Trace)
        .target(Target::Stderr)
        .try_init();
    // Only a second start fails, and then the first logger goes on.
    if logger.is_ok() {
        log::set_max_level(level);
    }
}
