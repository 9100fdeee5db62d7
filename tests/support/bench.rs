//! `ringgate bench` as a process, and its report.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use ringgate::bench::report::Report;
use tempfile::TempDir;

/// A load under way.
pub struct Bench {
    child: Child,
    directory: TempDir,
}

impl Bench {
    /// Begins with these arguments; where the report goes is added.
    pub fn start(args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.arg("bench").args(args).arg("--json").arg(json(&directory));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("it starts");
        Self { child, directory }
    }

    /// Its report when it has ended; what it printed is shown.
    pub fn report(self) -> Report {
        let output = self.child.wait_with_output().expect("its end");
        let [out, error] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        println!("{out}{error}");
        let text = std::fs::read_to_string(json(&self.directory));
        let text = text.unwrap_or_else(|_| panic!("no report: {out}{error}"));
        let report = Report::from_json(&text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(output.status.success(), report.invalid.is_empty(), "{:?}", report.invalid);
        report
    }
}

fn json(directory: &TempDir) -> PathBuf {
    directory.path().join("report.json")
}

/// A figure of the report.
pub fn figure(report: &Report, name: &str) -> f64 {
    let mut figures = report.figures.iter();
    let figure = figures.find(|figure| figure.name == name);
    figure.unwrap_or_else(|| panic!("no {name:?} in {:?}", report.figures)).value
}

/// What makes the result of no use, but for this host: tests share its processor with others.
pub fn objections(report: &Report) -> Vec<&String> {
    let is_busy = |why: &&String| why.contains("fell behind") || why.contains("measured itself");
    report.invalid.iter().filter(|why| !is_busy(why)).collect()
}
