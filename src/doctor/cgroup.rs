//! What the control groups that this process is in allow, v2 or v1, the tightest of them
//! (Linux: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/).

use super::host::{Host, Unread, parse};

const MEMBERSHIP: &str = "/proc/self/cgroup";
const MOUNT: &str = "/sys/fs/cgroup";
/// v1 writes "unlimited" as the largest multiple of a page.
const UNLIMITED_V1: u64 = 1 << 60;

/// A limit, where there is one.
type Limit = Result<Option<u64>, Unread>;

/// The control groups of this process.
pub(super) struct Cgroups<'a> {
    host: &'a Host,
    /// Where v2 is mounted, and our group below that.
    v2: Option<(String, String)>,
    /// Lines of v1: controllers, and our group.
    v1: Vec<(String, String)>,
}

impl<'a> Cgroups<'a> {
    pub(super) fn of(host: &'a Host) -> Self {
        let text = host.text(MEMBERSHIP).unwrap_or_default();
        let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let unified = lines().find(|(controllers, _)| controllers.is_empty());
        // With both versions at once v2 stands in a directory of its own, often without
        // controllers.
        let mounts = [MOUNT.to_owned(), format!("{MOUNT}/unified")];
        let mount = mounts.into_iter().find(|at| host.has(&format!("{at}/cgroup.procs")));
        let v2 = mount.zip(unified).map(|(mount, (_, group))| (mount, group.to_owned()));
        let v1 = lines().filter(|(controllers, _)| !controllers.is_empty());
        let v1 = v1.map(|(controllers, group)| (controllers.to_owned(), group.to_owned()));
        Self { host, v2, v1: v1.collect() }
    }

    /// Processor time, in thousandths of a core.
    pub(super) fn cpu_thousandths(&self) -> Limit {
        let v2 = self.tightest(self.v2_groups(), |group| {
            let Some(text) = present(self.host.text(&format!("{group}/cpu.max")))? else {
                return Ok(None);
            };
            match text.split_once(' ') {
                Some(("max", _)) | None => Ok(None),
                Some((quota, period)) => share(parse(quota)?, parse(period)?),
            }
        });
        let v1 = self.tightest(self.v1_groups("cpu"), |group| {
            let quota = present(self.host.number::<i64>(&format!("{group}/cpu.cfs_quota_us")))?;
            let period = present(self.host.number(&format!("{group}/cpu.cfs_period_us")))?;
            match quota.and_then(|quota| u64::try_from(quota).ok()).zip(period) {
                Some((quota, period)) => share(quota, period),
                None => Ok(None),
            }
        });
        tighter(v2, v1)
    }

    pub(super) fn memory_bytes(&self) -> Limit {
        self.count("memory.max", "memory", "memory.limit_in_bytes")
    }

    pub(super) fn threads(&self) -> Limit {
        self.count("pids.max", "pids", "pids.max")
    }

    /// A number, or `max`.
    fn count(&self, v2_file: &str, v1_controller: &str, v1_file: &str) -> Limit {
        let read =
            |group: &str, file: &str| match present(self.host.text(&format!("{group}/{file}")))?
                .as_deref()
            {
                None | Some("max") => Ok(None),
                Some(text) => parse(text).map(|limit| Some(limit).filter(|l| *l < UNLIMITED_V1)),
            };
        let v2 = self.tightest(self.v2_groups(), |group| read(group, v2_file));
        tighter(v2, self.tightest(self.v1_groups(v1_controller), |group| read(group, v1_file)))
    }

    fn tightest(&self, groups: Vec<String>, read: impl Fn(&str) -> Limit) -> Limit {
        groups.iter().map(|group| read(group)).fold(Ok(None), tighter)
    }

    fn v2_groups(&self) -> Vec<String> {
        self.v2.iter().flat_map(|(mount, group)| ancestors(mount, group)).collect()
    }

    fn v1_groups(&self, controller: &str) -> Vec<String> {
        let is_its = |(names, _): &&(String, String)| names.split(',').any(|n| n == controller);
        let line = self.v1.iter().find(is_its);
        line.map(|(_, group)| ancestors(&format!("{MOUNT}/{controller}"), group))
            .unwrap_or_default()
    }
}

/// Our group and all above it: each of them limits. In a container without a name space of its
/// own the path is one of the host's and leads nowhere here; the mount itself is ours then.
fn ancestors(mount: &str, group: &str) -> Vec<String> {
    let mut groups = vec![mount.to_owned()];
    for name in group.split('/').filter(|name| !name.is_empty()) {
        let above = groups.last().map_or(mount, String::as_str);
        groups.push(format!("{above}/{name}"));
    }
    groups
}

fn share(quota: u64, period: u64) -> Limit {
    Ok(quota.saturating_mul(1000).checked_div(period))
}

/// A group without the file, as the root is, has no limit.
fn present<T>(read: Result<T, Unread>) -> Result<Option<T>, Unread> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(Unread::Absent) => Ok(None),
        Err(why) => Err(why),
    }
}

fn tighter(a: Limit, b: Limit) -> Limit {
    Ok(match (a?, b?) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    })
}
