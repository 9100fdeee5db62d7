//! `ringgate bench` as people run it: against the gateway, against servers that are none, ended
//! early, and asked for what cannot be.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use ringgate::bench::report::Report;

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::{client::PATIENCE, gateway::http_get, process::Process};

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    command.arg("bench").args(args).stdin(Stdio::null()).output().expect("it runs")
}

/// A run and its report; the exit code first.
fn measured(args: &[&str]) -> (i32, Report) {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("report.json");
    let output = bench(&[args, &["--json", json.to_str().expect("a path")]].concat());
    (output.status.code().expect("not killed"), report(&json, &output))
}

fn report(json: &PathBuf, output: &Output) -> Report {
    let text = std::fs::read_to_string(json);
    let text = text.unwrap_or_else(|error| panic!("{error}: {}", said(output)));
    Report::from_json(&text).expect("a report")
}

/// Exit code and what was said of it.
fn refused(args: &[&str]) -> (i32, String) {
    let output = bench(args);
    (output.status.code().expect("not killed"), said(&output))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("ws://{address}{path}")
}

#[test]
fn every_message_of_every_process_is_accounted_for() {
    let (gateway, address, _) = Process::serve(&["--echo", "/echo"]);
    let pid = gateway.child.id().to_string();
    let (code, report) = measured(&[
        "echo",
        "--server",
        &url(address, "/echo"),
        "--users",
        "40",
        "--rate",
        "20",
        "--ramp-seconds",
        "0.5",
        "--seconds",
        "2",
        "--doublings",
        "1",
        "--processes",
        "3",
        "--source",
        "127.0.0.0/28",
        "--server-pid",
        &pid,
    ]);
    assert_eq!((code, &report.invalid[..]), (0, &[][..]), "{report}");
    let users: Vec<u64> = report.plateaus.iter().map(|plateau| plateau.users).collect();
    assert_eq!(users, [40, 80], "{report}");
    let totals = report.totals;
    assert_eq!((totals.received, totals.expected), (totals.sent, totals.sent), "{report}");
    assert_eq!((totals.opened, totals.wrong, totals.lost), (80, 0, 0), "{report}");
    for plateau in &report.plateaus {
        let share = plateau.received_per_second / (plateau.users as f64 * 20.0);
        assert!((0.9..1.1).contains(&share) && plateau.latency_p50_ms > 0.0, "{report}");
        assert!(plateau.server_cores.is_some_and(|cores| cores > 0.0), "{report}");
    }
    assert!(report.latency.len() > 1000, "{report}");
    assert!(report.slices.iter().any(|slice| slice.server_resident_bytes > Some(1 << 20)));
}

#[test]
fn pings_of_idle_connections_are_answered() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--cores", "0"]);
    command.args(["--echo", "/echo"]);
    let pings = Some(("RINGGATE_HEARTBEAT_PING", "300ms"));
    let (_gateway, address, _) = Process::spawn_with(&mut command, pings).addresses();
    let (code, report) = measured(&[
        "idle",
        "--server",
        &url(address, "/echo"),
        "--users",
        "100",
        "--ramp-seconds",
        "0.5",
        "--seconds",
        "3",
    ]);
    assert_eq!((code, report.failures.len()), (0, 0), "{report}");
    assert!(report.plateaus[0].open_least == 100 && report.totals.pings >= 500, "{report}");
}

#[test]
fn plain_tcp_is_measured_too() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut buffer = [0; 1000];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..len]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let (code, report) = measured(&[
        "echo",
        "--raw",
        "--server",
        &url(address, "/"),
        "--users",
        "5",
        "--ramp-seconds",
        "0.2",
        "--seconds",
        "1",
    ]);
    assert_eq!((code, report.totals.wrong), (0, 0), "{report}");
    assert!(report.totals.sent > 100 && report.totals.received == report.totals.sent, "{report}");
}

#[test]
fn a_server_that_dies_is_told_and_no_fault_of_the_load() {
    let (mut gateway, address, admin) = Process::serve(&["--echo", "/echo"]);
    let url = url(address, "/echo");
    let load = thread::spawn(move || {
        measured(&[
            "echo",
            "--server",
            &url,
            "--users",
            "50",
            "--rate",
            "50",
            "--ramp-seconds",
            "0.3",
            "--seconds",
            "3",
        ])
    });
    until_connections(admin, 50);
    gateway.child.kill().expect("it is there");
    let (code, report) = load.join().expect("a report");
    assert_eq!((code, report.failures.values().sum::<u64>()), (0, 50), "{report}");
    let totals = report.totals;
    assert_eq!(totals.expected, totals.received + totals.lost, "{report}");
}

/// Awaits that so many clients are there.
fn until_connections(admin: SocketAddr, count: u32) {
    let (deadline, wanted) =
        (Instant::now() + PATIENCE, format!("ringgate_connections{{shard=\"0\"}} {count}\n"));
    while !http_get(admin, "/metrics").1.contains(&wanted) {
        assert!(Instant::now() < deadline, "{}", http_get(admin, "/metrics").1);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn ctrl_c_reports_what_was_measured_until_then() {
    let (_gateway, address, admin) = Process::serve(&["--echo", "/echo"]);
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("report.json");
    let server = url(address, "/echo");
    let run = [
        "bench",
        "echo",
        "--server",
        &server,
        "--users",
        "50",
        "--rate",
        "10",
        "--ramp-seconds",
        "0.2",
        "--seconds",
        "600",
        "--processes",
        "2",
        "--json",
        json.to_str().expect("a path"),
    ];
    let mut load = Process::start(&run);
    until_connections(admin, 50);
    load.signal("INT");
    let (code, took) = load.ended();
    let report = Report::from_json(&std::fs::read_to_string(&json).expect("a report"));
    let report = report.expect("a report");
    assert!(code == Some(0) && took < PATIENCE && report.interrupted, "{code:?} {report}");
    assert_eq!(report.totals.opened, 50, "{report}");
    until_connections(admin, 0);
}

#[test]
fn a_server_that_stops_answering_makes_the_result_invalid() {
    let (gateway, address, admin) = Process::serve(&["--echo", "/echo"]);
    let url = url(address, "/echo");
    let load = thread::spawn(move || {
        measured(&[
            "echo",
            "--server",
            &url,
            "--users",
            "10",
            "--rate",
            "10",
            "--ramp-seconds",
            "0.2",
            "--seconds",
            "2",
        ])
    });
    until_connections(admin, 10);
    gateway.signal("STOP");
    let (code, report) = load.join().expect("a report");
    gateway.signal("CONT");
    assert!(
        code == 1 && report.invalid.iter().any(|why| why.contains("have not come")),
        "{report}"
    );
}

#[test]
fn a_process_of_the_load_that_dies_is_an_error() {
    let (_gateway, address, admin) = Process::serve(&["--echo", "/echo"]);
    let server = url(address, "/echo");
    let run = [
        "bench",
        "idle",
        "--server",
        &server,
        "--users",
        "20",
        "--seconds",
        "600",
        "--ramp-seconds",
        "0.2",
    ];
    let mut load = Process::start(&run);
    until_connections(admin, 20);
    let id = load.child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
    let child = children.expect("its children").trim().to_owned();
    assert!(Command::new("kill").args(["-KILL", &child]).status().expect("kill").success());
    let (code, _) = load.ended();
    assert!(
        code == Some(1) && load.said.iter().any(|line| line.contains("died before")),
        "{:?}",
        load.said
    );
}

/// A server that says `answer` to whatever it is asked, and closes.
fn rude(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn servers_that_are_none_are_named_before_the_run() {
    let absent = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let (_gateway, gateway, _) = Process::serve(&[]);
    for (server, words) in [
        (url(absent, "/"), ["Connection refused", "is the server running?"]),
        (url(rude(b""), "/"), ["closed without", "is it a WebSocket server?"]),
        (
            url(rude(b"220 smtp ready\r\n"), "/"),
            ["broke the protocol", "is it a WebSocket server?"],
        ),
        (
            url(rude(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), "/"),
            ["HTTP 200", "does not take"],
        ),
        (url(gateway, "/nowhere"), ["HTTP 404", "--echo"]),
    ] {
        let (code, said) = refused(&["idle", "--server", &server]);
        assert!(code == 1 && words.iter().all(|word| said.contains(word)), "{server}: {said}");
    }
}

#[test]
fn limits_that_are_too_low_are_named_with_what_mends_them() {
    let program = env!("CARGO_BIN_EXE_ringgate");
    let low = format!("ulimit -n 300; exec {program} bench idle --users 1000");
    let output = Command::new("/bin/sh").args(["-c", &low]).output().expect("a shell");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("hard limit of nofile is 300") && text.contains("--processes 6"),
        "{text}"
    );
    let (code, text) = refused(&["idle", "--users", "100000", "--processes", "32"]);
    assert!(code == 1 && text.contains("--source with"), "{text}");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (args, word) in [
        (&["idle", "--stages", "3m"][..], "LENGTH:USERS"),
        (&["idle", "--stages", "1s:0"], "no stage has a user"),
        (&["idle", "--stages", "1s:5", "--users", "7"], "cannot be used with"),
        (&["idle", "--processes", "0"], "1..=256"),
        (&["idle", "--cores", "9999"], "--cores 9999"),
        (&["idle", "--server", "http://127.0.0.1/"], "ws://"),
        (&["echo", "--payload-bytes", "3"], "8..=1048576"),
        (&["nonsense"], "unrecognized subcommand"),
    ] {
        let (code, said) = refused(args);
        assert!(code == 2 && said.contains(word), "{args:?}: {said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_ringgate"))
        .arg("bench-generator")
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert!(output.status.code() == Some(2) && said(&output).contains("no order"), "{output:?}");
}

#[test]
fn reports_of_other_versions_are_refused() {
    for (text, word) in [
        ("{}", "no \"format\""),
        (r#"{"format":7}"#, "its format is 7"),
        ("rubbish", "no report"),
        (r#"{"format":1}"#, "missing field"),
    ] {
        let error = Report::from_json(text).expect_err("no report");
        assert!(error.contains(word), "{error}");
    }
}
