//! The cores of the shards: whether they run at full speed, near their memory, and all the time.

use std::collections::BTreeSet;

use super::{
    Check, Level,
    cgroup::Cgroups,
    host::{Host, Unread},
    or_unlimited,
    wanted::Wanted,
};
use crate::config::parse_core_list;

const CPUS: &str = "/sys/devices/system/cpu";
const NODES: &str = "/sys/devices/system/node";
const TO_PERFORMANCE: &str = "cpupower frequency-set -g performance";

pub(super) fn checks(host: &Host, wanted: &Wanted, cores: &[usize]) -> Vec<Check> {
    vec![governor(host, cores), numa(host, cores), time(host, wanted), threads(host, wanted)]
}

fn governor(host: &Host, cores: &[usize]) -> Check {
    let read = |core: &usize| host.text(&format!("{CPUS}/cpu{core}/cpufreq/scaling_governor"));
    let read: Result<BTreeSet<String>, Unread> = cores.iter().map(read).collect();
    let check = match read {
        // Of a virtual machine it is the host below that chooses.
        Err(Unread::Absent) => Check::new("cpu governor", Level::Ok, "none to choose"),
        Err(why) => Check::unread("cpu governor", &why),
        Ok(names) => {
            let level = match names.iter().all(|name| name == "performance") {
                true => Level::Ok,
                false => Level::Warn,
            };
            Check::new("cpu governor", level, Vec::from_iter(names).join(", ")).fix(TO_PERFORMANCE)
        }
    };
    check.wants("performance")
}

/// A shard's memory is on its core's node by itself; what crosses nodes are the lanes between
/// shards and the packets of a NIC that is on the other one.
fn numa(host: &Host, cores: &[usize]) -> Check {
    let number = |name: &String| name.strip_prefix("node")?.parse::<usize>().ok();
    let nodes: Vec<usize> = host.names(NODES).iter().filter_map(number).collect();
    let is_ours = |node: &&usize| {
        let list = host.text(&format!("{NODES}/node{node}/cpulist")).unwrap_or_default();
        let of_node = parse_core_list(&list).unwrap_or_default();
        cores.iter().any(|core| of_node.contains(core))
    };
    let ours: Vec<String> = nodes.iter().filter(is_ours).map(usize::to_string).collect();
    let check = match (nodes.len(), ours.len()) {
        (0 | 1, _) => Check::new("numa", Level::Ok, "one node"),
        (all, 0 | 1) => {
            Check::new("numa", Level::Ok, format!("{all} nodes, cores on {}", ours.join(", ")))
        }
        (all, _) => {
            let value = format!("{all} nodes, cores on {}", ours.join(", "));
            Check::new("numa", Level::Warn, value)
                .fix("one gateway a node, with --cores of that node")
        }
    };
    check.wants("cores of one node, the NIC's")
}

fn time(host: &Host, wanted: &Wanted) -> Check {
    let name = "cgroup cpu";
    let need = wanted.shards;
    let check = match Cgroups::of(host).cpu_thousandths() {
        Ok(limit) => {
            let is_enough = limit.is_none_or(|limit| limit >= need.saturating_mul(1000));
            let value =
                or_unlimited(limit, |limit| format!("{}.{:03} cores", limit / 1000, limit % 1000));
            // Throttling stops all of them at once, for the rest of the period.
            let level = if is_enough { Level::Ok } else { Level::Warn };
            Check::new(name, level, value)
                .fix(format!("CPUQuota={}% in the unit, or fewer --cores", need * 100))
        }
        Err(why) => Check::unread(name, &why),
    };
    check.wants(format!("{need} cores, one a shard"))
}

fn threads(host: &Host, wanted: &Wanted) -> Check {
    let need = wanted.threads();
    let check = match Cgroups::of(host).threads() {
        Ok(limit) => {
            let level =
                if limit.is_none_or(|limit| limit >= need) { Level::Ok } else { Level::Fail };
            Check::new("cgroup pids", level, or_unlimited(limit, |limit| limit.to_string()))
                .fix(format!("TasksMax={need} in the unit"))
        }
        Err(why) => Check::unread("cgroup pids", &why),
    };
    check.wants(format!("{need} or more"))
}
