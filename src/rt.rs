//! The executor: the only file that names glommio.
//!
//! A shard needs little of one: a thread pinned to a core, and to sleep until its
//! descriptor is readable. Everything of the data path is on the shard's own ring, so that
//! glommio's rings are looked at only between turns. Another executor, or none, could
//! stand here.

use std::{io, os::fd::BorrowedFd, thread::JoinHandle, time::Duration};

use glommio::{LocalExecutorBuilder, Placement, io::BufferedFile};

use crate::ring::duplicate;

/// glommio preallocates this for storage I/O, of which a shard does none; its least.
const STORAGE_BYTES: usize = 64 << 10;
/// Entries of each of glommio's three rings. A shard has one operation on them.
const RING_DEPTH: usize = 16;
/// How long a task may run before glommio asks it to let others run: for ever, since a
/// shard is the one task of its executor. Not only for economy: where this timer fires
/// between its arming and glommio's look at its queues (the thread had lost its core),
/// glommio 0.9.0 takes "preempted" for "nothing to run", and sleeps on a runnable task for
/// good. One start in 12,000 hung so on a busy machine (glommio/glommio#53 mends it).
const PREEMPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs `start()`'s future on a thread of its own, pinned to `core`, until it ends.
///
/// # Errors
/// No thread, or no such core. An executor that can't be set up ends the thread with its
/// error.
pub fn spawn_pinned<F>(
    core: usize,
    name: &str,
    start: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<io::Result<()>>>
where
    F: Future<Output = io::Result<()>> + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let executor = LocalExecutorBuilder::new(Placement::Fixed(core))
            .io_memory(STORAGE_BYTES)
            .ring_depth(RING_DEPTH)
            .preempt_timer(PREEMPT)
            .make()
            .map_err(io::Error::from)?;
        executor.run(async move { start().await })
    })
}

/// Awaits an eventfd.
///
/// glommio has no such thing as waiting for a descriptor; reading one as a file is the
/// same: the read completes when the count is not zero, and resets it.
pub struct Sleeper {
    eventfd: BufferedFile,
}

impl Sleeper {
    /// A sleeper on a duplicate of `eventfd`. Only inside of an executor.
    pub fn new(eventfd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self { eventfd: duplicate(eventfd)? })
    }

    /// Sleeps until the eventfd has been written to.
    pub async fn sleep(&self) -> io::Result<()> {
        self.eventfd.read_at(0, size_of::<u64>()).await.map_err(io::Error::from)?;
        Ok(())
    }
}
