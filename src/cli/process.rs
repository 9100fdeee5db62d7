//! What the configuration needs to know of this process.

use std::collections::BTreeMap;

use crate::config::{ENVIRONMENT_PREFIX, parse_core_list};

/// Our variables. What isn't Unicode is made so: it will be refused as a value, by name.
pub(super) fn environment() -> BTreeMap<String, String> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (lossy(name), lossy(value)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .collect()
}

/// The cores that this process may use (proc(5), `Cpus_allowed_list`), which under a
/// container or `taskset` are neither all nor the first.
pub(super) fn cores_allowed() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(parse_core_list).unwrap_or_else(|| {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        (0..count).collect()
    })
}
