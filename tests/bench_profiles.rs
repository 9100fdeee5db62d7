//! The profiles of `ringgate bench` that provoke a server, each with the real program against a
//! gateway, and against servers that behave badly.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use ringgate::bench::report::Report;

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::{client::PATIENCE, gateway::http_get, process::Process, redis::RedisServer};
use tungstenite::handshake::derive_accept_key;

/// One run of `ringgate bench`.
struct Bench {
    report: Option<Report>,
    output: Output,
}

impl Bench {
    fn run(profile: &str, server: &str, args: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let json = directory.path().join("report.json");
        let output = Command::new(env!("CARGO_BIN_EXE_ringgate"))
            .args(["bench", profile, "--server", server])
            .args(args.split_whitespace())
            .arg("--json")
            .arg(&json)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("it runs");
        let report = std::fs::read_to_string(json).ok();
        let report = report.map(|text| Report::from_json(&text).expect("a report"));
        Self { report, output }
    }

    /// What is wrong with the run, and the report for people.
    fn said(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&self.output.stderr) + &text(&self.output.stdout)
    }

    fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("no report: {}", self.said()))
    }

    fn count(&self, name: &str) -> u64 {
        self.report().counts.get(name).copied().unwrap_or(0)
    }

    fn times(&self, name: &str) -> u64 {
        self.report().times.get(name).map_or(0, |times| times.len())
    }

    fn figure(&self, name: &str) -> Option<f64> {
        self.report().figures.iter().find(|figure| figure.name == name).map(|figure| figure.value)
    }

    /// The reasons for which it is invalid, but for those that a machine gives which is busy with
    /// other tests.
    fn objections(&self) -> Vec<&String> {
        let is_busy =
            |why: &&String| !why.contains("measured itself") && !why.contains("fell behind");
        self.report().invalid.iter().filter(is_busy).collect()
    }

    /// It could not even begin.
    #[track_caller]
    fn assert_refused(&self, code: i32, word: &str) {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.said());
        assert!(self.report.is_none() && self.said().contains(word), "{}", self.said());
    }
}

/// What a server that is no gateway does with a connection.
#[derive(Clone, Copy)]
enum Manner {
    /// Takes it and keeps it.
    Keep,
    /// Takes it and closes it.
    Close,
    /// HTTP 503, come back in a second.
    Refuse,
}

/// A server with manners for each connection, in order; where to reach it.
fn server(manner: impl Fn(usize) -> Manner + Clone + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    let nth = Arc::new(AtomicUsize::new(0));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (nth, manner) = (nth.fetch_add(1, Relaxed), manner.clone());
            thread::spawn(move || drop(serve(stream, manner(nth))));
        }
    });
    url(address, "/")
}

fn serve(mut stream: TcpStream, manner: Manner) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let refusal = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";
    if matches!(manner, Manner::Refuse) {
        return stream.write_all(refusal.as_bytes());
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes())?;
    match manner {
        Manner::Keep => std::io::copy(&mut stream, &mut std::io::sink()).map(drop),
        Manner::Close | Manner::Refuse => Ok(()),
    }
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("ws://{address}{path}")
}

/// A gateway whose link to Redis is up: before that it refuses everybody.
fn on_redis(redis: &RedisServer, args: &[&str]) -> (Process, SocketAddr) {
    let (gateway, address, admin) =
        Process::serve(&[&["--redis", redis.url().as_str()], args].concat());
    let deadline = Instant::now() + PATIENCE;
    while !http_get(admin, "/readyz").0.starts_with("HTTP/1.1 200 ") {
        assert!(Instant::now() < deadline, "it does not become ready");
        thread::park_timeout(Duration::from_millis(5));
    }
    (gateway, address)
}

#[test]
fn after_a_storm_everyone_is_back_through_refusals() {
    // The look before the run, twenty who come, and of those who come back the first ten.
    let server = server(|nth| if (21..31).contains(&nth) { Manner::Refuse } else { Manner::Keep });
    let bench = Bench::run(
        "storm",
        &server,
        "--users 20 --ramp-seconds 0.5 --seconds 3.5 --at-seconds 0.5 --processes 2 \
         --source 127.0.0.0/28",
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    assert_eq!((bench.count("dropped"), bench.times("reconnected")), (20, 20), "{}", bench.said());
    assert_eq!(bench.figure("came back"), Some(100.0));
    let [half, all] = ["50 % back", "100 % back"].map(|name| bench.figure(name).expect("a time"));
    // Half of them were asked to wait for a second, and wait a little longer.
    assert!(half < 900.0 && (1_000.0..2_500.0).contains(&all), "{half} {all}");
    assert_eq!(bench.report().failures["refused with HTTP 503"], 10);
    assert_eq!(bench.count("attempts to come back"), 30, "{}", bench.said());
    assert!(bench.said().contains("100 % back"), "{}", bench.said());
}

/// The gateway asks for more patience than the run has.
#[test]
fn a_storm_that_the_run_cuts_short_is_invalid() {
    let (_gateway, address, _) = Process::serve(&["--echo", "/echo", "--accepts-per-second", "10"]);
    let bench = Bench::run(
        "storm",
        &url(address, "/echo"),
        "--users 15 --ramp-seconds 2 --seconds 2 --at-seconds 1.5",
    );
    let back = bench.times("reconnected");
    let trying = bench.count("still trying at the end");
    assert!(back >= 10 && trying > 0 && back + trying == 15, "{}", bench.said());
    let objections = bench.objections();
    assert!(objections.len() == 1 && objections[0].contains("still trying"), "{objections:?}");
}

#[test]
fn several_storms_are_told_apart() {
    let (_gateway, address, _) = Process::serve(&["--echo", "/echo"]);
    let bench = Bench::run(
        "storm",
        &url(address, "/echo"),
        "--users 20 --ramp-seconds 1 --seconds 20 --at-seconds 5 --times 2 --time-scale 10",
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    for storm in ["storm 1", "storm 2"] {
        assert_eq!(bench.times(&format!("reconnected, {storm}")), 20, "{}", bench.said());
        assert_eq!(bench.count(&format!("dropped, {storm}")), 20);
        assert!(bench.figure(&format!("100 % back, {storm}")).is_some());
    }
}

#[test]
fn a_storm_on_a_server_that_takes_nobody_back_ends() {
    // One for the look before the run, and ten who are there.
    let server = server(|nth| if nth < 11 { Manner::Keep } else { Manner::Refuse });
    let bench = Bench::run(
        "storm",
        &server,
        "--users 10 --ramp-seconds 0.2 --seconds 3 --at-seconds 0.3 --attempts 2 --backoff-ms 10",
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    assert_eq!(bench.figure("came back"), Some(0.0), "{}", bench.said());
    assert_eq!(bench.figure("50 % back"), None);
    assert_eq!((bench.count("gave up"), bench.count("attempts to come back")), (10, 20));
    assert_eq!(bench.report().failures["refused with HTTP 503"], 20);
}

#[test]
fn a_server_that_closes_at_once_is_not_knocked_at_for_ever() {
    let server = server(|_| Manner::Close);
    let bench = Bench::run(
        "storm",
        &server,
        "--users 5 --ramp-seconds 0.2 --seconds 2 --at-seconds 1.5 --attempts 4 --backoff-ms 1",
    );
    assert_eq!((bench.count("gave up"), bench.report().totals.begun), (5, 20), "{}", bench.said());
    let away = bench.objections();
    assert!(away.len() == 1 && away[0].contains("had no connection"), "{away:?}");
}

#[test]
fn zombies_are_closed_and_the_others_served() {
    let (_gateway, address, _) = Process::serve(&[
        "--echo",
        "/echo",
        "--ping",
        "200ms",
        "--idle",
        "700ms",
        "--close-deadline",
        "300ms",
    ]);
    let bench = Bench::run(
        "zombies",
        &url(address, "/echo"),
        "--users 20 --ramp-seconds 0.2 --seconds 1 --at-seconds 0.5 --patience-seconds 4 \
         --percent 25 --rate 4 --processes 2",
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    assert_eq!((bench.count("vanished"), bench.count("never closed")), (5, 0), "{}", bench.said());
    assert_eq!((bench.times("closed"), bench.count("closed, told first")), (5, 5));
    let closed = &bench.report().times["closed"];
    // Silence is counted from the last word that was heard, which is before they vanish.
    assert!((300.0..3_000.0).contains(&closed.quantile_ms(1.0)), "{}", bench.said());
    let report = bench.report();
    assert!(report.failures.is_empty() && report.plateaus[0].received > 50, "{}", bench.said());
    assert!(report.totals.pings > 0 && report.plateaus[0].open_least == 15, "{}", bench.said());
}

#[test]
fn zombies_that_a_server_never_closes_are_counted() {
    let server = server(|_| Manner::Keep);
    let bench = Bench::run(
        "zombies",
        &server,
        "--quiet --users 8 --ramp-seconds 0.2 --seconds 0.5 --at-seconds 0.3 --patience-seconds 1 \
         --percent 100",
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    assert_eq!((bench.count("vanished"), bench.count("never closed")), (8, 8), "{}", bench.said());
    assert_eq!(bench.times("closed"), 0);
}

#[test]
fn the_capacity_of_a_gateway_with_a_limit_is_found() {
    let (_gateway, address, _) = Process::serve(&["--echo", "/echo", "--connections", "50"]);
    let bench = Bench::run(
        "capacity",
        &url(address, "/echo"),
        "--users 30 --ramp-seconds 0.2 --seconds 0.5 --rate 0.001 --precision 30 --p99-ms 5000",
    );
    let held = bench.figure("capacity").unwrap_or_else(|| panic!("{}", bench.said()));
    assert!((39.0..=50.0).contains(&held), "{}", bench.said());
    let notes = &bench.report().notes;
    assert!(notes[0] == "30 users held" && notes[1].contains("60 users did not hold"), "{notes:?}");
    assert!(notes[1].contains("refused with HTTP 503"), "{notes:?}");
    assert_eq!(bench.report().plateaus.len(), notes.len(), "{}", bench.said());
    assert_eq!(bench.objections(), [""; 0]);
}

#[test]
fn sessions_of_tasks_are_complete_with_a_worker_of_the_load() {
    let redis = RedisServer::start();
    let (_gateway, address) = on_redis(&redis, &[]);
    let worker = format!("--worker-redis {} --worker-delay-ms 5", redis.url());
    let bench = Bench::run(
        "tasks",
        &url(address, "/ws/asr"),
        &format!(
            "--users 6 --ramp-seconds 0.2 --seconds 1 --chunks 3 --chunk-bytes 320 --sessions 4 \
             --sessions-per-connection 2 --processes 2 {worker}"
        ),
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    assert_eq!((bench.count("sessions complete"), bench.count("users done")), (24, 6));
    assert_eq!(bench.figure("complete"), Some(100.0));
    let totals = bench.report().totals;
    assert_eq!((totals.sent, totals.received, totals.lost, totals.wrong), (72, 72, 0, 0));
    assert_eq!((totals.opened, bench.times("ack"), bench.times("finish")), (12, 72, 24));
    let mut connection = support::stage::commands(&redis);
    let clients: String = redis::cmd("CLIENT").arg("LIST").query(&mut connection).expect("a list");
    assert!(!clients.contains("blpop"), "the worker is gone: {clients}");
}

#[test]
fn paced_chunks_in_a_stream_have_their_time() {
    let redis = RedisServer::start();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let route = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nqueue = { mode = \"stream\" }\n";
    std::fs::write(file.path(), route).expect("written");
    let path = file.path().display().to_string();
    let (_gateway, address) = on_redis(&redis, &["--config", &path]);
    let bench = Bench::run(
        "tasks",
        &url(address, "/ws/asr"),
        &format!(
            "--users 2 --ramp-seconds 0.2 --seconds 1.5 --chunks 5 --chunk-bytes 32 --chunk-ms 100 \
             --worker-mode stream --worker-redis {}",
            redis.url()
        ),
    );
    assert_eq!(bench.objections(), [""; 0], "{}", bench.said());
    // Whole sessions of 400 ms, and a shorter one when the stages end.
    let complete = bench.count("sessions complete");
    assert!(
        (4..=10).contains(&complete) && bench.count("sessions partial") == 0,
        "{}",
        bench.said()
    );
    let totals = bench.report().totals;
    assert!(totals.sent == totals.received && totals.sent < 60, "{}", bench.said());
}

#[test]
fn without_a_worker_sessions_are_partial_and_the_result_invalid() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let route = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nchunk_deadline = \"1s\"\n\
                 finish_deadline = \"1s\"\n";
    std::fs::write(file.path(), route).expect("written");
    let redis = RedisServer::start();
    let path = file.path().display().to_string();
    let (_gateway, address) = on_redis(&redis, &["--config", &path]);
    let args = "--users 3 --ramp-seconds 0.2 --seconds 2 --chunks 2 --sessions 1";
    let bench = Bench::run("tasks", &url(address, "/ws/asr"), args);
    assert_eq!(bench.count("sessions partial"), 3, "{}", bench.said());
    assert_eq!((bench.report().totals.lost, bench.times("ack")), (6, 6), "{}", bench.said());
    let objections = bench.objections();
    assert!(objections.len() == 1 && objections[0].contains("does a worker"), "{objections:?}");
    assert_eq!(bench.output.status.code(), Some(1));
}

#[test]
fn sessions_that_are_not_let_in_or_not_answered_have_figures_of_their_own() {
    // The look before the run; then one user is let in, and never answered.
    let server = server(|nth| if nth < 2 { Manner::Keep } else { Manner::Refuse });
    let bench = Bench::run(
        "tasks",
        &server,
        "--users 5 --ramp-seconds 0.2 --seconds 1 --sessions 1 --session-seconds 0.5",
    );
    let counts = ["refused", "failed", "partial", "complete"]
        .map(|name| bench.count(&format!("sessions {name}")));
    assert_eq!(counts, [4, 1, 0, 0], "{}", bench.said());
    assert_eq!(bench.report().failures["session: no final result in time"], 1);
}

#[test]
fn what_cannot_work_is_said_before_the_run() {
    let server = server(|_| Manner::Keep);
    let late = "--users 2 --seconds 2 --at-seconds 3";
    Bench::run("storm", &server, late).assert_refused(2, "the stage of 2 users is 2.0 s long");
    Bench::run("storm", &server, "--stages 1s:5").assert_refused(2, "--stages");
    let short = "--stages 1s:5,10s:5 --patience-seconds 30";
    Bench::run("zombies", &server, short).assert_refused(2, "--patience-seconds");
    Bench::run("capacity", &server, "--users 50 --most 10").assert_refused(2, "--most 10");
    Bench::run("capacity", &server, "--stages spike").assert_refused(2, "--users");
    let away = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port");
    let worker = format!("--worker-redis redis://:secret@{away}/0");
    let bench = Bench::run("tasks", &server, &worker);
    bench.assert_refused(1, "--worker-redis redis://:***@");
    assert!(!bench.said().contains("secret"), "{}", bench.said());
}
