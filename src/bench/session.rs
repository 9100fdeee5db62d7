//! ▢ A client's half of one session of a tasks route: which chunk leaves when, what of it was
//! answered, and how it ended.

use std::{borrow::Cow, fmt::Write};

use serde::Deserialize;

use super::tasks::Job;

/// Chunks of a session without an ack, past which no more are sent: a server that has stopped
/// reading is not fed without end.
const UNACKED_MAX: u64 = 1_024;
/// Longest reason of a server's that is kept.
const WHY_CHARS_MAX: usize = 80;

/// How a session with a final result ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Every chunk was acked and answered once, and the server says so too.
    Complete,
    /// Something is missing.
    Partial,
    /// The run ended before it had a chunk.
    Empty,
}

/// A chunk that is to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Next {
    /// Its number.
    pub index: u32,
    /// When it should have left.
    pub due_ns: u64,
    /// It did not leave then because the server had not acked those before.
    pub is_held: bool,
}

/// What one message of the server meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard {
    /// The session is open; since it was asked for.
    Started {
        /// In nanoseconds.
        took_ns: u64,
    },
    /// The server has a chunk; since it was due.
    Acked {
        /// In nanoseconds.
        took_ns: u64,
    },
    /// The server has not taken a chunk.
    Rejected {
        /// The server's code.
        why: String,
    },
    /// A worker has answered; since the chunk was due.
    Result {
        /// In nanoseconds.
        took_ns: u64,
    },
    /// The last of a session; since `finish`.
    Final {
        /// In nanoseconds.
        took_ns: u64,
        /// What it amounts to.
        outcome: Outcome,
    },
    /// There is no session, because the server is busy.
    Busy {
        /// The server's word.
        why: String,
    },
    /// The session cannot go on.
    Error {
        /// The server's word.
        why: String,
    },
    /// Of another session, of no chunk, twice, or no message of this protocol.
    Odd,
}

/// What a server says (docs/tasks.md).
#[derive(Deserialize)]
struct Message<'m> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'m, str>,
    #[serde(default, borrow)]
    session_id: Cow<'m, str>,
    #[serde(default)]
    chunk_index: u32,
    #[serde(default, borrow)]
    status: Cow<'m, str>,
    #[serde(default, borrow)]
    code: Cow<'m, str>,
    #[serde(default, borrow)]
    message: Cow<'m, str>,
    #[serde(default, borrow)]
    error: Cow<'m, str>,
    rejected_chunk: Option<u32>,
    /// Servers that do not say it have no partial results.
    complete: Option<bool>,
}

/// One chunk that has been sent.
#[derive(Clone, Copy, Default)]
struct Chunk {
    due_ns: u64,
    is_acked: bool,
    is_answered: bool,
    /// It will never be answered, by the server's own word.
    is_rejected: bool,
    /// The worker said that it failed.
    has_failed: bool,
}

/// One session.
pub struct Session {
    /// Its name.
    pub id: String,
    /// When it was asked for.
    pub began_ns: u64,
    started_ns: Option<u64>,
    finished_ns: Option<u64>,
    /// How many it will have.
    wanted: u32,
    interval_ns: Option<u64>,
    in_flight: u32,
    deadline_ns: u64,
    sent: Vec<Chunk>,
    /// Sent, neither answered nor rejected.
    unanswered: u64,
    /// Sent, neither acked nor rejected.
    unacked: u64,
    /// A chunk that was due waits for acks.
    is_held: bool,
}

impl Session {
    /// Asked for at `now_ns`.
    pub fn new(id: String, job: &Job, now_ns: u64) -> Self {
        Self {
            id,
            began_ns: now_ns,
            started_ns: None,
            finished_ns: None,
            wanted: job.chunks,
            interval_ns: job.chunk_ns,
            in_flight: job.in_flight.max(1),
            deadline_ns: now_ns.saturating_add(job.patience_ns),
            sent: Vec::new(),
            unanswered: 0,
            unacked: 0,
            is_held: false,
        }
    }

    /// The chunk that is to leave now; call it until there is none.
    pub fn next_chunk(&mut self, now_ns: u64) -> Option<Next> {
        let due_ns = self.due_ns(now_ns).filter(|due_ns| *due_ns <= now_ns)?;
        if self.unacked >= UNACKED_MAX {
            self.is_held = true;
            return None;
        }
        let index = u32::try_from(self.sent.len()).ok()?;
        let next = Next { index, due_ns, is_held: self.is_held };
        self.sent.push(Chunk { due_ns, ..Chunk::default() });
        self.unanswered += 1;
        self.unacked += 1;
        self.is_held &= self.due_ns(now_ns).is_some_and(|due_ns| due_ns <= now_ns);
        Some(next)
    }

    /// When the next chunk should leave; an unpaced one when there is room for it.
    fn due_ns(&self, now_ns: u64) -> Option<u64> {
        let nth = self.sent.len() as u64;
        let started_ns = self.started_ns.filter(|_| nth < u64::from(self.wanted))?;
        match self.interval_ns {
            Some(interval_ns) => Some(started_ns.saturating_add(nth.saturating_mul(interval_ns))),
            None => (self.unanswered < u64::from(self.in_flight)).then_some(now_ns),
        }
    }

    /// Whether `finish` is to be sent now, which is so once.
    pub fn finish(&mut self, now_ns: u64) -> bool {
        let is_time = self.started_ns.is_some()
            && self.finished_ns.is_none()
            && self.sent.len() as u64 >= u64::from(self.wanted);
        if is_time {
            self.finished_ns = Some(now_ns);
        }
        is_time
    }

    /// When there is something to do, if the server says nothing until then.
    pub fn next_ns(&self) -> u64 {
        // What is held goes on with an ack.
        let paced = self.interval_ns.filter(|_| !self.is_held).and_then(|_| self.due_ns(0));
        paced.unwrap_or(u64::MAX).min(self.deadline_ns)
    }

    /// No more chunks than there have been.
    pub fn shorten(&mut self) {
        self.wanted = self.wanted.min(u32::try_from(self.sent.len()).unwrap_or(u32::MAX));
    }

    /// Chunks that were sent and neither answered nor rejected.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// The command with that chunk, into `text`.
    pub fn write_chunk(&self, index: u32, audio: &str, text: &mut String) {
        text.clear();
        let id = &self.id;
        // Writing to a string does not fail.
        let _ = write!(
            text,
            r#"{{"action":"chunk","session_id":"{id}","chunk_index":{index},"audio_data":"{audio}"}}"#
        );
    }

    /// Takes one message of the server.
    pub fn hear(&mut self, payload: &[u8], now_ns: u64) -> Heard {
        let Ok(message) = serde_json::from_slice::<Message<'_>>(payload) else { return Heard::Odd };
        if message.kind == "error" {
            return self.error(&message);
        }
        if !self.is_meant(&message) {
            return Heard::Odd;
        }
        match (&*message.kind, &*message.status) {
            ("ack", "session_started") if self.started_ns.is_none() => {
                self.started_ns = Some(now_ns);
                Heard::Started { took_ns: now_ns.saturating_sub(self.began_ns) }
            }
            ("ack", "received") => match self.sent.get_mut(message.chunk_index as usize) {
                Some(chunk) if !chunk.is_acked && !chunk.is_rejected => {
                    chunk.is_acked = true;
                    self.unacked -= 1;
                    Heard::Acked { took_ns: now_ns.saturating_sub(chunk.due_ns) }
                }
                _ => Heard::Odd,
            },
            ("chunk_result", _) => self.result(&message, now_ns),
            ("final_result", _) => {
                let since_ns = self.finished_ns.unwrap_or(now_ns);
                let took_ns = now_ns.saturating_sub(since_ns);
                Heard::Final { took_ns, outcome: self.outcome(message.complete) }
            }
            _ => Heard::Odd,
        }
    }

    /// Older servers do not name the session in every message.
    fn is_meant(&self, message: &Message<'_>) -> bool {
        message.session_id.is_empty() || message.session_id == self.id
    }

    fn result(&mut self, message: &Message<'_>, now_ns: u64) -> Heard {
        match self.sent.get_mut(message.chunk_index as usize) {
            Some(chunk) if !chunk.is_answered && !chunk.is_rejected => {
                chunk.is_answered = true;
                chunk.has_failed = !message.error.is_empty();
                self.unanswered -= 1;
                Heard::Result { took_ns: now_ns.saturating_sub(chunk.due_ns) }
            }
            _ => Heard::Odd,
        }
    }

    fn error(&mut self, message: &Message<'_>) -> Heard {
        if !self.is_meant(message) {
            return Heard::Odd;
        }
        let word = if message.code.is_empty() { &message.message } else { &message.code };
        let why: String = word.chars().take(WHY_CHARS_MAX).collect();
        if let Some(index) = message.rejected_chunk {
            return match self.sent.get_mut(index as usize) {
                Some(chunk) if !chunk.is_acked && !chunk.is_answered && !chunk.is_rejected => {
                    chunk.is_rejected = true;
                    self.unanswered -= 1;
                    self.unacked -= 1;
                    Heard::Rejected { why }
                }
                _ => Heard::Odd,
            };
        }
        let is_busy = message.code == "busy" || message.message.starts_with("System busy");
        match is_busy && self.started_ns.is_none() {
            true => Heard::Busy { why },
            false => Heard::Error { why },
        }
    }

    fn outcome(&self, said: Option<bool>) -> Outcome {
        let is_whole = |chunk: &Chunk| chunk.is_acked && chunk.is_answered && !chunk.has_failed;
        let is_complete =
            self.finished_ns.is_some() && said.unwrap_or(true) && self.sent.iter().all(is_whole);
        match is_complete {
            _ if self.wanted == 0 => Outcome::Empty,
            true => Outcome::Complete,
            false => Outcome::Partial,
        }
    }
}

#[cfg(test)]
mod tests;
