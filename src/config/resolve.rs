//! From what was given to values: each setting's winner is read, checked and stored.

use std::collections::BTreeMap;

use super::error::{ConfigError, Problem};
use super::setting::{Setting, nearest};
use super::source::{Given, Raw, Source};

/// One value in force, as `ringgate config` shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EffectiveValue {
    /// Dotted key; of a route `route[0].path`.
    pub key: String,
    /// As it could be written in the file, texts quoted, masked where it is secret.
    pub value: String,
    /// Who set it.
    pub source: Source,
}

/// Values of flags by the flag's name, as they were given.
pub type Flags = BTreeMap<&'static str, String>;

/// Reads settings that only flags can give, such as a command's own.
///
/// # Errors
/// Every value that can't be used, and every flag that is not in `table`.
pub fn resolve_flags<T>(
    table: &[Setting<T>],
    flags: &Flags,
    mut target: T,
) -> Result<T, ConfigError> {
    let mut problems = Vec::new();
    let given = given_flags(table, flags, &mut problems);
    resolve(table, &given, &[], "", &mut target, &mut Vec::new(), &mut problems);
    if problems.is_empty() { Ok(target) } else { Err(ConfigError { problems }) }
}

/// The given flags by the keys of their settings.
pub(super) fn given_flags<T>(
    table: &[Setting<T>],
    flags: &Flags,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Given> {
    let mut given = BTreeMap::new();
    for (flag, text) in flags {
        match table.iter().find(|setting| setting.flag == Some(flag)) {
            Some(setting) => {
                let value = Given { raw: Raw::Text(text.clone()), source: Source::Flag(flag) };
                given.insert(setting.key.to_owned(), value);
            }
            None => problems.push(Problem::Unknown {
                option: format!("--{flag}"),
                nearest: format!("--{}", nearest(flag, table.iter().filter_map(|s| s.flag))),
            }),
        }
    }
    given
}

/// Reads every setting of `table` from `given`, or from its default, into `target`; puts
/// what is in force into `values` and what is wrong into `problems`, keys after `prefix`.
pub(super) fn resolve<T>(
    table: &[Setting<T>],
    given: &BTreeMap<String, Given>,
    cores_allowed: &[usize],
    prefix: &str,
    target: &mut T,
    values: &mut Vec<EffectiveValue>,
    problems: &mut Vec<Problem>,
) {
    for setting in table {
        let key = format!("{prefix}{}", setting.key);
        let default = || {
            let raw = Raw::Text(setting.default?.to_owned());
            Some(Given { raw, source: Source::Default })
        };
        let Some(Given { raw, source }) = given.get(setting.key).cloned().or_else(default) else {
            problems.push(Problem::Value {
                option: key,
                value: None,
                limit: "must be given".into(),
                fix: format!("write {} = … ({})", setting.key, setting.kind.describe()),
            });
            continue;
        };
        match setting.kind.read(&raw, cores_allowed, target) {
            Ok(value) => values.push(EffectiveValue { key, value, source }),
            Err(refusal) => problems.push(Problem::Value {
                option: source.option(&key),
                value: Some(if setting.secret { "***".into() } else { raw.to_string() }),
                limit: refusal.limit,
                fix: refusal.fix,
            }),
        }
    }
}
