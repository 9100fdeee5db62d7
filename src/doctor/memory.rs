//! Whether the connections fit into memory, and what could slow it down.

use super::{
    Check, Level, bytes,
    cgroup::Cgroups,
    host::{Host, Unread, parse, sysctl_path},
    or_unlimited,
    wanted::Wanted,
};

const MEMINFO: &str = "/proc/meminfo";
const HUGE_PAGES: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

pub(super) fn checks(host: &Host, wanted: &Wanted) -> Vec<Check> {
    vec![total(host, wanted), group(host, wanted), huge_pages(host), swap(host), overcommit(host)]
}

fn total(host: &Host, wanted: &Wanted) -> Check {
    let check = match (meminfo(host, "MemTotal"), meminfo(host, "MemAvailable")) {
        (Ok(total), available) => {
            let available = available.map_or_else(|why| why.to_string(), bytes);
            let value = format!("{}, {available} available", bytes(total));
            Check::new("memory", level(Some(total), wanted), value)
                .fix("more memory, or fewer --connections")
        }
        (Err(why), _) => Check::unread("memory", &why),
    };
    check.wants(room(wanted))
}

fn group(host: &Host, wanted: &Wanted) -> Check {
    let name = "cgroup memory";
    let check = match Cgroups::of(host).memory_bytes() {
        Ok(limit) => Check::new(name, level(limit, wanted), or_unlimited(limit, bytes))
            .fix(format!("MemoryMax={} in the unit, or the container's limit", busy(wanted))),
        Err(why) => Check::unread(name, &why),
    };
    check.wants(room(wanted))
}

fn level(limit: Option<u64>, wanted: &Wanted) -> Level {
    match limit {
        Some(limit) if limit < wanted.memory_idle_bytes() => Level::Fail,
        Some(limit) if limit < wanted.memory_busy_bytes() => Level::Warn,
        _ => Level::Ok,
    }
}

fn room(wanted: &Wanted) -> String {
    format!("{}, idle {}", bytes(wanted.memory_busy_bytes()), bytes(wanted.memory_idle_bytes()))
}

fn busy(wanted: &Wanted) -> String {
    format!("{}M", wanted.memory_busy_bytes().div_ceil(1 << 20))
}

/// With `always`, memory grows in steps of 2 MiB (docs/measurements.md).
fn huge_pages(host: &Host) -> Check {
    let name = "transparent huge pages";
    let check = match host.text(HUGE_PAGES) {
        Err(Unread::Absent) => Check::new(name, Level::Ok, "none"),
        Err(why) => Check::unread(name, &why),
        Ok(text) => {
            let chosen = text.split(['[', ']']).nth(1).unwrap_or(&text).to_owned();
            let level = if chosen == "always" { Level::Warn } else { Level::Ok };
            Check::new(name, level, chosen).fix(format!("echo madvise > {HUGE_PAGES}"))
        }
    };
    check.wants("madvise or never")
}

/// A page of the gateway in swap stops a shard, with all its connections, for milliseconds.
fn swap(host: &Host) -> Check {
    let check = match meminfo(host, "SwapTotal") {
        Ok(0) => Check::new("swap", Level::Ok, "none"),
        Ok(total) => {
            let used = total.saturating_sub(meminfo(host, "SwapFree").unwrap_or(total));
            Check::new("swap", Level::Warn, format!("{}, {} used", bytes(total), bytes(used)))
                .fix("MemorySwapMax=0 in the unit, or swapoff -a")
        }
        Err(why) => Check::unread("swap", &why),
    };
    check.wants("none for the gateway")
}

/// Where every reservation counts, the allocator may be refused what it would not have used.
fn overcommit(host: &Host) -> Check {
    let key = "vm.overcommit_memory";
    let check = match host.number::<u64>(&sysctl_path(key)) {
        Ok(found) => Check::new(key, if found == 2 { Level::Warn } else { Level::Ok }, found)
            .fix(format!("sysctl -w {key}=0")),
        Err(why) => Check::unread(key, &why),
    };
    check.wants("0, or 1 where Redis is")
}

/// In bytes; the file is in KiB.
pub(super) fn meminfo(host: &Host, key: &str) -> Result<u64, Unread> {
    let line = host.field(MEMINFO, &format!("{key}:"))?;
    let count = line.split_whitespace().next().ok_or(Unread::Absent)?;
    parse::<u64>(count).map(|kib| kib.saturating_mul(1024))
}
