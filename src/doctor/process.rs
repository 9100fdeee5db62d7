//! Limits of a process that is started from here. A service has its own: see its unit.

use super::{
    Check, Level, bytes,
    host::{Host, Unread, parse},
    or_unlimited,
    wanted::{EXECUTOR_MEMLOCK_BYTES, Wanted},
};

const LIMITS: &str = "/proc/self/limits";

pub(super) fn checks(host: &Host, wanted: &Wanted) -> Vec<Check> {
    vec![descriptors(host, wanted), memlock(host, wanted)]
}

/// The soft limit is raised to the hard one at the start, so only the hard one counts.
fn descriptors(host: &Host, wanted: &Wanted) -> Check {
    let need = wanted.descriptors();
    let check = match limits(host, "Max open files") {
        Err(why) => Check::unread("nofile", &why),
        Ok((soft, hard)) => {
            let level = if hard.is_none_or(|hard| hard >= need) { Level::Ok } else { Level::Fail };
            let [soft, hard] = [soft, hard].map(|limit| or_unlimited(limit, |n| n.to_string()));
            Check::new("nofile", level, format!("{soft} soft, {hard} hard"))
                .fix(format!("LimitNOFILE={need} in the unit, or ulimit -Hn {need}"))
        }
    };
    check.wants(format!("{need} hard"))
}

/// glommio looks at the soft limit, and does not start below what one executor wants.
fn memlock(host: &Host, wanted: &Wanted) -> Check {
    let need = wanted.memlock_bytes();
    let check = match limits(host, "Max locked memory") {
        Err(why) => Check::unread("memlock", &why),
        Ok((soft, _)) => {
            let level = match soft {
                Some(soft) if soft < EXECUTOR_MEMLOCK_BYTES => Level::Fail,
                Some(soft) if soft < need => Level::Warn,
                _ => Level::Ok,
            };
            let kib = need.div_ceil(1024);
            Check::new("memlock", level, or_unlimited(soft, bytes))
                .fix(format!("LimitMEMLOCK={kib}K in the unit, or ulimit -l {kib}"))
        }
    };
    check.wants(format!("{}, 512 KiB a shard", bytes(need)))
}

/// Soft and hard; `None` is unlimited.
pub(super) fn limits(host: &Host, name: &str) -> Result<(Option<u64>, Option<u64>), Unread> {
    let line = host.field(LIMITS, name)?;
    let mut words = line.split_whitespace();
    let mut limit = || match words.next() {
        Some("unlimited") => Ok(None),
        Some(word) => parse(word).map(Some),
        None => Err(Unread::Refused(format!("no limits in {line:?}"))),
    };
    Ok((limit()?, limit()?))
}
