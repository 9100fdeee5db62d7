//! Tables of settings as flags. Values stay text here: the configuration checks them, so
//! that all that is wrong is reported together, in one style, and secrets are masked.

use std::fmt;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, ValueHint, value_parser};

use super::process;
use crate::config::settings::SETTINGS;
use crate::config::{self, ConfigError, Effective, Flags, Setting, Sources};

/// The settings of the gateway as given on the command line, and `--config`.
#[derive(Clone, Default)]
pub struct SettingFlags {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Values by the flag's name; they may hold secrets.
    pub flags: Flags,
}

impl SettingFlags {
    /// The effective configuration out of these flags, the process's environment and the
    /// file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self) -> Result<Effective, ConfigError> {
        config::load(&Sources {
            flags: self.flags.clone(),
            env: process::environment(),
            file: self.file.clone(),
            cores_allowed: process::cores_allowed(),
        })
    }
}

impl fmt::Debug for SettingFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.flags.keys().collect();
        f.debug_struct("SettingFlags").field("file", &self.file).field("flags", &names).finish()
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_hint(ValueHint::FilePath)
            .value_parser(value_parser!(PathBuf))
            .help("TOML file of settings and routes [default: none]");
        SETTINGS.iter().fold(command.arg(file), |command, setting| {
            let environment = format!("\n\nEnvironment: {}", setting.environment_name());
            let file_key = format!("\nFile key: {}", setting.key);
            command.args(argument(setting, &(environment + &file_key)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = matches.get_one::<PathBuf>("config").cloned();
        Ok(Self { file, flags: given(SETTINGS, matches) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The flag of a setting, where it has one; `more` ends its long help.
pub(super) fn argument<T>(setting: &Setting<T>, more: &str) -> Option<Arg> {
    let name = setting.flag?;
    let default = setting.default_text();
    let (help, what) = (setting.help, setting.kind.describe());
    let arg = Arg::new(name)
        .long(name)
        .value_name(setting.kind.placeholder())
        .allow_negative_numbers(true)
        .help(format!("{help} [default: {default}]"))
        .long_help(format!("{help}\n\nValue: {what}\nDefault: {default}{more}"));
    Some(match setting.key.split_once('.') {
        Some((group, _)) => arg.help_heading(heading(group)),
        None => arg,
    })
}

/// What was given of a table's flags.
pub(super) fn given<T>(table: &[Setting<T>], matches: &ArgMatches) -> Flags {
    let given = |flag: &'static str| Some((flag, matches.get_one::<String>(flag)?.clone()));
    table.iter().filter_map(|setting| given(setting.flag?)).collect()
}

fn heading(group: &str) -> String {
    let mut letters = group.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
