//! What the server waits for its connections with: polls of its rings, registered descriptors,
//! items in epoll; by `/proc/PID/fdinfo`.
//!
//! The kernel's caches tell how many such objects there are on the machine, and this whose they
//! are. A ring is locked while its text is made, some 4 µs a connection, so that this is
//! looked at once, while there are few.

use std::{fs, path::PathBuf, thread, time::Duration};

/// Looks at a ring that is locked by its own thread.
const ATTEMPTS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(1);

/// The rings and epolls of a server.
#[derive(Debug, Default)]
pub struct Waiters {
    /// `fdinfo` of each ring.
    rings: Vec<PathBuf>,
    /// And of each epoll.
    epolls: Vec<PathBuf>,
}

/// How much they wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Waits {
    /// Requests of a ring that wait for readiness.
    pub polls: u64,
    /// Sockets that are registered with a ring.
    pub descriptors: u64,
    /// Descriptors in epoll.
    pub epoll_items: u64,
}

/// The same, of one connection.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct WaitsPerConnection {
    /// Requests of a ring that wait for readiness.
    pub polls: f64,
    /// Registered descriptors.
    pub descriptors: f64,
    /// Descriptors in epoll.
    pub epoll_items: f64,
}

impl Waiters {
    /// Those that a server has made by now. To be called before there are connections: listing
    /// descriptors gives each of them an inode and a dentry.
    ///
    /// # Errors
    /// The server has ended, or is another user's.
    pub fn find(pids: impl IntoIterator<Item = u32>) -> Result<Self, String> {
        let mut found = Self::default();
        for pid in pids {
            let list = format!("/proc/{pid}/fd");
            for entry in fs::read_dir(&list).map_err(|error| format!("{list}: {error}"))?.flatten()
            {
                let Ok(target) = fs::read_link(entry.path()) else { continue };
                let info = PathBuf::from(format!("/proc/{pid}/fdinfo")).join(entry.file_name());
                match target.to_str() {
                    Some("anon_inode:[io_uring]") => found.rings.push(info),
                    Some("anon_inode:[eventpoll]") => found.epolls.push(info),
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// What they wait for now.
    ///
    /// # Errors
    /// The server has ended, or one of its rings is never at rest.
    pub fn count(&self) -> Result<Waits, String> {
        let mut all = Waits::default();
        for path in &self.rings {
            let (polls, descriptors) = ring(path)?;
            all.polls += polls;
            all.descriptors += descriptors;
        }
        for path in &self.epolls {
            all.epoll_items += epoll_items(&read(path)?);
        }
        Ok(all)
    }
}

impl Waits {
    /// What each of so many connections brought.
    pub fn since(self, before: Self, connections: u64) -> WaitsPerConnection {
        let each =
            |now: u64, before: u64| now.saturating_sub(before) as f64 / connections.max(1) as f64;
        WaitsPerConnection {
            polls: each(self.polls, before.polls),
            descriptors: each(self.descriptors, before.descriptors),
            epoll_items: each(self.epoll_items, before.epoll_items),
        }
    }
}

fn read(path: &PathBuf) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn ring(path: &PathBuf) -> Result<(u64, u64), String> {
    for _ in 0..ATTEMPTS {
        if let Some(counts) = polls_and_descriptors(&read(path)?) {
            return Ok(counts);
        }
        thread::park_timeout(BETWEEN);
    }
    Err(format!("{} tells nothing: the ring is never at rest", path.display()))
}

/// `None`: the ring was in use, and the kernel left it out.
fn polls_and_descriptors(text: &str) -> Option<(u64, u64)> {
    let (before, polls) = text.split_once("PollList:")?;
    let count = |text: &str, mark| text.lines().filter(|line| line.contains(mark)).count() as u64;
    Some((count(polls, "task_works="), count(before, ": socket:[")))
}

/// `tfd:        5 events: …`, one a descriptor.
fn epoll_items(text: &str) -> u64 {
    text.lines().filter(|line| line.starts_with("tfd:")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: &str = "pos:\t0\nSqMask:\t0x7ff\nUserFiles:\t20000\n    0: socket:[10633547]\n    \
                        7: socket:[10633548]\nUserBufs:\t1\n    0: 0x20001200000/65536\nPollList:\n  \
                        op=6, task_works=0\n  op=6, task_works=1\n  op=22, task_works=0\n\
                        CqOverflowList:\nNAPI:\tdisabled\n";

    #[test]
    fn waits_are_counted() {
        assert_eq!(polls_and_descriptors(RING), Some((3, 2)));
        assert_eq!(polls_and_descriptors("pos:\t0\nflags:\t02000002\n"), None, "it was in use");
        let epoll = "pos:\t0\ntfd:        5 events:       19 data: 5  pos:0 ino:1 sdev:9\n\
                     tfd:       11 events:       19 data: 6  pos:0 ino:2 sdev:9\n";
        assert_eq!(epoll_items(epoll), 2);
    }

    #[test]
    fn a_connection_has_its_share() {
        let before = Waits { polls: 3, descriptors: 0, epoll_items: 2 };
        let now = Waits { polls: 1_003, descriptors: 500, epoll_items: 1 };
        let each = WaitsPerConnection { polls: 2.0, descriptors: 1.0, epoll_items: 0.0 };
        assert_eq!(now.since(before, 500), each);
        assert_eq!(before.since(before, 0), WaitsPerConnection::default());
    }

    #[test]
    fn this_process_is_looked_at() {
        let ring = io_uring::IoUring::new(8).expect("a ring");
        let waiters = Waiters::find([std::process::id()]).expect("our own");
        assert!(!waiters.rings.is_empty(), "{waiters:?}");
        drop(ring);
        assert!(Waiters::find([1 << 23]).is_err());
    }
}
