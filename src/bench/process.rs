//! What a server on this machine costs: processor time and memory, from `/proc` (proc(5)).

use std::{fmt, fs, time::Duration};

/// Unit of the times in `/proc/PID/stat`: 100 a second wherever io_uring is.
const TICK_MS: u64 = 10;
/// Fields of `/proc/PID/stat` behind the command's closing parenthesis.
const UTIME: usize = 14 - 3;

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process(pub u32);

/// Its memory, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// All of it that is in memory.
    pub resident: u64,
    /// What no other process shares and no file has.
    pub private_dirty: u64,
}

impl Process {
    /// User and system time so far.
    ///
    /// # Errors
    /// There is no such process.
    pub fn cpu(self) -> Result<Duration, String> {
        let stat = self.read("stat")?;
        let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
        let times = fields.split_whitespace().skip(UTIME).take(2);
        let ticks: u64 = times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * TICK_MS))
    }

    /// What it has in memory.
    ///
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn memory(self) -> Result<Memory, String> {
        let text = self.read("smaps_rollup")?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        let sum = |name| bytes(name).unwrap_or(0);
        Ok(Memory { resident: sum("Rss:"), private_dirty: sum("Private_Dirty:") })
    }

    fn read(self, file: &str) -> Result<String, String> {
        let path = format!("/proc/{}/{file}", self.0);
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let me = Process(std::process::id());
        let memory = me.memory().unwrap();
        assert!(memory.resident >= memory.private_dirty && memory.private_dirty > 100_000);
        assert!(me.cpu().unwrap() < Duration::from_secs(86_400));
        assert!(Process(u32::MAX).cpu().is_err());
    }
}
