//! `ringgate plan` as its users meet it: text, JSON, measured costs, and what it refuses.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// Exit code, standard output, standard error.
fn plan(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    let output = command.arg("plan").args(args).env_clear().stdin(Stdio::null()).output();
    let output = output.expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

fn json_of(args: &[&str]) -> Value {
    let (code, out, error) = plan(&[args, &["--json"]].concat());
    assert_eq!((code, error.as_str()), (0, ""));
    serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"))
}

/// The example of docs/plan.md.
const EXAMPLE: [&str; 10] = [
    "--host",
    "none",
    "--connections",
    "100_000",
    "--cores",
    "4",
    "--active-share",
    "0.1",
    "--chunks-per-second",
    "2",
];

#[test]
fn text_answers_every_question() {
    let (code, out, error) = plan(&EXAMPLE);
    assert_eq!((code, error.as_str()), (0, ""));
    for part in [
        "100,000 connections on 4 shards, 10,000 of them active",
        "100,224",
        "io_uring",
        "\nRedis\n",
        "packets/s",
        "source addresses of 28232 ports",
        "everyone back after 15.0 s",
        "first to bind: core of Redis, at 125,",
        "LimitNOFILE",
        "net.core.somaxconn",
        "default, of another machine",
    ] {
        assert!(out.contains(part), "{part:?} is not in:\n{out}");
    }
    let docs = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plan.md"));
    let docs = docs.expect("docs/plan.md");
    for line in out.lines().filter(|line| !line.trim().is_empty()) {
        assert!(docs.contains(line.trim()), "docs/plan.md shows another plan than:\n{line}");
    }
}

#[test]
fn json_has_the_same_and_every_limit_in_order() {
    let plan = json_of(&EXAMPLE);
    assert_eq!(plan["format"], 1);
    assert_eq!(plan["estimate"]["descriptors"], 100_224);
    assert_eq!(plan["totals"]["memory_bytes"], 690_697_728.0);
    assert_eq!(plan["reconnect"]["seconds"], 15.0);
    assert_eq!(plan["traffic"]["tasks"]["results"], "per-session");
    let limits = plan["limits"].as_array().expect("a list");
    let names: Vec<&str> = limits.iter().filter_map(|limit| limit["name"].as_str()).collect();
    assert_eq!(names, ["core of Redis", "cores of the shards"], "no host, no card, no proxy");
}

#[test]
fn this_machine_is_compared_with() {
    let plan = json_of(&["--connections", "1_000_000_000", "--cores", "1"]);
    let limits = plan["limits"].as_array().expect("a list");
    let at: Vec<u64> =
        limits.iter().map(|limit| limit["binds_at"].as_u64().unwrap_or(u64::MAX)).collect();
    assert!(at.is_sorted() && at[0] < 1_000_000_000, "{plan:#}");
    let has = |name: &str| limits.iter().any(|limit| limit["name"] == name);
    assert!(has("memory available") && has("fs.nr_open"), "{plan:#}");
    let sysctls = plan["needs"]["sysctls"].as_array().expect("a list");
    assert!(sysctls.iter().any(|sysctl| sysctl["found"].is_array()), "{plan:#}");
    let (code, out, _) = self::plan(&["--connections", "1_000_000_000", "--cores", "1"]);
    assert!(code == 0 && out.contains("TOO LITTLE"), "{out}");
}

fn report(profile: &str) -> Value {
    let line = |fixed: f64, slope: f64| json!({ "fixed": fixed, "slope": slope, "r_squared": 1.0 });
    let fit = json!({
        "user_bytes": line(1e7, 200.0), "kernel_bytes": line(0.0, 4_000.0),
        "buffer_bytes": line(0.0, 0.0), "idle_cpu_us": line(1e3, 1.0),
        "cpu_us_per_message": 5.0, "system_calls_per_message": 0.5,
    });
    let cost = json!({ "points": [], "fit": fit, "unread": [] });
    json!({ "format": 1, "profile": profile, "cost": cost })
}

#[test]
fn measured_costs_take_the_place_of_defaults() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    };
    let idle = write("idle.json", report("idle").to_string());
    let echo = write("echo.json", report("echo").to_string());
    let load = ["--host", "none", "--connections", "1000", "--messages-per-second", "10"];
    let plan = json_of(&[&load[..], &["--from", &echo, "--from", &idle]].concat());
    assert_eq!(plan["totals"]["user_bytes"], 1e7 + 200_000.0);
    let cpu = &plan["estimate"]["cpu"];
    let messages = cpu["receive"].as_f64().expect("a number") + cpu["send"].as_f64().unwrap();
    assert!((messages - 0.1).abs() < 1e-9, "20,000 messages of 5 us: {messages}");
    let origin =
        |kind: &str| plan["coefficients"]["origins"][kind].as_str().expect("text").to_owned();
    assert!(origin("memory").contains("idle.json") && origin("echo").contains("echo.json"));
    assert!(origin("topics").contains("default"));

    let newer = write("newer.json", json!({ "format": 2, "profile": "idle" }).to_string());
    let free =
        write("free.json", json!({ "format": 1, "profile": "idle", "cost": null }).to_string());
    let rubbish = write("rubbish.json", "GIF89a".to_owned());
    let absent = format!("{}/absent.json", directory.path().display());
    for (path, why, fix) in [
        (&newer, "format 2", "measure again"),
        (&free, "without the server's cost", "--server-pid"),
        (&rubbish, "not JSON", "ringgate bench --json"),
        (&absent, "No such file", "ringgate bench --json"),
    ] {
        let (code, out, error) = self::plan(&["--from", path]);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        for part in ["--from", path.as_str(), why, fix] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}

#[test]
fn nonsense_is_refused_with_option_value_limit_and_fix() {
    for (flag, value, limit) in [
        ("--connections", "0", "from 1 to 1000000000"),
        ("--connections", "1e400", "from 1 to 1000000000"),
        ("--cores", "5000", "from 1 to 4096"),
        ("--active-share", "1.5", "from 0 to 1"),
        ("--active-share", "NaN", "from 0 to 1"),
        ("--ping-seconds", "0", "from 0.1 to 3600"),
        ("--messages-per-second", "inf", "from 0 to 1000000"),
        ("--chunk-bytes", "many", "from 0 to 1073741824"),
        ("--conflate-ms", "60001", "60000"),
        ("--load-share", "0", "from 0.01 to 1"),
        ("--accept-us", "0", "from 0.1 to 1000000"),
        ("--ports-per-address", "65536", "from 1 to 65535"),
        ("--queue", "heap", "list, stream"),
        ("--host", "that", "this, none"),
    ] {
        let (code, out, error) = plan(&[flag, value]);
        assert_eq!((code, out.as_str()), (2, ""), "{flag} {value}: {error}");
        for part in [flag, value, limit] {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
    let (code, _, error) = plan(&["--topics", "2", "--subscriptions", "3"]);
    assert_eq!(code, 2);
    assert!(["--subscriptions 3", "--topics 2", "give"].iter().all(|part| error.contains(part)));
}

#[test]
fn help_gives_units_and_defaults() {
    let (code, out, _) = plan(&["--help"]);
    assert_eq!(code, 0);
    let help = out.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["--connections <N>", "[default: 100_000]", "Microseconds", "Gbit/s", "--json"] {
        assert!(help.contains(part), "{part:?} is not in: {help}");
    }
}
