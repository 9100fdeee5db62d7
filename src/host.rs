//! What this host lets the process have: raised where it can be, logged, and checked
//! against what the configuration asks for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Effective, Source};

/// Descriptors that are no client's: listener, ring, eventfd, executor and broker of each
/// shard, and the admin port with its clients.
const DESCRIPTORS_PER_SHARD: u64 = 24;
const DESCRIPTORS_OF_PROCESS: u64 = 128;

/// Raises the soft limit of descriptors to the hard one, logs the limits in force, and
/// fits `limits.connections` under them.
///
/// # Errors
/// As [`fit`].
pub fn prepare(effective: &mut Effective) -> Result<(), String> {
    let descriptors = raise_descriptors();
    let memlock = getrlimit(Resource::Memlock);
    log::info!(
        "host: Linux {}, descriptors {} (hard limit {}), lockable memory {}",
        kernel_release(),
        shown(descriptors.current),
        shown(descriptors.maximum),
        shown(memlock.current),
    );
    fit(effective)
}

/// Fits `limits.connections` under the descriptors that the process has.
///
/// # Errors
/// `limits.connections` was set by someone, and does not fit: a promise that can't be
/// kept. A default that doesn't fit is lowered, with a warning.
pub fn fit(effective: &mut Effective) -> Result<(), String> {
    let descriptors = getrlimit(Resource::Nofile);
    let is_default = effective.source("limits.connections") == Some(&Source::Default);
    let config = &effective.config;
    let room = room(descriptors.current, config.cores.len());
    if config.limits.connections as u64 <= room {
        return Ok(());
    }
    let problem = format!(
        "limits.connections = {}: the limit of descriptors (nofile, hard) is {}, which leaves \
         room for {room} connections; raise LimitNOFILE (ulimit -Hn) to {} or lower \
         `connections`",
        config.limits.connections,
        shown(descriptors.current),
        config.limits.connections as u64 + reserved_descriptors(config.cores.len()),
    );
    if !is_default {
        return Err(problem);
    }
    log::warn!("{problem}; going on with {room}");
    effective.lower_connections(room as usize);
    Ok(())
}

/// Connections that fit under a limit of descriptors.
fn room(descriptors: Option<u64>, shards: usize) -> u64 {
    descriptors.map_or(u64::MAX, |limit| limit.saturating_sub(reserved_descriptors(shards)).max(1))
}

/// Descriptors that the process needs beside its connections.
pub fn reserved_descriptors(shards: usize) -> u64 {
    DESCRIPTORS_OF_PROCESS.saturating_add(DESCRIPTORS_PER_SHARD.saturating_mul(shards as u64))
}

/// Raises the soft limit of descriptors to the hard one; the limits then in force.
pub fn raise_descriptors() -> Rlimit {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Raising to the hard limit is always allowed, except above fs.nr_open.
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised,
        Err(error) => {
            log::warn!("descriptors stay at {}: {error}", shown(limit.current));
            limit
        }
    }
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or("unlimited".to_owned(), |limit| limit.to_string())
}

/// Release of the running kernel, as `uname -r` has it.
pub fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_the_process_leaves_to_clients() {
        assert_eq!(room(Some(20_000), 2), 20_000 - 128 - 48);
        assert_eq!(room(Some(10), 2), 1, "never zero: it would refuse everyone without a reason");
        assert_eq!(room(None, 2), u64::MAX);
    }
}
