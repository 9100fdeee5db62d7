//! Where the scripts are at work: below a root of the test's own, or this machine.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use ringgate::doctor::wanted::SYSCTLS;
use tempfile::TempDir;

/// How long a script may take to get somewhere.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// How a script ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub said: String,
    pub errors: String,
}

pub struct Stage {
    /// Of the tests' own; of this machine only the state is in it.
    directory: TempDir,
    /// The values of this machine, to be written back whatever happens.
    machine: Option<BTreeMap<&'static str, String>>,
}

impl Stage {
    /// A host that has the least of everything.
    pub fn poor() -> Self {
        let stage = Self { directory: tempfile::tempdir().expect("a directory"), machine: None };
        for sysctl in SYSCTLS {
            stage.put(
                sysctl.key,
                match sysctl.key {
                    "net.core.somaxconn" => "128",
                    "net.ipv4.tcp_slow_start_after_idle" => "1",
                    "net.ipv4.tcp_fin_timeout" => "120",
                    "net.ipv4.tcp_syncookies" => "0",
                    _ if sysctl.fields.len() == 3 => "100\t200\t300",
                    _ => "64",
                },
            );
        }
        stage
    }

    /// The sysctls of this machine, in files.
    pub fn copy(values: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let stage = Self { directory: tempfile::tempdir().expect("a directory"), machine: None };
        for sysctl in SYSCTLS {
            if let Some(value) = values.get(Path::new(&sysctl.key.replace('.', "/"))) {
                stage.put(sysctl.key, String::from_utf8_lossy(value).trim_end());
            }
        }
        stage
    }

    /// This machine. What is changed is written back when this is dropped, also by a panic.
    pub fn this_machine() -> Self {
        let mut stage = Self {
            directory: tempfile::tempdir().expect("a directory"),
            machine: Some(BTreeMap::new()),
        };
        let value = |key: &'static str| Some((key, fs::read_to_string(stage.file(key)).ok()?));
        stage.machine = Some(SYSCTLS.iter().filter_map(|sysctl| value(sysctl.key)).collect());
        stage
    }

    pub fn describe(&self) -> &'static str {
        match self.machine {
            Some(_) => "its own sysctls",
            None => "a copy: setting its own needs root and a writable /proc/sys",
        }
    }

    /// Runs a script of `tuning/` to its end.
    pub fn run(&self, script: &str, args: &[&str]) -> Ended {
        ended(&mut self.command(script, args))
    }

    /// Starts one that can be killed.
    pub fn start(&self, script: &str, args: &[&str]) -> Running {
        let mut command = self.command(script, args);
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Running { child: command.spawn().expect("starts") }
    }

    fn command(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new(project().join("tuning").join(script));
        command.args(args).stdin(Stdio::null()).env_remove("RINGGATE_TUNING_ROOT");
        match self.machine {
            Some(_) if script != "check" => {
                command.arg("--state").arg(self.directory.path().join("state"));
            }
            Some(_) => {}
            None => drop(command.env("RINGGATE_TUNING_ROOT", self.directory.path())),
        }
        command
    }

    /// The file of a sysctl.
    pub fn file(&self, key: &str) -> PathBuf {
        let path = Path::new("proc/sys").join(key.replace('.', "/"));
        match self.machine {
            Some(_) => Path::new("/").join(path),
            None => self.directory.path().join(path),
        }
    }

    pub fn put(&self, key: &str, value: &str) {
        self.write(&format!("proc/sys/{}", key.replace('.', "/")), &format!("{value}\n"));
    }

    pub fn get(&self, key: &str) -> String {
        fs::read_to_string(self.file(key)).expect("readable").trim_end().to_owned()
    }

    pub fn numbers(&self, key: &str) -> Vec<u64> {
        self.get(key).split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }

    /// A file below the tests' own root.
    pub fn write(&self, path: &str, text: &str) {
        assert!(self.machine.is_none(), "not on this machine");
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("made");
        fs::write(path, text).expect("written");
    }

    pub fn read(&self, path: &str) -> String {
        let path = self.directory.path().join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A sysctl that is waited for until the reader is killed.
    pub fn make_fifo(&self, key: &str) {
        let file = self.file(key);
        fs::remove_file(&file).expect("gone");
        assert!(Command::new("mkfifo").arg(file).status().expect("mkfifo").success());
    }

    /// A card with one queue to receive and two to send.
    pub fn make_card(&self) {
        for (path, text) in [
            ("sys/class/net/eth0/queues/rx-0/rps_cpus", "0,00000000\n"),
            ("sys/class/net/eth0/queues/tx-0/xps_cpus", "0,00000000\n"),
            ("sys/class/net/eth0/queues/tx-1/xps_cpus", "0,00000000\n"),
            ("proc/irq/40/smp_affinity_list", "0-63\n"),
            ("proc/irq/41/smp_affinity_list", "0-63\n"),
            ("proc/irq/42/smp_affinity_list", "0-63\n"),
            (
                "proc/interrupts",
                "      CPU0\n 40:  1  PCI-MSI 0-edge  eth01-TxRx-0\n 41:  1  PCI-MSI 0-edge  \
                 eth0-TxRx-0\n 42:  1  PCI-MSI 1-edge  eth0-TxRx-1\n",
            ),
        ] {
            self.write(path, text);
        }
    }

    /// Every file below the tests' own root, links included; on this machine the sysctls of the
    /// table, and what is left of the state.
    pub fn files(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![self.directory.path().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory).expect("a directory") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => open.push(path),
                    false => drop(fs::read_to_string(&path).map(|text| found.insert(path, text))),
                }
            }
        }
        for key in self.machine.iter().flat_map(BTreeMap::keys) {
            found.insert(self.file(key), self.get(key));
        }
        found
    }

    pub fn until(&self, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < PATIENCE, "it does not come to that");
            thread::park_timeout(Duration::from_millis(2));
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for (key, value) in self.machine.iter().flatten() {
            let file = self.file(key);
            if fs::read_to_string(&file).is_ok_and(|found| found != *value)
                && let Err(error) = fs::write(&file, value)
            {
                eprintln!("{key} could not be made {value} again: {error}");
            }
        }
    }
}

/// A script that was started, with all that it has started.
pub struct Running {
    child: Child,
}

impl Running {
    /// SIGKILL: no trap runs.
    pub fn kill(mut self) {
        let group = format!("-{}", self.child.id());
        // It may be done already.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        self.child.wait().expect("its end");
    }
}

/// Runs a script as a user who may nothing, on this machine.
pub fn as_nobody(script: &str) -> Ended {
    let copy = tempfile::tempdir().expect("a directory");
    fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).expect("open to all");
    for name in [script, "common.sh", "sysctls.table"] {
        fs::copy(project().join("tuning").join(name), copy.path().join(name)).expect("copied");
    }
    let script = copy.path().join(script);
    let is_root = Command::new("id").arg("-u").output().expect("id").stdout == b"0\n";
    let mut command = if is_root { Command::new("setpriv") } else { Command::new(&script) };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&script);
    }
    ended(command.env_remove("RINGGATE_TUNING_ROOT"))
}

fn ended(command: &mut Command) -> Ended {
    let output = command.stdin(Stdio::null()).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended {
        code: output.status.code().expect("not killed"),
        said: text(output.stdout),
        errors: text(output.stderr),
    }
}
