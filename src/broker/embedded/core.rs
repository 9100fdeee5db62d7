//! ▢ Lists and channels, as much of Redis as the gateway and its workers use.
//!
//! Must not: know of threads, lanes or clocks. Time is an argument.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use slab::Slab;

use crate::{
    broker::{Backlog, Command, Error, Event, Queue},
    limits::{COMMAND_OVERHEAD_BYTES, EMBEDDED_EXPIRE_STEP},
};

/// Names one shard at the broker until it is detached.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClientId(usize);

/// Events, and whom to tell.
pub type Outgoing = Vec<(ClientId, Event)>;

#[derive(Default, Debug)]
struct List {
    values: VecDeque<Vec<u8>>,
    /// Set anew by every `append_expiring`; pushes leave it alone, as RPUSH does.
    expires_ms: Option<u64>,
    /// Its valid entry in `expiries`, which is not later than `expires_ms`.
    looked_at_ms: Option<u64>,
}

/// The broker's state. One owner.
#[derive(Debug)]
pub struct Core {
    lists: HashMap<Arc<str>, List>,
    list_bytes: usize,
    list_limit_bytes: usize,
    /// When to look at which list: one valid entry for each that expires.
    expiries: BinaryHeap<Reverse<(u64, Arc<str>)>>,
    channels: HashMap<Arc<str>, Vec<ClientId>>,
    clients: Slab<HashSet<Arc<str>>>,
    refused: u64,
}

impl Core {
    /// An empty broker whose lists hold `list_limit_bytes` at most, all together.
    pub fn new(list_limit_bytes: usize) -> Self {
        Self {
            lists: HashMap::new(),
            list_bytes: 0,
            list_limit_bytes,
            expiries: BinaryHeap::new(),
            channels: HashMap::new(),
            clients: Slab::new(),
            refused: 0,
        }
    }

    /// A new client without subscriptions.
    pub fn attach(&mut self) -> ClientId {
        ClientId(self.clients.insert(HashSet::new()))
    }

    /// Ends a client and its subscriptions.
    pub fn detach(&mut self, client: ClientId) {
        for channel in self.clients.try_remove(client.0).unwrap_or_default() {
            self.remove_subscriber(&channel, client);
        }
    }

    /// Carries out a command of a shard; its answer goes to `out`.
    pub fn execute(&mut self, client: ClientId, command: Command, now_ms: u64, out: &mut Outgoing) {
        self.expire(now_ms);
        let answer = match command {
            Command::Push { ticket, queue: Queue::List { key }, task } => {
                match self.append(key, task.payload) {
                    Ok(_) => Event::Pushed(ticket),
                    Err(error) => Event::PushFailed(ticket, error),
                }
            }
            Command::Observe { ticket, queue: Queue::List { key }, .. } => {
                self.expire_one(&key, now_ms);
                let depth = self.depth(&key) as u64;
                Event::Observed(ticket, Backlog { depth, workers: None })
            }
            // The configuration refuses such a route; here nothing may hang on that.
            Command::Push { ticket, queue: Queue::Stream { .. }, .. } => {
                Event::PushFailed(ticket, no_streams())
            }
            Command::Observe { ticket, queue: Queue::Stream { .. }, .. } => {
                Event::ObserveFailed(ticket, no_streams())
            }
            Command::Fetch { ticket, key } => Event::Fetched(ticket, self.values(&key, now_ms)),
            Command::Subscribe { channel } => {
                let Some(channels) = self.clients.get_mut(client.0) else { return };
                if channels.insert(channel.clone()) {
                    self.channels.entry(channel.clone()).or_default().push(client);
                }
                Event::Subscribed(channel)
            }
            Command::Unsubscribe { channel } => {
                if self.clients.get_mut(client.0).is_some_and(|known| known.remove(&channel)) {
                    self.remove_subscriber(&channel, client);
                }
                return;
            }
        };
        out.push((client, answer));
    }

    /// Hands `payload` to every subscriber of `channel`; says to how many.
    pub fn publish(&self, channel: &str, payload: Vec<u8>, out: &mut Outgoing) -> usize {
        let Some((channel, clients)) = self.channels.get_key_value(channel) else { return 0 };
        let message = |payload| Event::Message { channel: channel.clone(), payload };
        let Some((last, others)) = clients.split_last() else { return 0 };
        out.extend(others.iter().map(|&client| (client, message(payload.clone()))));
        out.push((*last, message(payload)));
        clients.len()
    }

    /// Takes the oldest value of a list.
    pub fn pop(&mut self, key: &str, now_ms: u64) -> Option<Vec<u8>> {
        self.expire_one(key, now_ms);
        let list = self.lists.get_mut(key)?;
        let value = list.values.pop_front()?;
        if list.values.is_empty() {
            self.lists.remove(key);
        }
        self.list_bytes -= cost_bytes(&value);
        Some(value)
    }

    /// Puts back a value that [`Core::pop`] gave, in its place.
    pub fn unpop(&mut self, key: &Arc<str>, value: Vec<u8>) {
        // Not limited: it was there a moment ago.
        self.list_bytes += cost_bytes(&value);
        self.lists.entry(key.clone()).or_default().values.push_front(value);
    }

    /// Appends to a list that ends `ttl_ms` from now, however long it had before.
    ///
    /// # Errors
    /// [`Error::Full`]: the lists hold all they may. Counted.
    pub fn append_expiring(
        &mut self,
        key: Arc<str>,
        value: Vec<u8>,
        ttl_ms: u64,
        now_ms: u64,
    ) -> Result<(), Error> {
        self.expire(now_ms);
        self.expire_one(&key, now_ms);
        let list = self.append(key.clone(), value)?;
        let expires_ms = now_ms.saturating_add(ttl_ms);
        list.expires_ms = Some(expires_ms);
        // A list that is appended to often keeps its first entry, which is renewed when it
        // comes up, so that the heap holds one entry a list and not one a value.
        if list.looked_at_ms.is_none_or(|looked_at_ms| looked_at_ms > expires_ms) {
            list.looked_at_ms = Some(expires_ms);
            self.expiries.push(Reverse((expires_ms, key)));
        }
        Ok(())
    }

    /// Values in a list.
    pub fn depth(&self, key: &str) -> usize {
        self.lists.get(key).map_or(0, |list| list.values.len())
    }

    /// Channels that a client is subscribed to.
    pub fn channels_of(&self, client: ClientId) -> impl Iterator<Item = &Arc<str>> {
        self.clients.get(client.0).into_iter().flatten()
    }

    /// Bytes in all lists.
    pub fn list_bytes(&self) -> usize {
        self.list_bytes
    }

    /// Values refused because the lists were full.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Frees lists whose time is over, a few at a time: the rest at the next call.
    pub fn expire(&mut self, now_ms: u64) {
        for _ in 0..EMBEDDED_EXPIRE_STEP {
            match self.expiries.peek() {
                Some(Reverse((at_ms, _))) if *at_ms <= now_ms => {}
                _ => return,
            }
            let Some(Reverse((at_ms, key))) = self.expiries.pop() else { return };
            self.expire_one(&key, now_ms);
            // An entry of a list of that name that was emptied since means nothing.
            let list = self.lists.get_mut(&key).filter(|list| list.looked_at_ms == Some(at_ms));
            if let Some(list) = list {
                list.looked_at_ms = list.expires_ms;
                self.expiries.extend(list.expires_ms.map(|later_ms| Reverse((later_ms, key))));
            }
        }
    }

    fn expire_one(&mut self, key: &str, now_ms: u64) {
        let over = |list: &List| list.expires_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if self.lists.get(key).is_some_and(over)
            && let Some(list) = self.lists.remove(key)
        {
            self.list_bytes -= list.values.iter().map(|value| cost_bytes(value)).sum::<usize>();
        }
    }

    fn append(&mut self, key: Arc<str>, value: Vec<u8>) -> Result<&mut List, Error> {
        let cost_bytes = cost_bytes(&value);
        if self.list_bytes.saturating_add(cost_bytes) > self.list_limit_bytes {
            self.refused += 1;
            return Err(Error::Full);
        }
        self.list_bytes += cost_bytes;
        let list = self.lists.entry(key).or_default();
        list.values.push_back(value);
        Ok(list)
    }

    fn values(&mut self, key: &str, now_ms: u64) -> Vec<Vec<u8>> {
        self.expire_one(key, now_ms);
        self.lists.get(key).map(|list| list.values.iter().cloned().collect()).unwrap_or_default()
    }

    fn remove_subscriber(&mut self, channel: &Arc<str>, client: ClientId) {
        let Some(clients) = self.channels.get_mut(channel) else { return };
        // As many as there are shards.
        clients.retain(|&other| other != client);
        if clients.is_empty() {
            self.channels.remove(channel);
        }
    }
}

fn no_streams() -> Error {
    Error::Refused("the embedded broker has no streams".to_string())
}

fn cost_bytes(value: &[u8]) -> usize {
    value.len() + COMMAND_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Task, Ticket};
    use proptest::prelude::*;

    fn core() -> Core {
        Core::new(1 << 20)
    }

    #[test]
    fn a_full_broker_refuses_and_counts_and_takes_again() {
        let mut core = Core::new(1000);
        let client = core.attach();
        let mut out = Outgoing::new();
        let push = |ticket| Command::Push {
            ticket: Ticket(ticket),
            queue: Queue::List { key: "k".into() },
            task: Task::plain(vec![0; 500]),
        };
        core.execute(client, push(1), 0, &mut out);
        core.execute(client, push(2), 0, &mut out);
        assert_eq!(out.pop(), Some((client, Event::PushFailed(Ticket(2), Error::Full))));
        assert_eq!(core.refused(), 1);
        assert_eq!(core.pop("k", 0).map(|value| value.len()), Some(500));
        assert_eq!(core.list_bytes(), 0);
        core.execute(client, push(3), 0, &mut out);
        assert_eq!(out.pop(), Some((client, Event::Pushed(Ticket(3)))));
    }

    #[test]
    fn cached_lists_end_and_appending_gives_them_more_time() {
        let mut core = core();
        for now_ms in [0, 40_000] {
            core.append_expiring("r".into(), b"x".to_vec(), 60_000, now_ms).unwrap();
        }
        core.expire(60_000);
        assert_eq!(core.values("r", 99_999).len(), 2);
        assert_eq!(core.values("r", 100_000).len(), 0);
        assert_eq!(core.list_bytes(), 0);
        core.expire(100_000);
        assert!(core.expiries.is_empty() && core.lists.is_empty());
    }

    #[test]
    fn many_appends_to_one_cached_list_leave_one_entry_in_the_heap() {
        let mut core = core();
        for now_ms in 0..1000 {
            core.append_expiring("r".into(), Vec::new(), 60_000, now_ms).unwrap();
        }
        assert_eq!(core.expiries.len(), 1);
    }

    #[test]
    fn expiry_is_spread_over_calls() {
        let mut core = core();
        for number in 0..1000 {
            core.append_expiring(number.to_string().into(), Vec::new(), 1, 0).unwrap();
        }
        core.expire(10);
        assert_eq!(core.lists.len(), 1000 - EMBEDDED_EXPIRE_STEP);
        assert_eq!(core.values("999", 10).len(), 0, "over is over, freed or not");
    }

    #[test]
    fn a_detached_client_leaves_no_channel() {
        let mut core = core();
        let (one, two) = (core.attach(), core.attach());
        let mut out = Outgoing::new();
        for client in [one, two, one] {
            core.execute(client, Command::Subscribe { channel: "c".into() }, 0, &mut out);
        }
        assert_eq!(core.publish("c", b"x".to_vec(), &mut out), 2, "twice is once");
        core.detach(one);
        assert_eq!(core.publish("c", b"x".to_vec(), &mut out), 1);
        core.detach(two);
        assert!(core.channels.is_empty());
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_the_lists(
            steps in prop::collection::vec((0..4u8, 0..3u8, 0..50usize), 0..200)
        ) {
            let mut core = Core::new(4000);
            let mut out = Outgoing::new();
            let client = core.attach();
            for (now_ms, (what, key, size)) in steps.into_iter().enumerate() {
                let (now_ms, key): (u64, Arc<str>) = (now_ms as u64, key.to_string().into());
                let value = vec![0; size];
                match what {
                    0 => {
                        let (queue, task) = (Queue::List { key }, Task::plain(value));
                        let push = Command::Push { ticket: Ticket(0), queue, task };
                        core.execute(client, push, now_ms, &mut out);
                    }
                    1 => drop(core.append_expiring(key, value, size as u64, now_ms)),
                    2 => drop(core.pop(&key, now_ms)),
                    _ => core.expire(now_ms),
                }
                let held = core.lists.values().flat_map(|list| &list.values);
                prop_assert_eq!(core.list_bytes(), held.map(|value| cost_bytes(value)).sum::<usize>());
                prop_assert!(core.list_bytes() <= 4000);
                prop_assert!(core.lists.values().all(|list| !list.values.is_empty()));
            }
        }
    }
}
