//! What is wrong with a configuration: every problem at once, each in one line that
//! names the option as it was given, its value, the limit and the fix.

use std::fmt;
use std::path::PathBuf;

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Of the file's form, then of unknown names, then of values in the table's order.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong. Its text never holds a secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The file could not be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML. The offending line isn't quoted: it may hold a password.
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// What the parser said.
        message: String,
    },
    /// There is no such option.
    Unknown {
        /// The option as it was given, with its place.
        option: String,
        /// The known option that reads most like it.
        nearest: String,
    },
    /// An option's value can't be used.
    Value {
        /// The option as it was given, with its place.
        option: String,
        /// The value, masked where it is secret; `None` where there is none.
        value: Option<String>,
        /// What it has to be, and why.
        limit: String,
        /// What to write instead.
        fix: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, reason } => {
                write!(f, "--config {}: {reason}; name a readable TOML file", path.display())
            }
            Self::Syntax { path, line, column, message } => {
                let path = path.display();
                write!(
                    f,
                    "{path}:{line}:{column}: not TOML: {message} (line {line}, column {column})"
                )
            }
            Self::Unknown { option, nearest } => {
                write!(f, "{option}: no such setting; the nearest known one is {nearest}")
            }
            Self::Value { option, value: Some(value), limit, fix } => {
                write!(f, "{option} = {value}: {limit}; {fix}")
            }
            Self::Value { option, value: None, limit, fix } => {
                write!(f, "{option}: {limit}; {fix}")
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [only] => write!(f, "configuration: {only}"),
            several => {
                write!(f, "configuration: {} problems", several.len())?;
                several.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}
