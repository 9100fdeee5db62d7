//! Several shards, and lanes between them that are as slow as the test likes: a session is
//! owned once, nothing of it is lost, nothing is left of it.

mod named;

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const SESSIONS: [&str; 3] = ["a", "b.2", "c:3"];
const SHARDS: usize = 3;
const SOCKETS: u32 = 3;
const DEADLINE_MS: u64 = 20_000;

/// One gateway: a world for each shard, and one Redis behind them all.
struct Gateway {
    shards: Vec<World>,
    /// By sender and receiver.
    lanes: Vec<Vec<VecDeque<PeerMessage>>>,
    generations: [[u32; SOCKETS as usize]; SHARDS],
    /// Published, not yet cached.
    uncached: Vec<(String, String)>,
    /// Results that a client has had since the last start of its session.
    results: HashMap<(usize, SocketId, String), HashSet<u64>>,
    finals: Vec<(usize, SocketId, Value)>,
}

impl Gateway {
    fn new(per_shard: bool) -> Self {
        Self::on_route(5, per_shard, &Default::default())
    }

    /// One route of a gateway, whose shards share `ids` with other routes.
    fn on_route(route: usize, per_shard: bool, ids: &[OpenIds; SHARDS]) -> Self {
        let shard = |n: usize| {
            let config = TasksConfig {
                chunk_deadline_ms: DEADLINE_MS,
                reply_to: per_shard.then(|| format!("ringgate:results:x:{n}").into()),
                ..TasksConfig::default()
            };
            let mut world = World::new(config);
            let (config, metrics) = (world.tasks.config.clone(), world.metrics.clone());
            let tasks = Tasks::new(config, metrics, RouteTag::new(route).unwrap());
            world.tasks = tasks.with_open_ids(ids[n].clone()).among(ShardId(n as u16), SHARDS);
            world.hear(Event::Up);
            world.settle();
            world
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            lanes: (0..SHARDS).map(|_| lanes()).collect(),
            generations: Default::default(),
            uncached: Vec::new(),
            results: HashMap::new(),
            finals: Vec::new(),
        }
    }

    fn socket(&self, shard: usize, slot: u32) -> SocketId {
        SocketId { slot, generation: self.generations[shard][slot as usize] }
    }

    fn disconnect(&mut self, shard: usize, slot: u32) {
        let socket = self.socket(shard, slot);
        self.generations[shard][slot as usize] += 1;
        self.shards[shard].paused.remove(&socket);
        self.shards[shard].drop_socket(socket);
        self.note();
    }

    /// One message arrives.
    fn deliver(&mut self, from: usize, to: usize) {
        let Some(message) = self.lanes[from][to].pop_front() else { return };
        let mut actions = Vec::new();
        let world = &mut self.shards[to];
        world.tasks.on_peer(message, world.now, &mut actions);
        world.carry_out(actions);
        self.note();
    }

    fn hear(&mut self, shard: usize) {
        let world = &mut self.shards[shard];
        if !world.events.is_empty() {
            let event = world.events.remove(0);
            world.hear(event);
        }
        self.note();
    }

    /// A worker takes a task, publishes, and will put it into the cache.
    fn work(&mut self, nth: usize) {
        let with_work = (0..SHARDS).filter(|&n| !self.shards[n].queue.is_empty());
        let Some(shard) = with_work.cycle().nth(nth) else { return };
        let task = self.shards[shard].queue.remove(0);
        let id = task["session_id"].as_str().unwrap().to_owned();
        let index = task["chunk_index"].as_u64().unwrap() as u32;
        let mut answer: Value = serde_json::from_str(&result(index, &format!("t{index}"))).unwrap();
        let mut channel: Arc<str> = format!("asr_result_{id}").into();
        if let Some(reply_to) = task["reply_to"].as_str() {
            answer["session_id"] = id.as_str().into();
            channel = reply_to.into();
        }
        for world in &mut self.shards {
            if world.subscriptions.contains(&channel) {
                let payload = answer.to_string().into();
                world.events.push(Event::Message { channel: channel.clone(), payload });
            }
        }
        self.uncached.push((id, answer.to_string()));
    }

    fn cache(&mut self) {
        for (id, payload) in self.uncached.drain(..) {
            for world in &mut self.shards {
                world.put_in_cache(&id, &payload);
            }
        }
    }

    fn reconnect(&mut self, shard: usize) {
        let world = &mut self.shards[shard];
        world.hear(Event::Down { reason: "test".into() });
        world.events.retain(|event| !matches!(event, Event::Message { .. }));
        world.hear(Event::Up);
        let again = world.subscriptions.iter().cloned().map(Event::Subscribed);
        world.events.extend(again);
    }

    fn pass(&mut self, ms: u64) {
        self.shards.iter_mut().for_each(|world| world.pass(ms));
        self.note();
    }

    /// Puts what was told into the lanes, and looks at what clients heard.
    fn note(&mut self) {
        for (n, world) in self.shards.iter_mut().enumerate() {
            for (to, message) in world.told.drain(..) {
                assert_ne!(to.index(), n, "nobody writes to himself");
                self.lanes[n][to.index()].push_back(message);
            }
            for (to, message) in world.sent.drain(..) {
                let id = message["session_id"].as_str().unwrap_or_default().to_owned();
                let had = self.results.entry((n, to, id.clone())).or_default();
                match message["type"].as_str().unwrap() {
                    "chunk_result" => {
                        let new = had.insert(message["chunk_index"].as_u64().unwrap());
                        assert!(new, "twice to the same client: {message}");
                    }
                    "final_result" => {
                        assert_eq!(message["chunk_count"], had.len(), "{message}: had {had:?}");
                        self.results.remove(&(n, to, id));
                        self.finals.push((n, to, message));
                    }
                    _ => {}
                }
            }
        }
        for id in SESSIONS {
            assert!(self.count(id) <= 1, "{id} is there twice");
        }
    }

    /// How often a session is somewhere, or moving.
    fn count(&self, id: &str) -> usize {
        let here = self.shards.iter().filter(|world| world.tasks.table.find(id).is_some()).count();
        let is_it =
            |m: &&PeerMessage| matches!(m, PeerMessage::Moved(p) if p.session.id().as_str() == id);
        here + self.lanes.iter().flatten().flatten().filter(is_it).count()
    }

    fn settle(&mut self) {
        self.note();
        loop {
            let waits = |world: &World| !world.submitted.is_empty() || !world.events.is_empty();
            let told = self.lanes.iter().flatten().any(|lane| !lane.is_empty());
            if !told && !self.shards.iter().any(waits) {
                return;
            }
            for n in 0..SHARDS {
                self.shards[n].execute();
                self.hear(n);
                (0..SHARDS).for_each(|from| self.deliver(from, n));
            }
        }
    }

    fn owner(&self, id: &str) -> Option<(usize, SocketId)> {
        self.shards.iter().enumerate().find_map(|(n, world)| {
            let slot = world.tasks.table.find(id)?;
            Some((n, world.tasks.table.get(slot)?.owner()?))
        })
    }

    /// Every open session is finished by its owner, who has had everything.
    fn finish_all(&mut self) {
        self.settle();
        while self.shards.iter().any(|world| !world.queue.is_empty()) {
            self.work(0);
        }
        self.cache();
        self.settle();
        // What nobody heard is found in the cache.
        self.pass(DEADLINE_MS + 500);
        self.settle();
        for id in SESSIONS {
            let Some((shard, socket)) = self.owner(id) else { continue };
            // One that is being closed, another session of it having been taken over, is not
            // heard.
            if self.shards[shard].closed.iter().any(|(closed, _)| *closed == socket) {
                continue;
            }
            let before = self.finals.len();
            self.shards[shard].finish(socket, id);
            self.note();
            let (_, to, last) = self.finals.get(before).expect("a final result");
            assert_eq!((*to, &last["complete"]), (socket, &json!(true)), "{last}");
        }
    }

    /// Every client goes, and nobody comes back.
    fn leave(&mut self) {
        for (shard, slot) in (0..SHARDS).flat_map(|n| (0..SOCKETS).map(move |slot| (n, slot))) {
            self.disconnect(shard, slot);
        }
        self.settle();
        // Detached sessions end; forwards end.
        self.pass(60_500);
        self.settle();
        self.pass(DEADLINE_MS + 500);
        self.settle();
    }

    fn assert_empty(&mut self) {
        self.leave();
        for world in &mut self.shards {
            world.assert_empty();
            let metrics = &world.metrics.tasks;
            let gauges =
                [&metrics.claims, &metrics.directory, &metrics.forwards, &metrics.held_bytes];
            assert_eq!(gauges.map(|gauge| gauge.get()), [0; 4]);
            let cores = world.tasks.cores.as_ref().unwrap();
            assert_eq!(cores.left() + world.tasks.following.relayed.len(), 0);
        }
    }
}

fn lanes() -> Vec<VecDeque<PeerMessage>> {
    (0..SHARDS).map(|_| VecDeque::new()).collect()
}

#[derive(Clone, Debug)]
enum Step {
    Start { shard: usize, socket: u32, session: usize },
    Chunk { shard: usize, socket: u32, session: usize, index: u32 },
    Finish { shard: usize, socket: u32, session: usize },
    Disconnect { shard: usize, socket: u32 },
    Execute { shard: usize },
    Hear { shard: usize },
    Deliver { from: usize, to: usize },
    Work { nth: usize },
    Cache,
    Reconnect { shard: usize },
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (shard, socket, session) = (|| 0..SHARDS, || 0..SOCKETS, || 0..SESSIONS.len());
    prop_oneof![
        8 => (shard(), socket(), session())
            .prop_map(|(shard, socket, session)| Step::Start { shard, socket, session }),
        16 => (shard(), socket(), session(), 0..5u32).prop_map(
            |(shard, socket, session, index)| Step::Chunk { shard, socket, session, index }
        ),
        1 => (shard(), socket(), session())
            .prop_map(|(shard, socket, session)| Step::Finish { shard, socket, session }),
        2 => (shard(), socket()).prop_map(|(shard, socket)| Step::Disconnect { shard, socket }),
        16 => shard().prop_map(|shard| Step::Execute { shard }),
        16 => shard().prop_map(|shard| Step::Hear { shard }),
        24 => (shard(), shard()).prop_map(|(from, to)| Step::Deliver { from, to }),
        6 => (0..3usize).prop_map(|nth| Step::Work { nth }),
        2 => Just(Step::Cache),
        1 => shard().prop_map(|shard| Step::Reconnect { shard }),
        1 => (0..1_500u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

fn take(gateway: &mut Gateway, step: Step) {
    match step {
        Step::Start { shard, socket, session } => {
            let from = gateway.socket(shard, socket);
            gateway.shards[shard].start(from, SESSIONS[session]);
        }
        Step::Chunk { shard, socket, session, index } => {
            let from = gateway.socket(shard, socket);
            gateway.shards[shard].chunk(from, SESSIONS[session], index.into(), AUDIO);
        }
        Step::Finish { shard, socket, session } => {
            let from = gateway.socket(shard, socket);
            gateway.shards[shard].finish(from, SESSIONS[session]);
        }
        Step::Disconnect { shard, socket } => gateway.disconnect(shard, socket),
        Step::Execute { shard } => gateway.shards[shard].execute(),
        Step::Hear { shard } => gateway.hear(shard),
        Step::Deliver { from, to } => gateway.deliver(from, to),
        Step::Work { nth } => gateway.work(nth),
        Step::Cache => gateway.cache(),
        Step::Reconnect { shard } => gateway.reconnect(shard),
        Step::Pass { ms } => gateway.pass(ms),
    }
    gateway.note();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_interleaving_of_shards_keeps_the_promises(
        per_shard in any::<bool>(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut gateway = Gateway::new(per_shard);
        for step in steps {
            take(&mut gateway, step);
        }
        gateway.finish_all();
        gateway.assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_id_is_open_on_one_route_however_claims_cross(
        steps in prop::collection::vec((any::<bool>(), step()), 1..250),
    ) {
        let ids = Default::default();
        let mut routes = [5, 6].map(|route| Gateway::on_route(route, false, &ids));
        for (route, step) in steps {
            take(&mut routes[usize::from(route)], step);
            for id in SESSIONS {
                let count: usize = routes.iter().map(|route| route.count(id)).sum();
                prop_assert!(count <= 1, "{} is open on both routes", id);
            }
        }
        routes.iter_mut().for_each(Gateway::finish_all);
        routes.iter_mut().for_each(Gateway::leave);
        routes.iter_mut().for_each(Gateway::assert_empty);
    }
}
