//! The contract between a shard and what carries its tasks.
//!
//! A shard talks to its broker with [`Command`]s and hears [`Event`]s. Both are plain
//! values: [`redis`] turns them into bytes on the shard's one connection, [`embedded`]
//! into calls on a broker inside the process. Neither knows of WebSocket.
//!
//! What every broker promises, and one suite of tests checks on both:
//! - Commands take effect in the order in which they were submitted.
//! - Every `Push`, `Fetch` and `Observe` is answered once, by its ticket: done or failed.
//! - An `Unsubscribe` also takes back a `Subscribe` that has no answer yet, which then may
//!   have none.
//! - `Subscribed` comes after the subscription is in force: whatever is published after
//!   it is delivered. It comes again whenever a lost connection was restored; what was
//!   published in between was not delivered, and the caller reads its cache.
//! - Messages of one channel arrive in the order in which they were published.
//! - While the broker is away, commands are held and carried out on its return, up to
//!   `broker_pending_bytes` (limits); past that they fail with [`Error::Full`].
//!   The number of subscriptions is bounded too.
//! - A push whose answer was lost with the connection is sent again: at least once.
//!   Workers' answers are de-duplicated by index.

pub mod embedded;
mod queue;
pub mod redis;

use std::sync::Arc;

pub use queue::{Backlog, Queue, Task};

/// Names one `Push`, `Fetch` or `Observe` until its answer. The caller chooses it; the broker only
/// gives it back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ticket(pub u64);

/// What a shard asks of its broker.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Append `task` to the tail of `queue`. Answer: `Pushed` or `PushFailed`.
    Push {
        /// Given back with the answer.
        ticket: Ticket,
        /// Where workers wait for it.
        queue: Queue,
        /// One task, as the worker will read it.
        task: Task,
    },
    /// Hear what is published on `channel`. Answer: `Subscribed` or `SubscribeFailed`.
    /// A second one for the same channel is answered again and changes nothing.
    Subscribe {
        /// Name of the channel.
        channel: Arc<str>,
    },
    /// Stop hearing `channel`. No answer; what is already on its way may still arrive.
    Unsubscribe {
        /// Name of the channel.
        channel: Arc<str>,
    },
    /// Read the whole list `key`, oldest first. Answer: `Fetched` (empty where there is
    /// no such list) or `FetchFailed`.
    Fetch {
        /// Given back with the answer.
        ticket: Ticket,
        /// Name of the list.
        key: String,
    },
    /// Say how much waits in `queue`. Answer: `Observed` (nothing waits where there is no
    /// such queue) or `ObserveFailed`.
    Observe {
        /// Given back with the answer.
        ticket: Ticket,
        /// Which queue.
        queue: Queue,
        /// Count live workers too: the pattern of their heartbeat keys, whose `*` stands
        /// for the worker's name (`worker:*:heartbeat`). Only the consumers of the queue's
        /// own group are counted, those that read a moment ago or whose heartbeat is
        /// there: a worker on another queue is nobody's here, however well it is. Until
        /// the group has its first consumer, all heartbeats are counted.
        heartbeats: Option<Arc<str>>,
    },
}

/// What a broker tells its shard.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Commands are carried out from now on.
    Up,
    /// Commands are held from now on; `reason` is for the log, without secrets. It may come
    /// before the first `Up`, and again with another reason while the broker is away.
    Down {
        /// What happened, for people.
        reason: String,
    },
    /// The task is in its queue.
    Pushed(Ticket),
    /// The task is not in its queue and won't be.
    PushFailed(Ticket, Error),
    /// The subscription is in force.
    Subscribed(Arc<str>),
    /// The subscription was refused.
    SubscribeFailed(Arc<str>, Error),
    /// Something was published.
    Message {
        /// Where.
        channel: Arc<str>,
        /// What.
        payload: Vec<u8>,
    },
    /// The values of the list, oldest first.
    Fetched(Ticket, Vec<Vec<u8>>),
    /// The list could not be read.
    FetchFailed(Ticket, Error),
    /// What waits in the queue.
    Observed(Ticket, Backlog),
    /// The queue could not be looked at.
    ObserveFailed(Ticket, Error),
}

/// Why a command failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Error {
    /// No room, and later there may be: more bytes are waiting for the broker than
    /// `broker_pending_bytes` allows, or its own memory is full (Redis: `OOM`).
    Full,
    /// The broker answered with an error; the text is its own (`NOPERM …`, `WRONGTYPE …`).
    Refused(String),
}
