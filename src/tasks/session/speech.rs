//! ▢ What a session tells its owner, and what it owes one that was not there.

use super::Session;
use crate::ids::SocketId;
use crate::tasks::chunks::{Answer, Phase};
use crate::tasks::context::Context;
use crate::tasks::reply::{self, ErrorCode, SYSTEM_BUSY};
use crate::tasks::result::WorkerResult;

impl Session {
    /// The ack, if the client has not had it, and the answer of one chunk; or neither,
    /// while nobody may hear them: [`send_owed`](Self::send_owed) makes up for it.
    pub(super) fn send_answer(
        &mut self,
        ordinal: u32,
        result: &WorkerResult<'_>,
        cx: &mut Context<'_>,
    ) {
        if !self.may_tell(cx) {
            return self.owe(ordinal);
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

    /// Tells what is new about one chunk, as soon as that may be heard.
    pub(super) fn tell(&mut self, ordinal: u32, cx: &mut Context<'_>) {
        self.owe(ordinal);
        self.send_owed(cx);
    }

    /// Every ack and answer that was held back or that a new owner has not had, until the
    /// owner's outbox is full.
    pub(super) fn send_owed(&mut self, cx: &mut Context<'_>) {
        let Some(owner) = self.owner.filter(|_| self.confirmed) else { return };
        while !cx.flow.is_full()
            && let Some(ordinal) = self.owed.pop_front()
        {
            self.send_what_is_owed(ordinal, owner, cx);
        }
    }

    fn send_what_is_owed(&mut self, ordinal: u32, owner: SocketId, cx: &mut Context<'_>) {
        let Some(chunk) = self.chunks.get_mut(ordinal) else { return };
        if chunk.is_accepted() && !std::mem::replace(&mut chunk.acked, true) && self.acks {
            cx.metrics.acks.inc();
            cx.send(owner, reply::chunk_ack(&self.id, chunk.index));
        }
        let is_over = matches!(chunk.phase, Phase::Answered(_) | Phase::Refused);
        if !is_over || std::mem::replace(&mut chunk.sent, true) {
            return;
        }
        match &chunk.phase {
            Phase::Answered(Answer { text, error }) => {
                let no_room = text.is_none().then_some("text no longer held");
                let error = error.as_deref().or(no_room);
                let text = text.as_deref().unwrap_or_default();
                cx.send(owner, reply::chunk_result(&self.id, chunk.index, text, error));
            }
            Phase::Refused => {
                let index = Some(chunk.index);
                self.send_error(ErrorCode::Busy, SYSTEM_BUSY, index, cx);
            }
            _ => {}
        }
    }

    /// Notes that there is something to tell; a session without an owner tells its next
    /// one everything.
    fn owe(&mut self, ordinal: u32) {
        if self.owner.is_some() {
            self.owed.push_back(ordinal);
        }
    }

    fn may_tell(&self, cx: &Context<'_>) -> bool {
        self.confirmed && self.owner.is_some() && self.owed.is_empty() && !cx.flow.is_full()
    }

    pub(super) fn send_start_ack(&self, cx: &mut Context<'_>) {
        let Some(owner) = self.owner else { return };
        let next_chunk = self.chunks.next_index().filter(|_| self.binary);
        cx.metrics.acks.inc();
        cx.send(owner, reply::start_ack(&self.id, next_chunk));
    }

    pub(super) fn send_chunk_ack(&self, index: u32, cx: &mut Context<'_>) {
        let Some(owner) = self.owner.filter(|_| self.acks) else { return };
        cx.metrics.acks.inc();
        cx.send(owner, reply::chunk_ack(&self.id, index));
    }

    pub(super) fn send_error(
        &self,
        code: ErrorCode,
        message: &str,
        rejected_chunk: Option<u32>,
        cx: &mut Context<'_>,
    ) {
        let Some(owner) = self.owner else { return };
        cx.error(owner, &reply::Error { code, message, session: Some(&self.id), rejected_chunk });
    }

    pub(super) fn send(&self, text: Vec<u8>, cx: &mut Context<'_>) {
        if let Some(owner) = self.owner {
            cx.send(owner, text);
        }
    }
}
