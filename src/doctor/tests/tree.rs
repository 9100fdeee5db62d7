//! A host made of files.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::doctor::{
    host::{Host, sysctl_path},
    wanted::SYSCTLS,
};

pub(super) const CONNECTIONS: u64 = 100_000;

/// Files below a directory of their own.
pub(super) struct Tree {
    directory: TempDir,
}

impl Tree {
    pub(super) fn empty() -> Self {
        Self { directory: tempfile::tempdir().expect("a directory") }
    }

    /// Nothing to complain about, for [`CONNECTIONS`] on cores 0 and 1: a real machine with one
    /// network card, control groups v2, and exactly the wanted value of every sysctl.
    pub(super) fn good() -> Self {
        let tree = Self::empty();
        for sysctl in SYSCTLS {
            let numbers: Vec<String> = sysctl.at(CONNECTIONS).iter().map(u64::to_string).collect();
            tree.put(&sysctl_path(sysctl.key), &format!("{}\n", numbers.join("\t")));
        }
        let files = [
            ("/proc/sys/kernel/osrelease", "6.1.0-18-amd64"),
            ("/proc/sys/kernel/io_uring_disabled", "0"),
            ("/proc/sys/kernel/io_uring_group", "-1"),
            ("/proc/sys/fs/file-nr", "1344 0 362144"),
            ("/proc/sys/net/netfilter/nf_conntrack_count", "17"),
            ("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999"),
            ("/proc/sys/net/ipv4/tcp_tw_reuse", "2"),
            ("/proc/sys/vm/overcommit_memory", "0"),
            ("/proc/self/limits", LIMITS),
            ("/proc/self/cgroup", "0::/system.slice/ringgate.service"),
            ("/proc/meminfo", MEMINFO),
            ("/proc/interrupts", INTERRUPTS),
            ("/proc/irq/41/effective_affinity_list", "0"),
            ("/proc/irq/42/effective_affinity_list", "1"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
            ("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
            ("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance"),
            ("/sys/devices/system/node/node0/cpulist", "0-3"),
            ("/sys/fs/cgroup/cgroup.procs", ""),
            ("/sys/fs/cgroup/system.slice/pids.max", "max"),
            ("/sys/fs/cgroup/system.slice/ringgate.service/cpu.max", "max 100000"),
            ("/sys/fs/cgroup/system.slice/ringgate.service/memory.max", "max"),
            ("/sys/fs/cgroup/system.slice/ringgate.service/pids.max", "4915"),
            ("/sys/class/net/lo/operstate", "unknown"),
            ("/sys/class/net/eth0/operstate", "up"),
            ("/sys/class/net/eth0/queues/rx-0/rps_cpus", "0"),
            ("/sys/class/net/eth0/queues/rx-1/rps_cpus", "0"),
            ("/sys/class/net/eth0/queues/tx-0/xps_cpus", "1"),
            ("/sys/class/net/eth0/queues/tx-1/xps_cpus", "2"),
        ];
        for (path, text) in files {
            tree.put(path, text);
        }
        tree.link("/sys/class/net/eth0/device", "../../../0000:01:00.0");
        tree
    }

    pub(super) fn host(&self) -> Host {
        Host::below(self.directory.path())
    }

    pub(super) fn put(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        symlink(target, self.path(path)).expect("linked");
    }

    /// Takes away a file, or a directory with all that is in it.
    pub(super) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("gone");
    }

    /// Puts something in its place that can't be read, by root either.
    pub(super) fn spoil(&self, path: &str) {
        self.remove(path);
        fs::create_dir(self.path(path)).expect("a directory");
    }

    /// Every file there is, from the root.
    pub(super) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut open = vec![self.directory.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                if path.is_symlink() {
                    continue;
                }
                if path.is_dir() {
                    open.push(path);
                } else {
                    found.push(self.name(&path));
                }
            }
        }
        found.sort();
        found
    }

    fn name(&self, path: &Path) -> String {
        format!("/{}", path.strip_prefix(self.directory.path()).expect("below").display())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }
}

const LIMITS: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max open files            1024                 1048576              files     \n\
Max locked memory         8388608              8388608              bytes     \n";

const MEMINFO: &str = "\
MemTotal:       24681828 kB\n\
MemFree:         1681828 kB\n\
MemAvailable:   23281828 kB\n\
SwapTotal:             0 kB\n\
SwapFree:              0 kB\n";

const INTERRUPTS: &str = "           CPU0       CPU1\n\
 40:          1          0  IO-APIC   5-edge      acpi\n\
 41:       8952          0  PCI-MSIX-0000:01:00.0   0-edge      eth0-TxRx-0\n\
 42:          0      35152  PCI-MSIX-0000:01:00.0   1-edge      eth0-TxRx-1\n\
NMI:          0          0   Non-maskable interrupts\n";
