//! The program as a process: signals, exit codes, ports, and what its messages say.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use support::{
    client::{Client, PATIENCE, heard, masked, raw_upgraded, silence},
    gateway::http_get,
    process::Process,
    redis::RedisServer,
    stage::{Worker, commands, publish, result},
};
use tungstenite::Message;

/// A run that ends by itself: exit code, standard output, standard error.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    let output = command.args(args).env_clear().stdin(Stdio::null()).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Fault 14: SIGTERM dropped every connection at once.
#[test]
fn fault_14_sigterm_drops_nobody_but_tells_everyone_1012() {
    let (mut process, address, _) = Process::serve(&["--echo", "/echo", "--drain", "500ms"]);
    let clients: Vec<_> = (0..10).map(|_| Client::connect(address, "/echo")).collect();
    process.signal("TERM");
    let codes: Vec<_> = clients.into_iter().map(Client::close_code).collect();
    assert_eq!(codes, [1012; 10]);
    assert_eq!(process.ended().0, Some(0), "{:#?}", process.said);
    assert!(TcpStream::connect(address).is_err(), "the listener is closed");
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let (mut process, address, admin) = Process::serve(&["--drain", "1h"]);
    let mut client = Client::connect(address, "/ws/asr");
    // Open work, which a drain of an hour waits for.
    client.start("unfinished");
    process.signal("TERM");
    process.until("draining");
    let (head, body) = http_get(admin, "/readyz");
    assert!(head.contains(" 503 ") && body.contains("draining"), "{head} {body}");
    assert!(process.child.try_wait().unwrap().is_none(), "it waits for the session");
    process.signal("TERM");
    let (code, took) = process.ended();
    assert_eq!(code, Some(0), "{:#?}", process.said);
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// A client that neither reads nor answers costs a drain its deadlines and no more.
#[test]
fn a_stuck_client_does_not_keep_a_drain() {
    let deadlines = ["--drain", "300ms", "--close-deadline", "500ms"];
    let (mut process, address, _) =
        Process::serve(&[&["--echo", "/echo"], &deadlines[..]].concat());
    let mut stuck = raw_upgraded(address, "/echo");
    stuck.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    // Until neither its socket nor the gateway takes any more.
    let frames = masked(0x82, &[7; 125]).repeat(1000);
    while stuck.write_all(&frames).is_ok() {}
    process.signal("TERM");
    let (code, took) = process.ended();
    assert_eq!(code, Some(0), "{:#?}", process.said);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// A request that is under way when the gateway drains is answered, not cut off.
#[test]
fn a_handshake_under_way_is_refused_with_draining() {
    let (process, address, _) = Process::serve(&["--echo", "/echo"]);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /echo HTTP/1.1\r\n").unwrap();
    // Answered after the first one was accepted.
    let _later = Client::connect(address, "/echo");
    process.signal("TERM");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("draining"), "{answer}");
    assert!(answer.contains("Retry-After: "), "{answer}");
}

/// A process that was stopped (a debugger, a frozen cgroup) does not take its clients for
/// silent: it was itself that did not listen.
#[test]
fn clients_survive_a_process_that_stood_still() {
    let (process, address, _) =
        Process::serve(&["--echo", "/echo", "--ping", "500ms", "--idle", "2s"]);
    let mut client = Client::connect(address, "/echo");
    process.signal("STOP");
    // Time itself is the condition: longer than --idle, and nothing can be awaited of a process
    // that is stopped.
    thread::sleep(Duration::from_millis(2_500));
    client.socket.send(Message::text("still here")).expect("sent");
    process.signal("CONT");
    loop {
        match client.socket.read().expect("a message") {
            Message::Text(text) => break assert_eq!(text.as_str(), "still here"),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_port_in_use_exits_with_1_and_names_option_address_and_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (option, other) in [("listen", "--admin"), ("admin", "--listen")] {
        let flag = format!("--{option}");
        let (code, _, error) =
            run(&["serve", &flag, &address, other, "127.0.0.1:0", "--cores", "0"]);
        assert_eq!(code, Some(1), "{error}");
        let last = error.lines().last().unwrap_or_default();
        for part in [option, &*address, "choose another"] {
            assert!(last.contains(part), "{part:?} is not in: {last}");
        }
    }
}

#[test]
fn a_broken_file_exits_with_2_and_names_file_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.toml");
    let path = path.to_str().unwrap();
    for (text, line) in [("listen = \n", 1), ("[limits]\nconections = 5\n", 2)] {
        std::fs::write(path, text).unwrap();
        let (code, _, error) = run(&["serve", "--config", path]);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(&format!("{path}:{line}")), "{error}");
    }
}

#[test]
fn connections_past_the_descriptor_limit_exit_with_2() {
    let program = env!("CARGO_BIN_EXE_ringgate");
    let script = format!("ulimit -n 1000; exec {program} serve --cores 0 --connections 5000");
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh");
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{error}");
    let last = error.lines().last().unwrap_or_default();
    for part in ["limits.connections = 5000", " 1000", "LimitNOFILE", "lower"] {
        assert!(last.contains(part), "{part:?} is not in: {last}");
    }
}

/// Accepting ends when there is no descriptor left, and goes on when there are again.
#[test]
fn accepting_survives_a_lack_of_descriptors() {
    let (mut process, address, admin) = Process::serve_with_descriptors(100, &["--echo", "/echo"]);
    let crowd: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    process.until("accepting pauses");
    drop(crowd);
    let mut client = Client::connect(address, "/echo");
    client.socket.send(Message::text("in")).expect("sent");
    assert_eq!(client.socket.read().expect("an echo").into_text().unwrap().as_str(), "in");
    let (_, metrics) = http_get(admin, "/metrics");
    let errors = metrics.lines().find(|line| line.starts_with("ringgate_accept_errors_total{"));
    assert!(errors.is_some_and(|line| !line.ends_with(" 0")), "{errors:?}");
}

#[test]
fn demo_once_prints_results_and_the_merged_text() {
    let (code, out, error) =
        run(&["demo", "--once", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    assert_eq!(code, Some(0), "{error}");
    let results = out.lines().filter(|line| line.contains("dBFS") && line.starts_with("  "));
    assert!(results.count() >= 15, "{out}");
    assert!(out.contains("complete: true"), "{out}");
    let merged = out.lines().find_map(|line| line.strip_prefix("merged: ")).expect("merged");
    assert!(merged.matches("dBFS").count() >= 15, "{merged}");
    let (_, live) = out.split_once("\nlive from ws://127.0.0.1:").expect("the topics");
    let ticks: Vec<&str> = live.lines().skip(1).collect();
    assert!(ticks.len() >= 6, "{out}");
    assert!(ticks.iter().all(|tick| tick.ends_with(" ms after it was published")), "{out}");
}

/// The demo that goes on says how to subscribe, in words that can be copied.
#[test]
fn demo_says_how_to_use_its_topics() {
    // Its show on standard error, which is what the helper reads.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "exec \"$0\" \"$@\" 1>&2", env!("CARGO_BIN_EXE_ringgate")]);
    command.args(["demo", "--no-ticker", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    let mut process = Process::spawn(&mut command);
    process.until("dashboard: ");
    let said = process.said.join("\n");
    assert!(!said.contains("live from") && !said.contains("curl"), "{said}");
    let (_, rest) = said.split_once("topics: connect to ws://").expect("the route");
    let mut words = rest.lines();
    let address = words.next().and_then(|line| line.strip_suffix("/ws/topics and send"));
    let address = address.expect("where").parse().expect("an address");
    let mut client = Client::connect(address, "/ws/topics");
    client.send(serde_json::from_str(words.next().expect("what")).expect("JSON"));
    assert_eq!(client.receive(), json!({"op": "subscribed", "topics": ["AAPL", "AMZN"]}));
    client.close();
    process.signal("TERM");
    assert_eq!(process.ended().0, Some(0), "{:#?}", process.said);
}

#[test]
fn gateway_and_worker_processes_share_a_redis() {
    let server = RedisServer::start_with(&["--requirepass", "s3cret"]);
    let url = format!("redis://:s3cret@127.0.0.1:{}/0", server.port());
    let (mut gateway, address, admin) = Process::serve(&["--redis", &url]);
    let mut worker = Process::start(&["worker", "--redis", &url]);
    until_ready(admin);

    let mut client = Client::connect(address, "/ws/asr");
    client.start("through-redis");
    for index in 0..3 {
        client.chunk("through-redis", index, &[0; 3_200]);
    }
    client.finish("through-redis");
    let (before, last) = client.until_final();
    assert_eq!((&last["complete"], &last["chunk_count"]), (&json!(true), &json!(3)));
    assert_eq!(before.iter().filter(|message| message["type"] == "chunk_result").count(), 3);

    assert_eq!(http_get(admin, "/healthz").1, r#"{"status":"ok"}"#);
    let (_, config) = http_get(admin, "/config");
    let redis = serde_json::from_str::<Vec<Value>>(&config).expect("JSON");
    let redis = redis.iter().find(|value| value["key"] == "redis").expect("redis");
    assert!(redis["value"].as_str().is_some_and(|v| v.contains(":***@")), "{redis}");
    assert!(!config.contains("s3cret"));
    has_every_family(&http_get(admin, "/metrics").1);
    client.close();

    worker.signal("TERM");
    let (code, took) = worker.ended();
    assert_eq!(code, Some(0), "{:#?}", worker.said);
    assert!(took < Duration::from_secs(2), "{took:?}");
    gateway.signal("TERM");
    assert_eq!(gateway.ended().0, Some(0));
    let said = [&*gateway.said, &*worker.said].concat();
    assert!(!said.iter().any(|line| line.contains("s3cret")), "{said:#?}");
}

fn until_ready(admin: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while !http_get(admin, "/readyz").0.contains(" 200 ") {
        assert!(Instant::now() < deadline, "not ready: {}", http_get(admin, "/readyz").1);
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn has_every_family(metrics: &str) {
    for sample in [
        r#"ringgate_connections{shard="0"} 1"#,
        r#"ringgate_accepted_total{shard="0"} 1"#,
        r#"ringgate_refused_total{shard="0",reason="connection_limit"} 0"#,
        r#"ringgate_closed_total{shard="0",code="1000"} 0"#,
        r#"ringgate_sessions{shard="0"} 0"#,
        r#"ringgate_chunks_total{shard="0"} 3"#,
        r#"ringgate_acks_total{shard="0"} 4"#,
        r#"ringgate_results_total{shard="0",outcome="delivered"} 3"#,
        r#"ringgate_results_total{shard="0",outcome="duplicate"} 0"#,
        r#"ringgate_results_total{shard="0",outcome="orphaned"} 0"#,
        r#"ringgate_results_total{shard="0",outcome="late"} 0"#,
        r#"ringgate_redis_subscriptions{shard="0"} 0"#,
        r#"ringgate_redis_reconnects_total{shard="0"} 0"#,
    ] {
        assert!(metrics.lines().any(|line| line == sample), "{sample} is not in:\n{metrics}");
    }
}

/// The value of one series on the admin port.
fn metric(admin: SocketAddr, series: &str) -> u64 {
    let (_, text) = http_get(admin, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("no {series}")).trim().parse().expect("a number")
}

fn orphans(admin: SocketAddr) -> u64 {
    metric(admin, r#"ringgate_results_total{shard="0",outcome="orphaned"}"#)
}

/// Two nodes behind one load balancer, or by mistake on one Redis: each hears its own
/// results only. With a channel a shard even where clients chose the same session ids.
#[test]
fn results_of_two_gateways_on_one_redis_never_mix() {
    for results in ["per-session", "per-shard"] {
        let (redis, directory) = (RedisServer::start(), tempfile::tempdir().expect("a directory"));
        let file = directory.path().join("ringgate.toml");
        let route = "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"";
        std::fs::write(&file, format!("{route}\nresults = \"{results}\"\n")).expect("written");
        let args = ["--config", file.to_str().expect("a path"), "--redis", &redis.url()];
        let mut gateways = [Process::serve(&args), Process::serve(&args)];
        let nodes = gateways.each_ref().map(|(_, _, admin)| {
            let (_, text) = http_get(*admin, "/metrics");
            let line = text.lines().find(|line| line.starts_with("ringgate_node_info{"));
            line.expect("its name").to_owned()
        });
        assert_ne!(nodes[0], nodes[1]);
        let mut clients = gateways.each_ref().map(|(_, listen, admin)| {
            until("the broker is up", || metric(*admin, r#"ringgate_broker_up{shard="0"}"#) == 1);
            Client::connect(*listen, "/ws/asr")
        });
        let id = |gateway: usize, n: usize| match results {
            "per-session" => format!("g{gateway}-{n}"),
            _ => format!("s{n}"),
        };
        for (gateway, client) in clients.iter_mut().enumerate() {
            (0..10).for_each(|n| client.start(&id(gateway, n)));
        }
        let worker = Worker::start(&redis);
        for n in 0..10 {
            for (gateway, client) in clients.iter_mut().enumerate() {
                client.chunk(&id(gateway, n), 0, &silence(1 + 20 * gateway + n));
                client.finish(&id(gateway, n));
            }
        }
        for (gateway, client) in clients.iter_mut().enumerate() {
            for n in 0..10 {
                let (_, last) = client.until_final();
                assert_eq!(last["session_id"], id(gateway, n), "{results}: {last}");
                assert_eq!(last["text"], heard(1 + 20 * gateway + n), "{results}: {last}");
            }
        }
        for (process, _, admin) in &mut gateways {
            assert_eq!(orphans(*admin), 0, "{results}");
            let said = process.said.iter().find(|line| line.contains("node: "));
            let name = said.and_then(|line| line.rsplit(' ').next()).expect("its name");
            assert!(nodes.iter().any(|node| node.contains(name)), "{name} of {nodes:?}");
        }
        drop(worker);
    }
}

/// One desktop client sends a whole recording as one chunk just before its end.
#[test]
fn sixty_four_megabytes_in_one_chunk_leave_nothing_behind() {
    let redis = RedisServer::start();
    let (process, listen, admin) = Process::serve(&[
        "--redis",
        &redis.url(),
        "--message-bytes",
        "128MiB",
        "--broker-pending-bytes",
        "256MiB",
    ]);
    until("the broker is up", || metric(admin, r#"ringgate_broker_up{shard="0"}"#) == 1);
    let mut client = Client::connect(listen, "/ws/asr");
    let (before, audio) = (resident_bytes(&process), vec![0; 48 << 20]);
    for session in ["first", "second"] {
        client.start(session);
        client.chunk(session, 0, &audio);
        assert_eq!(client.receive()["status"], "received");
        let task: Vec<u8> = redis::cmd("LPOP")
            .arg("asr_chunk_queue")
            .query(&mut commands(&redis))
            .expect("the task");
        assert!(task.len() > 64 << 20, "{} bytes", task.len());
        publish(&mut commands(&redis), session, &result(0, "long"));
        client.finish(session);
        assert_eq!(client.until_final().1["text"], "long");
    }
    let held = || metric(admin, r#"ringgate_held_bytes{shard="0"}"#);
    until("nothing is held", || held() == 0);
    // The receive buffers of the shard have been touched, 4 MiB; a few more for the rest.
    let allowed = before + (4 << 20) + (8 << 20);
    until("the memory is given back", || resident_bytes(&process) <= allowed);
    println!("resident: {before} bytes before, {} after", resident_bytes(&process));
    client.close();
}

/// Awaits something that another process does.
fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

fn resident_bytes(process: &Process) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}
