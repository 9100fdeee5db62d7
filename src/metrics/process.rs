//! The process as Prometheus users know it from every other server: memory, processor
//! time, descriptors, start; read from `/proc` at each scrape (proc(5)).
//!
//! What cannot be read is left out, as other exporters do.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet},
    metrics::MetricType,
};

/// Unit of the times in `/proc/<pid>/stat`: 100 a second on every architecture that has
/// `io_uring` in practice. (`sysconf(_SC_CLK_TCK)` says the same and wants `unsafe`.)
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/<pid>/stat` behind the command's closing parenthesis, the first of
/// which is number 3 in proc(5).
const UTIME: usize = 14 - 3;
const STIME: usize = 15 - 3;
const STARTTIME: usize = 22 - 3;

/// `process_…`, without the prefix of the gateway.
#[derive(Debug)]
pub struct ProcessCollector {
    start_unix_s: Option<f64>,
}

impl ProcessCollector {
    /// Reads what never changes.
    pub fn new() -> Self {
        let start_unix_s = start_unix_s(&read("/proc/self/stat"), &read("/proc/stat"));
        Self { start_unix_s }
    }
}

impl Default for ProcessCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let encoder = &mut encoder;
        let resident = resident_bytes(&read("/proc/self/status"));
        gauge(encoder, "process_resident_memory_bytes", "Resident memory.", resident)?;
        gauge(encoder, "process_open_fds", "Open file descriptors.", open_fds())?;
        let max_fds = max_fds(&read("/proc/self/limits"));
        gauge(encoder, "process_max_fds", "Limit of open file descriptors.", max_fds)?;
        let help = "Start of the process, in seconds since the Unix epoch.";
        gauge(encoder, "process_start_time_seconds", help, self.start_unix_s)?;
        if let Some(seconds) = cpu_seconds(&read("/proc/self/stat")) {
            let help = "Processor time, user and system.";
            encoder
                .encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, f64, f64>(&seconds, None)?;
        }
        Ok(())
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    value: Option<impl EncodeGaugeValue>,
) -> fmt::Result {
    match value {
        Some(value) => {
            encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
        }
        None => Ok(()),
    }
}

/// The text of a file of `/proc`, empty where it cannot be read.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The soft limit; none where it is unlimited.
fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Since Linux 6.2 the size of the directory is the number of descriptors. Reading the
/// directory itself would cost a scrape half a second at a million connections.
fn open_fds() -> Option<u64> {
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    // An older kernel says 0: count, without the descriptor that the counting opens.
    if size > 0 {
        Some(size)
    } else {
        Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64)
    }
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_ticks(stat, UTIME)? + stat_ticks(stat, STIME)?) / TICKS_PER_SECOND)
}

fn start_unix_s(stat: &str, system_stat: &str) -> Option<f64> {
    let boot = system_stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot_unix_s: f64 = boot.trim().parse().ok()?;
    Some(boot_unix_s + stat_ticks(stat, STARTTIME)? / TICKS_PER_SECOND)
}

fn stat_ticks(stat: &str, field: usize) -> Option<f64> {
    // The command may hold blanks and parentheses: the last one closes it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(field)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    const STAT: &str = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 250 150 0 0 20 0 3 0 4200 1 2 3";

    #[test]
    fn proc_files_are_read_by_field() {
        assert_eq!(cpu_seconds(STAT), Some(4.0));
        assert_eq!(start_unix_s(STAT, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_042.0));
        assert_eq!(resident_bytes("VmSize:\t 9 kB\nVmRSS:\t  2048 kB\n"), Some(2 << 20));
        let limits = "Max open files            1024                 4096                 files\n";
        assert_eq!(max_fds(limits), Some(1_024));
        assert_eq!(max_fds("Max open files   unlimited   unlimited   files\n"), None);
    }

    #[test]
    fn rubbish_is_left_out() {
        for text in ["", ")", "VmRSS: x kB", "Max open files", "btime", "1 (a) S 1"] {
            assert_eq!(cpu_seconds(text), None);
            assert_eq!(start_unix_s(text, text), None);
            assert_eq!(resident_bytes(text), None);
            assert_eq!(max_fds(text), None);
        }
    }

    #[test]
    fn this_process_tells_plausible_values() {
        assert!(resident_bytes(&read("/proc/self/status")).unwrap() > 100_000);
        let started = ProcessCollector::new().start_unix_s.unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        assert!((now - 86_400.0..now + 2.0).contains(&started), "{started} at {now}");
        let before = open_fds().unwrap();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(open_fds().unwrap() >= before + 50, "{before} before {} more", files.len());
    }
}
