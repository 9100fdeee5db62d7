//! ▢ What waits for the workers, and whether a new connection may add to it.
//!
//! Place in the data path: between a request for a WebSocket and its upgrade. Overload is
//! refused here, before the upgrade, rather than suffered by sessions that then wait for
//! answers until their deadline (systems, fault 16). Who is in stays in: nothing here is
//! ever held against an open connection.
//!
//! # The rule
//!
//! ```text
//! expected depth = the last reading
//!                + tasks that this node has pushed and that the reading may lack
//!                + tasks that newcomers are still expected to bring
//! ```
//!
//! A new connection is admitted while the expected depth is under `queue_high`. From the
//! moment it is not, every one gets 503 `queue_full`, until it is under `queue_low`.
//!
//! - **The reading.** Once a node and every 250 ms ([`limits::QUEUE_READ_MS`]), whatever
//!   the number of shards: on each tick the first shard whose broker is up, and which has
//!   no question open, takes the turn. A shard whose link is away or silent therefore
//!   leaves nobody blind. All shards see the answer, in one atomic.
//! - **Pushes.** When the question is asked, every push that was answered before is in the
//!   list; any other may be missing from the answer, so it is added on top. Those on their
//!   way while the question was are counted twice, never not at all.
//! - **Newcomers.** Between its upgrade and its first chunk a connection costs nothing that
//!   could be measured, and hundreds can come in that time. So each stands for as many
//!   tasks as the ones before it brought in their first second ([`limits::NEWCOMER_MS`]),
//!   and for one at least; what it pushes in that second takes its place, and what it has
//!   not pushed by then is forgotten. An idle connection therefore costs one task for one
//!   second.
//!
//! What follows: this node never lets in a connection while it knows of `queue_high`
//! tasks, and never more than `queue_high` connections a second that have not shown yet
//! what they bring. What is admitted beyond the mark is what those bring above the average
//! before them. Several gateways on one queue see each other's tasks with the next
//! reading, 250 ms late.
//!
//! # When the depth is not known
//!
//! The last reading, and what was pushed since, go on counting. After
//! [`limits::QUEUE_STALE_MS`] without an answer of a broker that is up, nobody knows what
//! waits, and new connections get 503 `broker_unavailable` until an answer comes. Each
//! failed and each late reading is counted.
//!
//! This module must not know sockets beyond their names, nor what a task is.

mod gate;
mod newcomers;
mod queue;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use gate::{Gate, Marks};
pub use queue::QueueState;

use self::newcomers::Newcomers;
use self::watch::Watch;
use crate::{
    broker::{Command, Event, Queue},
    ids::SocketId,
    limits,
    tasks::RouteTag,
    ws::Refusal,
};

/// What a tasks route asks of admission.
#[derive(Clone, PartialEq, Debug)]
pub struct GateConfig {
    /// Path of the route, for log and metrics.
    pub route: String,
    /// Where the route's tasks wait.
    pub queue: Queue,
    /// Between which depths it is closed and open.
    pub marks: Marks,
    /// Whether somebody must be there to work.
    pub require_workers: bool,
}

/// Every gate and queue of the process.
pub struct NodeBacklog {
    /// By number of the route; `None` for one that has no queue.
    gates: Vec<Option<Arc<Gate>>>,
    queues: Vec<Arc<QueueState>>,
}

impl NodeBacklog {
    /// For routes in their order and so many shards. Routes on one queue share its reading.
    pub fn new(routes: &[Option<GateConfig>], shards: usize) -> Self {
        let mut queues: Vec<Arc<QueueState>> = Vec::new();
        for config in routes.iter().flatten() {
            if queues.iter().all(|state| *state.queue() != config.queue) {
                let on_it = |other: &&GateConfig| other.queue == config.queue;
                let workers = routes.iter().flatten().filter(on_it).any(|c| c.require_workers);
                queues.push(Arc::new(QueueState::new(config.queue.clone(), workers, shards)));
            }
        }
        let gate = |config: &GateConfig| {
            let state = queues.iter().find(|state| *state.queue() == config.queue)?;
            Some(Arc::new(Gate::new(state.clone(), config)))
        };
        let gates = routes.iter().map(|route| gate(route.as_ref()?)).collect();
        Self { gates, queues }
    }

    /// The queues, each once, for the metrics.
    pub fn queues(&self) -> &[Arc<QueueState>] {
        &self.queues
    }

    /// The gates, for the metrics.
    pub fn gates(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.gates.iter().flatten()
    }

    /// The part of shard number `shard`.
    pub fn of_shard(&self, shard: usize) -> ShardBacklog {
        let entrance =
            |gate: &Arc<Gate>| Entrance { gate: gate.clone(), newcomers: Newcomers::default() };
        ShardBacklog {
            shard,
            entrances: self.gates.iter().map(|gate| gate.as_ref().map(entrance)).collect(),
            watches: self.queues.iter().cloned().map(Watch::new).collect(),
        }
    }
}

/// One shard's part: its newcomers, and its turns at asking.
pub struct ShardBacklog {
    shard: usize,
    /// By number of the route.
    entrances: Vec<Option<Entrance>>,
    watches: Vec<Watch>,
}

struct Entrance {
    gate: Arc<Gate>,
    newcomers: Newcomers,
}

impl ShardBacklog {
    /// Whether a connection may come in on a route; it counts as a newcomer then, until
    /// its second is over or [`leave`](Self::leave) is called for it.
    ///
    /// # Errors
    /// The refusal; it counts as nothing then.
    pub fn admit(&mut self, route: usize, socket: SocketId, now_ms: u64) -> Result<(), Refusal> {
        let Some(entrance) = self.entrance(route) else { return Ok(()) };
        entrance.expire(now_ms);
        let expected = entrance.newcomers.expected();
        entrance.gate.admit(expected, now_ms)?;
        entrance.newcomers.enter(socket, expected, now_ms);
        Ok(())
    }

    /// A connection is gone.
    pub fn leave(&mut self, socket: SocketId) {
        for entrance in self.entrances.iter_mut().flatten() {
            let released = entrance.newcomers.leave(socket);
            entrance.gate.queue().release(released);
        }
    }

    /// A task goes to the broker; `owner`: the connection that sent it.
    pub fn on_push(&mut self, route: usize, owner: impl FnOnce() -> Option<SocketId>) {
        let shard = self.shard;
        let Some(entrance) = self.entrance(route) else { return };
        entrance.gate.queue().pushes(shard).submitted.inc();
        if !entrance.newcomers.is_empty()
            && let Some(socket) = owner()
        {
            let released = entrance.newcomers.on_push(socket);
            entrance.gate.queue().release(released);
        }
    }

    /// An event of the broker. Answers to this module's questions are taken; every other
    /// event is only looked at, and given back.
    #[must_use = "it is somebody's"]
    pub fn on_event(&mut self, event: Event, now_ms: u64) -> Option<Event> {
        match &event {
            Event::Up => {
                // What was not known while the broker was away is no proof against it.
                self.be_patient(now_ms);
            }
            Event::Pushed(ticket) | Event::PushFailed(ticket, _) => {
                let shard = self.shard;
                if let Some(entrance) = self.entrance(RouteTag::index_of(*ticket)) {
                    entrance.gate.queue().pushes(shard).answered.inc();
                }
            }
            Event::Observed(ticket, backlog) => {
                if let Some(watch) = self.watch(ticket.0) {
                    watch.on_observed(backlog);
                }
                self.look();
                return None;
            }
            Event::ObserveFailed(ticket, error) => {
                if let Some(watch) = self.watch(ticket.0) {
                    watch.on_failed(error);
                }
                return None;
            }
            _ => {}
        }
        Some(event)
    }

    /// Every tick: newcomers whose second is over are newcomers no more.
    pub fn on_tick(&mut self, now_ms: u64) {
        for entrance in self.entrances.iter_mut().flatten() {
            entrance.expire(now_ms);
        }
    }

    /// What this shard is to ask now. For every tick on which its broker is up, and for
    /// the moment in which it comes up.
    pub fn questions(&mut self, now_ms: u64) -> impl Iterator<Item = Command> {
        let watches = self.watches.iter_mut().enumerate();
        watches.filter_map(move |(number, watch)| watch.ask(number as u64, now_ms))
    }

    /// The shard stood still, or its broker was away: until the next answer is late too,
    /// nothing is taken for unknown.
    pub fn be_patient(&self, now_ms: u64) {
        self.watches.iter().for_each(|watch| watch.queue().be_patient(now_ms));
    }

    /// Gates open and close with a reading, whether anybody knocks or not.
    fn look(&self) {
        for entrance in self.entrances.iter().flatten() {
            entrance.gate.look();
        }
    }

    fn entrance(&mut self, route: usize) -> Option<&mut Entrance> {
        self.entrances.get_mut(route)?.as_mut()
    }

    fn watch(&mut self, number: u64) -> Option<&mut Watch> {
        self.watches.get_mut(usize::try_from(number).ok()?)
    }
}

impl Entrance {
    fn expire(&mut self, now_ms: u64) {
        let released = self.newcomers.expire(now_ms);
        self.gate.queue().release(released);
    }
}

const _: () = assert!(limits::QUEUE_READ_MS < limits::QUEUE_STALE_MS);
