//! Connections that keep what they are sent, and read it when they are told to.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::ws::CloseCode;

/// The connections of one shard.
#[derive(Default)]
pub struct FakeClients {
    connections: BTreeMap<SocketId, FakeConnection>,
    drained: VecDeque<SocketId>,
    /// Those that were closed from here, and of which the route has not heard.
    pub closed: Vec<(SocketId, CloseCode)>,
    /// What was said since somebody looked, before it is read.
    pub said: Vec<(SocketId, String)>,
}

pub struct FakeConnection {
    limit_bytes: usize,
    unsent: VecDeque<Vec<u8>>,
    unsent_bytes: usize,
    awaits_drain: bool,
    closed: bool,
}

impl FakeClients {
    pub fn open(&mut self, id: SocketId, limit_bytes: usize) {
        let connection = FakeConnection {
            limit_bytes,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            awaits_drain: false,
            closed: false,
        };
        self.connections.insert(id, connection);
    }

    pub fn forget(&mut self, id: SocketId) {
        self.connections.remove(&id);
    }

    /// What a connection reads next, as JSON; at most `count` messages.
    pub fn read(&mut self, id: SocketId, count: usize) -> Vec<Value> {
        let Some(connection) = self.connections.get_mut(&id) else { return Vec::new() };
        let count = count.min(connection.unsent.len());
        let payloads: Vec<_> = connection.unsent.drain(..count).collect();
        connection.unsent_bytes -= payloads.iter().map(Vec::len).sum::<usize>();
        if connection.is_drained() && std::mem::take(&mut connection.awaits_drain) {
            self.drained.push_back(id);
        }
        payloads.iter().map(|payload| serde_json::from_slice(payload).unwrap()).collect()
    }

    /// Whether it was closed from here.
    pub fn is_closed(&self, id: SocketId) -> bool {
        self.connections.get(&id).is_some_and(|connection| connection.closed)
    }

    pub fn next_drained(&mut self) -> Option<SocketId> {
        self.drained.pop_front()
    }

    fn queue(&mut self, to: SocketId, payload: Vec<u8>, bounded: bool) -> bool {
        let connection = self.connections.get_mut(&to).filter(|connection| !connection.closed);
        let Some(connection) = connection else { return false };
        let after = connection.unsent_bytes + payload.len();
        if bounded && connection.unsent_bytes > 0 && after > connection.limit_bytes {
            return false;
        }
        connection.unsent_bytes = after;
        connection.unsent.push_back(payload);
        true
    }
}

impl FakeConnection {
    fn is_drained(&self) -> bool {
        self.unsent_bytes < self.limit_bytes / 4
    }
}

impl Clients for FakeClients {
    fn offer(&mut self, to: SocketId, frame: &Bytes) -> bool {
        let header = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        self.queue(to, frame[header..].to_vec(), true)
    }

    fn offer_batch(&mut self, to: SocketId, elements: &[Bytes]) -> bool {
        assert!(!elements.is_empty() && elements.iter().all(|element| !element.is_empty()));
        let payload = [b"[", elements.join(&b","[..]).as_slice(), b"]"].concat();
        self.queue(to, payload, true)
    }

    fn say(&mut self, to: SocketId, text: &str) -> bool {
        self.said.push((to, text.to_owned()));
        self.queue(to, text.into(), false)
    }

    fn await_drain(&mut self, of: SocketId) {
        let Some(connection) = self.connections.get_mut(&of).filter(|c| !c.closed) else { return };
        if connection.is_drained() {
            self.drained.push_back(of);
        } else {
            connection.awaits_drain = true;
        }
    }

    fn close(&mut self, id: SocketId, code: CloseCode, _: &'static str) {
        if let Some(connection) = self.connections.get_mut(&id).filter(|c| !c.closed) {
            connection.closed = true;
            self.closed.push((id, code));
        }
    }
}
