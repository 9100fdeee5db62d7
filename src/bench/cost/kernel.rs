//! What the kernel holds for everybody on this machine: objects of its caches (`/proc/slabinfo`,
//! for root only) and pages of the TCP queues (`/proc/net/sockstat`).

use std::{fs, path::Path};

use super::slab::{Aliases, Slabs};

/// Links and directories of the caches.
const CACHES: &str = "/sys/kernel/slab";

/// The caches of a connection that may hold freed objects back. Those that the whole machine
/// fills (`dentry`) are not shrunk: that would take the others' from them.
const SHRUNK: [&str; 8] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "filp",
    "io_kiocb",
    "kmalloc-32",
    "eventpoll_epi",
    "eventpoll_pwq",
];

/// One look.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    /// Caches.
    pub slabs: Result<Slabs, String>,
    /// Bytes of the send and receive queues of all TCP sockets of this network namespace. The
    /// kernel counts whole pages and settles them a processor at a time, up to 1 MiB late.
    pub queue_bytes: Result<u64, String>,
}

impl Sample {
    /// Gives back what the caches hold without need, and reads.
    pub fn take() -> Self {
        // Where it may not, the counts are a little too high, by the same at each look.
        for cache in SHRUNK {
            let _ = fs::write(Path::new(CACHES).join(cache).join("shrink"), "1");
        }
        let page_bytes = rustix::param::page_size() as u64;
        let slabs =
            read("/proc/slabinfo").and_then(|text| Slabs::parse(&text, page_bytes, &aliases()));
        let queue_bytes = read("/proc/net/sockstat").and_then(|text| {
            let pages = queue_pages(&text).ok_or("/proc/net/sockstat has no TCP: mem")?;
            Ok(pages.saturating_mul(page_bytes))
        });
        Self { slabs, queue_bytes }
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// None where the kernel tells of no caches: then each has its own name in slabinfo, or cannot
/// be found, which is told of it.
fn aliases() -> Aliases {
    let entries = fs::read_dir(CACHES).into_iter().flatten().flatten();
    let link = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some((entry.file_name().into_string().ok()?, target.to_str()?.to_owned()))
    };
    entries.filter_map(link).collect()
}

/// `TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0`; IPv6 is in it.
fn queue_pages(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    words.nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_queues_are_read() {
        let text = "sockets: used 14\nTCP: inuse 2003 orphan 0 tw 8256 alloc 2003 mem 61\n\
                    UDP: inuse 0 mem 7\n";
        assert_eq!(queue_pages(text), Some(61));
        for text in ["", "UDP: inuse 0 mem 7", "TCP: inuse 1 mem", "TCP: mem x"] {
            assert_eq!(queue_pages(text), None, "{text:?}");
        }
    }

    /// Root may read the caches, and others are told why they may not.
    #[test]
    fn this_kernel_is_read_or_says_why_not() {
        let sample = Sample::take();
        assert!(sample.queue_bytes.is_ok(), "{:?}", sample.queue_bytes);
        match sample.slabs {
            Ok(slabs) => {
                let tcp = slabs.get("TCP").expect("a cache of TCP sockets");
                assert!((1000.0..8000.0).contains(&tcp.object_bytes), "{tcp:?}");
                assert!(slabs.get("eventpoll_pwq").is_some(), "merged with others, or not");
            }
            Err(why) => assert!(why.starts_with("/proc/slabinfo: "), "{why}"),
        }
    }
}
