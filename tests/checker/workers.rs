//! Workers of the checker's own, beside processes of `ringgate worker`: both kinds of queue, both
//! ways of the results, and every bad habit that a worker may have short of lying.
//!
//! They answer `session#index`, read from the audio, and check that the task says the same. They
//! die where it hurts: with tasks in hand, between the publication and the cache, before the
//! acknowledgement. They publish twice, publish what nobody asked for, and publish rubbish.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use redis::{Connection, RedisResult, Value as Reply, from_redis_value};
use serde_json::{Value, json};

use super::audio;
use super::model::Violation;
use super::plan::Dice;
use super::report::Stage;

/// A worker, on a thread of its own.
pub struct Worker<'a> {
    pub stage: &'a Stage,
    pub url: String,
    pub number: u64,
    /// Set by the faults: the worker dies soon, and another takes its place.
    pub dies: &'a AtomicBool,
}

/// A task, whichever queue it came from.
struct Task {
    /// Of a stream.
    entry: Option<String>,
    session: String,
    index: u32,
    audio: String,
    reply_to: Option<String>,
}

/// Why a life ended.
enum End {
    Died,
    Redis,
}

impl From<redis::RedisError> for End {
    fn from(_: redis::RedisError) -> Self {
        Self::Redis
    }
}

const RETRY: Duration = Duration::from_millis(50);

impl Worker<'_> {
    pub fn run(self) {
        let mut dice = Dice::new(self.stage.seed, 1_000 + self.number);
        let (mut life, mut hand) = (0, Vec::new());
        while !self.stage.done.load(SeqCst) {
            match self.live(life, &mut hand, &mut dice) {
                Ok(()) => {}
                // As a good worker does, it answers what it has when Redis is back.
                Err(End::Redis) => std::thread::sleep(RETRY),
                Err(End::Died) => {
                    self.stage.count("tasks in dead hands", hand.len() as u64);
                    hand.clear();
                    life += 1;
                    std::thread::sleep(dice.millis(50, 400));
                }
            }
        }
    }

    fn live(&self, life: u64, hand: &mut Vec<Task>, dice: &mut Dice) -> Result<(), End> {
        let client = redis::Client::open(self.url.as_str())?;
        let mut redis = client.get_connection_with_timeout(Duration::from_secs(1))?;
        redis.set_read_timeout(Some(Duration::from_secs(5)))?;
        redis.set_write_timeout(Some(Duration::from_secs(5)))?;
        let name = format!("own-{}-{life}", self.number);
        while !self.stage.done.load(SeqCst) {
            if hand.is_empty() {
                *hand = self.take(&mut redis, &name)?;
            }
            while let Some(task) = hand.first() {
                self.perform(task, &mut redis, dice)?;
                hand.remove(0);
            }
        }
        Ok(())
    }

    /// Whether its hour has come.
    fn dies_here(&self, dice: &mut Dice) -> Result<(), End> {
        if dice.percent(30) && self.dies.swap(false, SeqCst) { Err(End::Died) } else { Ok(()) }
    }

    fn take(&self, redis: &mut Connection, name: &str) -> Result<Vec<Task>, End> {
        let read = match self.stage.mode.stream {
            true => take_entries(redis, name)?,
            false => {
                let popped: Option<(String, String)> =
                    redis::cmd("BLPOP").arg(&["asr_chunk_queue", "1"]).query(redis)?;
                popped.map(|(_, task)| of_list(&task)).into_iter().collect()
            }
        };
        let mut tasks = Vec::new();
        for task in read {
            match task {
                Some(task) => tasks.push(task),
                None => self.stage.violated(Violation("a task that is none".into())),
            }
        }
        Ok(tasks)
    }

    fn perform(&self, task: &Task, redis: &mut Connection, dice: &mut Dice) -> Result<(), End> {
        self.dies_here(dice)?;
        let bytes = base64_simd::STANDARD.decode_to_vec(&task.audio).unwrap_or_default();
        let text = audio::name(&task.session, task.index);
        if audio::read_name(&bytes) != Some(&text)
            || bytes != audio::chunk(&task.session, task.index)
        {
            self.stage.violated(Violation(format!("{text}: the task has another's audio")));
        }
        let slow = if dice.percent(1) { 200 } else { 1 };
        std::thread::sleep(dice.millis(0, slow));
        let result = self.result(task, task.index, &text);
        let own = format!("asr_result_{}", task.session);
        let channel = task.reply_to.as_ref().unwrap_or(&own);
        let publish = |redis: &mut Connection, payload: &str| -> RedisResult<i64> {
            redis::cmd("PUBLISH").arg(channel).arg(payload).query(redis)
        };
        match dice.below(100) {
            0..5 => drop(publish(redis, &result)?),
            5 => drop(publish(redis, "{\"chunk_index\":")?),
            6 => drop(publish(redis, &self.result(task, task.index + 1_000, &text))?),
            _ => {}
        }
        publish(redis, &result)?;
        self.dies_here(dice)?;
        let cache = format!("asr:results:{}", task.session);
        let mut caching = redis::pipe();
        caching.cmd("RPUSH").arg(&cache).arg(&result).cmd("EXPIRE").arg(&cache).arg(60);
        caching.exec(redis)?;
        self.stage.on_cached(&task.session, task.index);
        self.dies_here(dice)?;
        if let Some(entry) = &task.entry {
            redis::cmd("XACK").arg(&["asr_tasks", "asr_workers", entry]).exec(redis)?;
        }
        self.stage.count("tasks of own workers", 1);
        Ok(())
    }

    fn result(&self, task: &Task, index: u32, text: &str) -> String {
        let mut result = json!({"chunk_index": index, "text": text, "duration": 0.1, "error": ""});
        if task.reply_to.is_some() {
            result["session_id"] = task.session.as_str().into();
        }
        result.to_string()
    }
}

/// `None` among them: an entry that is no task.
fn take_entries(redis: &mut Connection, name: &str) -> RedisResult<Vec<Option<Task>>> {
    let mut read = redis::cmd("XREADGROUP");
    read.arg(&["GROUP", "asr_workers", name, "COUNT", "5", "BLOCK", "1000"]);
    let read: Reply = read.arg(&["STREAMS", "asr_tasks", ">"]).query(redis)?;
    if read == Reply::Nil {
        return Ok(Vec::new());
    }
    type Entries = Vec<(String, Vec<String>)>;
    let streams: Vec<(String, Entries)> = from_redis_value(read)?;
    Ok(streams.into_iter().flat_map(|(_, entries)| entries).map(of_stream).collect())
}

fn of_list(text: &str) -> Option<Task> {
    let task: Value = serde_json::from_str(text).ok()?;
    let text = |key: &str| task[key].as_str().map(str::to_owned);
    Some(Task {
        entry: None,
        session: text("session_id")?,
        index: u32::try_from(task["chunk_index"].as_u64()?).ok()?,
        audio: text("audio_data")?,
        reply_to: text("reply_to"),
    })
}

fn of_stream((entry, fields): (String, Vec<String>)) -> Option<Task> {
    let field = |name: &str| {
        let pair = fields.chunks(2).find(|pair| pair[0] == name)?;
        pair.get(1).cloned()
    };
    let payload: Value = serde_json::from_str(&field("payload")?).ok()?;
    Some(Task {
        entry: Some(entry),
        session: field("task_id")?,
        index: u32::try_from(payload["chunk_index"].as_u64()?).ok()?,
        audio: payload["audio_data"].as_str()?.to_owned(),
        reply_to: field("reply_to"),
    })
}
