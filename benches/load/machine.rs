//! What the load asks of the machine: a core, descriptors, and the processor time of a process.

use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::time::ClockId;
use nix::unistd::Pid;

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

/// The processor time of a process, user and system, all threads: the same account as the ticks
/// of /proc/PID/stat, but to the nanosecond, which short windows need.
pub struct ProcessClock(ClockId);

impl ProcessClock {
    /// The clock of another process.
    pub fn of(pid: i32) -> Result<Self, Failure> {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid));
        clock.map(Self).map_err(|error| format!("process {pid}: {error}").into())
    }

    /// The clock of this one.
    pub fn own() -> Result<Self, Failure> {
        Self::of(0)
    }

    /// Seconds since the process started.
    pub fn now(&self) -> Result<f64, Failure> {
        let time = self.0.now()?;
        Ok(Duration::from(time).as_secs_f64())
    }
}
