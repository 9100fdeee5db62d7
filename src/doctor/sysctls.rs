//! The sysctls of [`SYSCTLS`], and a few that have no wanted value but a meaning.

use super::{
    Check, Level,
    host::{Host, Unread, sysctl_path},
    wanted::{CONNTRACK_MAX, Rule, SYSCTLS, Sysctl, Wanted},
};

pub(super) fn checks(host: &Host, wanted: &Wanted) -> Vec<Check> {
    let mut checks: Vec<Check> =
        SYSCTLS.iter().filter_map(|sysctl| check(host, wanted, sysctl)).collect();
    checks.extend([port_range(host), tw_reuse(host)]);
    checks
}

/// `None` where it does not matter to this host.
fn check(host: &Host, wanted: &Wanted, sysctl: &Sysctl) -> Option<Check> {
    let (key, numbers) = (sysctl.key, sysctl.at(wanted.connections));
    let side = match sysctl.rule {
        Rule::Floor if sysctl.fields.len() > 1 => "or more each",
        Rule::Floor => "or more",
        Rule::Ceiling if numbers == [0] => "",
        Rule::Ceiling => "or less",
    };
    let want = format!("{} {side}", joined(&numbers));
    let found = host.numbers(&sysctl_path(key)).and_then(|found| {
        let is_whole = found.len() == numbers.len();
        is_whole.then_some(found).ok_or_else(|| Unread::Refused("not as many numbers".into()))
    });
    let check = match found {
        Err(Unread::Absent) if key == CONNTRACK_MAX => return None,
        Err(why) => Check::unread(key, &why),
        Ok(found) => {
            let pairs = || found.iter().copied().zip(numbers.iter().copied());
            let better: Vec<u64> = pairs().map(|(f, w)| sysctl.rule.better(f, w)).collect();
            let level = match pairs().all(|(f, w)| sysctl.rule.is_met(f, w)) {
                true => Level::Ok,
                false if is_too_low(key, found[0], wanted) => Level::Fail,
                false => Level::Warn,
            };
            let value = match used(host, key) {
                Some(used) => format!("{}, {used} in use", joined(&found)),
                None => joined(&found),
            };
            let check = Check::new(key, level, value).fix(command(key, &better));
            match note(key) {
                Some(note) if level > Level::Ok => check.note(note),
                _ => check,
            }
        }
    };
    Some(check.wants(want.trim_end()))
}

/// Whether so many connections can't be held, rather than held less well.
fn is_too_low(key: &str, found: u64, wanted: &Wanted) -> bool {
    match key {
        "fs.nr_open" | "fs.file-max" => found < wanted.descriptors(),
        CONNTRACK_MAX => found < wanted.connections,
        _ => false,
    }
}

fn used(host: &Host, key: &str) -> Option<u64> {
    match key {
        "fs.file-max" => host.numbers(&sysctl_path("fs.file-nr")).ok()?.first().copied(),
        CONNTRACK_MAX => host.number(&sysctl_path("net.netfilter.nf_conntrack_count")).ok(),
        _ => None,
    }
}

fn note(key: &str) -> Option<&'static str> {
    Some(match key {
        "net.core.somaxconn" => "takes effect when the gateway starts again",
        "net.ipv4.tcp_mem" => "pages; an idle socket has none",
        CONNTRACK_MAX => "loaded; matters where a firewall rule tracks the public port",
        _ => return None,
    })
}

fn command(key: &str, numbers: &[u64]) -> String {
    match numbers {
        [number] => format!("sysctl -w {key}={number}"),
        numbers => format!("sysctl -w {key}=\"{}\"", joined(numbers)),
    }
}

/// The gateway needs one port. Whoever connects, to it from here or to Redis, needs one each.
fn port_range(host: &Host) -> Check {
    let key = "net.ipv4.ip_local_port_range";
    let check = match host.numbers(&sysctl_path(key)) {
        Ok(found) => Check::new(key, Level::Ok, joined(&found)),
        Err(why) => Check::unread(key, &why),
    };
    check.wants("any").note("of clients and of the way to Redis, not of the gateway's sockets")
}

fn tw_reuse(host: &Host) -> Check {
    let key = "net.ipv4.tcp_tw_reuse";
    let check = match host.number::<u64>(&sysctl_path(key)) {
        Ok(found) => Check::new(key, Level::Ok, found),
        Err(why) => Check::unread(key, &why),
    };
    check.wants("any").note("of outgoing connections only: load generators")
}

fn joined(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}
