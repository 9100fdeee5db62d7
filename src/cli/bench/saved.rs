//! Reports that were saved: `ringgate bench compare` and `ringgate bench html`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use clap::{Args, ValueHint};

use crate::{
    bench::report::{Report, compare::compare, page::page},
    cli::Error,
};

/// Longest report that is read: the slices of a run are at most some 2,000, of 300 bytes each.
const REPORT_BYTES_MAX: u64 = 64 << 20;

#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Plateaus are matched by their users. Warns where machine, kernel, limits, \
                        commit, flags or profile differ. Exit codes: 0 compared, whatever came \
                        out; 2 a file is missing or no report of this format."
)]
pub(super) struct CompareArgs {
    /// Report that was saved with --json, to measure by
    #[arg(value_name = "A.json", value_hint = ValueHint::FilePath)]
    a: PathBuf,
    /// The other one
    #[arg(value_name = "B.json", value_hint = ValueHint::FilePath)]
    b: PathBuf,
    /// Print JSON: {"a", "b", "warnings", "noise", "groups": [{"name", "figures": [{"name", "a",
    /// "b", "ratio", "noise", "verdict"}]}]}
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone, Debug)]
pub(super) struct HtmlArgs {
    /// Report that was saved with --json
    #[arg(value_name = "REPORT.json", value_hint = ValueHint::FilePath)]
    report: PathBuf,
    /// File for the page
    #[arg(value_name = "OUT.html", value_hint = ValueHint::FilePath)]
    out: PathBuf,
}

impl CompareArgs {
    /// Reads both and prints how they compare.
    pub(super) fn run(&self) -> Result<(), Error> {
        let (report_a, report_b) = (read(&self.a)?, read(&self.b)?);
        let (name_a, name_b) = (self.a.display().to_string(), self.b.display().to_string());
        let comparison = compare((&name_a, &report_a), (&name_b, &report_b));
        let mut out = io::stdout();
        let written = if self.json {
            writeln!(out, "{:#}", serde_json::json!(comparison))
        } else {
            write!(out, "{comparison}")
        };
        written.map_err(Error::Output)
    }
}

impl HtmlArgs {
    /// Reads the one and writes the other.
    pub(super) fn run(&self) -> Result<(), Error> {
        let report = read(&self.report)?;
        write("bench html", &self.out, &page(&report))
    }
}

fn read(path: &Path) -> Result<Report, Error> {
    let named = |error: String| Error::Usage(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(|error| named(error.to_string()))?;
    let read = file.take(REPORT_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| named(format!("it is no report of `ringgate bench`: {error}")))?;
    if text.len() as u64 > REPORT_BYTES_MAX {
        return Err(named(format!("it is longer than {REPORT_BYTES_MAX} bytes")));
    }
    Report::from_json(&text).map_err(named)
}

/// Whether the file of `flag` can be written; creates it where it is not there.
pub(super) fn is_writable(flag: &str, path: &Path) -> Result<(), Error> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| Error::Usage(format!("{flag} {}: {error}", path.display())))?;
    Ok(())
}

/// Writes the file of `flag`.
pub(super) fn write(flag: &str, path: &Path, text: &str) -> Result<(), Error> {
    let written = fs::write(path, text);
    written.map_err(|error| Error::Failed(format!("{flag} {}: {error}", path.display())))
}
