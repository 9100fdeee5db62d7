//! The program as its users meet it: exit codes, help, and what it prints where.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

/// The program without the variables of whoever runs the tests.
fn ringgate(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    finished(ringgate(args).output().expect("runs"))
}

fn finished(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

#[test]
fn config_shows_every_value_with_its_source() {
    let output = ringgate(&["config", "--ping", "20s", "--redis", "redis://:s3cret@h"])
        .env("RINGGATE_LOG_LEVEL", "Debug")
        .output()
        .expect("runs");
    let (code, out, error) = finished(output);
    assert_eq!((code, error.as_str()), (0, ""));
    let line = |key: &str| {
        let line = out.lines().find(|line| line.starts_with(key)).expect(key);
        line.split_whitespace().skip(1).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("heartbeat.ping"), "20s flag --ping");
    assert_eq!(line("log_level"), "debug environment RINGGATE_LOG_LEVEL");
    assert_eq!(line("limits.message_bytes"), "16MiB default");
    assert_eq!(line("route[0].path"), "/ws/asr default");
    assert_eq!(line("redis"), "redis://:***@h flag --redis");
}

#[test]
fn config_prints_json() {
    let (code, out, _) = run(&["config", "--json", "--echo", "/echo"]);
    assert_eq!(code, 0);
    let list: Vec<serde_json::Value> = serde_json::from_str(&out).expect("JSON");
    let echo = serde_json::json!({ "key": "echo", "value": "/echo", "source": "flag --echo" });
    assert!(list.contains(&echo), "{out}");
}

#[test]
fn bad_usage_and_bad_configuration_exit_with_2() {
    for args in [
        &[][..],
        &["fly"],
        &["config", "--connections"],
        &["config", "--no-such-flag"],
        &["config", "--connections", "none"],
        &["config", "--config", "/nowhere.toml"],
        &["serve", "--spin", "1s"],
        &["demo", "--idle", "1s"],
        &["worker", "--fail-rate", "-1"],
        &["man", "fly"],
        &["completions", "tcsh"],
    ] {
        let (code, out, error) = run(args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {error}");
        assert!(!error.is_empty(), "{args:?}");
    }
    let (code, _, error) =
        finished(ringgate(&["config"]).env("RINGGATE_LISTN", "x").output().expect("runs"));
    assert_eq!(code, 2);
    assert!(error.contains("RINGGATE_LISTN") && error.contains("RINGGATE_LISTEN"), "{error}");
}

#[test]
fn no_password_reaches_standard_error() {
    for command in ["serve", "demo", "worker", "config"] {
        let (code, out, error) = run(&[command, "--redis", "rediss://:s3cret@h"]);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains("--redis = ***"), "{error}");
        assert!(!out.contains("s3cret") && !error.contains("s3cret"), "{error}");
    }
}

/// Help without its line breaks.
fn help(args: &[&str]) -> String {
    let (code, out, error) = run(args);
    assert_eq!(code, 0, "{error}");
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn help_gives_units_ranges_and_defaults() {
    let serve = help(&["serve", "--help"]);
    for part in [
        "--message-bytes <BYTES>",
        "a size in B, KiB, MiB, GiB or TiB, 125B to 1GiB",
        "Default: 16MiB",
        "RINGGATE_LIMITS_MESSAGE_BYTES",
        "limits.message_bytes",
    ] {
        assert!(serve.contains(part), "{part:?} is not in: {serve}");
    }
    let worker = help(&["worker", "-h"]);
    assert!(worker.contains("[default: asr_chunk_queue]"), "{worker}");
    let demo = help(&["demo", "-h"]);
    assert!(["--once", "--no-ticker", "[FILE]"].iter().all(|flag| demo.contains(flag)), "{demo}");
}

#[test]
fn man_page_and_completions_know_every_flag() {
    let (_, help, _) = run(&["serve", "-h"]);
    let flags: Vec<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 20, "{help}");
    let (code, whole, _) = run(&["man"]);
    assert_eq!(code, 0);
    assert!(whole.contains("RINGGATE_RING_SPIN") && whole.contains("chunk_deadline"), "{whole}");
    let (code, page, _) = run(&["man", "serve"]);
    assert_eq!(code, 0);
    let page = page.replace("\\-", "-");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, error) = run(&["completions", shell]);
        assert_eq!(code, 0, "{error}");
        for flag in &flags {
            let flag = flag.trim_end_matches(',');
            assert!(script.contains(flag.trim_start_matches('-')), "{flag} in {shell}");
            assert!(page.contains(flag), "{flag} in the man page");
        }
    }
}

/// A reader that has had enough (`ringgate config | head`) is no failure, whether it has
/// read something or not.
#[test]
fn a_closed_pipe_is_no_panic() {
    for args in
        [&["config"][..], &["config", "--json"], &["man"], &["completions", "zsh"], &["--help"]]
    {
        for lines in [0, 1] {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let mut reader = (lines == 1).then(|| BufReader::new(reader));
            let child =
                ringgate(args).stdout(writer).stderr(Stdio::piped()).spawn().expect("starts");
            if let Some(reader) = &mut reader {
                reader.read_line(&mut String::new()).expect("a line");
            }
            drop(reader);
            let (code, _, error) = finished(child.wait_with_output().expect("ends"));
            assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
        }
    }
}

#[test]
fn output_that_cannot_be_written_exits_with_1() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let (code, _, error) = finished(ringgate(&["config"]).stdout(full).output().expect("runs"));
    assert_eq!(code, 1);
    assert!(error.contains("could not write"), "{error}");
}
