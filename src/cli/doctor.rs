//! `ringgate doctor`: this host against what so many connections need.

use std::io::Write;

use clap::Args;

use super::Error;
use super::flags::SettingFlags;
use crate::doctor::{Check, Level, Question, Report, examine, host::Host, wanted::Wanted};

/// Arguments of `ringgate doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// The settings: `connections`, `cores` and `redis` decide what is checked.
    #[command(flatten)]
    pub settings: SettingFlags,
    /// Print JSON: {"connections", "shards", "checks": [{"name", "level", "value", "wanted",
    /// "note", "fix"}], "left_out"}
    #[arg(long)]
    pub json: bool,
}

/// Checks the host and prints one line a check to `out`. Changes nothing.
///
/// # Errors
/// A bad configuration, output that can't be written, or a check that fails.
pub fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<(), Error> {
    let config = args.settings.load()?.config;
    let wanted =
        Wanted { connections: config.limits.connections as u64, shards: config.cores.len() as u64 };
    let host = Host::this();
    let redis = config.redis.as_ref();
    let report = examine(&Question { host: &host, wanted, cores: &config.cores, redis });
    let text = if args.json { json(&report) } else { table(&report) };
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Error::Output)?;
    match report.count(Level::Fail) {
        0 => Ok(()),
        failed => Err(Error::Failed(format!("doctor: {failed} of {} fail", report.checks.len()))),
    }
}

fn json(report: &Report) -> String {
    format!("{:#}\n", serde_json::json!(report))
}

fn table(report: &Report) -> String {
    let width = |cell: fn(&Check) -> &str| {
        report.checks.iter().map(|check| cell(check).chars().count()).max().unwrap_or(0)
    };
    let widths =
        [width(|check| &check.name), width(|check| &check.value), width(|check| &check.wanted)];
    let mut text: String = report.checks.iter().map(|check| row(check, widths)).collect();
    for left_out in &report.left_out {
        text.push_str(&format!("left out: {left_out}\n"));
    }
    let count = |level| report.count(level);
    let Report { connections, shards, .. } = report;
    text.push_str(&format!(
        "{} ok, {} warn, {} fail, for {connections} connections on {shards} shards\n",
        count(Level::Ok),
        count(Level::Warn),
        count(Level::Fail),
    ));
    text
}

fn row(check: &Check, [names, values, wants]: [usize; 3]) -> String {
    let Check { name, level, value, wanted, note, fix } = check;
    let level = match level {
        Level::Ok => "ok",
        Level::Warn => "warn",
        Level::Fail => "fail",
    };
    let rest: Vec<&str> = [fix, note].into_iter().flatten().map(String::as_str).collect();
    let row = format!("{level:4}  {name:names$}  {value:values$}  {wanted:wants$}  ");
    format!("{}\n", (row + &rest.join("  # ")).trim_end())
}
