//! One shard as the broker's thread sees it: its lane, and what waits behind it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use crossbeam_channel::{Sender, TrySendError};

use super::ports::Wake;
use crate::{broker::Event, limits::EMBEDDED_UNREAD_BYTES};

/// What the thread and one port tell each other beside the lanes.
#[derive(Default)]
pub struct Shared {
    /// The port holds commands for which the lane had no room.
    pub holds: AtomicBool,
    /// Bytes of messages that the port has not read, in the lane and behind it.
    pub unread_bytes: AtomicUsize,
}

/// A shard, as the thread sees it.
pub struct Client {
    pub wake: Wake,
    events: Sender<Event>,
    pub shared: Arc<Shared>,
    /// Events behind a full lane, in order.
    pub backlog: VecDeque<Event>,
    /// Messages were dropped, and the shard has not been told.
    pub lossy: bool,
    /// There is something new in its lane.
    pub touched: bool,
}

impl Client {
    /// A shard whose lane is empty.
    pub fn new(wake: Wake, events: Sender<Event>, shared: Arc<Shared>) -> Self {
        Self { wake, events, shared, backlog: VecDeque::new(), lossy: false, touched: false }
    }

    /// Hands over an event, now or when there is room. Returns how many messages were
    /// dropped for it.
    pub fn tell(&mut self, event: Event) -> u64 {
        let bytes = message_bytes(&event);
        if bytes > 0 {
            let unread_bytes = self.shared.unread_bytes.load(Ordering::Acquire);
            // One that is larger than the limit still passes where it is alone.
            if self.lossy || (unread_bytes > 0 && unread_bytes + bytes > EMBEDDED_UNREAD_BYTES) {
                self.lossy = true;
                return 1;
            }
            self.shared.unread_bytes.fetch_add(bytes, Ordering::AcqRel);
        }
        self.queue(event);
        0
    }

    /// Whether a shard that has lost messages can be told so without losing more at once.
    pub fn has_caught_up(&self) -> bool {
        self.backlog.is_empty()
            && self.shared.unread_bytes.load(Ordering::Acquire) <= EMBEDDED_UNREAD_BYTES / 2
    }

    /// Hands over an event that is never dropped.
    pub fn queue(&mut self, event: Event) {
        self.backlog.push_back(event);
        self.drain();
    }

    /// Moves what waits into the lane, as far as there is room.
    pub fn drain(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => self.touched = true,
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
                // The port is gone; its Detach is on its way.
                Err(TrySendError::Disconnected(_)) => self.backlog.clear(),
            }
        }
    }
}

/// What a message counts for in `unread_bytes`; nothing for other events.
pub fn message_bytes(event: &Event) -> usize {
    match event {
        Event::Message { payload, .. } => payload.len() + size_of::<Event>(),
        _ => 0,
    }
}
