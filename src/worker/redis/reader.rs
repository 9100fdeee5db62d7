//! How one thread takes tasks from its queue: from a list they are gone at once, from a
//! stream they are pending until they are acknowledged.

use redis::{Connection, Pipeline, RedisResult, cmd};

use crate::{
    limits::{WORKER_POP_WAIT_MS, WORKER_STREAM_ENTRIES},
    worker::task::{Task, TaskError},
};

/// Entries of one stream: ids with their fields, or without where they were deleted.
type Entries = Vec<(String, Option<Vec<Vec<u8>>>)>;

/// A thread's way to its queue.
pub(super) enum Reader {
    /// BLPOP.
    List {
        /// Name of the list.
        key: String,
    },
    /// XREADGROUP.
    Stream {
        /// Name of the stream.
        key: String,
        /// Its consumer group.
        group: String,
        /// Our name in it.
        consumer: String,
    },
}

/// A task that was taken.
pub(super) struct Taken {
    /// Of a stream's entry, which is to be acknowledged.
    pub id: Option<String>,
    pub task: RawTask,
}

/// A task as it stood in its queue.
pub(super) enum RawTask {
    /// Of a list.
    Value(Vec<u8>),
    /// Of a stream.
    Entry { task_id: String, payload: Vec<u8> },
}

impl RawTask {
    pub fn parse(&self) -> Result<Task<'_>, TaskError> {
        match self {
            Self::Value(json) => Task::parse(json),
            Self::Entry { task_id, payload } => Task::from_entry(task_id, payload),
        }
    }

    pub fn len_bytes(&self) -> usize {
        match self {
            Self::Value(bytes) | Self::Entry { payload: bytes, .. } => bytes.len(),
        }
    }
}

impl Reader {
    /// Once on each connection: the group is there.
    pub fn prepare(&self, redis: &mut Connection) -> RedisResult<()> {
        let Self::Stream { key, group, .. } = self else { return Ok(()) };
        let mut create = cmd("XGROUP");
        create.arg("CREATE").arg(key).arg(group).arg(0).arg("MKSTREAM");
        match create.exec(redis) {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            created => created,
        }
    }

    /// Takes the oldest task, or several, waiting for the first up to
    /// [`WORKER_POP_WAIT_MS`]. `most`: of a list, what one batch should hold.
    pub fn take(&self, redis: &mut Connection, most: usize) -> RedisResult<Vec<Taken>> {
        match self {
            Self::List { key } => pop(redis, key, most),
            Self::Stream { key, group, consumer } => {
                let mut read = cmd("XREADGROUP");
                read.arg("GROUP").arg(group).arg(consumer).arg("COUNT").arg(WORKER_STREAM_ENTRIES);
                read.arg("BLOCK").arg(WORKER_POP_WAIT_MS).arg("STREAMS").arg(key).arg(">");
                let streams: Option<Vec<(String, Entries)>> = read.query(redis)?;
                let entries = streams.into_iter().flatten().flat_map(|(_, entries)| entries);
                Ok(entries.map(|(id, fields)| entry(id, fields.unwrap_or_default())).collect())
            }
        }
    }

    /// Adds the acknowledgement of one entry. A list has none.
    pub fn acknowledge(&self, id: &str, pipeline: &mut Pipeline) {
        if let Self::Stream { key, group, .. } = self {
            pipeline.cmd("XACK").arg(key).arg(group).arg(id);
        }
    }

    /// The thread ends: a consumer that owes nothing leaves its group, for nobody else would
    /// ever take it out. One that owes something stays, or its tasks would be forgotten.
    pub fn leave(&self, redis: &mut Connection) -> RedisResult<()> {
        let Self::Stream { key, group, consumer } = self else { return Ok(()) };
        let mut pending = cmd("XPENDING");
        pending.arg(key).arg(group).arg("-").arg("+").arg(1).arg(consumer);
        let owed: Vec<redis::Value> = pending.query(redis)?;
        if owed.is_empty() {
            cmd("XGROUP").arg("DELCONSUMER").arg(key).arg(group).arg(consumer).exec(redis)?;
        }
        Ok(())
    }
}

/// Pops the oldest value, and what stands behind it: two commands for a batch rather than
/// one for each task.
fn pop(redis: &mut Connection, key: &str, most: usize) -> RedisResult<Vec<Taken>> {
    let wait_s = WORKER_POP_WAIT_MS as f64 / 1_000.0;
    let first: Option<(String, Vec<u8>)> = cmd("BLPOP").arg(key).arg(wait_s).query(redis)?;
    let Some((_, first)) = first else { return Ok(Vec::new()) };
    let mut values = vec![first];
    if most > 1 {
        // An error waits for the next command: the first task must not be lost with it.
        let more: RedisResult<Option<Vec<Vec<u8>>>> =
            cmd("LPOP").arg(key).arg(most - 1).query(redis);
        values.extend(more.ok().flatten().unwrap_or_default());
    }
    Ok(values.into_iter().map(|value| Taken { id: None, task: RawTask::Value(value) }).collect())
}

/// Fields that are missing are empty, which no task is.
fn entry(id: String, fields: Vec<Vec<u8>>) -> Taken {
    let (mut task_id, mut payload) = (String::new(), Vec::new());
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match name.as_slice() {
            b"task_id" => task_id = String::from_utf8(value).unwrap_or_default(),
            b"payload" => payload = value,
            _ => {}
        }
    }
    Taken { id: Some(id), task: RawTask::Entry { task_id, payload } }
}
