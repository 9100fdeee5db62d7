//! New settings for a running gateway, handed to every shard. Off the data path.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crossbeam_channel::{Sender, bounded};

use super::{Gateway, shares};
use crate::{
    config::Config,
    limits::RELOAD_MS,
    ring::Waker,
    shard::{admission::Places, reload::Reload},
};

/// Hands new settings to a gateway, from any thread.
pub struct Reloader {
    shards: Vec<Sender<Reload>>,
    wakers: Vec<Waker>,
    places: Arc<Places>,
    config_json: Arc<Mutex<String>>,
    message_bytes: Arc<AtomicUsize>,
}

/// Not every shard has taken the new settings: the gateway is ending, or a shard hangs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReloadError {
    /// Shards that have not.
    pub missing: usize,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards have not taken it within {RELOAD_MS} ms", self.missing)
    }
}

impl std::error::Error for ReloadError {}

impl Gateway {
    /// A handle to change its settings with.
    pub fn reloader(&self) -> Reloader {
        Reloader {
            shards: self.reloads.clone(),
            wakers: self.wakers.clone(),
            places: self.places.clone(),
            config_json: self.config_json.clone(),
            message_bytes: self.message_bytes.clone(),
        }
    }
}

impl Reloader {
    /// Puts in force what of `config` can change while the gateway runs, which everything
    /// else in it must already be. When it returns, every shard goes by it. `config_json`:
    /// what the admin port shows from then on.
    ///
    /// # Errors
    /// Some shards have not taken it in [`RELOAD_MS`]; the others have.
    pub fn apply(&self, config: &Config, config_json: String) -> Result<(), ReloadError> {
        let until = Instant::now() + Duration::from_millis(RELOAD_MS);
        let (done, taken) = bounded(self.shards.len());
        self.places.set_limit(config.limits.connections);
        self.message_bytes.store(config.limits.message_bytes, Relaxed);
        for (index, (shard, waker)) in self.shards.iter().zip(&self.wakers).enumerate() {
            let reload = Reload {
                options: shares::options(config),
                upgrades_per_second: shares::upgrades_per_second(config, index),
                pending_bytes: shares::pending_bytes(config),
                unread_ms: config.timing.unread_ms,
                done: done.clone(),
            };
            // Its one place is free unless the shard has not ticked since the last reload;
            // a shard that has ended is missed below.
            let _ = shard.send_deadline(reload, until);
            waker.wake();
        }
        drop(done);
        *self.config_json.lock().unwrap_or_else(PoisonError::into_inner) = config_json;
        let answers = (0..self.shards.len()).filter(|_| taken.recv_deadline(until).is_ok());
        match self.shards.len() - answers.count() {
            0 => Ok(()),
            missing => Err(ReloadError { missing }),
        }
    }
}
