//! Every sysctl of this machine, to be compared before and after.

use std::{
    collections::BTreeMap,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const TREE: &str = "/proc/sys";

/// What moves by itself: counts and random numbers, and what the kernel adapts.
const MOVES: [&str; 11] = [
    "fs/dentry-state",
    "fs/file-nr",
    "fs/inode-nr",
    "fs/inode-state",
    "fs/aio-nr",
    "fs/binfmt_misc",
    "kernel/random",
    "kernel/ns_last_pid",
    "kernel/pty/nr",
    "kernel/perf_event_max_sample_rate",
    "net/netfilter/nf_conntrack_count",
];

/// Values by their path below `/proc/sys`; what can't be read is left out.
pub fn snapshot() -> BTreeMap<PathBuf, Vec<u8>> {
    let mut values = BTreeMap::new();
    let mut open = vec![PathBuf::from(TREE)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(TREE).expect("below").to_owned();
            if MOVES.iter().any(|moves| name.starts_with(moves)) {
                continue;
            }
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                _ => drop(fs::read(&path).map(|value| values.insert(name, value))),
            }
        }
    }
    assert!(values.len() > 100, "{} has only {} values", TREE, values.len());
    values
}

/// Panics with every value that is not as it was.
pub fn assert_unchanged(before: &BTreeMap<PathBuf, Vec<u8>>) {
    let after = snapshot();
    let text = |value: Option<&Vec<u8>>| {
        value.map(|value| String::from_utf8_lossy(value).trim().to_owned())
    };
    let changed: Vec<_> = before
        .keys()
        .filter(|name| before.get(*name) != after.get(*name))
        .map(|name| (name, text(before.get(name)), text(after.get(name))))
        .collect();
    assert!(changed.is_empty(), "changed: {changed:#?}");
}

/// Whoever reads or sets the sysctls of this machine does so alone, whichever process it is in.
/// Released when it is dropped, and by the end of the process.
pub fn alone() -> UnixListener {
    let address = SocketAddr::from_abstract_name("ringgate-tests-sysctls").expect("a name");
    let start = Instant::now();
    loop {
        match UnixListener::bind_addr(&address) {
            Ok(lock) => return lock,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(120), "{error}"),
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Whether this process may set them.
pub fn are_writable() -> bool {
    let path = Path::new(TREE).join("net/core/somaxconn");
    fs::OpenOptions::new().write(true).open(path).is_ok()
}
