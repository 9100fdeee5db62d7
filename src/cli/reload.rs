//! SIGHUP: the settings are read again, and what can change without a restart does.

use super::{config::json, flags::SettingFlags};
use crate::{
    config::{Changed, Effective, Reloaded},
    gateway::reload::Reloader,
    host,
};

/// Reads the settings again from where they came from at the start.
pub(super) struct Reloading {
    settings: SettingFlags,
    effective: Effective,
    reloader: Reloader,
}

impl Reloading {
    /// `effective`: what is in force.
    pub(super) fn new(settings: SettingFlags, effective: Effective, reloader: Reloader) -> Self {
        Self { settings, effective, reloader }
    }

    /// Applies what can change now and says what was applied and what needs a restart. A
    /// configuration with anything wrong in it changes nothing.
    pub(super) fn reload(&mut self) {
        match self.read() {
            Ok(reloaded) => self.apply(reloaded),
            Err(problem) => log::error!("reload: nothing is changed: {problem}"),
        }
    }

    fn read(&self) -> Result<Reloaded, String> {
        let mut new = self.settings.load().map_err(|error| error.to_string())?;
        host::fit(&mut new)?;
        Ok(self.effective.reload(&new))
    }

    fn apply(&mut self, reloaded: Reloaded) {
        let Reloaded { effective, applied, restart } = reloaded;
        // Said by the more talkative of the two levels, or a change to "off" would be silent.
        let level = effective.config.log_level;
        let level_changed = applied.iter().any(|changed| changed.key == "log_level");
        if level_changed && level > log::max_level() {
            log::set_max_level(level);
        }
        let outcome = self.reloader.apply(&effective.config, json(&effective.values));
        for changed in &applied {
            log::info!("reload: {}", shown(changed));
        }
        for changed in &restart {
            log::warn!("reload: needs a restart: {}", shown(changed));
        }
        match outcome {
            Ok(()) => log::info!(
                "reload: {} settings applied, {} need a restart",
                applied.len(),
                restart.len()
            ),
            Err(error) => log::error!("reload: not in force everywhere: {error}"),
        }
        if level_changed {
            log::set_max_level(level);
        }
        self.effective = effective;
    }
}

fn shown(changed: &Changed) -> String {
    let key = &changed.key;
    let before = changed.before.as_deref().unwrap_or("not there");
    match &changed.after {
        Some(after) => format!("{key}: {before} → {} ({})", after.value, after.source),
        None => format!("{key}: {before} → not there"),
    }
}
