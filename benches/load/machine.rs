//! What the load asks of the machine: a core, descriptors, and the processor time of a process.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, SysconfVar, sysconf};

use crate::Failure;

/// Descriptors that are not connections: standard streams, epoll, /proc.
const SPARE_DESCRIPTORS: u64 = 16;

/// Binds this thread to `core`.
pub fn pin_to(core: usize) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|error| format!("cannot run on core {core} (--core): {error}").into())
}

/// Raises the soft descriptor limit to the hard one, and fails if that is too low.
pub fn allow_descriptors(connections: u32) -> Result<(), Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    let wanted = u64::from(connections) + SPARE_DESCRIPTORS;
    if hard < wanted {
        return Err(format!("{connections} connections need {wanted} descriptors, and the hard limit (ulimit -Hn) is {hard}").into());
    }
    Ok(())
}

/// Processor seconds (user and system, all threads) that `process` (a pid, or `self`) has used
/// since it started, as /proc counts them: in clock ticks of [`tick_seconds`].
pub fn cpu_seconds(process: &str) -> Result<f64, Failure> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    // The second field is the command's name in brackets and may hold spaces; utime and stime are
    // the 14th and the 15th (proc(5)).
    let after_name = stat.rsplit_once(')').ok_or_else(|| format!("{path}: no name"))?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok());
    match (ticks(), ticks()) {
        (Some(user), Some(system)) => Ok((user + system) as f64 * tick_seconds()?),
        _ => Err(format!("{path}: no utime and stime").into()),
    }
}

/// The resolution of [`cpu_seconds`], usually 10 ms.
pub fn tick_seconds() -> Result<f64, Failure> {
    let ticks = sysconf(SysconfVar::CLK_TCK)?.ok_or("the system does not tell its clock tick")?;
    Ok(1.0 / ticks as f64)
}
