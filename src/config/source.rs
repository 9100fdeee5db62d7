//! Where a value came from, and the value as it stood there.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The command line; the flag's name without its dashes.
    Flag(&'static str),
    /// The environment; the variable's name.
    Environment(String),
    /// The configuration file.
    File {
        /// As it was given with `--config`.
        path: Arc<Path>,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody set it, and the host has not room for the default: as much as it has.
    Host,
    /// Nobody set it.
    Default,
}

impl Source {
    /// The option `key` as its user knows it: by flag, by variable, or by key and place.
    pub(super) fn option(&self, key: &str) -> String {
        match self {
            Self::Flag(flag) => format!("--{flag}"),
            Self::Environment(name) => name.clone(),
            Self::File { path, line } => format!("{key} ({}:{line})", path.display()),
            Self::Default | Self::Host => format!("{key} ({self})"),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag --{flag}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Self::Host => f.write_str("default, lowered to what this host allows"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value as it was given: flags and variables are text, a file has types. It may be a
/// secret, so it has no `Debug`.
#[derive(Clone)]
pub(super) enum Raw {
    Text(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    List(Vec<Raw>),
    /// A type of TOML that no setting has.
    Other(&'static str),
}

impl Raw {
    /// The type, for "found …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Boolean(_) => "a boolean",
            Self::List(_) => "a list",
            Self::Other(kind) => kind,
        }
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Quoted: blanks and control characters must be seen, and stay on one line.
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(ToString::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Self::Other(kind) => f.write_str(kind),
        }
    }
}

/// A value with its source.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) raw: Raw,
    pub(super) source: Source,
}
