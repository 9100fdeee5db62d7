//! A link to a broker, by its contract: in order, and as late as the test wants.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::broker::{Command, Error};

/// The channel that nobody may subscribe to.
pub const FORBIDDEN: &str = "forbidden";

/// One shard's link, and what the broker has of it.
pub struct ModelLink {
    pub is_up: bool,
    /// Channels, and whether the shard was told that they are in force.
    wanted: BTreeMap<Arc<str>, bool>,
    /// On their way to the broker.
    commands: VecDeque<Command>,
    /// In force at the broker.
    pub in_force: BTreeSet<Arc<str>>,
    /// On their way to the shard.
    events: VecDeque<Event>,
}

impl ModelLink {
    pub fn new() -> Self {
        Self {
            is_up: true,
            wanted: BTreeMap::new(),
            commands: VecDeque::new(),
            in_force: BTreeSet::new(),
            events: [Event::Up].into(),
        }
    }

    pub fn submit(&mut self, command: Command) {
        match &command {
            Command::Subscribe { channel } => drop(self.wanted.entry(channel.clone()).or_default()),
            Command::Unsubscribe { channel } => drop(self.wanted.remove(channel)),
            _ => panic!("{command:?}"),
        }
        if self.is_up || matches!(command, Command::Subscribe { .. }) {
            self.commands.push_back(command);
        }
    }

    /// The broker carries out one command. `false`: there is none, or it is away.
    pub fn step(&mut self) -> bool {
        if !self.is_up {
            return false;
        }
        match self.commands.pop_front() {
            None => return false,
            Some(Command::Subscribe { channel }) if !self.wanted.contains_key(&channel) => {}
            Some(Command::Subscribe { channel }) if &*channel == FORBIDDEN => {
                let error = Error::Refused("NOPERM".into());
                self.events.push_back(Event::SubscribeFailed(channel, error));
            }
            Some(Command::Subscribe { channel }) => {
                self.in_force.insert(channel.clone());
                self.events.push_back(Event::Subscribed(channel));
            }
            Some(Command::Unsubscribe { channel }) => drop(self.in_force.remove(&channel)),
            Some(other) => panic!("{other:?}"),
        }
        true
    }

    pub fn publish(&mut self, channel: &str, payload: &[u8]) {
        if let Some(channel) = self.in_force.get(channel) {
            let (channel, payload) = (channel.clone(), payload.to_vec());
            self.events.push_back(Event::Message { channel, payload });
        }
    }

    /// What the shard hears next.
    pub fn next_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        match &event {
            Event::Subscribed(channel) => {
                if let Some(told) = self.wanted.get_mut(channel) {
                    *told = true;
                }
            }
            Event::SubscribeFailed(channel, _) => drop(self.wanted.remove(channel)),
            _ => {}
        }
        Some(event)
    }

    /// The connection is lost, with all that is on its way in either direction.
    pub fn lose(&mut self) {
        if !std::mem::take(&mut self.is_up) {
            return;
        }
        self.in_force.clear();
        self.events.retain(|event| matches!(event, Event::Up | Event::Down { .. }));
        self.events.push_back(Event::Down { reason: "test".into() });
        self.commands.clear();
        // What was never confirmed is asked for again.
        let unanswered = self.wanted.iter().filter(|(_, told)| !**told);
        let again = unanswered.map(|(channel, _)| Command::Subscribe { channel: channel.clone() });
        self.commands.extend(again);
    }

    /// A new connection: what was confirmed is restored.
    pub fn come_up(&mut self) {
        if std::mem::replace(&mut self.is_up, true) {
            return;
        }
        self.events.push_back(Event::Up);
        for (channel, _) in self.wanted.iter().filter(|(_, told)| **told) {
            self.commands.push_front(Command::Subscribe { channel: channel.clone() });
        }
    }
}
