//! System calls of the server, over a while.
//!
//! By `perf stat` on the tracepoint `raw_syscalls:sys_enter` where it is installed and allowed
//! (root, or `kernel.perf_event_paranoid` at -1 with a readable tracefs); else, of a gateway
//! whose admin port is known, by its own count of `io_uring_enter`.
//!
//! While the tracepoint is on, every system call of the machine takes the slower way into the
//! kernel: count over a part of a plateau where its processor time matters, and scale.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::metrics;

/// For perf to begin or end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether perf has ended.
const LOOK: Duration = Duration::from_millis(5);
const EVENT: &str = "raw_syscalls:sys_enter";
const ENTERS: &str = "ringgate_ring_enters_total";

/// A count under way.
#[derive(Debug)]
pub struct SystemCalls {
    began: Instant,
    how: How,
}

/// A count that is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// System calls of all threads of the server.
    pub calls: u64,
    /// In this time.
    pub window: Duration,
    /// Whether they are `io_uring_enter` only, for want of perf.
    pub enters_only: bool,
}

#[derive(Debug)]
enum How {
    Perf(Perf),
    Metrics { admin: SocketAddr, before: u64 },
}

impl SystemCalls {
    /// Begins to count.
    ///
    /// # Errors
    /// Neither way is open; why.
    pub fn start(pids: &[u32], admin: Option<SocketAddr>) -> Result<Self, String> {
        let no_perf = match Perf::start(pids) {
            Ok(perf) => return Ok(Self { began: Instant::now(), how: How::Perf(perf) }),
            Err(error) => format!("system calls are not counted: {error}"),
        };
        let Some(admin) = admin else { return Err(no_perf) };
        let before = enters(admin).map_err(|error| format!("{no_perf}; {error}"))?;
        Ok(Self { began: Instant::now(), how: How::Metrics { admin, before } })
    }

    /// Ends it.
    ///
    /// # Errors
    /// The server or perf has ended meanwhile, or the admin port answers no more.
    pub fn count(self) -> Result<Counted, String> {
        match self.how {
            How::Perf(perf) => {
                let (calls, window) = perf.finish(self.began)?;
                Ok(Counted { calls, window, enters_only: false })
            }
            How::Metrics { admin, before } => {
                let (now, window) = (enters(admin)?, self.began.elapsed());
                let calls = now.checked_sub(before).ok_or("the gateway began anew meanwhile")?;
                Ok(Counted { calls, window, enters_only: true })
            }
        }
    }
}

impl Counted {
    /// As many as there were in `seconds`, if they were as many all the time.
    pub fn over(&self, seconds: f64) -> u64 {
        // A float too large or no number becomes the nearest that there is.
        (self.calls as f64 * seconds / self.window.as_secs_f64()).round() as u64
    }

    /// What a report has to say of it.
    pub fn doubt(&self) -> Option<&'static str> {
        self.enters_only.then_some(
            "system calls are the gateway's io_uring_enter only, by its metrics: perf could not count",
        )
    }
}

/// `perf stat`, told over its standard input when to count. Ends when it is dropped.
#[derive(Debug)]
struct Perf {
    child: Child,
    control: ChildStdin,
    acks: Receiver<()>,
}

impl Perf {
    fn start(pids: &[u32]) -> Result<Self, String> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut child = Command::new("perf")
            // Nothing is counted before it is told, over descriptor 0, and it answers on 1.
            .args(["stat", "-x,", "-D", "-1", "--control", "fd:0,1", "-e", EVENT, "-p"])
            .arg(pids.join(","))
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("perf: {error}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (control, answers) = pipes.ok_or("perf has no pipes")?;
        let (sender, acks) = channel();
        thread::spawn(move || {
            let lines = BufReader::new(answers).lines().map_while(Result::ok);
            let acks = lines.filter(|line| line.ends_with("ack"));
            // Nobody listens any more once the count is over.
            acks.for_each(|_| {
                let _ = sender.send(());
            });
        });
        let mut perf = Self { child, control, acks };
        if perf.tell("enable\n") { Ok(perf) } else { Err(perf.ended()) }
    }

    /// The count, and the time that was counted.
    fn finish(mut self, began: Instant) -> Result<(u64, Duration), String> {
        if !self.tell("disable\n") {
            return Err(self.ended());
        }
        let window = began.elapsed();
        // It prints what it counted, and ends.
        kill_process(Pid::from_child(&self.child), Signal::INT)
            .map_err(|error| format!("perf: {error}"))?;
        Ok((counted(&self.said())?, window))
    }

    /// `false`: it does not answer.
    fn tell(&mut self, command: &str) -> bool {
        let told = self.control.write_all(command.as_bytes()).and_then(|()| self.control.flush());
        told.is_ok() && self.acks.recv_timeout(PATIENCE).is_ok()
    }

    /// Why it counts no more.
    fn ended(&mut self) -> String {
        let said = self.said();
        let line = said.lines().map(str::trim).find(|line| !line.is_empty());
        format!("perf: {}", line.unwrap_or("it does not answer"))
    }

    /// Everything that it has to say at its end, which comes soon or is brought about.
    fn said(&mut self) -> String {
        let until = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::park_timeout(LOOK);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let mut said = Vec::new();
        if let Some(mut errors) = self.child.stderr.take() {
            // What there was of it is as good as all of it.
            let _ = errors.read_to_end(&mut said);
        }
        String::from_utf8_lossy(&said).into_owned()
    }
}

impl Drop for Perf {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sums `5142,,raw_syscalls:sys_enter,42462757,100.00,,`.
fn counted(text: &str) -> Result<u64, String> {
    let mut lines = text.lines().filter(|line| line.contains(EVENT)).peekable();
    if lines.peek().is_none() {
        return Err(format!("perf counted nothing: {text:?}"));
    }
    let each = lines.map(|line| match line.split(',').next().unwrap_or_default() {
        // No thread ran meanwhile.
        "<not counted>" => Ok(0),
        number => number.parse::<u64>().map_err(|_| format!("perf: {line}")),
    });
    each.sum()
}

/// `io_uring_enter` of all shards, by the gateway's metrics.
fn enters(admin: SocketAddr) -> Result<u64, String> {
    let answer = metrics::text(admin).map_err(|error| format!("http://{admin}: {error}"))?;
    sum_of_enters(&answer).ok_or_else(|| format!("http://{admin}/metrics has no {ENTERS}"))
}

fn sum_of_enters(metrics: &str) -> Option<u64> {
    let mut samples = metrics.lines().filter(|line| line.starts_with(ENTERS)).peekable();
    samples.peek()?;
    samples.map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests;
