//! ▢ Where tasks wait for workers, what is put there, and how much of it there is.
//!
//! Must not: know what is in a task. The tasks route writes it, workers read it.

use std::{borrow::Cow, sync::Arc};

/// A queue of tasks. Systems, section 1: the two generations of workers read one each.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Queue {
    /// A list: RPUSH, and workers BLPOP. What a worker took and did not answer is lost.
    List {
        /// Name of the list.
        key: Arc<str>,
    },
    /// A stream: XADD, and the workers of `group` XREADGROUP and XACK.
    Stream {
        /// Name of the stream.
        key: Arc<str>,
        /// Name of the consumer group, which is created from the first entry on.
        group: Arc<str>,
    },
}

impl Queue {
    /// Its key.
    pub fn key(&self) -> &Arc<str> {
        match self {
            Self::List { key } | Self::Stream { key, .. } => key,
        }
    }

    /// What Redis's TYPE says of such a key, and `queue.mode` of such a queue.
    pub fn mode(&self) -> &'static str {
        match self {
            Self::List { .. } => "list",
            Self::Stream { .. } => "stream",
        }
    }
}

/// One task, as a worker of its queue will read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The value of a list; in a stream, the field `payload`.
    pub payload: Vec<u8>,
    /// The other fields of a stream's entry. A list has no place for them.
    pub fields: Vec<(&'static str, Cow<'static, str>)>,
}

impl Task {
    /// A task that is all payload: one for a list.
    pub fn plain(payload: Vec<u8>) -> Self {
        Self { payload, fields: Vec::new() }
    }

    /// Bytes of its text and names.
    pub fn len_bytes(&self) -> usize {
        let fields = self.fields.iter().map(|(name, text)| name.len() + text.len());
        self.payload.len() + fields.sum::<usize>()
    }
}

/// What waits in a queue, and for whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// Tasks without an acknowledgement: the length of a list; of a stream, what its group
    /// has not read (lag) and what it has not acknowledged (pending). Where Redis cannot
    /// tell the lag (before 7.0, or after an XDEL among unread entries) or tells one that is
    /// longer than the stream, the length of the stream stands for it as long as anything is
    /// unread: an upper bound.
    pub depth: u64,
    /// Live workers of the queue. `None`: not asked for, or not known, as for every list.
    pub workers: Option<u64>,
}
