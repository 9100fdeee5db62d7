//! `ringgate doctor`: this host against what so many connections need, one [`Check`] a line.
//!
//! Off the data path, in a process of its own, and read-only: files below [`host::Host`], a
//! ring that is made and let go, and questions to Redis. What is wanted stands in [`wanted`];
//! every other file is one group of checks and only compares. docs/doctor.md lists them all.
//!
//! Must not: change anything on the host or in Redis.

mod cgroup;
mod cpu;
pub mod host;
mod kernel;
mod memory;
mod nic;
mod process;
mod redis;
pub mod room;
mod sysctls;
#[cfg(test)]
mod tests;
pub mod wanted;

use std::{fmt, io};

use serde::Serialize;

use self::{
    host::{Host, Unread},
    wanted::Wanted,
};
use crate::config::RedisUrl;

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be, or of no consequence.
    Ok,
    /// It works, but slower, less safely or not at the worst of times; or nobody can tell.
    Warn,
    /// The gateway does not start, or does not hold so many connections.
    Fail,
}

/// One line of the report.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What was looked at; a sysctl by its key.
    pub name: String,
    /// The finding.
    pub level: Level,
    /// What was found, with its unit.
    pub value: String,
    /// What it should be.
    pub wanted: String,
    /// What to know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The command, or the deed, that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Check {
    fn new(name: impl Into<String>, level: Level, value: impl fmt::Display) -> Self {
        let value = match value.to_string() {
            empty if empty.trim().is_empty() => "empty".to_owned(),
            value => value,
        };
        Self { name: name.into(), level, value, wanted: String::new(), note: None, fix: None }
    }

    /// Of something that could not be read: nobody can tell.
    fn unread(name: impl Into<String>, why: &Unread) -> Self {
        let fix = match why {
            Unread::Absent => "look on the host: a container does not show everything",
            Unread::Refused(_) => "look as root",
        };
        Self::new(name, Level::Warn, why).fix(fix)
    }

    fn wants(self, wanted: impl fmt::Display) -> Self {
        Self { wanted: wanted.to_string(), ..self }
    }

    fn note(self, note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..self }
    }

    /// Kept only where there is something to mend.
    fn fix(self, fix: impl Into<String>) -> Self {
        let fix = (self.level > Level::Ok).then(|| fix.into());
        Self { fix, ..self }
    }
}

/// What is checked, and against what.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The host.
    pub host: &'a Host,
    /// What `limits.connections` and `cores` come to.
    pub wanted: Wanted,
    /// The cores of the shards.
    pub cores: &'a [usize],
    /// `None`: its checks are left out.
    pub redis: Option<&'a RedisUrl>,
}

/// Everything that was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// For so many connections.
    pub connections: u64,
    /// For so many shards.
    pub shards: u64,
    /// In the order of docs/doctor.md.
    pub checks: Vec<Check>,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

impl Report {
    /// How many checks came out so.
    pub fn count(&self, level: Level) -> usize {
        self.checks.iter().filter(|check| check.level == level).count()
    }
}

/// Checks the host, and makes a ring to see whether it may (with [`crate::ring::probe`]).
pub fn examine(question: &Question<'_>) -> Report {
    let mut report = examine_files(question, &crate::ring::probe());
    match question.redis {
        Some(url) => report.checks.extend(redis::checks(question, url)),
        None => report.left_out.push("Redis: no --redis URL, so the broker is embedded".into()),
    }
    report
}

/// The part that depends on files and on what became of the trial ring alone.
fn examine_files(question: &Question<'_>, ring: &io::Result<Vec<&'static str>>) -> Report {
    let Question { host, wanted, cores, .. } = question;
    let mut checks = kernel::checks(host, ring);
    checks.extend(process::checks(host, wanted));
    checks.extend(sysctls::checks(host, wanted));
    checks.extend(memory::checks(host, wanted));
    checks.extend(cpu::checks(host, wanted, cores));
    checks.extend(nic::checks(host, cores));
    let (connections, shards) = (wanted.connections, wanted.shards);
    Report { connections, shards, checks, left_out: Vec::new() }
}

/// Bytes as people read them, rounded to the nearest.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.into_iter().find(|(_, shift)| count >= 10 << shift);
    match unit {
        Some((unit, shift)) => {
            format!("{} {unit}", count.saturating_add(1 << (shift - 1)) >> shift)
        }
        None => format!("{count} B"),
    }
}

/// A limit where there may be none.
fn or_unlimited(limit: Option<u64>, show: impl Fn(u64) -> String) -> String {
    limit.map_or_else(|| "unlimited".to_owned(), show)
}
