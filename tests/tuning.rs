//! The scripts in `tuning/`: they want what doctor wants, never make anything worse, tell by name
//! what they could not do, and give everything back.
//!
//! Most of it happens below a root of the tests' own (`RINGGATE_TUNING_ROOT`). One test sets the
//! sysctls of this machine, and puts them back in any case; it needs root. Without root it does
//! the same to a copy of this machine's values, and says so.

#[path = "tuning/files.rs"]
mod files;
#[path = "tuning/stage.rs"]
mod stage;
#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{fs, os::unix::fs::symlink, time::Duration};

use ringgate::doctor::wanted::{CONNTRACK_MAX, SYSCTLS};
use stage::{Ended, Stage, project};
use support::sysctls;

#[test]
fn a_host_is_tuned_and_put_back() {
    let stage = Stage::poor();
    let before = stage.files();
    let check = stage.run("check", &[]);
    assert_eq!(check.code, 1, "{check:?}");
    assert!(check.errors.contains("tuning/apply sets them"), "{check:?}");
    assert_eq!(stage.files(), before, "check changes nothing");

    let apply = stage.run("apply", &[]);
    assert_eq!((apply.code, apply.errors.as_str()), (0, ""));
    assert!(apply.said.contains("net.core.somaxconn: 128 -> 10000"), "{apply:?}");
    for sysctl in SYSCTLS {
        assert_eq!(stage.numbers(sysctl.key), sysctl.at(100_000), "{}", sysctl.key);
    }
    assert_eq!(stage.run("check", &[]).code, 0);

    let again = stage.run("apply", &[]);
    assert_eq!((again.code, again.said.as_str()), (0, ""), "there is nothing left to do");
    assert_eq!(stage.run("apply", &["--connections", "1000000"]).code, 0);
    assert_eq!(stage.numbers("net.core.somaxconn"), [65_535]);

    let revert = stage.run("revert", &[]);
    assert_eq!((revert.code, revert.errors.as_str()), (0, ""));
    assert_eq!(stage.files(), before, "also after a second apply, and without a state");
    let nothing = stage.run("revert", &[]);
    assert_eq!(nothing.code, 0);
    assert!(nothing.said.contains("nothing to revert"), "{nothing:?}");
}

#[test]
fn what_is_better_already_stays() {
    let stage = Stage::poor();
    let better = [
        ("net.core.somaxconn", "60000", "60000"),
        // More than the shell's own numbers hold; systemd sets such a one.
        ("fs.file-max", "18446744073709551615", "18446744073709551615"),
        ("net.ipv4.tcp_rmem", "1024\t131072\t33554432", "4096 131072 33554432"),
        ("net.ipv4.tcp_fin_timeout", "15", "15"),
    ];
    for (key, value, _) in better {
        stage.put(key, value);
    }
    assert_eq!(stage.run("apply", &[]).code, 0);
    for (key, _, wanted) in better {
        assert_eq!(stage.get(key), wanted, "{key}");
    }
    assert_eq!(stage.run("check", &[]).code, 0);
}

#[test]
fn what_cannot_be_set_is_named_and_the_rest_is_set() {
    let stage = Stage::poor();
    // Read-only for root too, as in a container.
    let file = stage.file("net.core.somaxconn");
    fs::remove_file(&file).expect("gone");
    symlink("/proc/sys/kernel/cap_last_cap", &file).expect("linked");
    fs::remove_file(stage.file("net.core.netdev_max_backlog")).expect("gone");
    stage.put("fs.nr_open", "many");
    let before = stage.files();
    let apply = stage.run("apply", &[]);
    assert_eq!(apply.code, 1);
    for key in [
        "net.core.somaxconn: stays",
        "net.core.netdev_max_backlog: not there",
        "fs.nr_open: is \"many\"",
    ] {
        assert!(apply.errors.contains(key), "{key}: {apply:?}");
    }
    assert_eq!(stage.get("net.ipv4.tcp_max_syn_backlog"), "10000", "the rest is set");
    let check = stage.run("check", &[]);
    assert_eq!(check.said.lines().filter(|line| line.starts_with("bad")).count(), 3, "{check:?}");
    assert_eq!(stage.run("revert", &[]).code, 0);
    assert_eq!(stage.files(), before);
}

#[test]
fn conntrack_is_no_matter_where_it_is_not_loaded() {
    let stage = Stage::poor();
    fs::remove_file(stage.file(CONNTRACK_MAX)).expect("gone");
    assert_eq!(stage.run("apply", &[]).code, 0);
    assert_eq!(stage.run("check", &[]).code, 0);
}

#[test]
fn buffers_of_tcp_never_take_more_than_half_of_the_memory() {
    let stage = Stage::poor();
    stage.write("proc/meminfo", "MemTotal:        2097152 kB\n");
    let apply = stage.run("apply", &["--connections", "1000000"]);
    assert_eq!(apply.code, 1);
    assert!(
        apply.errors.contains("net.ipv4.tcp_mem: 3000000 pages are more than half"),
        "{apply:?}"
    );
    assert_eq!(stage.numbers("net.ipv4.tcp_mem"), [100, 200, 300]);
}

/// Killed while it waits for a file that never answers, with half of its work done.
#[test]
fn an_apply_that_is_killed_half_way_is_put_back() {
    let stage = Stage::poor();
    let before = stage.files();
    let value = stage.get("net.ipv4.tcp_mem");
    stage.make_fifo("net.ipv4.tcp_mem");
    let apply = stage.start("apply", &[]);
    stage.until(|| stage.get("net.core.netdev_max_backlog") == "12500");
    apply.kill();
    assert_eq!(stage.get("net.core.somaxconn"), "10000", "half of the work is done");
    fs::remove_file(stage.file("net.ipv4.tcp_mem")).expect("gone");
    stage.put("net.ipv4.tcp_mem", &value);
    let revert = stage.run("revert", &[]);
    assert_eq!((revert.code, revert.errors.as_str()), (0, ""));
    assert_eq!(stage.files(), before);
}

#[test]
fn only_one_of_them_is_at_work() {
    let stage = Stage::poor();
    stage.make_fifo("net.ipv4.tcp_mem");
    let apply = stage.start("apply", &[]);
    stage.until(|| stage.get("net.core.netdev_max_backlog") == "12500");
    for script in ["apply", "revert"] {
        let second = stage.run(script, &[]);
        assert_eq!(second.code, 1, "{second:?}");
        assert!(second.errors.contains("another apply or revert"), "{second:?}");
    }
    apply.kill();
}

#[test]
fn what_cannot_be_restored_stays_in_the_state() {
    let stage = Stage::poor();
    let before = stage.files();
    assert_eq!(stage.run("apply", &[]).code, 0);
    let file = stage.file("net.core.somaxconn");
    let set = fs::read(&file).expect("its value");
    fs::remove_file(&file).expect("gone");
    symlink("/proc/sys/kernel/cap_last_cap", &file).expect("linked");
    let revert = stage.run("revert", &[]);
    assert_eq!(revert.code, 1);
    assert!(revert.errors.contains("net.core.somaxconn: could not be made"), "{revert:?}");
    fs::remove_file(&file).expect("gone");
    fs::write(&file, set).expect("writable again");
    assert_eq!(stage.run("revert", &[]).code, 0);
    assert_eq!(stage.files(), before);
}

#[test]
fn persisted_files_come_and_go() {
    let stage = Stage::poor();
    let own = "# Somebody's own.\nnet.core.somaxconn = 5\n";
    stage.write("etc/sysctl.d/90-ringgate.conf", own);
    let before = stage.files();
    for connections in ["100000", "200000"] {
        let apply = stage.run("apply", &["--persist", "--connections", connections]);
        assert_eq!((apply.code, apply.errors.as_str()), (0, ""));
    }
    let conf = stage.read("etc/sysctl.d/90-ringgate.conf");
    assert!(conf.contains("net.core.somaxconn = 20000\n"), "{conf}");
    assert!(conf.contains("net.ipv4.tcp_mem = 200000 400000 600000\n"), "{conf}");
    let limits = stage.read("etc/security/limits.d/90-ringgate.conf");
    assert!(limits.contains("hard  nofile   1048576"), "{limits}");
    assert_eq!(stage.run("revert", &[]).code, 0);
    assert_eq!(stage.files(), before);
}

#[test]
fn bad_usage_exits_with_2() {
    let stage = Stage::poor();
    let before = stage.files();
    let many = ["0", "-1", "ten", "10000001", "1e5", ""];
    for script in ["apply", "check", "revert"] {
        let cases = many.map(|count| vec!["--connections", count]);
        for args in cases.into_iter().chain([vec!["--state"], vec!["--fix"], vec!["extra"]]) {
            let ended = stage.run(script, &args);
            assert_eq!((ended.code, ended.said.as_str()), (2, ""), "{script} {args:?}");
            assert!(ended.errors.contains("usage: "), "{script} {args:?}: {ended:?}");
        }
        assert!(stage.run(script, &["--help"]).said.starts_with("usage: "));
    }
    assert_eq!(stage.run("check", &["--persist"]).code, 2);
    assert_eq!(stage.files(), before);
}

#[test]
fn without_root_the_machine_is_not_touched_and_the_reason_is_told() {
    let Ended { code, errors, .. } = stage::as_nobody("apply");
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("needs root to write /proc/sys"), "{errors}");
}

/// On this machine, with the kernel's own answers; killed at every stage of it, too.
#[test]
fn this_machine_is_exactly_as_it_was() {
    let _alone = sysctls::alone();
    let before = sysctls::snapshot();
    let stage = if sysctls::are_writable() { Stage::this_machine() } else { Stage::copy(&before) };
    println!("this machine: {}", stage.describe());
    let files = stage.files();

    let apply = stage.run("apply", &["--connections", "200000"]);
    assert_eq!((apply.code, apply.errors.as_str()), (0, ""));
    let check = stage.run("check", &["--connections", "200000"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(apply.said.is_empty() || stage.files() != files, "it has set what it says");
    assert_eq!(stage.run("apply", &["--connections", "300000"]).code, 0);
    let revert = stage.run("revert", &[]);
    assert_eq!((revert.code, revert.errors.as_str()), (0, ""));
    assert_eq!(stage.files(), files);

    for step in 0..12 {
        let apply = stage.start("apply", &["--connections", "400000"]);
        std::thread::park_timeout(Duration::from_millis(step * 15));
        apply.kill();
        let revert = stage.run("revert", &[]);
        assert_eq!((revert.code, revert.errors.as_str()), (0, ""), "killed after step {step}");
        assert_eq!(stage.files(), files, "killed after step {step}");
    }
    drop(stage);
    sysctls::assert_unchanged(&before);
}

#[test]
fn a_card_is_spread_over_the_cores() {
    let stage = Stage::poor();
    stage.make_card();
    let before = stage.files();
    let args = ["--interface", "eth0", "--cores", "0-1,33"];
    let rehearsal = stage.run("nic.sh", &[&args[..], &["--dry-run"]].concat());
    assert_eq!(rehearsal.code, 0, "{rehearsal:?}");
    assert_eq!(stage.files(), before, "a rehearsal changes nothing");
    let done = stage.run("nic.sh", &args);
    assert_eq!((done.code, &done.said), (0, &rehearsal.said));
    let read = |path: &str| stage.read(path).trim().to_owned();
    assert_eq!(read("sys/class/net/eth0/queues/rx-0/rps_cpus"), "2,00000003");
    assert_eq!(read("sys/class/net/eth0/queues/tx-0/xps_cpus"), "2,00000001", "cores 0 and 33");
    assert_eq!(read("sys/class/net/eth0/queues/tx-1/xps_cpus"), "2");
    assert_eq!(read("proc/irq/41/smp_affinity_list"), "0");
    assert_eq!(read("proc/irq/42/smp_affinity_list"), "1");
    assert_eq!(read("proc/irq/40/smp_affinity_list"), "0-63", "not of this card");
    assert_eq!(stage.run("nic.sh", &args).said, "", "there is nothing left to do");
    // Drivers call them as they like: what the device names is believed first.
    stage.write("sys/class/net/eth0/device/msi_irqs/40", "msix\n");
    stage.write("proc/irq/42/smp_affinity_list", "0-63\n");
    assert_eq!(stage.run("nic.sh", &args).code, 0);
    assert_eq!(read("proc/irq/40/smp_affinity_list"), "0");
    assert_eq!(read("proc/irq/42/smp_affinity_list"), "0-63");
    for bad in [
        &["--cores", "0-1"][..],
        &["--interface", "eth9", "--cores", "0"],
        &["--interface", "eth0", "--cores", "a"],
    ] {
        assert_eq!(stage.run("nic.sh", bad).code, 2, "{bad:?}");
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let scripts = ["apply", "check", "revert", "common.sh", "nic.sh"];
    let output = std::process::Command::new("shellcheck")
        .arg("-x")
        .args(scripts.map(|name| format!("tuning/{name}")))
        .current_dir(project())
        .output()
        .unwrap_or_else(|error| panic!("shellcheck: {error}; apt-get install shellcheck"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
