//! A process of this machine, and its memory as `/proc` has it (proc(5)).

use std::{fmt, fs};

/// One process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process(pub u32);

impl Process {
    /// Bytes of memory that no other process shares and no file has.
    ///
    /// # Errors
    /// There is no such process, or it is another user's.
    pub fn private_dirty_bytes(self) -> Result<u64, String> {
        let text = self.read("smaps_rollup")?;
        let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        let kib =
            kib.ok_or_else(|| format!("/proc/{}/smaps_rollup has no Private_Dirty", self.0))?;
        Ok(kib.saturating_mul(1024))
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
    fn this_process_has_memory() {
        let me = Process(std::process::id());
        assert!(me.private_dirty_bytes().is_ok_and(|bytes| bytes > 100_000));
        assert!(Process(u32::MAX).private_dirty_bytes().is_err());
    }
}
