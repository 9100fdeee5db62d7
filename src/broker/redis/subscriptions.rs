//! ▢ The channels that a link is subscribed to, or is to be.
//!
//! A name is interned here: every message of a channel carries a clone of one `Arc`.

use std::{collections::HashMap, sync::Arc};

use slab::Slab;

/// One subscribing of one channel. It outlives what it names: after an unsubscribe, and a
/// subscribe of the same channel, the old one means nothing.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The channel.
    pub channel: Arc<str>,
    /// Not to be put into one SUBSCRIBE with others: one of those was refused.
    pub alone: bool,
    slot: usize,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    channel: Arc<str>,
    serial: u64,
    /// The connection on which it was confirmed last, if it ever was.
    confirmed_on: Option<u64>,
}

/// The table of channels.
#[derive(Default, Debug)]
pub struct Subscriptions {
    by_channel: HashMap<Arc<str>, usize>,
    // Dense, so that restoring can walk it in steps without a copy of a million names.
    entries: Slab<Entry>,
    /// Above every slot in use.
    end: usize,
    /// Where restoring has come to.
    restored: usize,
    next_serial: u64,
    /// Number of the connection now.
    connection: u64,
}

impl Subscriptions {
    /// How many channels there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// The channel's entry, if there is one.
    pub fn find(&self, channel: &str) -> Option<Asked> {
        let slot = *self.by_channel.get(channel)?;
        let entry = self.entries.get(slot)?;
        Some(entry.asked(slot))
    }

    /// The interned name of `channel`.
    pub fn name(&self, channel: &str) -> Option<Arc<str>> {
        self.by_channel.get_key_value(channel).map(|(name, _)| name.clone())
    }

    /// Adds `channel`, which must not be there yet.
    pub fn insert(&mut self, channel: Arc<str>) -> Asked {
        self.next_serial += 1;
        let entry =
            Entry { channel: channel.clone(), serial: self.next_serial, confirmed_on: None };
        let slot = self.entries.insert(entry);
        self.end = self.end.max(slot + 1);
        self.by_channel.insert(channel.clone(), slot);
        Asked { channel, alone: false, slot, serial: self.next_serial }
    }

    /// Removes `channel`; says whether it was there.
    pub fn remove(&mut self, channel: &str) -> bool {
        let Some(slot) = self.by_channel.remove(channel) else { return false };
        self.entries.try_remove(slot).is_some()
    }

    /// Whether `asked` is still what is wanted.
    pub fn is_current(&self, asked: &Asked) -> bool {
        self.entries.get(asked.slot).is_some_and(|entry| entry.serial == asked.serial)
    }

    /// Notes that the server confirmed `asked`. `false`: nobody wants it any more.
    pub fn confirm(&mut self, asked: &Asked) -> bool {
        let connection = self.connection;
        let entry = self.entries.get_mut(asked.slot).filter(|entry| entry.serial == asked.serial);
        let Some(entry) = entry else { return false };
        entry.confirmed_on = Some(connection);
        true
    }

    /// Begins to restore, on a new connection, what an earlier one had confirmed.
    pub fn start_restoring(&mut self) {
        self.connection += 1;
        self.restored = 0;
    }

    /// Whether every entry has been looked at for this connection.
    pub fn all_restored(&self) -> bool {
        self.restored >= self.end
    }

    /// The next channels to restore, at most `count`; none when all are.
    pub fn next_to_restore(&mut self, count: usize) -> Vec<Asked> {
        let mut batch = Vec::new();
        while batch.len() < count && self.restored < self.end {
            let slot = self.restored;
            self.restored += 1;
            // What was never confirmed is still among the commands to be sent.
            let entry = self.entries.get(slot).filter(|entry| {
                entry.confirmed_on.is_some_and(|confirmed_on| confirmed_on != self.connection)
            });
            batch.extend(entry.map(|entry| entry.asked(slot)));
        }
        batch
    }
}

impl Entry {
    fn asked(&self, slot: usize) -> Asked {
        Asked { channel: self.channel.clone(), alone: false, slot, serial: self.serial }
    }
}
