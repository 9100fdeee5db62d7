//! ▢ What has to be set for a plan: sysctls, limits of the process, settings of the gateway.
//!
//! The arithmetic of sysctls and limits is doctor's ([`crate::doctor::wanted`]).

use serde::Serialize;

use super::traffic::Traffic;
use crate::{
    config::{Setting, TASKS_SETTINGS, TOPICS_SETTINGS, settings::SETTINGS},
    doctor::{
        host::{Host, sysctl_path},
        wanted::{CONNTRACK_MAX, Rule, SYSCTLS, Sysctl, Wanted},
    },
};

/// Shards do not get the same number of connections; a tenth more than its share is rare.
const UNEVEN: f64 = 1.1;

/// What has to be set.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Needs {
    /// Limits of the process, as its unit has them.
    pub unit: Vec<(&'static str, String)>,
    /// Of the host.
    pub sysctls: Vec<SysctlNeed>,
    /// Settings of the gateway whose defaults do not do.
    pub settings: Vec<SettingNeed>,
}

/// A sysctl.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SysctlNeed {
    /// Its key.
    pub key: &'static str,
    /// Its numbers, as they should be.
    pub wanted: Vec<u64>,
    /// Whether less or more would do as well.
    pub rule: &'static str,
    /// As they are, where the host was looked at and says so.
    pub found: Option<Vec<u64>>,
    /// Whether that will do, where it is known.
    pub is_met: Option<bool>,
}

/// A setting.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct SettingNeed {
    /// Its key in the file.
    pub key: &'static str,
    /// At least.
    pub needed: u64,
    /// What it is by default.
    pub default: u64,
}

/// What has to be set for `traffic`; with a host, how that has it now.
pub fn needs(traffic: &Traffic, host: Option<&Host>) -> Needs {
    let wanted = Wanted { connections: traffic.connections, shards: traffic.shards };
    let unit = vec![
        ("LimitNOFILE", wanted.descriptors().to_string()),
        ("LimitMEMLOCK", format!("{}K", wanted.memlock_bytes().div_ceil(1024))),
        ("TasksMax", wanted.threads().to_string()),
    ];
    let sysctls = SYSCTLS.iter().filter_map(|sysctl| of_sysctl(sysctl, traffic, host)).collect();
    Needs { unit, sysctls, settings: settings(traffic) }
}

/// `None`: conntrack, on a host that does not track.
fn of_sysctl(sysctl: &Sysctl, traffic: &Traffic, host: Option<&Host>) -> Option<SysctlNeed> {
    let wanted = sysctl.at(traffic.connections);
    let path = sysctl_path(sysctl.key);
    if sysctl.key == CONNTRACK_MAX && host.is_some_and(|host| !host.has(&path)) {
        return None;
    }
    let found = host.and_then(|host| host.numbers(&path).ok());
    let is_met = found.as_ref().map(|found| {
        let is_met = |(found, wanted): (&u64, &u64)| sysctl.rule.is_met(*found, *wanted);
        found.len() == wanted.len() && found.iter().zip(&wanted).all(is_met)
    });
    let rule = match sysctl.rule {
        Rule::Floor => "or more",
        Rule::Ceiling => "or less",
    };
    Some(SysctlNeed { key: sysctl.key, wanted, rule, found, is_met })
}

fn settings(traffic: &Traffic) -> Vec<SettingNeed> {
    let of_shard = |count: f64| (count / traffic.shards as f64 * UNEVEN).ceil() as u64;
    let topics_each = traffic.topics.map_or(0, |topics| topics.subscriptions);
    [
        need(SETTINGS, "limits.connections", traffic.connections),
        need(TASKS_SETTINGS, "sessions_per_shard", of_shard(traffic.sessions())),
        need(TOPICS_SETTINGS, "topics_per_connection", topics_each),
        need(TOPICS_SETTINGS, "topics_per_shard", of_shard(traffic.subscriptions())),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// `None` where the default does.
fn need<T>(table: &[Setting<T>], key: &'static str, needed: u64) -> Option<SettingNeed> {
    let setting = table.iter().find(|setting| setting.key == key)?;
    let default = setting.default?.replace('_', "").parse().ok()?;
    (needed > default).then_some(SettingNeed { key, needed, default })
}
