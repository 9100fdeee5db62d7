//! ▢ What was different beside the figures, so that these may differ for that reason.

use std::collections::BTreeMap;

use super::super::Report;

/// Flags that change nothing of what is measured, or are told as something else.
const IMMATERIAL: [&str; 5] = ["--json", "--html", "--server-pid", "--server", "--stages"];
/// Memory of a machine is never the same to the byte.
const MEMORY_SHARE: f64 = 0.01;

/// All of it, and what speaks against either, for people.
pub(super) fn differences(a: &Report, b: &Report) -> Vec<String> {
    let mut found = Vec::new();
    for (name, report) in [("A", a), ("B", b)] {
        found.extend(report.invalid.iter().map(|why| format!("{name} is INVALID: {why}")));
        if report.interrupted {
            found.push(format!("{name} was interrupted"));
        }
        if !report.host.optimised {
            found.push(format!("{name} was measured with a load that was not optimised"));
        }
    }
    let mut differ = |what: &str, a: &str, b: &str| {
        if a != b {
            found.push(format!("{what}: A {a}, B {b}"));
        }
    };
    differ("profile", &a.profile, &b.profile);
    differ("server", &a.server, &b.server);
    differ("stages", &a.stages, &b.stages);
    differ("processes of the load", &a.processes.to_string(), &b.processes.to_string());
    let (host_a, host_b) = (&a.host, &b.host);
    differ("ringgate", &host_a.ringgate, &host_b.ringgate);
    let [commit_a, commit_b] =
        [host_a, host_b].map(|host| host.commit.as_deref().unwrap_or("unknown"));
    differ("commit", commit_a, commit_b);
    differ("kernel", &host_a.kernel, &host_b.kernel);
    differ("processor", &host_a.cpu, &host_b.cpu);
    differ("cores", &host_a.cores.to_string(), &host_b.cores.to_string());
    let [memory_a, memory_b] = [host_a, host_b].map(|host| host.memory_bytes as f64);
    if (memory_a - memory_b).abs() > memory_a.max(memory_b) * MEMORY_SHARE {
        differ("memory, bytes", &memory_a.to_string(), &memory_b.to_string());
    }
    let limit = |limit: Option<u64>| limit.map_or("without limit".to_owned(), |n| n.to_string());
    differ("descriptors, soft limit", &limit(host_a.nofile_soft), &limit(host_b.nofile_soft));
    differ("descriptors, hard limit", &limit(host_a.nofile_hard), &limit(host_b.nofile_hard));
    differ("lockable memory", &limit(host_a.memlock_bytes), &limit(host_b.memlock_bytes));
    each(&sysctls(a), &sysctls(b), "none", &mut differ);
    each(&flags(a), &flags(b), "not given", &mut differ);
    found
}

fn each(
    a: &BTreeMap<String, String>,
    b: &BTreeMap<String, String>,
    absent: &str,
    differ: &mut impl FnMut(&str, &str, &str),
) {
    let in_b_alone = b.keys().filter(|name| !a.contains_key(*name));
    for name in a.keys().chain(in_b_alone) {
        let value = |side: &BTreeMap<String, String>| side.get(name).cloned();
        let absent = || absent.to_owned();
        differ(name, &value(a).unwrap_or_else(absent), &value(b).unwrap_or_else(absent));
    }
}

fn sysctls(report: &Report) -> BTreeMap<String, String> {
    report.host.sysctls.iter().cloned().collect()
}

/// Each flag with what follows it.
fn flags(report: &Report) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::<String, String>::new();
    let mut last = None;
    for word in &report.command {
        if let Some(flag) = word.strip_prefix("--") {
            let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
            let name = format!("--{name}");
            flags.insert(name.clone(), value.to_owned());
            last = Some(name);
        } else if let Some(value) = last.as_ref().and_then(|name| flags.get_mut(name)) {
            let space = if value.is_empty() { "" } else { " " };
            value.push_str(&format!("{space}{word}"));
        }
    }
    flags.retain(|name, _| !IMMATERIAL.contains(&name.as_str()));
    flags.values_mut().filter(|value| value.is_empty()).for_each(|value| "given".clone_into(value));
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(command: &str) -> Report {
        let mut report = Report {
            profile: "echo".to_owned(),
            command: command.split_whitespace().map(str::to_owned).collect(),
            ..Report::default()
        };
        report.host.optimised = true;
        report.host.sysctls.push(("net.core.somaxconn".into(), "4096".into()));
        report
    }

    #[test]
    fn alike_is_alike_however_its_flags_are_written() {
        let a = report("bench echo --rate=5 --json a.json --server-pid 1 --raw");
        let b = report("bench echo --raw --rate 5 --html b.html --server-pid 2");
        assert_eq!(differences(&a, &b), [""; 0]);
    }

    #[test]
    fn whatever_differs_is_told() {
        let a = report("bench echo --rate 5 --users 10");
        let spoilt = |spoil: fn(&mut Report), said: &str| {
            let mut b = a.clone();
            spoil(&mut b);
            assert_eq!(differences(&a, &b), [said]);
        };
        spoilt(|b| b.profile = "idle".into(), "profile: A echo, B idle");
        spoilt(|b| b.host.kernel = "7.0".into(), "kernel: A , B 7.0");
        spoilt(|b| b.host.commit = Some("c0ffee".into()), "commit: A unknown, B c0ffee");
        spoilt(|b| b.host.nofile_soft = Some(9), "descriptors, soft limit: A without limit, B 9");
        spoilt(|b| b.host.memory_bytes = 8, "memory, bytes: A 0, B 8");
        spoilt(|b| b.host.sysctls[0].1 = "128".into(), "net.core.somaxconn: A 4096, B 128");
        spoilt(|b| b.host.sysctls.clear(), "net.core.somaxconn: A 4096, B none");
        spoilt(|b| b.command[3] = "6".into(), "--rate: A 5, B 6");
        spoilt(|b| b.command.truncate(4), "--users: A 10, B not given");
        spoilt(|b| b.command.push("--raw".into()), "--raw: A not given, B given");
        spoilt(|b| b.interrupted = true, "B was interrupted");
        spoilt(|b| b.invalid.push("late".into()), "B is INVALID: late");
        spoilt(|b| b.host.optimised = false, "B was measured with a load that was not optimised");
    }
}
