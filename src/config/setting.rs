//! What a setting is: the row of a table out of which come file keys, variables, flags,
//! help, the man page, `ringgate config` and the validated value.

use super::kind::Kind;

/// One setting whose value goes into a `T`.
#[derive(Clone, Copy, Debug)]
pub struct Setting<T: 'static> {
    /// Dotted key in the file: `limits.message_bytes`.
    pub key: &'static str,
    /// Name of its flag without the dashes; `None` where only the file can set it.
    pub flag: Option<&'static str>,
    /// Type, range and place.
    pub kind: Kind<T>,
    /// As a user would write it; `None` where a value must be given.
    pub default: Option<&'static str>,
    /// One line.
    pub help: &'static str,
    /// Whether the value may hold a secret: then it's shown masked, and not at all where
    /// it can't be read.
    pub secret: bool,
    /// What a change in the running process takes.
    pub change: Change,
}

/// What it takes to change a setting of a running process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A reload: no connection notices.
    Reload,
    /// A restart.
    Restart,
}

/// Every variable of ours begins with this; one that is not known is an error.
pub const ENVIRONMENT_PREFIX: &str = "RINGGATE_";

impl<T> Setting<T> {
    /// Name of its environment variable: `RINGGATE_LIMITS_MESSAGE_BYTES`.
    pub fn environment_name(&self) -> String {
        format!("{ENVIRONMENT_PREFIX}{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// The default for help: quoted where it would not be seen.
    pub fn default_text(&self) -> String {
        match self.default {
            None => "none, it must be given".to_owned(),
            Some(default) if default.trim() != default => format!("{default:?}"),
            Some(default) => default.to_owned(),
        }
    }
}

/// The one of `known` that reads most like `given`; the last part of a dotted key counts
/// alone too, so that a key outside its table is recognised.
pub(super) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let given = given.to_ascii_lowercase();
    let likeness = |candidate: &str| {
        let candidate = candidate.to_ascii_lowercase();
        let whole = strsim::normalized_damerau_levenshtein(&given, &candidate);
        let part = strsim::normalized_damerau_levenshtein(&last(&given), &last(&candidate));
        whole.max(part * 0.95)
    };
    known
        .into_iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default()
        .to_owned()
}
