//! What of a configuration that was read again a running process takes.

use super::resolve::EffectiveValue;
use super::settings::SETTINGS;
use super::{Change, Config, Effective};

/// A configuration that was read again, against the one in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reloaded {
    /// What is in force once the shards have it: what can change is new, the rest as it was.
    pub effective: Effective,
    /// What changes now.
    pub applied: Vec<Changed>,
    /// What would change with a restart.
    pub restart: Vec<Changed>,
}

/// One setting that reads differently than before; masked where it is secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Dotted key; of a route `route[0].path`.
    pub key: String,
    /// In force so far; `None` where a route is new.
    pub before: Option<String>,
    /// Read now; `None` where a route is gone.
    pub after: Option<EffectiveValue>,
}

impl Effective {
    /// Compares `new` with what is in force. A source that has moved without its value is
    /// taken over silently.
    pub fn reload(&self, new: &Self) -> Reloaded {
        let (mut applied, mut restart) = (Vec::new(), Vec::new());
        let mut values = self.values.clone();
        for old in &mut values {
            let after = new.value(&old.key);
            let reloads = change(&old.key) == Change::Reload;
            // Two passwords read the same once they are masked.
            let hidden = old.key == "redis" && self.config.redis != new.config.redis;
            if hidden || after.map(|after| &after.value) != Some(&old.value) {
                let before = Some(old.value.clone());
                let changed = Changed { key: old.key.clone(), before, after: after.cloned() };
                if reloads { applied.push(changed) } else { restart.push(changed) }
            }
            if let Some(after) = after.filter(|_| reloads) {
                *old = after.clone();
            }
        }
        let added = new.values.iter().filter(|value| self.value(&value.key).is_none());
        restart.extend(added.map(|value| Changed {
            key: value.key.clone(),
            before: None,
            after: Some(value.clone()),
        }));
        let config = self.config.reloaded(&new.config);
        Reloaded { effective: Self { config, values }, applied, restart }
    }

    fn value(&self, key: &str) -> Option<&EffectiveValue> {
        self.values.iter().find(|value| value.key == key)
    }
}

impl Config {
    /// This configuration with what a reload changes out of `new`.
    fn reloaded(&self, new: &Self) -> Self {
        let Self { log_level, origins, limits, timing, .. } = new.clone();
        Self { log_level, origins, limits, timing, ..self.clone() }
    }
}

/// What it takes to change the setting `key`. Those of routes, of which there may be any
/// number, all take a restart.
fn change(key: &str) -> Change {
    let setting = SETTINGS.iter().find(|setting| setting.key == key);
    setting.map_or(Change::Restart, |setting| setting.change)
}
