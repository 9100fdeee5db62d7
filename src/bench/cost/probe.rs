//! Looks at the server while a load is on.
//!
//! In this order: [`Probe::baseline`] before the first connection; [`Probe::cpu`] as often as
//! one likes; [`Probe::point`] at the end of each time in which the number of users stood still.
//! The latter asks the server's rings when there are few connections ([`Probe::ask`]).
//! A look at the kernel takes some milliseconds, and needs root; what cannot be read is
//! told in [`Probe::unread`], once, and counts as nought.

use std::{fs, time::Duration};

use nix::{
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

use super::{
    kernel::Sample,
    model::{Memory, Point},
    share::{self, Ends},
    waits::{Waiters, Waits, WaitsPerConnection},
};
use crate::bench::process::Process;

/// What is told of unread things at most, lest every plateau of a long run repeats them.
const UNREAD_MAX: usize = 32;
/// The kernel's PID_MAX_LIMIT: a clock's number has room for little more, and would name the
/// process of a smaller number.
const PID_MAX: i32 = 1 << 22;
/// Connections at which the server's rings may be asked, which stops them for 4 µs each.
const ASKED_MAX: u64 = 2_000;
/// And with which they tell what one has.
const ASKED_MIN: u64 = 50;

/// The processes of one server.
#[derive(Debug)]
pub struct Probe {
    processes: Vec<Process>,
    ends: Ends,
    before: Option<Sample>,
    /// With what they waited for before the first connection.
    waiters: Option<(Waiters, Waits)>,
    waits: Option<WaitsPerConnection>,
    unread: Vec<String>,
}

impl Probe {
    /// Of a server that runs as these processes.
    ///
    /// # Errors
    /// There is none of that number, or no number.
    pub fn new(pids: &[u32], ends: Ends) -> Result<Self, String> {
        if pids.is_empty() {
            return Err("no process of the server is known".to_owned());
        }
        let mut processes: Vec<Process> = pids.iter().copied().map(Process).collect();
        processes.sort_by_key(|process| process.0);
        processes.dedup();
        let probe =
            Self { processes, ends, before: None, waiters: None, waits: None, unread: Vec::new() };
        probe.cpu()?;
        Ok(probe)
    }

    /// What is there without connections. The point has none, and no processor time; where a
    /// report has it among its points, they begin with it.
    pub fn baseline(&mut self) -> Point {
        let sample = Sample::take();
        if let Ok(slabs) = &sample.slabs {
            for name in share::missing(slabs) {
                self.tell(format!("/proc/slabinfo has no {name}: it is not counted"));
            }
        }
        self.before = Some(sample);
        let waiters = Waiters::find(self.processes.iter().map(|process| process.0));
        match waiters.and_then(|found| found.count().map(|count| (found, count))) {
            Ok(found) => self.waiters = Some(found),
            Err(error) => self.tell(format!("{error}: io_uring and epoll are guessed")),
        }
        let memory = Memory { user_bytes: self.user_bytes(), ..Memory::default() };
        Point { memory, ..Point::default() }
    }

    /// Asks the server's rings and epolls, once, what they have for each connection; with fewer
    /// than 50 connections, or more than 2,000, does nothing. [`Probe::point`] does it by
    /// itself: worth calling where the first plateau is higher, on the way up to it.
    pub fn ask(&mut self, connections: u64) {
        if self.waits.is_some() || !(ASKED_MIN..=ASKED_MAX).contains(&connections) {
            return;
        }
        let Some((waiters, before)) = &self.waiters else { return };
        match waiters.count() {
            Ok(now) => self.waits = Some(now.since(*before, connections)),
            Err(error) => self.tell(format!("{error}: io_uring and epoll are guessed")),
        }
    }

    /// User and system time of the server so far, to the nanosecond. Cheap: one system call a
    /// process. What the kernel does for loopback packets is with whoever sends them.
    ///
    /// # Errors
    /// A process of the server has ended.
    pub fn cpu(&self) -> Result<Duration, String> {
        self.processes.iter().copied().map(cpu).sum()
    }

    /// What the server has in memory, its program's file included. Cheap, and anyone may.
    ///
    /// # Errors
    /// A process of the server has ended.
    pub fn resident_bytes(&self) -> Result<u64, String> {
        self.processes.iter().map(|process| status_bytes(*process, "VmRSS:")).sum()
    }

    /// What was counted in the `seconds` that are over now, and what is in memory at their end.
    pub fn point(
        &mut self,
        connections: u64,
        seconds: f64,
        cpu_used: Duration,
        messages: u64,
        system_calls: Option<u64>,
    ) -> Point {
        self.ask(connections);
        let memory = Memory { user_bytes: self.user_bytes(), ..self.kernel(connections) };
        let cpu_seconds = cpu_used.as_secs_f64();
        Point { connections, seconds, memory, cpu_seconds, messages, system_calls }
    }

    /// What could not be read or may be wrong, each once.
    pub fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Adds to it what others could not read.
    pub fn tell(&mut self, what: String) {
        if self.unread.len() < UNREAD_MAX && !self.unread.contains(&what) {
            self.unread.push(what);
        }
    }

    fn user_bytes(&mut self) -> f64 {
        let mut sum = 0;
        for process in self.processes.clone() {
            let own = process.private_dirty_bytes();
            sum += own.unwrap_or_else(|error| {
                self.tell(format!("{error}: memory of process {process} is its RssAnon"));
                status_bytes(process, "RssAnon:").unwrap_or_else(|error| {
                    self.tell(error);
                    0
                })
            });
        }
        sum as f64
    }

    fn kernel(&mut self, connections: u64) -> Memory {
        let Some(before) = self.before.clone() else {
            self.tell("the kernel was not looked at before the first connection".to_owned());
            return Memory::default();
        };
        let (now, ends) = (Sample::take(), self.ends);
        let mut memory = Memory::default();
        match (before.slabs, now.slabs) {
            (Ok(before), Ok(now)) => {
                memory = share::of_server(&before, &now, connections, ends, self.waits);
                if let Some(doubt) = share::disturbed(&before, &now, connections, ends) {
                    self.tell(doubt);
                }
            }
            (Err(error), _) | (_, Err(error)) => {
                self.tell(format!("{error}: memory of the kernel is not counted"));
            }
        }
        match (before.queue_bytes, now.queue_bytes) {
            (Ok(before), Ok(now)) => {
                let more = now.saturating_sub(before) as f64;
                memory.buffer_bytes = more / ends.sockets_per_connection();
            }
            (Err(error), _) | (_, Err(error)) => {
                self.tell(format!("{error}: buffers are not counted"));
            }
        }
        memory
    }
}

/// By the clock of the process, which clock_getcpuclockid(3) lets anyone read.
fn cpu(process: Process) -> Result<Duration, String> {
    let no_process = || format!("there is no process {process}");
    // 0 would be whoever asks.
    let pid = i32::try_from(process.0)
        .ok()
        .filter(|pid| (1..=PID_MAX).contains(pid))
        .ok_or_else(no_process)?;
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).map_err(|_| no_process())?;
    clock_gettime(clock).map(Duration::from).map_err(|_| no_process())
}

fn status_bytes(process: Process, name: &str) -> Result<u64, String> {
    let path = format!("/proc/{process}/status");
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    kib(&text, name).ok_or_else(|| format!("{path} has no {name}"))
}

fn kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "Name:\tringgate\nVmRSS:\t   21300 kB\nRssAnon:\t   10584 kB\n";

    #[test]
    fn memory_is_read_from_a_status() {
        assert_eq!(kib(STATUS, "VmRSS:"), Some(21_300 << 10));
        assert_eq!(kib(STATUS, "RssAnon:"), Some(10_584 << 10));
        for status in ["", "VmRSS:", "VmRSS: x kB", "VmRSS: 7", "VmRSS: 99999999999999999999 kB"] {
            assert_eq!(kib(status, "VmRSS:"), None, "{status:?}");
        }
    }

    #[test]
    fn no_process_is_an_error() {
        assert!(Probe::new(&[], Ends::Server).is_err());
        for pid in [0, u32::MAX, i32::MAX as u32, 1 << 22, 1 << 23] {
            let error = Probe::new(&[std::process::id(), pid], Ends::Server).unwrap_err();
            assert_eq!(error, format!("there is no process {pid}"));
        }
    }

    #[test]
    fn processor_time_counts_each_process_once_and_finely() {
        let me = std::process::id();
        let (once, twice) = (
            Probe::new(&[me], Ends::Server).unwrap(),
            Probe::new(&[me, me], Ends::Server).unwrap(),
        );
        let before = once.cpu().unwrap();
        let mut last = before;
        // A tick of /proc/PID/stat is 10 ms: a clock of that kind would move by no less.
        while last == before {
            last = twice.cpu().unwrap();
        }
        assert!(last > before && last - before < Duration::from_secs(2), "{before:?} {last:?}");
        assert!(once.resident_bytes().unwrap() > 100_000);
    }

    #[test]
    fn a_probe_that_saw_no_baseline_says_so_once() {
        let mut probe = Probe::new(&[std::process::id()], Ends::Server).unwrap();
        for _ in 0..2 {
            let point = probe.point(5, 1.0, Duration::from_millis(30), 7, None);
            assert!(point.memory.user_bytes > 100_000.0 && point.memory.kernel_bytes() == 0.0);
            assert_eq!((point.connections, point.messages, point.cpu_seconds), (5, 7, 0.03));
        }
        assert_eq!(probe.unread().len(), 1, "{:?}", probe.unread());
    }
}
