//! ▢ One session, from its start to its final result.
//!
//! A session knows who owns it but does not hang on a connection: the owner can change,
//! and for a while there may be none. Three facts make up its state: whether it is
//! `confirmed` that its results are heard (before that no ack and no result leaves),
//! whether it has a finish deadline (from then on it takes no new chunk and concludes as
//! soon as nothing is open), and whether it has concluded (from then on it only waits for
//! a client that can be told).
//!
//! Here is what clients, broker and workers do to it; `lookup` has its deadlines and its
//! reads of the cache, `resume` the change of its owner,
//! `moving` that of its shard, `speech` what it tells its owner.

mod lookup;
mod moving;
mod resume;
mod speech;

use std::collections::VecDeque;
use std::sync::Arc;

use super::chunks::{Answered, Chunks, Taken};
use super::command::Modes;
use super::context::Context;
use super::cores::Tenure;
use super::id::SessionId;
use super::reply::{self, ErrorCode, SYSTEM_BUSY};
use super::result::WorkerResult;
use super::table::Named;
use super::task::{self, Audio, Base64};
use super::ticket::{Purpose, SessionKey};
use crate::broker::{Command, Error as BrokerError};
use crate::ids::SocketId;
use crate::limits::TASKS_MISSING_MAX;
use lookup::Lookup;
pub use resume::Detachment;

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
    /// Its own channel, once it has asked for that.
    channel: Option<Arc<str>>,
    owner: Option<SocketId>,
    /// Since its connection has gone.
    detachment: Option<Detachment>,
    /// Each binary frame of its connection is a chunk.
    binary: bool,
    /// Whether chunks are acked.
    acks: bool,
    started_ms: u64,
    confirmed: bool,
    finish_deadline_ms: Option<u64>,
    /// When it had its final result, which nobody has been sent yet.
    concluded_ms: Option<u64>,
    chunks: Chunks,
    /// Ordinals of chunks about which its owner is still to be told something.
    owed: VecDeque<u32>,
    lookup: Option<Lookup>,
    /// The client named the session, so that the cache may have results of an earlier
    /// life of it, and nobody has read them yet.
    to_recover: bool,
    armed_ms: Option<u64>,
    /// Under which this shard owns it, where there are others.
    tenure: Option<Tenure>,
    /// It came from another shard, and is not confirmed since.
    has_moved: bool,
}

impl Session {
    /// A session that waits for its subscription, which [`subscribe`](Self::subscribe)
    /// asks for. `named`: the id is the client's own.
    pub fn new(key: SessionKey, id: SessionId, owner: SocketId, named: bool, now_ms: u64) -> Self {
        Self {
            key,
            id,
            channel: None,
            owner: Some(owner),
            detachment: None,
            binary: false,
            acks: true,
            started_ms: now_ms,
            confirmed: false,
            finish_deadline_ms: None,
            concluded_ms: None,
            chunks: Chunks::default(),
            owed: VecDeque::new(),
            lookup: None,
            to_recover: named,
            armed_ms: None,
            tenure: None,
            has_moved: false,
        }
    }

    /// What it has subscribed to for itself.
    pub fn channel(&self) -> Option<&Arc<str>> {
        self.channel.as_ref()
    }

    /// The socket that hears of it.
    pub fn owner(&self) -> Option<SocketId> {
        self.owner
    }

    /// Whether binary frames of its connection are its chunks.
    pub fn is_binary(&self) -> bool {
        self.binary
    }

    /// Bytes of result texts that it keeps.
    pub fn text_bytes(&self) -> usize {
        self.chunks.text_bytes()
    }

    /// Takes on what a `start` says; what it does not say stays.
    pub fn set_modes(&mut self, modes: Modes) {
        self.binary = modes.binary.unwrap_or(self.binary);
        self.acks = modes.acks.unwrap_or(self.acks);
    }

    /// Chunks without an answer that are not given up.
    pub fn unanswered(&self) -> u32 {
        self.chunks.unanswered()
    }

    /// Whether its client waits for something, be it only for what it is behind with reading.
    pub fn has_open_work(&self) -> bool {
        let is_told_all = self.confirmed && self.owed.is_empty();
        !is_told_all || self.finish_deadline_ms.is_some() || self.unanswered() > 0
    }

    /// Asks for its results: once, however many chunks follow, and not at all where they
    /// come on the shard's channel.
    pub fn subscribe(&mut self, cx: &mut Context<'_>) -> Option<End> {
        match cx.shared_confirmed {
            Some(true) => self.on_subscribed(cx),
            Some(false) => None,
            None => {
                let channel = self.channel.get_or_insert_with(|| self.id.channel()).clone();
                cx.command(Command::Subscribe { channel });
                None
            }
        }
    }

    /// Its owner started it again.
    pub fn start_again(&self, cx: &mut Context<'_>) {
        if self.confirmed {
            self.send_start_ack(cx);
        }
    }

    /// The client sent a binary frame: its next chunk.
    pub fn binary_chunk(&mut self, audio: &[u8], cx: &mut Context<'_>) {
        match self.chunks.next_index() {
            Some(index) => self.take_chunk(index, Audio::Raw(audio), cx),
            None => self.send_error(ErrorCode::BadChunk, "no chunk_index is left", None, cx),
        }
    }

    /// The client sent a chunk; `None`: of something that is not base64.
    pub fn chunk(&mut self, index: i64, audio: Option<&Base64<'_>>, cx: &mut Context<'_>) {
        let Ok(index) = u32::try_from(index) else {
            return self.send_error(ErrorCode::BadChunk, "chunk_index out of range", None, cx);
        };
        match audio {
            Some(audio) => self.take_chunk(index, Audio::Base64(audio), cx),
            None if self.is_open_for(index) => {
                self.send_error(ErrorCode::BadChunk, "audio_data is not base64", None, cx);
            }
            None => self.send_finishing(cx),
        }
    }

    fn send_finishing(&self, cx: &mut Context<'_>) {
        self.send_error(ErrorCode::BadMessage, "Session is finishing", None, cx);
    }

    fn is_open_for(&self, index: u32) -> bool {
        self.finish_deadline_ms.is_none() || self.chunks.contains(index)
    }

    fn take_chunk(&mut self, index: u32, audio: Audio<'_>, cx: &mut Context<'_>) {
        if !self.is_open_for(index) {
            return self.send_finishing(cx);
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
                let empty = WorkerResult { session_id: None, index, text: "".into(), error: None };
                cx.metrics.chunks.inc();
                self.chunks.answer(&empty, cx.text_limit_bytes);
                self.send_answer(ordinal, &empty, cx);
            }
            Taken::New(ordinal) => {
                let ticket = cx.ticket(self.key, Purpose::Push(ordinal));
                let queue = cx.config.queue.clone();
                let reply_to = cx.config.reply_to.as_deref();
                let task = task::encode(&queue, &self.id, index, audio, cx.now.unix_ms, reply_to);
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
        if self.has_moved || self.to_recover {
            self.look_up(cx);
        }
        // Where the next binary frame belongs is known when the cache has been read.
        if self.binary
            && let Some(lookup) = &mut self.lookup
        {
            lookup.confirms = true;
            return None;
        }
        self.confirm(cx)
    }

    /// From now on its owner is told of it.
    fn confirm(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.confirmed = true;
        self.has_moved = false;
        // What was held back goes out in the order in which the chunks came.
        self.owed.make_contiguous().sort_unstable();
        self.send_start_ack(cx);
        self.send_owed(cx);
        self.conclude_if_settled(cx)
    }

    /// There will be no results.
    pub fn on_subscribe_failed(&self, error: &BrokerError, cx: &mut Context<'_>) -> End {
        self.send_error(code_of(error), SYSTEM_BUSY, None, cx);
        End::Abandoned
    }

    /// The shard's channel was refused: for a session that has waited for it there will be
    /// no results either.
    pub fn on_shared_refused(&self, error: &BrokerError, cx: &mut Context<'_>) -> Option<End> {
        (!self.confirmed).then(|| self.on_subscribe_failed(error, cx))
    }

    /// The broker took a chunk.
    pub fn on_pushed(&mut self, ordinal: u32, cx: &mut Context<'_>) {
        let deadline_ms = cx.now.ms.saturating_add(cx.config.chunk_deadline_ms);
        if self.chunks.accept(ordinal, deadline_ms).is_some() {
            cx.metrics.chunks.inc();
            self.tell(ordinal, cx);
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
        if self.owner.is_some()
            && let Some(chunk) = self.chunks.get_mut(ordinal)
        {
            chunk.sent = true;
            self.send_error(code_of(error), SYSTEM_BUSY, Some(index), cx);
        }
        self.conclude_if_settled(cx)
    }

    /// A worker published a result.
    pub fn on_result(&mut self, result: &WorkerResult<'_>, cx: &mut Context<'_>) -> Option<End> {
        let results = &cx.metrics.results;
        match self.chunks.answer(result, cx.text_limit_bytes) {
            Answered::Unknown => results.orphaned.inc(),
            Answered::Duplicate => results.duplicate.inc(),
            answered => self.on_answered(answered, result, cx),
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
        // One that has moved tells its new owner the rest first.
        let concluded = self.concluded_ms.is_some() && !self.has_moved;
        let concludes = concluded || settled;
        (self.finish_deadline_ms.is_some() && concludes).then(|| self.conclude(cx)).flatten()
    }

    /// Nothing more is waited for but a client that can be told: its final result says
    /// what is known by then.
    fn conclude(&mut self, cx: &mut Context<'_>) -> Option<End> {
        if self.concluded_ms.is_none() {
            cx.metrics.chunks_expired.add(self.unanswered().into());
            self.chunks.give_up();
        }
        let concluded_ms = *self.concluded_ms.get_or_insert(cx.now.ms);
        if !self.can_end(cx) {
            return None;
        }
        let summary = self.chunks.summary(&cx.config.merge_separator, TASKS_MISSING_MAX);
        let duration_ms = concluded_ms.saturating_sub(self.started_ms);
        self.send(reply::final_result(&self.id, &summary, duration_ms), cx);
        Some(if summary.missing_count == 0 { End::Complete } else { End::Partial })
    }
}

impl Named for Session {
    fn id(&self) -> &SessionId {
        &self.id
    }
}

fn code_of(error: &BrokerError) -> ErrorCode {
    match error {
        BrokerError::Full => ErrorCode::Busy,
        BrokerError::Refused(_) => ErrorCode::BrokerUnavailable,
    }
}
