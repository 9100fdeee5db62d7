//! ▢ What a session tells its owner, and what it owes one that was not there.

use super::Session;
use crate::tasks::chunks::{Answer, Phase};
use crate::tasks::context::Context;
use crate::tasks::reply::{self, ErrorCode};
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
    pub(super) fn send_owed(&mut self, cx: &mut Context<'_>) {
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

    pub(super) fn send_start_ack(&self, cx: &mut Context<'_>) {
        cx.metrics.acks.inc();
        self.send(reply::start_ack(&self.id), cx);
    }

    pub(super) fn send_chunk_ack(&self, index: u32, cx: &mut Context<'_>) {
        cx.metrics.acks.inc();
        self.send(reply::chunk_ack(&self.id, index), cx);
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
