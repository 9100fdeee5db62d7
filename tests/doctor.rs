//! `ringgate doctor` on this machine: what it prints, how it ends, and that it changes nothing.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::process::{Command, Stdio};

use serde_json::Value;
use support::{redis::RedisServer, sysctls};

/// Exit code, standard output, standard error.
fn doctor(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    let output = command.arg("doctor").args(args).env_clear().stdin(Stdio::null()).output();
    let output = output.expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

fn report(args: &[&str]) -> (i32, Value) {
    let (code, out, error) = doctor(&[args, &["--json"]].concat());
    let report = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}{error}"));
    (code, report)
}

fn checks(report: &Value) -> &[Value] {
    report["checks"].as_array().expect("a list")
}

fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = checks(report).iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[test]
fn every_check_has_a_value_and_the_exit_code_says_whether_one_fails() {
    let (code, report) = report(&["--connections", "1000", "--cores", "0"]);
    assert_eq!((&report["connections"], &report["shards"]), (&1000.into(), &1.into()));
    assert!(checks(&report).len() > 25, "{report:#}");
    for check in checks(&report) {
        for field in ["name", "level", "value", "wanted"] {
            assert!(check[field].as_str().is_some_and(|text| !text.is_empty()), "{check}");
        }
        let level = check["level"].as_str().expect("a level");
        assert!(["ok", "warn", "fail"].contains(&level), "{check}");
        assert_eq!(check["fix"].is_string(), level != "ok", "{check}");
    }
    let fails = checks(&report).iter().filter(|check| check["level"] == "fail").count();
    assert_eq!(code, i32::from(fails > 0), "{report:#}");
    assert!(report["left_out"][0].as_str().is_some_and(|why| why.contains("--redis")));
    assert_eq!(check(&report, "io_uring")["level"], "ok", "the other tests need it");
}

#[test]
fn one_line_a_check_and_a_sum() {
    let (code, out, error) = doctor(&["--connections", "10_000_000"]);
    let lines: Vec<&str> = out.lines().collect();
    let (sum, rest) = lines.split_last().expect("lines");
    let (left_out, checks) = rest.split_last().expect("lines");
    for line in checks {
        assert!(
            ["ok    ", "warn  ", "fail  "].iter().any(|start| line.starts_with(start)),
            "{line}"
        );
        assert_eq!(line.trim_end(), *line);
    }
    assert!(left_out.starts_with("left out: Redis"), "{left_out}");
    assert!(sum.contains("for 10000000 connections on "), "{sum}");
    // No machine that runs these tests holds ten million: 120 GiB of buffers.
    assert_eq!(code, 1, "{out}");
    assert!(error.contains("fail"), "{error}");
}

#[test]
fn bad_usage_exits_with_2() {
    for args in [&["--connections", "0"][..], &["--fix"], &["--redis", "nowhere"], &["extra"]] {
        let (code, out, error) = doctor(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(!error.is_empty(), "{args:?}");
    }
}

#[test]
fn a_real_redis_is_asked() {
    let redis =
        RedisServer::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let (code, report) = report(&["--connections", "10", "--redis", &redis.url()]);
    assert_eq!(code, 1, "queues could be evicted: {report:#}");
    assert_eq!(check(&report, "redis maxmemory-policy")["level"], "fail");
    assert_eq!(check(&report, "redis appendonly")["value"], "yes, fsync always");
    assert_eq!(check(&report, "redis output buffer")["level"], "ok");
    assert_eq!(check(&report, "redis maxclients")["level"], "ok");
    assert!(check(&report, "redis ping")["value"].as_str().unwrap().contains("median of 100"));
    check(&report, "redis version");
    check(&report, "redis overcommit_memory");
    assert_eq!(report["left_out"], serde_json::json!([]));
}

#[test]
fn a_user_who_may_not_ask_for_settings_is_told_so() {
    let acl = ["--user", "app", "on", ">pw", "~*", "&*", "+@all", "-config"];
    let redis = RedisServer::start_with(&acl);
    let url = redis.url().replace("redis://", "redis://app:pw@");
    let (_, report) = report(&["--connections", "10", "--redis", &url]);
    assert_eq!(check(&report, "redis settings")["level"], "warn", "{report:#}");
    assert_eq!(check(&report, "redis ping")["level"], "ok");
}

#[test]
fn an_absent_redis_fails_without_its_password() {
    let redis = RedisServer::absent();
    let url = redis.url().replace("redis://", "redis://:s3cret@");
    let (code, out, error) = doctor(&["--connections", "10", "--redis", &url]);
    assert_eq!(code, 1);
    assert!(out.contains("fail  redis "), "{out}");
    assert!(!out.contains("s3cret") && !error.contains("s3cret"), "{out}{error}");
}

#[test]
fn it_changes_no_sysctl() {
    let _alone = sysctls::alone();
    let before = sysctls::snapshot();
    doctor(&["--connections", "1_000_000"]);
    doctor(&["--json"]);
    sysctls::assert_unchanged(&before);
}
