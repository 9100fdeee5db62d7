//! ▢ One raw session: the tasks of one connection, and of those that resume it.
//!
//! It is `confirmed` once its results will be heard, and has an owner while a client is
//! connected; what it has to say while one of the two is missing, or while the client is
//! behind with reading, is kept. A session whose client is away ends at `away_until_ms`.

use std::sync::Arc;

use super::context::Context;
use super::ears::Heard;
use super::kept::{Kept, KeptFrame};
use super::reply::{self, ErrorCode, Frame};
use super::result::WorkerResult;
use super::task::{self, Data};
use super::unfinished::{Told, Unfinished};
use crate::broker::{Command, Error as BrokerError, Task};
use crate::ids::SocketId;
use crate::limits::FRAME_HEADER_BYTES_MAX;
use crate::tasks::Action;
use crate::tasks::cores::Tenure;
use crate::tasks::detached::DetachedNumber;
use crate::tasks::flow::Flow;
use crate::tasks::id::SessionId;
use crate::tasks::table::Named;
use crate::tasks::task::ORIGIN;
use crate::tasks::ticket::{self, Purpose, SessionKey};

/// How a session ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With every task done and every result delivered.
    Complete,
    /// With something open.
    Abandoned,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    pub(super) key: SessionKey,
    id: SessionId,
    /// Its own, unless it has one together with the others of the shard, or is heard on
    /// another shard.
    pub(super) channel: Option<Arc<str>>,
    /// Where its results come on a channel of the shard that opened it: that one.
    reply_to: Option<Arc<str>>,
    /// Under which this shard owns it, where there are others.
    pub(super) tenure: Option<Tenure>,
    pub(super) heard: Heard,
    /// The client chose the id, so that it can come back to it.
    named: bool,
    pub(super) owner: Option<SocketId>,
    pub(super) confirmed: bool,
    resumed: bool,
    pub(super) tasks: Unfinished,
    pub(super) kept: Kept,
    /// How far its owner is behind.
    pub(super) flow: Flow,
    /// It is so far behind that something had to be dropped.
    pub(super) too_slow: bool,
    pub(super) away_until_ms: Option<u64>,
    /// Its place among the sessions whose client is away.
    pub detachment: Option<DetachedNumber>,
    /// Its owner is not read.
    pub(super) paused: bool,
    pub(super) armed_ms: Option<u64>,
}

impl Named for Session {
    fn id(&self) -> &SessionId {
        &self.id
    }
}

impl Session {
    /// A session that waits for its subscription, which [`subscribe`](Self::subscribe)
    /// asks for. `named`: the id is the client's own.
    pub fn new(
        key: SessionKey,
        id: SessionId,
        owner: SocketId,
        named: bool,
        tenure: Option<Tenure>,
    ) -> Self {
        Self {
            key,
            channel: None,
            reply_to: None,
            tenure,
            heard: Heard::here(tenure),
            id,
            named,
            owner: Some(owner),
            confirmed: false,
            resumed: false,
            tasks: Unfinished::default(),
            kept: Kept::default(),
            flow: Flow::default(),
            too_slow: false,
            away_until_ms: None,
            detachment: None,
            paused: false,
            armed_ms: None,
        }
    }

    /// What it has subscribed to for itself.
    pub fn channel(&self) -> Option<&Arc<str>> {
        self.channel.as_ref()
    }

    /// The socket of its client, unless that is away.
    pub fn owner(&self) -> Option<SocketId> {
        self.owner
    }

    /// Whether it waits for its client.
    pub fn is_away(&self) -> bool {
        self.away_until_ms.is_some()
    }

    /// Whether its client waits for something, be it only for what it is behind with reading.
    pub fn has_open_work(&self) -> bool {
        !self.confirmed || self.tasks.len() > 0 || !self.kept.is_empty()
    }

    /// Asks for its results. What is pushed after this is answered after it.
    pub fn subscribe(&mut self, cx: &mut Context<'_>) {
        self.reply_to = cx.config.reply_to.clone();
        match cx.shared_confirmed {
            Some(true) => self.on_subscribed(cx),
            // They all hear of it when it is in force.
            Some(false) => {}
            None => {
                let channel = self.channel.insert(self.id.channel()).clone();
                cx.command(Command::Subscribe { channel });
            }
        }
    }

    /// From now on `owner` is its client, and is sent what was kept.
    pub fn resume(&mut self, owner: SocketId, cx: &mut Context<'_>) {
        self.owner = Some(owner);
        self.away_until_ms = None;
        self.paused = false;
        self.flow = Flow::default();
        self.resumed = true;
        if self.confirmed {
            self.open(owner, cx);
        }
    }

    /// Its client's connection is gone. Without a name and without anything to wait for
    /// there is nothing to come back to.
    pub fn leave(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.owner = None;
        let worth_it = self.named || self.tasks.len() > 0 || !self.kept.is_empty();
        if cx.config.resume_ms == 0 || !worth_it {
            return Some(self.end(cx));
        }
        self.away_until_ms = Some(cx.now.ms.saturating_add(cx.config.resume_ms));
        None
    }

    /// The client sent a message: a task.
    pub fn task(&mut self, data: Data<'_>, cx: &mut Context<'_>) {
        let seq = self.tasks.take();
        let purpose = Purpose::Push(Unfinished::ordinal(seq));
        let ticket = ticket::issue(cx.route, self.key, purpose);
        let value = task::encode(&self.id, seq, data, cx.now.unix_ms, self.reply_to.as_deref());
        // A list has no place for the fields; in a stream they tell raw tasks from others.
        let fields = vec![
            ("type", "raw".into()),
            ("task_id", self.id.as_str().to_owned().into()),
            ("origin", ORIGIN.into()),
        ];
        let task = Task { payload: value, fields };
        cx.command(Command::Push { ticket, queue: cx.config.queue.clone(), task });
    }

    /// The subscription is in force: for the first time, or again after a gap, of which
    /// only a worker's own numbering can tell whether it swallowed results.
    pub fn on_subscribed(&mut self, cx: &mut Context<'_>) {
        if std::mem::replace(&mut self.confirmed, true) {
            return;
        }
        if let Some(owner) = self.owner {
            self.open(owner, cx);
        }
    }

    /// There will be no results: the client is told, and closed. One that hears results
    /// already goes on with that.
    pub fn on_subscribe_failed(
        &mut self,
        error: &BrokerError,
        cx: &mut Context<'_>,
    ) -> Option<End> {
        if self.confirmed {
            return None;
        }
        if let Some(owner) = self.owner {
            cx.metrics.errors.inc();
            self.send(owner, reply::error(ErrorCode::of(error), None), cx);
            cx.actions.push(reply::close_for_now(owner));
        }
        self.end(cx);
        Some(End::Abandoned)
    }

    /// The broker took a task.
    pub fn on_pushed(&mut self, ordinal: u32, cx: &mut Context<'_>) {
        let Some(seq) = self.tasks.seq_of(ordinal) else { return };
        if self.tasks.accept(seq, cx.task_deadline_ms()) {
            cx.metrics.chunks.inc();
        }
    }

    /// The broker did not take a task.
    pub fn on_push_failed(&mut self, ordinal: u32, error: &BrokerError, cx: &mut Context<'_>) {
        let Some(seq) = self.tasks.seq_of(ordinal) else { return };
        if self.tasks.refuse(seq) {
            self.tell_error(reply::error(ErrorCode::of(error), Some(seq)), cx);
        }
    }

    /// A worker published a result.
    pub fn on_result(&mut self, result: &WorkerResult<'_>, cx: &mut Context<'_>) {
        let results = &cx.metrics.results;
        if result.session_id.as_ref().is_some_and(|id| **id != *self.id.as_str()) {
            return results.orphaned.inc();
        }
        // Before anything changes: what cannot be delivered must not end its task.
        let Ok(frame) = result.data.as_ref().map(|data| data.to_frame()).transpose() else {
            return results.malformed.inc();
        };
        let deadline_ms = cx.task_deadline_ms();
        match self.tasks.tell(result.seq, result.number, result.done, deadline_ms) {
            Told::Unknown => results.orphaned.inc(),
            Told::Ended => results.late.inc(),
            Told::Repeated => results.duplicate.inc(),
            Told::Next { skipped, early } => {
                cx.metrics.chunks.add(u64::from(early));
                if skipped > 0 {
                    self.tell_error(reply::lost(skipped, Some(result.seq)), cx);
                }
                match frame {
                    Some(frame) => self.tell(KeptFrame { frame, is_result: true }, cx),
                    None => cx.metrics.results.delivered.inc(),
                }
            }
        }
    }

    /// When [`on_deadline`](Self::on_deadline) is due, if that is earlier than what this
    /// said before.
    pub fn new_alarm_ms(&mut self, cx: &Context<'_>) -> Option<u64> {
        let deadlines_ms =
            [self.tasks.next_deadline_ms(), self.away_until_ms, self.unread_until_ms(cx)];
        let next_ms = deadlines_ms.into_iter().flatten().min()?;
        if self.armed_ms.is_some_and(|armed_ms| armed_ms <= next_ms) {
            return None;
        }
        self.armed_ms = Some(next_ms);
        self.armed_ms
    }

    /// What [`new_alarm_ms`](Self::new_alarm_ms) asked for. Coming early is harmless.
    pub fn on_deadline(&mut self, cx: &mut Context<'_>) -> Option<End> {
        self.armed_ms = None;
        while let Some(seq) = self.tasks.expire_one(cx.now.ms) {
            cx.metrics.chunks_expired.inc();
            self.tell_error(reply::error(ErrorCode::Deadline, Some(seq)), cx);
        }
        self.too_slow |= self.unread_until_ms(cx).is_some_and(|until_ms| until_ms <= cx.now.ms);
        let is_over = self.away_until_ms.is_some_and(|until_ms| until_ms <= cx.now.ms);
        cx.metrics.resume_expired.add(u64::from(is_over));
        is_over.then(|| self.end(cx))
    }

    /// Whether its owner is to be read, where that has changed.
    pub fn new_paused(&mut self, inflight: u32) -> Option<bool> {
        self.owner?;
        let paused = self.tasks.len() >= inflight as usize;
        (std::mem::replace(&mut self.paused, paused) != paused).then_some(paused)
    }

    /// The owner has read nearly all that it was sent.
    pub fn on_drained(&mut self, cx: &mut Context<'_>) {
        self.flow.drained();
        self.send_kept(cx);
    }

    /// The owner, if it has just fallen so far behind that it is to be closed.
    pub fn take_slow_owner(&mut self) -> Option<SocketId> {
        let too_slow = std::mem::take(&mut self.too_slow);
        self.owner.filter(|_| too_slow)
    }

    fn unread_until_ms(&self, cx: &Context<'_>) -> Option<u64> {
        self.owner?;
        self.flow.deadline_ms(cx.config.unread_bytes, cx.config.unread_ms)
    }

    /// The open frame, and after it what was kept.
    fn open(&mut self, owner: SocketId, cx: &mut Context<'_>) {
        let open = reply::open(&self.id, self.resumed, self.tasks.next_seq());
        self.send(owner, open, cx);
        self.send_kept(cx);
    }

    /// What was kept, as far as the client keeps up, and after it how much could not be.
    fn send_kept(&mut self, cx: &mut Context<'_>) {
        let Some(owner) = self.owner.filter(|_| self.confirmed) else { return };
        while !self.flow.is_full() {
            let Some(kept) = self.kept.take_next(cx) else { break };
            cx.metrics.results.delivered.add(u64::from(kept.is_result));
            self.send(owner, kept.frame, cx);
        }
        if self.flow.is_full() {
            return;
        }
        let lost = self.kept.take_lost();
        if lost > 0 {
            cx.metrics.errors.inc();
            self.send(owner, reply::lost(lost, None), cx);
        }
    }

    pub(super) fn tell_error(&mut self, frame: Frame, cx: &mut Context<'_>) {
        cx.metrics.errors.inc();
        self.tell(KeptFrame { frame, is_result: false }, cx);
    }

    fn tell(&mut self, message: KeptFrame, cx: &mut Context<'_>) {
        let is_next = self.confirmed && self.kept.is_empty() && !self.flow.is_full();
        match self.owner {
            Some(owner) if is_next => {
                cx.metrics.results.delivered.add(u64::from(message.is_result));
                self.send(owner, message.frame, cx);
            }
            // One that is still being told what it missed while it was away is not slow.
            owner => {
                let was_losing = self.kept.has_lost();
                self.kept.keep(message, cx);
                self.too_slow |= owner.is_some() && self.kept.has_lost() && !was_losing;
            }
        }
    }

    fn send(&mut self, owner: SocketId, frame: Frame, cx: &mut Context<'_>) {
        let bytes = frame.len().saturating_add(FRAME_HEADER_BYTES_MAX);
        cx.send(owner, frame);
        if self.flow.sent(bytes, cx.config.unread_bytes, cx.now.ms) {
            cx.actions.push(Action::AwaitDrain(owner));
        }
    }

    /// It is not waited for any longer.
    pub fn give_up(&mut self, cx: &mut Context<'_>) -> Option<End> {
        Some(self.end(cx))
    }

    /// What is kept is lost, and everything that was counted on is counted off.
    fn end(&mut self, cx: &mut Context<'_>) -> End {
        let open = self.tasks.len() > 0 || !self.kept.is_empty();
        self.kept.abandon(cx);
        if open { End::Abandoned } else { End::Complete }
    }
}
