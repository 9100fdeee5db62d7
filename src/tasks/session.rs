//! ▢ One session, from its start to its final result.
//!
//! A session knows who owns it but does not hang on a connection: the owner can change.
//! Two facts make up its state: whether its subscription is `confirmed` (before that no
//! ack and no result leaves), and whether it has a finish deadline (from then on it takes
//! no new chunk and ends as soon as nothing is open).
//!
//! The cache of results is read at most once at a time: after the start of an id that the
//! client named, after a reconnect of the broker, before chunks are given up, and at the
//! finish deadline.

use std::sync::Arc;

use super::chunks::{Answer, Answered, Chunks, Phase, Taken};
use super::context::Context;
use super::id::SessionId;
use super::reply::{self, ErrorCode, SYSTEM_BUSY};
use super::result::WorkerResult;
use super::task;
use super::ticket::{Purpose, SessionKey};
use crate::broker::{Command, Error as BrokerError};
use crate::ids::SocketId;
use crate::limits::{TASKS_FINAL_LOOK_MS, TASKS_MISSING_MAX};

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

/// A read of the cache that is under way.
#[derive(Debug)]
struct Lookup {
    /// It was begun past the finish deadline: the session ends with its answer.
    last: bool,
    /// It may have been answered from before a gap in the subscription.
    again: bool,
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

    /// When [`on_deadline`](Self::on_deadline) is due, if that is earlier than what this
    /// said before.
    pub fn new_alarm_ms(&mut self) -> Option<u64> {
        let next_ms = self.next_deadline_ms()?;
        if self.armed_ms.is_some_and(|armed_ms| armed_ms <= next_ms) {
            return None;
        }
        self.armed_ms = Some(next_ms);
        self.armed_ms
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
                let value = task::encode(&self.id, index, audio, cx.now.unix_ms);
                cx.command(Command::Push { ticket, key: cx.config.queue_key.clone(), value });
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

    /// The cache was read; `None`: it could not be, which counts as empty.
    pub fn on_fetched(&mut self, values: Option<&[Vec<u8>]>, cx: &mut Context<'_>) -> Option<End> {
        let lookup = self.lookup.take()?;
        for value in values.unwrap_or_default() {
            self.on_cached(value, cx);
        }
        self.to_recover &= values.is_none();
        cx.metrics.chunks_expired.add(self.chunks.expire_overdue().into());
        if lookup.last {
            return Some(self.conclude(cx));
        }
        let end = self.conclude_if_settled(cx);
        if end.is_none() && (lookup.again || self.is_overdue(cx.now.ms)) {
            self.look_up(cx);
        }
        end
    }

    /// What [`new_alarm_ms`](Self::new_alarm_ms) asked for. Coming early is harmless.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.armed_ms = None;
        let now_ms = cx.now.ms;
        if self.finish_deadline_ms.is_some_and(|ms| now_ms >= last_moment_ms(ms)) {
            return Some(self.conclude(cx));
        }
        if self.lookup.is_none() && self.is_overdue(now_ms) {
            self.look_up(cx);
        }
        None
    }

    fn next_deadline_ms(&mut self) -> Option<u64> {
        if self.lookup.is_some() {
            // The answer decides about overdue chunks. Only a client that waits for its
            // final result does not wait for a broker that is away.
            return self.finish_deadline_ms.map(last_moment_ms);
        }
        let chunk_ms = self.chunks.next_deadline_ms();
        chunk_ms.into_iter().chain(self.finish_deadline_ms).min()
    }

    fn is_overdue(&mut self, now_ms: u64) -> bool {
        self.finish_deadline_ms.is_some_and(|ms| ms <= now_ms)
            || self.chunks.next_deadline_ms().is_some_and(|ms| ms <= now_ms)
    }

    fn look_up(&mut self, cx: &mut Context<'_>) {
        if let Some(lookup) = &mut self.lookup {
            lookup.again = true;
            return;
        }
        self.chunks.mark_overdue(cx.now.ms);
        let last = self.finish_deadline_ms.is_some_and(|ms| ms <= cx.now.ms);
        self.lookup = Some(Lookup { last, again: false });
        let ticket = cx.ticket(self.key, Purpose::Fetch);
        cx.command(Command::Fetch { ticket, key: self.id.cache_key() });
    }

    /// Every result is published and cached: one that is known already is no duplicate.
    fn on_cached(&mut self, value: &[u8], cx: &mut Context<'_>) {
        let Ok(result) = WorkerResult::parse(value) else {
            return cx.metrics.results.malformed.inc();
        };
        let text_bytes = cx.config.session_text_bytes;
        let mut answered = self.chunks.answer(&result, text_bytes);
        if answered == Answered::Unknown && self.to_recover {
            match self.chunks.take(result.index, cx.chunks_per_session()) {
                Taken::New(ordinal) => {
                    self.chunks.answer(&result, text_bytes);
                    // It was counted and acked in its earlier life.
                    answered = Answered::First(ordinal);
                    if let Some(chunk) = self.chunks.get_mut(ordinal) {
                        chunk.acked = true;
                    }
                }
                Taken::Repeated(_) | Taken::Full => cx.metrics.results.orphaned.inc(),
            }
        }
        self.on_answered(answered, &result, cx);
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

    /// The ack, if the client has not had it, and the answer of one chunk; or neither,
    /// while nobody may hear them: [`send_owed`](Self::send_owed) makes up for it.
    fn send_answer(&mut self, ordinal: u32, result: &WorkerResult<'_>, cx: &mut Context<'_>) {
        if !self.confirmed || self.owner.is_none() {
            return;
        }
        let Some(chunk) = self.chunks.get_mut(ordinal) else { return };
        let acked = std::mem::replace(&mut chunk.acked, true);
        chunk.sent = true;
        if !acked {
            self.send_chunk_ack(result.index, cx);
        }
        let error = result.error.as_deref();
        self.send(reply::chunk_result(&self.id, result.index, &result.text, error), cx);
    }

    /// Every ack and answer that was held back or that a new owner has not had.
    fn send_owed(&mut self, cx: &mut Context<'_>) {
        let Some(owner) = self.owner else { return };
        for chunk in self.chunks.iter_mut() {
            if chunk.is_accepted() && !chunk.acked {
                chunk.acked = true;
                cx.metrics.acks.inc();
                cx.send(owner, reply::chunk_ack(&self.id, chunk.index));
            }
            if let (Phase::Answered(Answer { text, error }), false) = (&chunk.phase, chunk.sent) {
                chunk.sent = true;
                let no_room = text.is_none().then_some("text no longer held");
                let error = error.as_deref().or(no_room);
                let text = text.as_deref().unwrap_or_default();
                cx.send(owner, reply::chunk_result(&self.id, chunk.index, text, error));
            }
        }
    }

    fn send_start_ack(&self, cx: &mut Context<'_>) {
        cx.metrics.acks.inc();
        self.send(reply::start_ack(&self.id), cx);
    }

    fn send_chunk_ack(&self, index: u32, cx: &mut Context<'_>) {
        cx.metrics.acks.inc();
        self.send(reply::chunk_ack(&self.id, index), cx);
    }

    fn send_error(
        &self,
        code: ErrorCode,
        message: &str,
        rejected_chunk: Option<u32>,
        cx: &mut Context<'_>,
    ) {
        let Some(owner) = self.owner else { return };
        cx.error(owner, &reply::Error { code, message, session: Some(&self.id), rejected_chunk });
    }

    fn send(&self, text: Vec<u8>, cx: &mut Context<'_>) {
        if let Some(owner) = self.owner {
            cx.send(owner, text);
        }
    }
}

/// When a final result goes out even though the cache has not been read.
fn last_moment_ms(finish_deadline_ms: u64) -> u64 {
    finish_deadline_ms.saturating_add(TASKS_FINAL_LOOK_MS)
}

fn code_of(error: &BrokerError) -> ErrorCode {
    match error {
        BrokerError::Full => ErrorCode::Busy,
        BrokerError::Refused(_) => ErrorCode::BrokerUnavailable,
    }
}
