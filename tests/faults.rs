//! Faults of the system that this one replaces which only show in a whole process
//! (docs/faults.md names the test of each).

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use ringgate::metrics::Refused;
use serde_json::Value;
use support::{
    client::{Client, PATIENCE, silence},
    gateway::{TestGateway, http_get},
    process::Process,
    redis::RedisServer,
    stage::{commands, gateway_on},
};

const ECHO: &str = "/echo";

/// Fault 2: a limit of 5 was in force where the file said 1000: a stale variable won, and
/// later a constant in the code. What is in force is logged and shown with its source, and
/// it is what is enforced, whichever source it came from.
#[test]
fn fault_2_the_limit_in_force_is_the_one_that_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ringgate.toml");
    std::fs::write(&file, "[limits]\nconnections = 6\n").expect("written");
    let file = file.to_str().expect("a path");
    let variable = "RINGGATE_LIMITS_CONNECTIONS";
    let cases: [(Option<&str>, &[&str], usize, &str); 3] = [
        (None, &[], 6, "file "),
        (Some("5"), &[], 5, "environment RINGGATE_LIMITS_CONNECTIONS"),
        (Some("5"), &["--connections", "7"], 7, "flag --connections"),
    ];
    for (environment, flags, limit, source) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--cores", "0", "--echo", ECHO, "--config", file]).args(flags);
        let environment = environment.map(|value| (variable, value));
        let process = Process::spawn_with(&mut command, environment);
        let (process, address, admin) = process.addresses();
        let logged = format!("config: limits.connections = {limit} ({source}");
        assert!(process.said.iter().any(|line| line.contains(&logged)), "{:#?}", process.said);
        let (_, config) = http_get(admin, "/config");
        let values: Vec<Value> = serde_json::from_str(&config).expect("JSON");
        let shown = values.iter().find(|v| v["key"] == "limits.connections").expect("shown");
        assert_eq!(shown["value"], limit.to_string());
        assert!(shown["source"].as_str().is_some_and(|s| s.starts_with(source)), "{shown}");
        let inside: Vec<_> = (0..limit).map(|_| Client::connect(address, ECHO)).collect();
        let refusal = Client::try_connect(address, ECHO).err().expect("that many and no more");
        assert_eq!(
            (refusal.status, refusal.body["code"].as_str()),
            (503, Some("connection_limit"))
        );
        drop(inside);
    }
}

/// Fault 2, where it is the host that has not room for the default: what is shown then is
/// what is in force.
#[test]
fn fault_2_a_default_that_the_host_lowers_is_shown_lowered() {
    let (process, _, admin) = Process::serve_with_descriptors(1_000, &[]);
    let (_, config) = http_get(admin, "/config");
    let values: Vec<Value> = serde_json::from_str(&config).expect("JSON");
    let shown = values.iter().find(|v| v["key"] == "limits.connections").expect("shown");
    let limit: usize = shown["value"].as_str().and_then(|v| v.parse().ok()).expect("a number");
    assert!(limit < 1_000, "{shown}");
    assert!(shown["source"].as_str().is_some_and(|s| s.contains("lowered")), "{shown}");
    let logged = format!("going on with {limit}");
    assert!(process.said.iter().any(|line| line.contains(&logged)), "{:#?}", process.said);
}

/// Fault 3: `LOG_LEVEL=debug` in lower case killed the worker at its start.
#[test]
fn fault_3_both_programs_start_with_a_log_level_in_any_case() {
    let redis = RedisServer::start();
    for level in ["debug", "DEBUG", "Debug"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--cores", "0"]);
        let process = Process::spawn_with(&mut command, Some(("RINGGATE_LOG_LEVEL", level)));
        let (process, ..) = process.addresses();
        let logged = "config: log_level = debug (environment RINGGATE_LOG_LEVEL)";
        assert!(process.said.iter().any(|line| line.contains(logged)), "{:#?}", process.said);

        let mut worker = Process::start(&["worker", "--redis", &redis.url(), "--log-level", level]);
        worker.until("ringgate");
        worker.signal("TERM");
        assert_eq!(worker.ended().0, Some(0), "{:#?}", worker.said);
    }
}

/// Fault 5: gateway and worker were on different queue names: nothing worked while every
/// health check was green. The gateway says what it reads, is not ready while nobody
/// works on its own queue, and lets nobody in who would wait in vain.
#[test]
fn fault_5_a_worker_on_another_queue_leaves_the_gateway_not_ready() {
    let redis = RedisServer::start();
    let file = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nqueue = { mode = \"stream\" }\n\
                require_workers = true\n";
    let gateway = gateway_on(&redis, "0", &[], Some(file));
    let mut ask = commands(&redis);
    let mut consumer = |key: &str| {
        let group = ["CREATE", key, "asr_workers", "0", "MKSTREAM"];
        let _: redis::RedisResult<()> = redis::cmd("XGROUP").arg(&group).query(&mut ask);
        let create = ["CREATECONSUMER", key, "asr_workers", "w"];
        redis::cmd("XGROUP").arg(&create).exec(&mut ask).expect("created");
    };
    consumer("asr_task");
    let reason = "route /ws/asr: no live worker reads the queue asr_tasks";
    let ready = |g: &TestGateway| g.admin_get("/readyz");
    gateway.until("it is said", |g| ready(g).1.contains(reason));
    assert!(ready(&gateway).0.contains(" 503 "), "{:?}", ready(&gateway));
    let refusal = Client::try_connect(gateway.address, "/ws/asr").err().expect("in vain");
    assert_eq!((refusal.status, refusal.body["code"].as_str()), (503, Some("no_workers")));
    assert!(gateway.admin_get("/healthz").0.contains(" 200 "), "the process itself is well");
    consumer("asr_tasks");
    gateway.until("ready", |g| ready(g).0.contains(" 200 "));
    Client::connect(gateway.address, "/ws/asr").close();
}

/// Fault 13: health checks counted against the connection limit and got 503 when full. Here
/// every place is taken, and so many are asked at once that they would not fit either.
#[test]
fn fault_13_health_is_answered_while_every_place_is_taken() {
    let flags = [("connections", "2"), ("echo", ECHO)];
    let gateway = TestGateway::start("0", &flags);
    let inside = [Client::connect(gateway.address, ECHO), Client::connect(gateway.address, ECHO)];
    assert!(Client::try_connect(gateway.address, ECHO).is_err());
    let checks: Vec<_> = (0..50).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    gateway.until("all at once", |g| g.sum(|m| m.connections.handshaking.get()) == 50);
    for mut check in checks {
        check.set_read_timeout(Some(PATIENCE)).unwrap();
        check.write_all(b"GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut answer = String::new();
        check.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(gateway.admin_get("/readyz").0.contains(" 200 "));
    let refused = |reason| gateway.sum(|m| m.connections.refused(reason).get());
    assert_eq!(Refused::ALL.map(refused).iter().sum::<u64>(), 1, "the third client alone");
    inside.into_iter().for_each(Client::close);
    gateway.until_quiet();
}

/// Fault 11: a malformed result killed the process, which here runs with everything that a
/// release has (panics included) and goes on.
#[test]
fn fault_11_malformed_results_leave_the_process_alone() {
    let redis = RedisServer::start();
    let (mut process, address, admin) = Process::serve(&["--redis", &redis.url()]);
    let up = |admin| http_get(admin, "/readyz").0.contains(" 200 ");
    let deadline = std::time::Instant::now() + PATIENCE;
    while !up(admin) {
        assert!(std::time::Instant::now() < deadline, "never ready");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    let mut client = Client::connect(address, "/ws/asr");
    client.start("s");
    client.chunk("s", 0, &silence(1));
    assert_eq!(client.receive()["status"], "received");
    let mut worker = commands(&redis);
    let deep = "[".repeat(200_000);
    let payloads: [&[u8]; 9] = [
        b"",
        b"\xff\xfe",
        b"null",
        b"{\"chunk_index\":",
        b"{\"chunk_index\":18446744073709551616,\"text\":\"x\"}",
        b"{\"chunk_index\":-1,\"text\":\"x\"}",
        b"{\"chunk_index\":0,\"text\":{}}",
        b"{\"chunk_index\":0.5,\"text\":\"x\"}",
        deep.as_bytes(),
    ];
    for payload in payloads {
        support::stage::publish(&mut worker, "s", payload);
    }
    support::stage::publish(&mut worker, "s", &support::stage::result(0, "well"));
    assert_eq!(client.receive()["text"], "well");
    assert!(process.child.try_wait().expect("a status").is_none(), "it runs");
    let (_, metrics) = http_get(admin, "/metrics");
    let counted = r#"ringgate_results_total{shard="0",outcome="malformed"} 9"#;
    assert!(metrics.lines().any(|line| line == counted), "{metrics}");
    process.signal("TERM");
    client.close();
    assert_eq!(process.ended().0, Some(0), "{:#?}", process.said);
}
