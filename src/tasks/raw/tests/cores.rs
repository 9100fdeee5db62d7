//! Several shards, and lanes between them that are as slow as the test likes: a raw session
//! has one owner and one ear, every result reaches a client of it once and in the order
//! published, every message is a task once, and nothing is left.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::tasks::cores::Moving;

const SESSIONS: [&str; 3] = ["a", "b.2", "c:3"];
const SHARDS: usize = 3;
const SOCKETS: u32 = 3;

/// What became of one session over all its clients.
#[derive(Default, Debug)]
struct Story {
    /// Results that workers published, in order.
    published: Vec<String>,
    /// Those that clients were sent, in order.
    heard: Vec<String>,
    next_seq: u64,
}

/// One gateway: a world for each shard, and one Redis behind them all.
struct Gateway {
    shards: Vec<World>,
    /// By sender and receiver.
    lanes: Vec<Vec<VecDeque<PeerMessage>>>,
    generations: [[u32; SOCKETS as usize]; SHARDS],
    /// The session of each connection.
    connected: HashMap<(usize, u32), &'static str>,
    stories: HashMap<&'static str, Story>,
    /// Tasks that workers may answer, of all shards.
    queue: Vec<Value>,
    /// What clients said, and the number of the next.
    said: u64,
    nonce: u64,
}

impl Gateway {
    fn new(per_shard: bool) -> Self {
        let shard = |n: usize| {
            let reply_to = per_shard.then(|| format!("ringgate:results:x:{n}:raw").into());
            let mut world = World::new(RawConfig { reply_to, inflight: 3, ..RawConfig::default() });
            let old = std::mem::replace(&mut world.tasks, World::new(RawConfig::default()).tasks);
            world.tasks = old.among(ShardId(n as u16), SHARDS);
            world.hear(Event::Up);
            world.settle();
            world
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            lanes: (0..SHARDS).map(|_| (0..SHARDS).map(|_| VecDeque::new()).collect()).collect(),
            generations: Default::default(),
            connected: HashMap::new(),
            stories: SESSIONS.into_iter().map(|id| (id, Story::default())).collect(),
            queue: Vec::new(),
            said: 0,
            nonce: 0,
        }
    }

    fn socket(&self, shard: usize, slot: u32) -> SocketId {
        SocketId { slot, generation: self.generations[shard][slot as usize] }
    }

    fn connect(&mut self, shard: usize, slot: u32, id: &'static str) {
        if self.connected.contains_key(&(shard, slot)) {
            self.disconnect(shard, slot);
        }
        self.connected.insert((shard, slot), id);
        let socket = self.socket(shard, slot);
        self.shards[shard].connect(socket, Some(&format!("session={id}")));
        self.note();
    }

    fn disconnect(&mut self, shard: usize, slot: u32) {
        if self.connected.remove(&(shard, slot)).is_some() {
            let socket = self.socket(shard, slot);
            self.shards[shard].disconnect(socket);
            self.shards[shard].awaited.remove(&socket);
            self.generations[shard][slot as usize] += 1;
            self.note();
        }
    }

    fn say(&mut self, shard: usize, slot: u32) {
        if self.connected.contains_key(&(shard, slot)) {
            self.said += 1;
            let socket = self.socket(shard, slot);
            self.shards[shard].say(socket, &text(&format!("{shard}-{slot} {}", self.said)));
            self.note();
        }
    }

    fn execute(&mut self, shard: usize) {
        self.shards[shard].execute();
        self.queue.append(&mut self.shards[shard].queue);
        self.note();
    }

    fn hear(&mut self, shard: usize) {
        if let Some(event) = self.shards[shard].events.pop_front() {
            self.shards[shard].hear(event);
        }
        self.note();
    }

    fn deliver(&mut self, from: usize, to: usize) {
        let Some(message) = self.lanes[from][to].pop_front() else { return };
        let mut actions = Vec::new();
        let world = &mut self.shards[to];
        world.tasks.on_peer(message, world.now, &mut actions);
        world.carry_out(actions);
        self.note();
    }

    /// A worker publishes a result of the nth task; all are alike but for a number, so that
    /// only the ear's order can tell them apart.
    fn work(&mut self, nth: usize, done: bool) {
        if self.queue.is_empty() {
            return;
        }
        let place = nth % self.queue.len();
        let task = if done { self.queue.remove(place) } else { self.queue[place].clone() };
        let id = task["session_id"].as_str().unwrap();
        self.nonce += 1;
        let data = format!("={}", self.nonce);
        let result =
            json!({"session_id": id, "seq": task["seq"], "data": data, "done": done}).to_string();
        let own = format!("asr_result_{id}");
        let channel: Arc<str> = task["reply_to"].as_str().unwrap_or(&own).into();
        let mut ears = 0;
        for world in &mut self.shards {
            if world.subscriptions.contains(&channel) {
                let payload = result.clone().into_bytes();
                world.events.push_back(Event::Message { channel: channel.clone(), payload });
                ears += 1;
            }
        }
        assert_eq!(ears, 1, "a session is heard once");
        self.stories.get_mut(id).unwrap().published.push(data);
    }

    /// Puts what was told into the lanes, and looks at what clients heard.
    fn note(&mut self) {
        for (n, world) in self.shards.iter_mut().enumerate() {
            for (to, message) in world.told.drain(..) {
                assert_ne!(to.index(), n, "nobody writes to himself");
                self.lanes[n][to.index()].push_back(message);
            }
            for (to, message) in world.sent.drain(..) {
                let Heard::Text(message) = message else { panic!("no worker sends bytes here") };
                let id = self.connected[&(n, to.slot)];
                let story = self.stories.get_mut(id).unwrap();
                if message.starts_with('=') {
                    story.heard.push(message);
                    continue;
                }
                let message: Value = serde_json::from_str(&message).unwrap();
                assert_eq!(
                    (&message["type"], &message["session_id"]),
                    (&"open".into(), &id.into())
                );
                let next_seq = message["next_seq"].as_u64().unwrap();
                assert!(next_seq >= story.next_seq, "it is the session that there was");
                story.next_seq = next_seq;
            }
            for socket in std::mem::take(&mut world.awaited) {
                let mut actions = Vec::new();
                world.tasks.on_drained(socket, world.now, &mut actions);
                world.carry_out(actions);
            }
        }
        for (n, world) in self.shards.iter_mut().enumerate() {
            for (socket, code) in std::mem::take(&mut world.closed) {
                assert_eq!(code, CloseCode::TakenOver);
                assert!(self.connected.remove(&(n, socket.slot)).is_some());
                world.disconnect(socket);
                self.generations[n][socket.slot as usize] += 1;
            }
        }
        for id in SESSIONS {
            let here = self.shards.iter().filter(|w| w.tasks.table.find(id).is_some()).count();
            let moving = |m: &&PeerMessage| matches!(m, PeerMessage::Moved(p) if p.session.id().as_str() == id);
            let moving = self.lanes.iter().flatten().flatten().filter(moving).count();
            assert!(here + moving <= 1, "{id} is {here} times somewhere and {moving} moving");
        }
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
                self.execute(n);
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

    /// Everything is done, and somebody is there to hear of it.
    fn finish(&mut self) {
        self.settle();
        while !self.queue.is_empty() {
            self.work(0, true);
        }
        self.settle();
        for (n, id) in SESSIONS.into_iter().enumerate() {
            self.connect(n, 0, id);
            self.settle();
            assert_eq!(self.owner(id).map(|(shard, _)| shard), Some(n));
            let story = &self.stories[id];
            assert_eq!(story.heard, story.published, "each once, in its order");
        }
    }

    fn assert_empty(&mut self) {
        for (shard, slot) in (0..SHARDS).flat_map(|n| (0..SOCKETS).map(move |slot| (n, slot))) {
            self.disconnect(shard, slot);
        }
        self.settle();
        self.shards.iter_mut().for_each(|world| world.pass(60_500));
        self.settle();
        for world in &mut self.shards {
            assert!(world.paused.is_empty(), "a place that nothing frees");
            world.assert_empty();
            let metrics = &world.metrics.tasks;
            let gauges =
                [&metrics.claims, &metrics.directory, &metrics.forwards, &metrics.held_bytes];
            assert_eq!(gauges.map(|gauge| gauge.get()), [0; 4]);
            assert_eq!(world.tasks.cores.as_ref().unwrap().left(), 0);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Connect { shard: usize, socket: u32, session: usize },
    Disconnect { shard: usize, socket: u32 },
    Say { shard: usize, socket: u32 },
    Execute { shard: usize },
    Hear { shard: usize },
    Deliver { from: usize, to: usize },
    Work { nth: usize, done: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (shard, socket, session) = (|| 0..SHARDS, || 0..SOCKETS, || 0..SESSIONS.len());
    prop_oneof![
        6 => (shard(), socket(), session())
            .prop_map(|(shard, socket, session)| Step::Connect { shard, socket, session }),
        1 => (shard(), socket()).prop_map(|(shard, socket)| Step::Disconnect { shard, socket }),
        12 => (shard(), socket()).prop_map(|(shard, socket)| Step::Say { shard, socket }),
        16 => shard().prop_map(|shard| Step::Execute { shard }),
        16 => shard().prop_map(|shard| Step::Hear { shard }),
        24 => (shard(), shard()).prop_map(|(from, to)| Step::Deliver { from, to }),
        16 => (0..4usize, any::<bool>()).prop_map(|(nth, done)| Step::Work { nth, done }),
    ]
}

fn take(gateway: &mut Gateway, step: Step) {
    match step {
        Step::Connect { shard, socket, session } => {
            gateway.connect(shard, socket, SESSIONS[session]);
        }
        Step::Disconnect { shard, socket } => gateway.disconnect(shard, socket),
        Step::Say { shard, socket } => gateway.say(shard, socket),
        Step::Execute { shard } => gateway.execute(shard),
        Step::Hear { shard } => gateway.hear(shard),
        Step::Deliver { from, to } => gateway.deliver(from, to),
        Step::Work { nth, done } => gateway.work(nth, done),
    }
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
        gateway.finish();
        gateway.assert_empty();
    }
}

#[test]
fn a_session_follows_its_client_around_and_home_again() {
    for per_shard in [false, true] {
        let mut gateway = Gateway::new(per_shard);
        gateway.connect(0, 1, "a");
        gateway.settle();
        for shard in [1, 2, 0, 2] {
            let before = gateway.owner("a").unwrap().0;
            gateway.say(before, 1);
            gateway.say(before, 1);
            gateway.settle();
            gateway.work(0, false);
            gateway.connect(shard, 1, "a");
            gateway.say(shard, 1);
            let socket = gateway.socket(shard, 1);
            assert!(gateway.shards[shard].paused.contains(&socket), "not read while it waits");
            // While it moves, and after.
            gateway.work(1, true);
            gateway.settle();
            assert_eq!(gateway.owner("a"), Some((shard, socket)));
            while !gateway.queue.is_empty() {
                gateway.work(0, true);
            }
            gateway.settle();
            let story = &gateway.stories["a"];
            assert_eq!(story.heard, story.published);
        }
        assert_eq!(gateway.stories["a"].next_seq, 11);
        assert!(gateway.shards[0].metrics.tasks.results_forwarded.get() > 0);
        gateway.finish();
        gateway.assert_empty();
    }
}

#[test]
fn what_cannot_be_kept_between_two_owners_is_told() {
    let mut gateway = Gateway::new(false);
    let world = &mut gateway.shards[0];
    let config = RawConfig { kept_bytes: 1_000, ..RawConfig::default() };
    world.tasks.config = Arc::new(config);
    gateway.connect(0, 1, "a");
    gateway.settle();
    gateway.say(0, 1);
    gateway.settle();
    gateway.connect(1, 1, "a");
    // The session is on its way to its new owner.
    while !gateway.lanes[0][1].iter().any(|message| matches!(message, PeerMessage::Moved(_))) {
        (0..9).filter(|n| n % 3 != 1).for_each(|n| gateway.deliver(n / 3, n % 3));
        if gateway.lanes[0][1].is_empty() {
            gateway.deliver(2, 1);
            gateway.deliver(1, 1);
        }
    }
    let payload = json!({"seq": 0, "data": format!("={}", "x".repeat(600))}).to_string();
    for _ in 0..3 {
        let channel = Arc::from("asr_result_a");
        let payload = payload.clone().into_bytes();
        gateway.shards[0].hear(Event::Message { channel, payload });
    }
    assert_eq!(gateway.shards[0].metrics.tasks.results.lost.get(), 2);
    while !gateway.lanes.iter().flatten().all(VecDeque::is_empty) {
        for n in 0..9 {
            let Some(message) = gateway.lanes[n / 3][n % 3].pop_front() else { continue };
            let world = &mut gateway.shards[n % 3];
            let mut actions = Vec::new();
            world.tasks.on_peer(message, world.now, &mut actions);
            world.carry_out(actions);
            for (to, message) in std::mem::take(&mut world.told) {
                gateway.lanes[n % 3][to.index()].push_back(message);
            }
        }
    }
    let heard = gateway.shards[1].heard(socket(1));
    assert_eq!((heard.len(), &heard[0]), (3, &opened("a", true, 1)));
    assert_eq!(error_of(&heard[2]), json!({"type": "error", "code": "lost", "count": 2}));
}

#[test]
fn an_ear_whose_lane_is_full_says_how_much_was_lost() {
    let mut gateway = Gateway::new(false);
    gateway.connect(0, 1, "a");
    gateway.settle();
    gateway.say(0, 1);
    gateway.settle();
    gateway.connect(1, 1, "a");
    gateway.settle();
    let world = &mut gateway.shards[0];
    let publish = |world: &mut World| {
        let payload = json!({"seq": 0, "data": "=1"}).to_string().into_bytes();
        world.hear(Event::Message { channel: "asr_result_a".into(), payload });
    };
    publish(world);
    let (_, unsent) = world.told.pop().expect("a result for the other shard");
    let mut actions = Vec::new();
    world.tasks.on_unsent(unsent, world.now, &mut actions);
    // What comes after it is missing in the same place.
    publish(world);
    assert!(world.told.is_empty());
    world.pass(250);
    publish(world);
    let told = std::mem::take(&mut world.told);
    assert_eq!(world.metrics.tasks.results.lost.get(), 2);
    let other = &mut gateway.shards[1];
    for (_, message) in told {
        let mut actions = Vec::new();
        other.tasks.on_peer(message, other.now, &mut actions);
        other.carry_out(actions);
    }
    let heard = other.heard(socket(1));
    assert_eq!(error_of(&heard[0]), json!({"type": "error", "code": "lost", "count": 2}));
    assert_eq!(heard[1..], [text("=1")]);
}

#[test]
fn a_client_whose_session_does_not_come_is_told() {
    let mut gateway = Gateway::new(false);
    gateway.connect(0, 1, "a");
    gateway.settle();
    gateway.say(0, 1);
    // The broker does not answer the push: the session cannot leave.
    gateway.connect(1, 1, "a");
    (0..4).for_each(|_| (0..9).for_each(|n| gateway.deliver(n / 3, n % 3)));
    gateway.shards[1].pass(crate::limits::TASKS_CLAIM_MS + 250);
    let waiter = gateway.socket(1, 1);
    let heard = gateway.shards[1].heard(waiter);
    assert_eq!(error_of(&heard[0]), json!({"type": "error", "code": "busy"}));
    let closed = std::mem::take(&mut gateway.shards[1].closed);
    assert_eq!(closed, [(waiter, CloseCode::TryAgainLater)]);
    gateway.disconnect(1, 1);
    // It comes in the end, and waits for whoever asks again.
    gateway.settle();
    assert_eq!(gateway.owner("a"), None);
    gateway.finish();
    gateway.assert_empty();
}

#[test]
fn sessions_of_a_shard_that_has_ended_are_vacant() {
    let mut gateway = Gateway::new(false);
    gateway.connect(0, 1, "a");
    gateway.settle();
    gateway.connect(1, 1, "a");
    // Whoever the home is, the owner does not answer any more.
    for _ in 0..4 {
        for n in (0..9).filter(|n| n % 3 != 0) {
            gateway.deliver(n / 3, n % 3);
        }
    }
    let hand_over = |message: &PeerMessage| matches!(message, PeerMessage::HandOver { .. });
    let Some(home) = (1..SHARDS).find(|&n| gateway.lanes[n][0].iter().any(hand_over)) else {
        // The home has ended with it: that client is told at once.
        let claim = gateway.lanes[1][0].pop_front().expect("a claim");
        let world = &mut gateway.shards[1];
        let mut actions = Vec::new();
        world.tasks.on_unsent(claim, world.now, &mut actions);
        world.carry_out(actions);
        let heard = world.heard(socket(1));
        return assert_eq!(error_of(&heard[0]), json!({"type": "error", "code": "busy"}));
    };
    let unsent = gateway.lanes[home][0].pop_front().unwrap();
    let world = &mut gateway.shards[home];
    let mut actions = Vec::new();
    world.tasks.on_unsent(unsent, world.now, &mut actions);
    world.carry_out(actions);
    for (to, message) in std::mem::take(&mut gateway.shards[home].told) {
        gateway.lanes[home][to.index()].push_back(message);
    }
    gateway.deliver(home, 1);
    gateway.shards[1].settle();
    assert_eq!(gateway.shards[1].heard(socket(1)), [opened("a", false, 0)]);
}

#[test]
fn moved_moving_is_small() {
    // One place of a lane between two shards.
    assert!(size_of::<Moving>() <= 40 && size_of::<PeerMessage>() <= 56);
}
