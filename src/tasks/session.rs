//! ▢ One session, from its start to its final result.
//!
//! A session knows who owns it but does not hang on a connection: the owner can change.
//! Two facts make up its state: whether its subscription is `confirmed` (before that no
//! ack and no result leaves), and whether it has a finish deadline (from then on it takes
//! no new chunk and ends as soon as nothing is open).
//!
//! Here is what clients, broker and workers do to it; `lookup` has its deadlines and its
//! reads of the cache, `speech` what it tells its owner.

mod lookup;
mod speech;

use std::sync::Arc;

use super::chunks::{Answered, Chunks, Taken};
use super::context::Context;
use super::id::SessionId;
use super::reply::{self, ErrorCode, SYSTEM_BUSY};
use super::result::WorkerResult;
use super::task;
use super::ticket::{Purpose, SessionKey};
use crate::broker::{Command, Error as BrokerError};
use crate::ids::SocketId;
use crate::limits::TASKS_MISSING_MAX;
use lookup::Lookup;

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With a final result that lacks nothing.
    Complete,
    /// With a final result that lacks chunks.
    Partial,
    /// Without a final result.
    Abandoned,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    key: SessionKey,
    id: SessionId,
    channel: Arc<str>,
    owner: Option<SocketId>,
    started_ms: u64,
    confirmed: bool,
    finish_deadline_ms: Option<u64>,
    chunks: Chunks,
    lookup: Option<Lookup>,
    /// The client named the session, so that the cache may have results of an earlier
    /// life of it, and nobody has read them yet.
    to_recover: bool,
    armed_ms: Option<u64>,
}

impl Session {
    /// A session that waits for its subscription, which [`subscribe`](Self::subscribe)
    /// asks for. `named`: the id is the client's own.
    pub fn new(key: SessionKey, id: SessionId, owner: SocketId, named: bool, now_ms: u64) -> Self {
        Self {
            key,
            channel: id.channel(),
            id,
            owner: Some(owner),
            started_ms: now_ms,
            confirmed: false,
            finish_deadline_ms: None,
            chunks: Chunks::default(),
            lookup: None,
            to_recover: named,
            armed_ms: None,
        }
    }

    /// Its name.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Where its results are published.
    pub fn channel(&self) -> &Arc<str> {
        &self.channel
    }

    /// The socket that hears of it.
    pub fn owner(&self) -> Option<SocketId> {
        self.owner
    }

    /// Chunks without an answer that are not given up.
    pub fn unanswered(&self) -> u32 {
        self.chunks.unanswered()
    }

    /// Whether its client waits for something.
    pub fn has_open_work(&self) -> bool {
        !self.confirmed || self.finish_deadline_ms.is_some() || self.unanswered() > 0
    }

    /// Asks for its results: once, however many chunks follow.
    pub fn subscribe(&self, cx: &mut Context<'_>) {
        cx.command(Command::Subscribe { channel: self.channel.clone() });
    }

    /// Its owner started it again.
    pub fn start_again(&self, cx: &mut Context<'_>) {
        if self.confirmed {
            self.send_start_ack(cx);
        }
    }

    /// From now on `owner` owns it, and is told everything known so far.
    pub fn take_over(&mut self, owner: SocketId, cx: &mut Context<'_>) {
        self.owner = Some(owner);
        self.chunks.iter_mut().for_each(|chunk| chunk.sent = false);
        if self.confirmed {
            self.send_start_ack(cx);
            self.send_owed(cx);
        }
    }

    /// The client sent a chunk.
    pub fn chunk(&mut self, index: i64, audio: &str, cx: &mut Context<'_>) {
        let Ok(index) = u32::try_from(index) else {
            return self.send_error(ErrorCode::BadChunk, "chunk_index out of range", None, cx);
        };
        if self.finish_deadline_ms.is_some() && !self.chunks.contains(index) {
            return self.send_error(ErrorCode::BadMessage, "Session is finishing", None, cx);
        }
        if !audio.is_empty() && base64_simd::STANDARD.check(audio.as_bytes()).is_err() {
            return self.send_error(ErrorCode::BadChunk, "audio_data is not base64", None, cx);
        }
        match self.chunks.take(index, cx.chunks_per_session()) {
            Taken::Full => {
                self.send_error(ErrorCode::TooLarge, "Too many chunks in this session", None, cx);
            }
            Taken::Repeated(ordinal) => {
                cx.metrics.chunks_repeated.inc();
                // One that was not acked yet is acked when its time comes.
                let acked = self.chunks.get_mut(ordinal).is_some_and(|chunk| chunk.acked);
                if acked && self.confirmed {
                    self.send_chunk_ack(index, cx);
                }
            }
            Taken::New(ordinal) if audio.is_empty() => {
                // Workers publish nothing for empty audio.
                let empty = WorkerResult { index, text: "".into(), error: None };
                cx.metrics.chunks.inc();
                self.chunks.answer(&empty, cx.config.session_text_bytes);
                self.send_answer(ordinal, &empty, cx);
            }
            Taken::New(ordinal) => {
                let ticket = cx.ticket(self.key, Purpose::Push(ordinal));
                let queue = cx.config.queue.clone();
                let task = task::encode(&queue, &self.id, index, audio, cx.now.unix_ms);
                cx.command(Command::Push { ticket, queue, task });
            }
        }
    }

    /// The client will send no more.
    pub fn finish(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let deadline_ms = cx.now.ms.saturating_add(cx.config.finish_deadline_ms);
        self.finish_deadline_ms.get_or_insert(deadline_ms);
        self.conclude_if_settled(cx)
    }

    /// The subscription is in force: for the first time, or again after a gap.
    pub fn on_subscribed(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.confirmed {
            self.look_up(cx);
            return None;
        }
        self.confirmed = true;
        self.send_start_ack(cx);
        self.send_owed(cx);
        if self.to_recover {
            self.look_up(cx);
        }
        self.conclude_if_settled(cx)
    }

    /// There will be no results.
    pub fn on_subscribe_failed(&mut self, error: &BrokerError, cx: &mut Context<'_>) -> End {
        self.send_error(code_of(error), SYSTEM_BUSY, None, cx);
        End::Abandoned
    }

    /// The broker took a chunk.
    pub fn on_pushed(&mut self, ordinal: u32, cx: &mut Context<'_>) {
        let deadline_ms = cx.now.ms.saturating_add(cx.config.chunk_deadline_ms);
        let Some(chunk) = self.chunks.accept(ordinal, deadline_ms) else { return };
        cx.metrics.chunks.inc();
        if self.confirmed && self.owner.is_some() {
            chunk.acked = true;
            let index = chunk.index;
            self.send_chunk_ack(index, cx);
        }
    }

    /// The broker did not take a chunk: it is not waited for.
    pub fn on_push_failed(
        &mut self,
        ordinal: u32,
        error: &BrokerError,
        cx: &mut Context<'_>,
    ) -> Option<End> {
        let index = self.chunks.refuse(ordinal)?;
        self.send_error(code_of(error), SYSTEM_BUSY, Some(index), cx);
        self.conclude_if_settled(cx)
    }

    /// A worker published a result.
    pub fn on_message(&mut self, payload: &[u8], cx: &mut Context<'_>) -> Option<End> {
        let results = &cx.metrics.results;
        let Ok(result) = WorkerResult::parse(payload) else {
            results.malformed.inc();
            log::debug!("session {}: malformed result of {} bytes", self.id, payload.len());
            return None;
        };
        match self.chunks.answer(&result, cx.config.session_text_bytes) {
            Answered::Unknown => results.orphaned.inc(),
            Answered::Duplicate => results.duplicate.inc(),
            answered => self.on_answered(answered, &result, cx),
        }
        self.conclude_if_settled(cx)
    }

    fn on_answered(&mut self, answered: Answered, result: &WorkerResult<'_>, cx: &mut Context<'_>) {
        let ordinal = match answered {
            Answered::Unknown | Answered::Duplicate => return,
            Answered::Late(ordinal) => {
                cx.metrics.results.late.inc();
                ordinal
            }
            Answered::First(ordinal) => {
                cx.metrics.results.delivered.inc();
                ordinal
            }
            Answered::Early(ordinal) => {
                cx.metrics.chunks.inc();
                cx.metrics.results.delivered.inc();
                ordinal
            }
        };
        self.send_answer(ordinal, result, cx);
    }

    /// Ends the session if its client waits for that and nothing else.
    fn conclude_if_settled(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let recovering = self.lookup.is_some() && self.to_recover;
        let settled = self.confirmed && self.unanswered() == 0 && !recovering;
        (self.finish_deadline_ms.is_some() && settled).then(|| self.conclude(cx))
    }

    fn conclude(&mut self, cx: &mut Context<'_>) -> End {
        cx.metrics.chunks_expired.add(self.unanswered().into());
        let summary = self.chunks.summary(&cx.config.merge_separator, TASKS_MISSING_MAX);
        let duration_ms = cx.now.ms.saturating_sub(self.started_ms);
        self.send(reply::final_result(&self.id, &summary, duration_ms), cx);
        if summary.missing_count == 0 { End::Complete } else { End::Partial }
    }
}

fn code_of(error: &BrokerError) -> ErrorCode {
    match error {
        BrokerError::Full => ErrorCode::Busy,
        BrokerError::Refused(_) => ErrorCode::BrokerUnavailable,
    }
}
