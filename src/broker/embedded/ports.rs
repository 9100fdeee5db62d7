//! The ends of the embedded broker's lanes: at a shard, and at a worker.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};

use super::{
    client::{Shared, message_bytes},
    core::ClientId,
    thread::{Request, Told},
};
use crate::{
    broker::{Command, Error, Event},
    limits::{COMMAND_OVERHEAD_BYTES, EMBEDDED_HELD_COMMANDS},
    metrics::ShardMetrics,
};

/// Wakes a shard. Called from another thread; must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// One shard's end. Nothing here blocks, but for the drop, which waits for room in the
/// lane to say goodbye.
pub struct Port {
    /// `None`: the broker had stopped before this port was made.
    client: Option<ClientId>,
    requests: Sender<Request>,
    events: Receiver<Event>,
    /// Commands for which the lane had no room, in order.
    held: VecDeque<Command>,
    shared: Arc<Shared>,
    /// Failures that were decided here.
    refused: VecDeque<Event>,
    /// Cost of each command with a ticket that has no answer. Answers come in order.
    costs: VecDeque<usize>,
    pending_bytes: usize,
    limit_bytes: usize,
    subscribed: HashSet<Arc<str>>,
    metrics: Arc<ShardMetrics>,
    told_end: bool,
}

impl Port {
    pub(super) fn new(
        client: Option<ClientId>,
        requests: Sender<Request>,
        events: Receiver<Event>,
        shared: Arc<Shared>,
        limit_bytes: usize,
        metrics: Arc<ShardMetrics>,
    ) -> Self {
        Self {
            client,
            requests,
            events,
            held: VecDeque::new(),
            shared,
            refused: VecDeque::new(),
            costs: VecDeque::new(),
            pending_bytes: 0,
            limit_bytes,
            subscribed: HashSet::new(),
            metrics,
            told_end: false,
        }
    }

    /// Another bound of pushes and fetches without an answer, for those that come.
    pub fn set_pending_bytes(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// Takes a command. It is on its way when there is room, else held for `flush`.
    pub fn submit(&mut self, command: Command) {
        let is_subscribe = matches!(command, Command::Subscribe { .. });
        if is_subscribe && self.held.len() >= EMBEDDED_HELD_COMMANDS {
            self.metrics.broker.failed.inc();
            self.refused.extend(full(command));
            return;
        }
        if let Some(cost_bytes) = cost_bytes(&command) {
            if self.pending_bytes.saturating_add(cost_bytes) > self.limit_bytes {
                self.metrics.broker.failed.inc();
                self.refused.extend(full(command));
                return;
            }
            self.pending_bytes += cost_bytes;
            self.costs.push_back(cost_bytes);
            self.metrics.broker.pending_bytes.set(self.pending_bytes as u64);
        }
        match &command {
            Command::Subscribe { channel } => drop(self.subscribed.insert(channel.clone())),
            Command::Unsubscribe { channel } => drop(self.subscribed.remove(channel)),
            _ => {}
        }
        self.metrics.broker.subscriptions.set(self.subscribed.len() as u64);
        self.held.push_back(command);
        self.flush();
    }

    /// Sends what is held. To be called once a turn; the broker wakes the shard when there
    /// is room again.
    pub fn flush(&mut self) {
        let Some(client) = self.client else { return };
        while let Some(command) = self.held.pop_front() {
            let Err(error) = self.requests.try_send(Request::Execute(client, command)) else {
                continue;
            };
            // After a stop they stay here, as they would while Redis is away.
            self.shared.holds.store(error.is_full(), Ordering::Release);
            if let Request::Execute(_, command) = error.into_inner() {
                self.held.push_front(command);
            }
            return;
        }
    }

    /// Whether commands are carried out now.
    pub fn is_up(&self) -> bool {
        self.metrics.broker.up.get() == 1
    }

    /// Whether `try_next` would give something.
    pub fn has_news(&self) -> bool {
        !self.refused.is_empty() || !self.events.is_empty()
    }

    /// The next event, if there is one.
    pub fn try_next(&mut self) -> Option<Event> {
        if let Some(event) = self.refused.pop_front() {
            return Some(event);
        }
        match self.events.try_recv() {
            Ok(event) => {
                self.note(&event);
                Some(event)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) if self.told_end => None,
            Err(TryRecvError::Disconnected) => {
                self.told_end = true;
                self.metrics.broker.up.set(0);
                Some(Event::Down { reason: "the embedded broker has stopped".to_string() })
            }
        }
    }

    fn note(&mut self, event: &Event) {
        let broker = &self.metrics.broker;
        let bytes = message_bytes(event);
        if bytes > 0 {
            self.shared.unread_bytes.fetch_sub(bytes, Ordering::AcqRel);
        }
        match event {
            Event::Up => broker.up.set(1),
            Event::Down { .. } => broker.up.set(0),
            Event::Pushed(_)
            | Event::PushFailed(..)
            | Event::Fetched(..)
            | Event::FetchFailed(..)
            | Event::Observed(..)
            | Event::ObserveFailed(..) => {
                if matches!(
                    event,
                    Event::PushFailed(..) | Event::FetchFailed(..) | Event::ObserveFailed(..)
                ) {
                    broker.failed.inc();
                }
                self.pending_bytes -= self.costs.pop_front().unwrap_or(0);
                broker.pending_bytes.set(self.pending_bytes as u64);
            }
            _ => {}
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(client) = self.client {
            // Fails only where the thread has ended, and then there is nothing to leave.
            let _ = self.requests.send(Request::Detach(client));
        }
        let broker = &self.metrics.broker;
        broker.up.set(0);
        broker.subscriptions.set(0);
        broker.pending_bytes.set(0);
    }
}

fn cost_bytes(command: &Command) -> Option<usize> {
    match command {
        Command::Push { queue, task, .. } => {
            Some(COMMAND_OVERHEAD_BYTES + queue.key().len() + task.len_bytes())
        }
        Command::Observe { queue, .. } => Some(COMMAND_OVERHEAD_BYTES + queue.key().len()),
        Command::Fetch { key, .. } => Some(COMMAND_OVERHEAD_BYTES + key.len()),
        Command::Subscribe { .. } | Command::Unsubscribe { .. } => None,
    }
}

fn full(command: Command) -> Option<Event> {
    match command {
        Command::Push { ticket, .. } => Some(Event::PushFailed(ticket, Error::Full)),
        Command::Fetch { ticket, .. } => Some(Event::FetchFailed(ticket, Error::Full)),
        Command::Observe { ticket, .. } => Some(Event::ObserveFailed(ticket, Error::Full)),
        Command::Subscribe { channel } => Some(Event::SubscribeFailed(channel, Error::Full)),
        Command::Unsubscribe { .. } => None,
    }
}

/// One worker's end: each call blocks until the broker has taken or answered it.
#[derive(Clone)]
pub struct WorkerPort {
    requests: Sender<Request>,
}

impl WorkerPort {
    pub(super) fn new(requests: Sender<Request>) -> Self {
        Self { requests }
    }

    /// The oldest value of the list `key`, waiting for one up to `timeout` (in steps of
    /// 1 ms). `None`: there was none, or the broker has stopped; see `is_stopped`.
    pub fn pop(&self, key: &str, timeout: Duration) -> Option<Vec<u8>> {
        let (reply, answer) = bounded(1);
        self.requests.send(Request::Pop { key: key.into(), timeout, reply }).ok()?;
        answer.recv().ok().flatten()
    }

    /// Hands `payload` to whoever is subscribed to `channel`; nothing where nobody is, or
    /// where the broker has stopped.
    pub fn publish(&self, channel: &str, payload: Vec<u8>) {
        let _ =
            self.requests.send(Request::Publish { channel: channel.into(), payload, told: None });
    }

    /// Likewise, without waiting: where the broker's lane is full, the payload comes back.
    ///
    /// # Errors
    /// The payload, which was not published.
    pub fn try_publish(&self, channel: &str, payload: Vec<u8>, told: Told) -> Result<(), Vec<u8>> {
        let publish = Request::Publish { channel: channel.into(), payload, told: Some(told) };
        match self.requests.try_send(publish) {
            Err(TrySendError::Full(Request::Publish { payload, .. })) => Err(payload),
            // Where the broker has stopped, `told` is dropped with the rest.
            _ => Ok(()),
        }
    }

    /// Appends to the list `key`, which then lives for `ttl`. Where the lists are full the
    /// value is dropped and counted (`EmbeddedCounts::refused`).
    pub fn append_expiring(&self, key: &str, value: Vec<u8>, ttl: Duration) {
        let _ = self.requests.send(Request::Append { key: key.into(), value, ttl });
    }

    /// Whether the broker has stopped; asks its thread.
    pub fn is_stopped(&self) -> bool {
        let (reply, answer) = bounded(1);
        self.requests.send(Request::Depth { key: "".into(), reply }).is_err()
            || answer.recv().is_err()
    }
}
