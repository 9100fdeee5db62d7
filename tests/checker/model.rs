//! What one client may hear, and what it must have heard by the end.
//!
//! # What is demanded
//! - Nothing comes before the start ack; every message names the session of the connection.
//! - An ack names a chunk that was sent. One that was first sent while Redis was dead is not
//!   acked before Redis is back, and neither is a session's first start where it subscribes.
//! - A result names a chunk that was sent, has a text that this chunk alone can have, and comes
//!   once to a connection. A connection that takes the session over may get what others had.
//! - The final result comes once, after `finish`. Its text is the merge in index order of
//!   exactly the results that this connection was sent; `complete` is true if and only if
//!   nothing is missing; every chunk that this client has no result of is named in `missing`.
//! - Over a stream nothing that was acked is missing. Over a list it may be, where a worker died
//!   with it; not where a worker cached its result before the deadline could have passed.
//!
//! # After the end of a gateway
//! It takes its sessions with it. The client sends `start` to the same port or the other
//! gateway, and then every chunk again that it has no result of, acked or not. Each of them has
//! to be answered there, out of the cache or by a worker, or be `missing` as above: acked and
//! unanswered before the kill is no excuse. Where the gateway lived and the session was left
//! less than `resume_ms` ago, some clients trust their acks: they do not send again what was
//! acked, and the session has to remember it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::audio;
use super::plan::Mode;

/// What must not be.
#[derive(Debug)]
pub struct Violation(pub String);

/// A message, understood.
#[derive(PartialEq, Debug)]
pub enum Heard {
    StartAck,
    Ack(u32),
    Result(u32),
    /// May be sent again.
    Rejected(u32),
    /// The session is not there, or not yet: the connection is of no more use.
    Refused(String),
    Final(Final),
}

/// A final result that is as it should be.
#[derive(PartialEq, Debug)]
pub struct Final {
    pub complete: bool,
    /// Acked, and without an answer.
    pub lost: BTreeSet<u32>,
    /// Never acked, and without an answer.
    pub unacked: usize,
}

/// One session of a client, over all its connections.
pub struct Session {
    pub id: String,
    pub chunks: u32,
    mode: Mode,
    texts: Vec<[String; 2]>,
    /// When each was first sent, and in which outage.
    sent: BTreeMap<u32, (Instant, u64)>,
    first_start_outage: Option<u64>,
    had_start_ack: bool,
    finish_sent: bool,
    /// Chunks with a result, on any connection.
    pub results: BTreeSet<u32>,
    pub acks: BTreeSet<u32>,
    here: Connection,
}

/// What the present connection knows.
#[derive(Default)]
struct Connection {
    started: bool,
    sent: BTreeSet<u32>,
    acked: BTreeSet<u32>,
    /// Acked on earlier connections of what is the same session to the gateway.
    trusted: BTreeSet<u32>,
    results: BTreeSet<u32>,
}

/// Outages are numbered; the number is odd while Redis is certainly dead.
fn is_same_outage(then: u64, now: u64) -> bool {
    then == now && now % 2 == 1
}

impl Session {
    pub fn new(id: String, chunks: u32, mode: Mode) -> Self {
        let texts = (0..chunks).map(|index| audio::texts(&id, index)).collect();
        Self {
            id,
            chunks,
            mode,
            texts,
            sent: BTreeMap::new(),
            first_start_outage: None,
            had_start_ack: false,
            finish_sent: false,
            results: BTreeSet::new(),
            acks: BTreeSet::new(),
            here: Connection::default(),
        }
    }

    /// A new connection; `start` is sent on it.
    pub fn on_start_sent(&mut self, outage: u64) {
        let before = std::mem::take(&mut self.here);
        // Whether they are trusted is seen when the start is acked.
        self.here.trusted = &before.trusted | &before.acked;
        self.first_start_outage.get_or_insert(outage);
    }

    /// The gateway has to know what it acked before.
    pub fn trust(&mut self) {
        self.here.sent.extend(&self.here.trusted);
    }

    /// It need not: everything without a result is sent again.
    pub fn distrust(&mut self) {
        self.here.trusted.clear();
    }

    pub fn on_sent(&mut self, index: u32, now: Instant, outage: u64) {
        self.sent.entry(index).or_insert((now, outage));
        self.here.sent.insert(index);
    }

    pub fn on_finish_sent(&mut self) {
        self.finish_sent = true;
    }

    /// Whether the start was acked on the present connection.
    pub fn is_started(&self) -> bool {
        self.here.started
    }

    pub fn finish_was_sent(&self) -> bool {
        self.finish_sent
    }

    /// Chunks that have to be sent on this connection, now that the start was acked.
    pub fn to_send(&self) -> Vec<u32> {
        let open = |index: &u32| !self.results.contains(index) && !self.here.sent.contains(index);
        (0..self.chunks).filter(open).collect()
    }

    /// Chunks of this connection for which an ack or an answer is still to come.
    pub fn unacked(&self) -> usize {
        let told = |index: &&u32| {
            let here = &self.here;
            !here.acked.contains(index)
                && !here.results.contains(index)
                && !here.trusted.contains(index)
        };
        self.here.sent.iter().filter(told).count()
    }

    /// A message came. `cached`: when the checker's worker cached the result of a chunk.
    pub fn hear(
        &mut self,
        message: &Value,
        outage: u64,
        cached: impl Fn(u32) -> Option<Instant>,
    ) -> Result<Heard, Violation> {
        let wrong = |what: &str| Err(Violation(format!("{}: {what}: {message}", self.id)));
        let kind = message["type"].as_str().unwrap_or_default();
        let names = message.get("session_id").and_then(Value::as_str);
        if names.is_some_and(|name| name != self.id) || (names.is_none() && kind != "error") {
            return wrong("a message of another session");
        }
        if kind == "error" {
            return self.hear_error(message);
        }
        if kind == "ack" && message["status"] == "session_started" {
            let first = self.first_start_outage.unwrap_or_default();
            if self.here.started {
                return wrong("a second start ack");
            }
            // With a channel a shard nobody is asked, and the gateway learns of a death later.
            let asks = !self.mode.per_shard && !self.had_start_ack;
            if asks && is_same_outage(first, outage) {
                return wrong("a start was acked while Redis was dead");
            }
            (self.here.started, self.had_start_ack) = (true, true);
            return Ok(Heard::StartAck);
        }
        if !self.here.started {
            return wrong("before the start ack");
        }
        if kind == "final_result" {
            return self.hear_final(message, cached).map(Heard::Final);
        }
        let index = message["chunk_index"].as_u64().and_then(|index| u32::try_from(index).ok());
        let Some((index, (_, sent_outage))) = index.and_then(|i| Some((i, *self.sent.get(&i)?)))
        else {
            return wrong("a chunk that was never sent");
        };
        match kind {
            "ack" => {
                if is_same_outage(sent_outage, outage) {
                    return wrong("a chunk was acked while Redis was dead");
                }
                self.here.acked.insert(index);
                self.acks.insert(index);
                Ok(Heard::Ack(index))
            }
            "chunk_result" => {
                let text = message["text"].as_str().unwrap_or_default();
                if !self.texts[index as usize].iter().any(|expected| expected == text) {
                    return wrong("the text of another chunk");
                }
                if !self.here.results.insert(index) {
                    return wrong("a result twice to one connection");
                }
                self.results.insert(index);
                Ok(Heard::Result(index))
            }
            _ => wrong("an unknown type"),
        }
    }

    fn hear_error(&self, message: &Value) -> Result<Heard, Violation> {
        let code = message["code"].as_str().unwrap_or_default();
        if let Some(index) = message["rejected_chunk"].as_u64() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            if self.here.acked.contains(&index) && self.here.sent.contains(&index) {
                return Err(Violation(format!("{}: rejected after its ack: {message}", self.id)));
            }
            return Ok(Heard::Rejected(index));
        }
        match code {
            "busy" | "broker_unavailable" if !self.here.started => {
                Ok(Heard::Refused(code.to_owned()))
            }
            _ => Err(Violation(format!("{}: an error that must not be: {message}", self.id))),
        }
    }

    fn hear_final(
        &self,
        message: &Value,
        cached: impl Fn(u32) -> Option<Instant>,
    ) -> Result<Final, Violation> {
        let wrong = |what: String| Err(Violation(format!("{}: {what}: {message}", self.id)));
        if !self.finish_sent {
            return wrong("a final result that nobody asked for".into());
        }
        let indexes = message["missing"].as_array().map(Vec::as_slice).unwrap_or_default();
        let missing: BTreeSet<u32> =
            indexes.iter().filter_map(|index| u32::try_from(index.as_u64()?).ok()).collect();
        let complete = message["complete"] == true;
        let count = message["missing_count"].as_u64().unwrap_or(0) as usize;
        if complete != missing.is_empty() || count != missing.len() {
            return wrong("complete, missing and missing_count disagree".into());
        }
        let Some(merged) = self.read_merge(message["text"].as_str().unwrap_or_default()) else {
            return wrong("not a merge of results in index order".into());
        };
        if merged != self.here.results {
            return wrong(format!("results here {:?}, merged {merged:?}", self.here.results));
        }
        let known = (merged.len()..=merged.len() + missing.len()).contains(&count_of(message));
        if !known || missing.iter().any(|index| merged.contains(index)) {
            return wrong("chunk_count or missing contradict the merge".into());
        }
        for index in 0..self.chunks {
            let had = self.results.contains(&index) && !self.here.sent.contains(&index);
            if !(merged.contains(&index) || missing.contains(&index) || had) {
                return wrong(format!("chunk {index} is neither answered nor missing"));
            }
        }
        let acked = &self.here.acked | &self.here.trusted;
        let lost: BTreeSet<u32> = &missing & &acked;
        for index in &lost {
            if self.mode.stream {
                return wrong(format!("chunk {index} was acked and lost"));
            }
            let first_sent = self.sent.get(index).map(|(at, _)| *at);
            let sure = self.mode.chunk_deadline() - Duration::from_millis(500);
            if first_sent.zip(cached(*index)).is_some_and(|(sent, cached)| cached < sent + sure) {
                return wrong(format!("chunk {index} is missing, and its result in the cache"));
            }
        }
        let unacked = missing.len() - lost.len();
        Ok(Final { complete, lost, unacked })
    }

    /// Whose texts these are, if they stand in index order with one space between.
    fn read_merge(&self, text: &str) -> Option<BTreeSet<u32>> {
        let (mut rest, mut found) = (text, BTreeSet::new());
        for (index, texts) in (0..).zip(&self.texts) {
            let after = |expected: &String| {
                let after = rest.strip_prefix(expected.as_str())?;
                if after.is_empty() { Some("") } else { after.strip_prefix(' ') }
            };
            if let Some(after) = texts.iter().find_map(after) {
                rest = after;
                found.insert(index);
            }
        }
        rest.is_empty().then_some(found)
    }
}

fn count_of(message: &Value) -> usize {
    message["chunk_count"].as_u64().unwrap_or(u64::MAX) as usize
}
