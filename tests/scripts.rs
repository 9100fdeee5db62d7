//! The scripts as their users call them: help, bad options, and what the profiling scripts make of
//! what perf says. perf itself need not be here: a stand-in speaks for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Every script that takes options.
const SCRIPTS: [&str; 9] = [
    "bench-echo",
    "bench-fanout",
    "bench-idle",
    "bench-tasks",
    "bench-topics",
    "compare",
    "flame",
    "offcpu",
    "perf-stat",
];

/// One option of each of them that wants a value.
const OPTIONS: [&str; SCRIPTS.len()] = [
    "--rounds",
    "--rounds",
    "--steps",
    "--sessions",
    "--users",
    "--json",
    "--output",
    "--pid",
    "--admin",
];

/// What perf says on a machine without hardware counters, to what perf-stat.sh asks.
const PERF_STAT: &str = r#"#!/bin/sh
output=
while [ $# -gt 0 ]; do
  case $1 in -e) event=$2 ;; -o) output=$2 ;; esac
  shift
done
if [ -n "$output" ]; then
  echo '# started on a day' >"$output"
  echo '500.00,msec,task-clock,500000000,100.00,0.250,CPUs utilized' >>"$output"
  echo '1500,,raw_syscalls:sys_enter,500000000,40.00,,' >>"$output"
  echo '1200,,syscalls:sys_enter_io_uring_enter,500000000,100.00,,' >>"$output"
  echo '0,,syscalls:sys_enter_epoll_wait,500000000,100.00,,' >>"$output"
  exit 0
fi
case $event in
  cycles | instructions | branch* | cache*) echo "<not supported>,,$event,0,100.00,," ;;
  *) echo "1,,$event,1,100.00,," ;;
esac
"#;

/// Two threads as perf script shows them: one waits for 0.25 s, then is put off its core for 0.1 s
/// and comes back; the other waits from 1.0 s to the end, at 2.0 s, and has a space in its name.
const PERF_SWITCHES: &str = r#"#!/bin/sh
[ "$1" = script ] || exit 0
cat <<'TEXT'
my thread   8     1.000000: context-switches: 
	ffffffff821f5f83 schedule
	ffffffff8141fa54 futex_wait
	          bebc20 park

my thread   8     1.000000: PERF_RECORD_SWITCH OUT          
shard-0   7     1.500000: context-switches: 
	ffffffff821f5f83 schedule
	ffffffff8148a1c0 io_cqring_wait
	          cf5030 ringgate::ring::Ring::wait

shard-0   7     1.500000: PERF_RECORD_SWITCH OUT          
shard-0   7     1.750000: PERF_RECORD_SWITCH IN           
shard-0   7     1.800000: context-switches: 
	ffffffff821f5f83 schedule
	ffffffff81010000 exit_to_user_mode_loop
	          cf6000 ringgate::shard::turn

shard-0   7     1.800000: PERF_RECORD_SWITCH OUT preempt
shard-0   7     1.900000: PERF_RECORD_SWITCH IN           
shard-0   7     2.000000: context-switches: 
	ffffffff821f5f83 schedule

TEXT
"#;

fn run(script: &str, args: &[&str], variables: &[(&str, &Path)]) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("scripts/{script}.sh")))
        .args(args)
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|error| panic!("{script}: {error}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn put(path: &Path, content: &str) {
    fs::write(path, content).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

#[test]
fn every_script_explains_itself() {
    for script in SCRIPTS {
        let output = run(script, &["--help"], &[]);
        let help = text(&output.stdout);
        assert!(output.status.success(), "{script}: {output:?}");
        assert!(help.starts_with(&format!("usage: scripts/{script}.sh ")), "{script}: {help}");
        let refused = run(script, &["--no-such-option"], &[]);
        assert_eq!(refused.status.code(), Some(2), "{script}: {refused:?}");
        assert!(refused.stdout.is_empty(), "{script}: {refused:?}");
        assert!(text(&refused.stderr).contains("usage: "), "{script}: {refused:?}");
    }
}

#[test]
fn bad_values_are_named_before_anything_is_built() {
    for (script, args) in [
        ("compare", ["--rounds", "0"]),
        ("compare", ["--connections", "many"]),
        ("compare", ["--servers", "floor nginx"]),
        ("compare", ["--profiles", "idle spike"]),
        ("compare", ["--steps", "2000,1000"]),
        ("bench-idle", ["--steps", "1000"]),
        ("perf-stat", ["--seconds", "0"]),
        ("flame", ["--frequency", "1e6"]),
        ("offcpu", ["--pid", "self"]),
    ] {
        let output = run(script, &args, &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{script} {args:?}: {error}");
        assert!(error.contains(args[0]) && error.contains("--help"), "{script} {args:?}: {error}");
    }
    for (script, option) in SCRIPTS.iter().zip(OPTIONS) {
        let output = run(script, &[option], &[]);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{script} {option}: {error}");
        assert!(error.contains("needs a value"), "{script} {option}: {error}");
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("shellcheck")
        .args(["-x", "scripts/common.sh", "scripts/memory.sh", "scripts/profiling.sh"])
        .args(SCRIPTS.map(|name| format!("scripts/{name}.sh")))
        .current_dir(project)
        .output()
        .unwrap_or_else(|error| panic!("shellcheck: {error}; apt-get install shellcheck"));
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn without_perf_the_profiling_scripts_say_how_to_get_it() {
    for script in ["flame", "offcpu", "perf-stat"] {
        let output = run(script, &[], &[("PERF", Path::new("/nowhere/perf"))]);
        assert_eq!(output.status.code(), Some(1), "{script}: {output:?}");
        let error = text(&output.stderr);
        assert!(error.contains("apt-get install linux-perf"), "{script}: {error}");
    }
}

#[test]
fn what_perf_may_not_record_is_told_with_the_fix() {
    let folder = tempfile::tempdir().expect("a directory");
    let perf = folder.path().join("perf");
    put(&perf, "#!/bin/sh\necho 'Permission denied by the test' >&2\nexit 255\n");
    for script in ["flame", "offcpu"] {
        let output = run(script, &["--seconds", "1"], &[("PERF", &perf)]);
        assert_eq!(output.status.code(), Some(1), "{script}: {output:?}");
        let error = text(&output.stderr);
        assert!(error.contains("denied by the test"), "{script}: {error}");
        assert!(error.contains("kernel.perf_event_paranoid"), "{script}: {error}");
    }
}

#[test]
fn counters_that_are_not_there_are_named_and_never_zero() {
    let folder = tempfile::tempdir().expect("a directory");
    let perf = folder.path().join("perf");
    put(&perf, PERF_STAT);
    let pid = std::process::id().to_string();
    let output = run("perf-stat", &["--pid", &pid, "--seconds", "2"], &[("PERF", &perf)]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    let words = |start: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(start));
        line.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(words("task-clock").as_deref(), Some("task-clock (ms) 500.00 250.0"), "{said}");
    let calls = "system calls 1500 750.0 counted 40 % of the time";
    assert_eq!(words("system calls").as_deref(), Some(calls), "{said}");
    assert_eq!(words("io_uring_enter").as_deref(), Some("io_uring_enter 1200 600.0"), "{said}");
    assert_eq!(words("epoll_wait"), None, "{said}");
    let missing = words("cycles").expect("what is missing");
    assert!(missing.contains("instructions") && missing.contains("no such hardware"), "{said}");
}

#[test]
fn time_off_the_processor_is_added_up_by_what_it_was_waited_in() {
    let folder = tempfile::tempdir().expect("a directory");
    let perf = folder.path().join("perf");
    put(&perf, PERF_SWITCHES);
    put(&folder.path().join("inferno-collapse-perf"), "#!/bin/sh\n");
    put(
        &folder.path().join("inferno-flamegraph"),
        "#!/bin/sh\nfor last; do :; done\ncat \"$last\"\n",
    );
    let drawing = folder.path().join("offcpu.svg");
    let pid = std::process::id().to_string();
    let args =
        ["--pid", &pid, "--seconds", "1", "--output", drawing.to_str().expect("a plain path")];
    let output = run("offcpu", &args, &[("PERF", &perf), ("INFERNO", folder.path())]);
    assert!(output.status.success(), "{output:?}");
    let said = text(&output.stdout);
    let table: Vec<String> = said
        .lines()
        .skip_while(|line| !line.starts_with("thread"))
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        table,
        [
            "my_thread 1000.0 1 futex_wait < park",
            "shard-0 250.0 1 io_cqring_wait < ringgate::ring::Ring::wait",
            "shard-0 100.0 1 ready to run: others had the core",
        ],
        "{said}"
    );
    let folded = fs::read_to_string(&drawing).expect("the drawing");
    let line = "shard-0;waits;ringgate::ring::Ring::wait;io_cqring_wait_[k];schedule_[k] 250000";
    assert!(folded.lines().any(|folded| folded == line), "{folded}");
}
