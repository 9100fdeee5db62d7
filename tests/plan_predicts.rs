//! What `ringgate plan` predicts of a load, and what the load then costs.
//!
//! Costs are measured on one gateway at some numbers of connections and predicted for another
//! number, which is then run on a gateway of its own. Everything at a small size, unoptimised: the
//! method is under test and not the figures.

use std::{
    net::SocketAddr,
    process::{Command, Stdio},
};

use nix::sys::prctl::set_thp_disable;
use ringgate::{
    bench::{cost::model::Point, report::Report},
    plan::{Coefficients, Traffic, estimate, measured::Measured, traffic::Echo},
};

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::process::Process;

/// How far a prediction may be from what is measured, as a share of that.
const MEMORY_OFF_MAX: f64 = 0.10;
const CPU_OFF_MAX: f64 = 0.25;
/// A machine has others to serve: one of so many runs has to be undisturbed.
const TRIES: usize = 3;
/// Messages a second of one connection.
const RATE: f64 = 4.0;
/// Connections that are predicted, and then made.
const CONNECTIONS: u64 = 750;

struct Gateway {
    process: Process,
    address: SocketAddr,
}

impl Gateway {
    /// One that sends no pings: no run is long enough for one.
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--cores", "0", "--echo", "/echo"]);
        let (process, address, _) = Process::spawn_with(&mut command, None).addresses();
        Self { process, address }
    }

    /// Runs a load, and reads its report.
    fn bench(&self, args: &[&str]) -> Report {
        let directory = tempfile::tempdir().expect("a directory");
        let json = directory.path().join("report.json");
        let pid = self.process.child.id().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.arg("bench").args(args).args(["--server-pid", &pid, "--json"]).arg(&json);
        command.args(["--server", &format!("ws://{}/echo", self.address)]);
        let output = command.stdin(Stdio::null()).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let text = std::fs::read_to_string(&json).unwrap_or_else(|error| panic!("{error}: {said}"));
        Report::from_json(&text).expect("a report")
    }
}

fn measured(name: &str, report: &Report) -> (String, Measured) {
    let json = serde_json::to_value(report).expect("JSON");
    let measured = Measured::from_report(&json);
    (name.to_owned(), measured.unwrap_or_else(|error| panic!("{error}: {report}")))
}

/// Costs out of one run of each kind.
fn costs() -> Coefficients {
    let stairs = ["--users", "250", "--doublings", "2", "--ramp-seconds", "0.5", "--seconds", "2"];
    let idle = Gateway::start().bench(&[&["idle"], &stairs[..]].concat());
    let rate = RATE.to_string();
    let echo = Gateway::start().bench(&[&["echo", "--rate", &rate], &stairs[..]].concat());
    Coefficients::from_measured(&[measured("idle", &idle), measured("echo", &echo)])
}

/// The load that was predicted, as it was.
fn run() -> Point {
    let (users, rate) = (CONNECTIONS.to_string(), RATE.to_string());
    let report = Gateway::start().bench(&[
        "echo",
        "--rate",
        &rate,
        "--users",
        &users,
        "--ramp-seconds",
        "1",
        "--seconds",
        "4",
    ]);
    let points = report.cost.as_ref().map(|cost| &cost.points[..]).unwrap_or_default();
    *points.last().unwrap_or_else(|| panic!("no cost: {report}"))
}

#[test]
fn what_a_load_costs_is_predicted() {
    // Inherited by the gateways. With huge pages memory moves in steps of 2 MiB.
    set_thp_disable(true).expect("huge pages off");
    let traffic = Traffic {
        connections: CONNECTIONS,
        shards: 1,
        active_share: 1.0,
        ping_seconds: 3600.0,
        echo: Some(Echo { messages_per_second: RATE, bytes: 64.0, replies: 1.0 }),
        tasks: None,
        topics: None,
    };
    let mut misses = Vec::new();
    for _ in 0..TRIES {
        let (predicted, found) = (estimate(&traffic, &costs()), run());
        let pairs = [
            ("bytes", predicted.memory.total_bytes(), found.memory.total_bytes(), MEMORY_OFF_MAX),
            ("cores", predicted.cpu.total(), found.cpu_seconds / found.seconds, CPU_OFF_MAX),
        ];
        let said = pairs.map(|(unit, predicted, found, _)| {
            format!("{predicted:.3} {unit} predicted, {found:.3} found ({:.2})", predicted / found)
        });
        println!("{}", said.join("; "));
        if pairs.iter().all(|(_, wanted, found, off)| (wanted / found - 1.0).abs() <= *off) {
            return;
        }
        misses.push(said.join("; "));
    }
    panic!("{misses:#?}");
}
