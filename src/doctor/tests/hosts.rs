//! What is said of which host.

use proptest::prelude::*;

use super::*;
use crate::doctor::{
    host::sysctl_path,
    wanted::{Rule, SYSCTLS},
};

fn level(tree: &Tree, name: &str) -> Level {
    tree.report().get(name).level
}

#[test]
fn a_good_host_has_nothing_to_complain_about() {
    let report = Tree::good().report();
    assert_eq!(report.complaints(), Vec::<&str>::new());
    assert_eq!(report.count(Level::Ok), report.checks.len());
    assert!(report.checks.len() > 30, "{:#?}", report.checks);
}

#[test]
fn every_sysctl_is_complained_about_on_its_own() {
    for sysctl in SYSCTLS {
        for field in 0..sysctl.fields.len() {
            let mut numbers = sysctl.at(CONNECTIONS);
            match sysctl.rule {
                Rule::Floor => numbers[field] -= 1,
                Rule::Ceiling => numbers[field] += 1,
            }
            let tree = Tree::good();
            let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
            tree.put(&sysctl_path(sysctl.key), &text.join(" "));
            let report = tree.report();
            assert_eq!(report.complaints(), [sysctl.key]);
            let check = report.get(sysctl.key);
            assert_eq!(check.level, Level::Warn, "{check:?}");
            assert!(check.value.starts_with(&text.join(" ")), "{check:?}");
            let fix = check.fix.as_deref().expect("a command");
            assert!(fix.starts_with(&format!("sysctl -w {}=", sysctl.key)), "{fix}");
        }
    }
}

#[test]
fn the_command_takes_nothing_away_that_is_better() {
    let tree = Tree::good();
    tree.put("/proc/sys/net/ipv4/tcp_rmem", "4096 87380 33554432");
    let report = tree.report();
    let fix = report.get("net.ipv4.tcp_rmem").fix.as_deref();
    assert_eq!(fix, Some("sysctl -w net.ipv4.tcp_rmem=\"4096 131072 33554432\""));
}

#[test]
fn what_does_not_hold_the_connections_fails() {
    let cases = [
        ("/proc/sys/fs/nr_open", "1024", "fs.nr_open"),
        ("/proc/sys/fs/file-max", "99999", "fs.file-max"),
        ("/proc/sys/net/netfilter/nf_conntrack_max", "65536", "net.netfilter.nf_conntrack_max"),
        ("/proc/sys/kernel/osrelease", "5.15.0-91-generic", "kernel"),
        ("/proc/sys/kernel/io_uring_disabled", "2", "kernel.io_uring_disabled"),
        ("/proc/self/limits", "Max open files 1024 100000 files\n", "nofile"),
        ("/proc/self/limits", "Max locked memory 65536 65536 bytes\n", "memlock"),
        ("/proc/meminfo", "MemTotal: 262144 kB\n", "memory"),
        ("/sys/fs/cgroup/system.slice/pids.max", "8", "cgroup pids"),
        ("/sys/fs/cgroup/system.slice/ringgate.service/memory.max", "104857600", "cgroup memory"),
    ];
    for (path, text, name) in cases {
        let tree = Tree::good();
        tree.put(path, text);
        assert_eq!(level(&tree, name), Level::Fail, "{path}: {text}");
    }
}

#[test]
fn what_only_makes_it_worse_is_a_warning() {
    let cases = [
        ("/proc/sys/kernel/io_uring_disabled", "1", "kernel.io_uring_disabled"),
        ("/proc/sys/kernel/osrelease", "unknowable", "kernel"),
        ("/proc/self/limits", "Max locked memory 524288 524288 bytes\n", "memlock"),
        ("/proc/meminfo", "MemTotal: 1048576 kB\n", "memory"),
        ("/proc/meminfo", "SwapTotal: 1048576 kB\nSwapFree: 524288 kB\n", "swap"),
        ("/proc/sys/vm/overcommit_memory", "2", "vm.overcommit_memory"),
        (
            "/sys/kernel/mm/transparent_hugepage/enabled",
            "[always] madvise never",
            "transparent huge pages",
        ),
        ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave", "cpu governor"),
        ("/sys/fs/cgroup/system.slice/ringgate.service/cpu.max", "150000 100000", "cgroup cpu"),
        ("/proc/irq/42/effective_affinity_list", "0", "nic eth0 interrupts"),
    ];
    for (path, text, name) in cases {
        let tree = Tree::good();
        tree.put(path, text);
        assert_eq!(level(&tree, name), Level::Warn, "{path}: {text}");
    }
}

#[test]
fn a_soft_limit_of_descriptors_is_raised_at_the_start_and_no_matter() {
    let tree = Tree::good();
    tree.put("/proc/self/limits", "Max open files 20 unlimited files\n");
    let report = tree.report();
    assert_eq!(report.get("nofile").level, Level::Ok);
    assert_eq!(report.get("nofile").value, "20 soft, unlimited hard");
}

#[test]
fn a_ring_that_cannot_be_made_says_how_it_could() {
    let cases = [
        (libc::EPERM, "kernel.io_uring_disabled=0"),
        (libc::ENOSYS, "seccomp"),
        (libc::EINVAL, "newer kernel"),
        (libc::ENOMEM, "LimitMEMLOCK"),
        (libc::EMFILE, "io_uring_setup(2)"),
    ];
    for (errno, hint) in cases {
        let report = Tree::good().report_with(&Err(io::Error::from_raw_os_error(errno)));
        let check = report.get("io_uring");
        assert_eq!(check.level, Level::Fail);
        assert!(check.fix.as_deref().is_some_and(|fix| fix.contains(hint)), "{check:?}");
    }
    let report = Tree::good().report_with(&Ok(vec!["multishot ACCEPT"]));
    assert_eq!(report.get("io_uring").value, "lacks multishot ACCEPT");
    assert_eq!(report.get("io_uring").level, Level::Fail);
}

/// Whatever is missing is a line, not a failure: nobody knows that it is bad.
#[test]
fn a_host_that_shows_nothing_fails_nothing() {
    let report = Tree::empty().report();
    assert_eq!(report.count(Level::Fail), 0);
    assert_eq!(report.get("net.core.somaxconn").value, "not there");
    assert_eq!(report.get("nofile").level, Level::Warn);
    assert_eq!(report.get("kernel.io_uring_disabled").level, Level::Ok, "before Linux 6.6");
    let is_tracking = report.checks.iter().any(|check| check.name.contains("conntrack"));
    assert!(!is_tracking, "not loaded");
}

#[test]
fn what_cannot_be_read_is_a_warning_that_says_so() {
    // Names and lists that only place something else, or stand beside it.
    let beside = ["interrupts", "cpulist", "operstate", "_cpus", "file-nr", "_count", "_list"];
    let tree = Tree::good();
    for file in tree.files() {
        let is_beside = beside.iter().any(|end| file.ends_with(end));
        if is_beside || file.ends_with("cgroup") || file.ends_with("_group") {
            continue;
        }
        let tree = Tree::good();
        tree.spoil(&file);
        let report = tree.report();
        let spoilt: Vec<&Check> = report
            .checks
            .iter()
            .filter(|check| check.level == Level::Warn && check.value.starts_with("unreadable"))
            .collect();
        let is_marker = file.ends_with("cgroup.procs");
        assert_eq!(spoilt.is_empty(), is_marker, "{file}: {:#?}", report.checks);
        assert_eq!(report.count(Level::Fail), 0, "{file}");
    }
}

/// In a container of its own name space the group is the root, and what the network name space
/// does not have is not shown.
#[test]
fn a_container_is_told_its_limits() {
    let tree = Tree::good();
    tree.put("/proc/self/cgroup", "0::/");
    tree.put("/sys/fs/cgroup/cpu.max", "50000 100000");
    tree.put("/sys/fs/cgroup/memory.max", "268435456");
    tree.put("/sys/fs/cgroup/pids.max", "20");
    tree.remove("/sys/class/net/eth0/device");
    tree.remove("/proc/sys/net/core/netdev_max_backlog");
    let report = tree.report();
    assert_eq!(report.get("cgroup cpu").value, "0.500 cores");
    assert_eq!(report.get("cgroup memory").value, "256 MiB");
    assert_eq!(report.get("cgroup pids").value, "20");
    assert_eq!(report.get("nic").value, "no hardware: a container, or loopback only");
    let levels = ["cgroup cpu", "cgroup memory", "cgroup pids", "net.core.netdev_max_backlog"]
        .map(|name| report.get(name).level);
    assert_eq!(levels, [Level::Warn, Level::Fail, Level::Fail, Level::Warn]);
}

#[test]
fn version_1_of_control_groups_counts_too() {
    let tree = Tree::good();
    tree.remove("/sys/fs/cgroup");
    tree.put("/proc/self/cgroup", "5:pids:/\n4:memory:/a/b\n1:cpu,cpuacct:/a\n0::/\n");
    tree.put("/sys/fs/cgroup/unified/cgroup.procs", "");
    tree.put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712");
    tree.put("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1073741824");
    tree.put("/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "9223372036854771712");
    tree.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
    tree.put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
    tree.put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000");
    tree.put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000");
    let report = tree.report();
    assert_eq!(report.get("cgroup memory").value, "1024 MiB");
    assert_eq!(report.get("cgroup cpu").value, "2.500 cores");
    assert_eq!(report.get("cgroup pids").value, "unlimited");
}

#[test]
fn few_queues_need_to_be_spread_in_software() {
    let tree = Tree::good();
    tree.remove("/sys/class/net/eth0/queues/rx-1");
    let report = tree.report();
    let check = report.get("nic eth0 queues");
    assert_eq!((check.level, check.value.as_str()), (Level::Warn, "1 rx, 2 tx, RPS off, XPS on"));
    assert_eq!(check.fix.as_deref(), Some("tuning/nic.sh --interface eth0 --cores 0,1"));
    tree.put("/sys/class/net/eth0/queues/rx-0/rps_cpus", "3");
    assert_eq!(level(&tree, "nic eth0 queues"), Level::Ok);
    tree.put("/sys/class/net/eth0/operstate", "down");
    assert_eq!(tree.report().get("nic").level, Level::Ok, "nothing comes through it");
}

#[test]
fn shards_on_two_nodes_are_told() {
    let tree = Tree::good();
    tree.put("/sys/devices/system/node/node0/cpulist", "0");
    tree.put("/sys/devices/system/node/node1/cpulist", "1");
    assert_eq!(level(&tree, "numa"), Level::Warn);
    tree.put("/sys/devices/system/node/node0/cpulist", "0-1");
    tree.put("/sys/devices/system/node/node1/cpulist", "2-3");
    let report = tree.report();
    let numa = report.get("numa");
    assert_eq!((numa.level, numa.value.as_str()), (Level::Ok, "2 nodes, cores on 0"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a file holds, there is a report.
    #[test]
    fn no_text_of_the_kernel_is_a_panic(
        texts in prop::collection::vec("[ -~\n\t]{0,40}|[0-9]{1,25}|max [0-9]{1,3}", 48),
    ) {
        let tree = Tree::good();
        for (file, text) in tree.files().iter().zip(&texts) {
            tree.put(file, text);
        }
        tree.report();
    }
}
