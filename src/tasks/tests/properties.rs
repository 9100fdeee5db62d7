//! Any interleaving of clients, broker, workers and time keeps the promises.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const SOCKETS: u32 = 4;
const SESSIONS: [&str; 3] = ["a", "b.2", "c:3"];
const FINISH_MS: u64 = 4_000;
const RESUME_MS: u64 = 5_000;
const UNREAD_MS: u64 = 600_000;
const CHANNEL: &str = "ringgate:results:0:0";

#[derive(Clone, Debug)]
enum Step {
    Start { socket: u32, session: usize },
    Chunk { socket: u32, session: usize, index: u32, empty: bool },
    Finish { socket: u32, session: usize },
    Garbage { socket: u32, bytes: Vec<u8> },
    Disconnect { socket: u32 },
    Read { socket: u32 },
    Execute,
    Hear { nth: usize },
    Work { nth: usize, publish: usize, cache: bool },
    Junk { session: usize, bytes: Vec<u8> },
    RefusePushes(bool),
    FailFetch { nth: usize },
    Reconnect,
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let socket = || 0..SOCKETS;
    let session = || 0..SESSIONS.len();
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        6 => (socket(), session()).prop_map(|(socket, session)| Step::Start { socket, session }),
        20 => (socket(), session(), 0..6u32, prop::bool::weighted(0.2)).prop_map(
            |(socket, session, index, empty)| Step::Chunk { socket, session, index, empty }
        ),
        3 => (socket(), session()).prop_map(|(socket, session)| Step::Finish { socket, session }),
        1 => (socket(), bytes()).prop_map(|(socket, bytes)| Step::Garbage { socket, bytes }),
        4 => socket().prop_map(|socket| Step::Disconnect { socket }),
        4 => socket().prop_map(|socket| Step::Read { socket }),
        20 => Just(Step::Execute),
        20 => (0..8usize).prop_map(|nth| Step::Hear { nth }),
        12 => (0..8usize, 0..3usize, any::<bool>())
            .prop_map(|(nth, publish, cache)| Step::Work { nth, publish, cache }),
        1 => (session(), bytes()).prop_map(|(session, bytes)| Step::Junk { session, bytes }),
        2 => prop::bool::weighted(0.3).prop_map(Step::RefusePushes),
        1 => (0..8usize).prop_map(|nth| Step::FailFetch { nth }),
        1 => Just(Step::Reconnect),
        3 => (0..3_000u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What one life of a session has come to, as its clients and the broker saw it.
#[derive(Default)]
struct Life {
    owner: Option<SocketId>,
    start_acked: bool,
    /// Indexes that the broker has, or that need none.
    accepted: HashSet<u32>,
    acked: HashSet<u32>,
    /// Indexes that the cache or a channel has told the route an answer to.
    told: HashMap<u32, String>,
    results: HashSet<(SocketId, u32)>,
    texts: BTreeMap<u32, String>,
}

/// A [`World`] whose every message to a client is held against what may be said.
struct Watched {
    world: World,
    lives: HashMap<&'static str, Life>,
    /// Ticket → session, and the number of its life.
    pushes: HashMap<Ticket, (&'static str, u32, u32)>,
    life_numbers: HashMap<&'static str, u32>,
    finals: u64,
    /// Lives that ended while they had no owner.
    forgotten: u64,
    /// How often each socket's slot was freed.
    generations: [u32; SOCKETS as usize],
}

impl Watched {
    fn new(per_shard: bool, outbox_bytes: usize) -> Self {
        let mut world = World::new(TasksConfig {
            reply_to: per_shard.then(|| CHANNEL.into()),
            resume_ms: RESUME_MS,
            detached_per_shard: 2,
            outbox_bytes,
            unread_ms: UNREAD_MS,
            chunk_deadline_ms: 1_500,
            finish_deadline_ms: FINISH_MS,
            inflight: 2,
            sessions_per_connection: 2,
            chunks_per_session: 5,
            session_text_bytes: 1 << 20,
            ..TasksConfig::default()
        });
        world.clients_read = false;
        world.hear(Event::Up);
        let (lives, pushes, life_numbers, generations) = Default::default();
        let (finals, forgotten) = (0, 0);
        Self { world, lives, pushes, life_numbers, finals, forgotten, generations }
    }

    /// The connection that has this slot now.
    fn socket(&self, slot: u32) -> SocketId {
        SocketId { slot, generation: self.generations[slot as usize] }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Start { socket: n, session } => self.start(self.socket(n), SESSIONS[session]),
            Step::Chunk { socket: n, session, index, empty } => {
                let (from, id) = (self.socket(n), SESSIONS[session]);
                if let Some(life) = self.lives.get_mut(id)
                    && life.owner == Some(from)
                    && empty
                {
                    life.accepted.insert(index);
                }
                self.world.chunk(from, id, index.into(), if empty { "" } else { AUDIO });
            }
            Step::Finish { socket: n, session } => {
                self.world.finish(self.socket(n), SESSIONS[session])
            }
            Step::Garbage { socket: n, bytes } => self.world.say(self.socket(n), &bytes),
            Step::Disconnect { socket: n } => self.disconnect(self.socket(n)),
            Step::Read { socket: n } => self.world.read_all(self.socket(n)),
            Step::Execute => self.world.execute(),
            Step::Hear { nth } => self.hear(nth, false),
            Step::FailFetch { nth } => self.hear(nth, true),
            Step::Work { nth, publish, cache } => self.work(nth, publish, cache),
            Step::Junk { session, bytes } => {
                let channel = self.world.channel(SESSIONS[session]);
                self.world.hear(Event::Message { channel, payload: bytes });
            }
            Step::RefusePushes(refuse) => {
                self.world.refuse_with = refuse.then_some(broker::Error::Full);
            }
            Step::Reconnect => {
                self.world.hear(Event::Down { reason: "test".into() });
                self.world.events.retain(|event| !matches!(event, Event::Message { .. }));
                self.world.hear(Event::Up);
                let again = self.world.subscriptions.iter().cloned().map(Event::Subscribed);
                self.world.events.extend(again);
            }
            Step::Pass { ms } => self.world.pass(ms),
        }
        self.note_pushes();
        self.check();
    }

    fn start(&mut self, from: SocketId, id: &'static str) {
        let before = self.world.tasks.sessions_of(from);
        let is_open = self.world.tasks.table.find(id).is_some();
        self.world.start(from, id);
        let told = self.world.sent.iter().any(|(to, message)| {
            *to == from && message["type"] != "error" && message["session_id"] == id
        });
        if self.world.tasks.sessions_of(from) == before && !told {
            return; // Refused, or not heard.
        }
        if is_open {
            let life = self.lives.get_mut(id).expect("open");
            if life.owner != Some(from) {
                (life.owner, life.start_acked) = (Some(from), false);
            }
        } else {
            *self.life_numbers.entry(id).or_default() += 1;
            let life = Life { owner: Some(from), ..Life::default() };
            assert!(self.lives.insert(id, life).is_none(), "two lives at once");
        }
    }

    fn disconnect(&mut self, socket: SocketId) {
        self.world.drop_socket(socket);
        self.generations[socket.slot as usize] += 1;
        self.world.closed.retain(|(closed, _)| *closed != socket);
        self.world.paused.remove(&socket);
        for life in self.lives.values_mut().filter(|life| life.owner == Some(socket)) {
            life.owner = None;
        }
        assert_eq!(self.world.tasks.sessions_of(socket), 0);
    }

    /// Remembers whose the submitted pushes are.
    fn note_pushes(&mut self) {
        for command in &self.world.submitted {
            if let Ask::Push { ticket, value, .. } = command {
                let task: Value = serde_json::from_slice(value).unwrap();
                let id = known(&task["session_id"]);
                let index = task["chunk_index"].as_u64().unwrap() as u32;
                self.pushes.entry(*ticket).or_insert((id, self.life_numbers[id], index));
            }
        }
    }

    /// One event is heard, in any order but that of one channel.
    fn hear(&mut self, nth: usize, fail_fetch: bool) {
        let events = &mut self.world.events;
        if events.is_empty() {
            return;
        }
        let at = nth % events.len();
        let first = match &events[at] {
            Event::Message { channel: wanted, .. } => events.iter().position(
                |event| matches!(event, Event::Message { channel, .. } if channel == wanted),
            ),
            _ => None,
        };
        let event = match events.remove(first.unwrap_or(at)) {
            Event::Fetched(ticket, _) if fail_fetch => {
                Event::FetchFailed(ticket, broker::Error::Full)
            }
            event => event,
        };
        self.note_told(&event);
        self.world.hear(event);
    }

    fn note_told(&mut self, event: &Event) {
        let told: Vec<(&'static str, &[u8])> = match event {
            Event::Pushed(ticket) => {
                let (id, number, index) = self.pushes.remove(ticket).expect("answered once");
                if let Some(life) = self.lives.get_mut(id)
                    && self.life_numbers[id] == number
                {
                    life.accepted.insert(index);
                }
                return;
            }
            Event::PushFailed(ticket, _) => {
                self.pushes.remove(ticket).expect("answered once");
                return;
            }
            Event::Message { channel, payload } => {
                let own = channel.strip_prefix("asr_result_").map(Value::from);
                let inside = || serde_json::from_slice::<Value>(payload).unwrap();
                let id = own.unwrap_or_else(|| inside()["session_id"].clone());
                vec![(known(&id), payload)]
            }
            // Whose it is does not matter: indexes and texts are the same in every cache.
            Event::Fetched(_, values) => SESSIONS
                .iter()
                .flat_map(|id| values.iter().map(move |value| (*id, value.as_slice())))
                .collect(),
            _ => return,
        };
        for (id, payload) in told {
            let Some(life) = self.lives.get_mut(id) else { continue };
            let result: Value = serde_json::from_slice(payload).unwrap();
            let index = result["chunk_index"].as_u64().unwrap() as u32;
            life.accepted.insert(index);
            life.told.insert(index, result["text"].as_str().unwrap().to_owned());
        }
    }

    /// A worker does the nth task: publishes its result no, one or two times, and keeps it
    /// or not. The task stays, as if it had been queued twice.
    fn work(&mut self, nth: usize, publish: usize, cache: bool) {
        if self.world.queue.is_empty() {
            return;
        }
        let task = self.world.queue[nth % self.world.queue.len()].clone();
        let id = known(&task["session_id"]);
        let index = task["chunk_index"].as_u64().unwrap() as u32;
        let result = result(index, &format!("w{index}"));
        for _ in 0..publish {
            self.world.publish(id, &result);
        }
        if cache {
            self.world.put_in_cache(id, &result);
        }
    }

    fn check(&mut self) {
        for (to, message) in std::mem::take(&mut self.world.sent) {
            if message["type"] == "error" {
                continue;
            }
            let id = known(&message["session_id"]);
            let life = self.lives.get_mut(id).expect("nothing after the end");
            assert_eq!(life.owner, Some(to), "only its owner hears of a session: {message}");
            let index = message["chunk_index"].as_u64().unwrap() as u32;
            if message["status"] == "session_started" {
                life.start_acked = true;
                continue;
            }
            let kind = message["type"].as_str().unwrap();
            assert!(life.start_acked || kind == "final_result", "the start ack is the first");
            match kind {
                "ack" => {
                    assert!(life.accepted.contains(&index), "an ack is a promise: {message}");
                    life.acked.insert(index);
                }
                "chunk_result" => {
                    assert!(life.results.insert((to, index)), "one a chunk: {message}");
                    let told = life.told.contains_key(&index);
                    assert!(told || message["text"] == "", "out of nothing: {message}");
                    let text = message["text"].as_str().unwrap().to_owned();
                    life.texts.insert(index, text);
                }
                "final_result" => {
                    let life = self.lives.remove(id).expect("once");
                    check_final(&life, to, &message);
                    self.finals += 1;
                }
                other => panic!("unknown message {other}"),
            }
        }
        let (tasks, before) = (&self.world.tasks, self.lives.len());
        self.lives.retain(|id, life| {
            let session = tasks.table.find(id).and_then(|slot| tasks.table.get(slot));
            assert_eq!(session.map(Session::owner).unwrap_or(None), life.owner, "of {id}");
            session.is_some()
        });
        self.forgotten += (before - self.lives.len()) as u64;
        let metrics = &self.world.metrics.tasks;
        assert_eq!(self.forgotten, metrics.resume_expired.get() + metrics.resume_evicted.get());
        let detached = self.lives.values().filter(|life| life.owner.is_none()).count();
        assert_eq!(metrics.sessions_detached.get(), detached as u64);
        assert!(detached <= 2, "the bound of the configuration");
    }

    /// Clients finish whatever is open: each gets its final result in bounded time.
    fn finish_all(&mut self) {
        self.world.refuse_with = None;
        for (closed, _) in std::mem::take(&mut self.world.closed) {
            self.disconnect(closed);
        }
        self.world.clients_read = true;
        (0..SOCKETS).for_each(|n| self.world.read_all(self.socket(n)));
        self.check();
        let due = self.finals + self.lives.len() as u64;
        let owners: Vec<_> = self.lives.iter().map(|(&id, life)| (id, life.owner)).collect();
        for (n, (id, owner)) in (0..).zip(owners) {
            let owner = owner.unwrap_or_else(|| {
                self.start(socket(SOCKETS + n), id);
                self.check();
                socket(SOCKETS + n)
            });
            self.world.finish(owner, id);
            self.check();
        }
        // An earlier read of the cache may be under way at the deadline; the last one
        // begins when that is answered, and then has to be answered itself.
        for _ in 0..3 {
            while !self.world.submitted.is_empty() || !self.world.events.is_empty() {
                self.note_pushes();
                self.world.execute();
                self.hear(0, false);
                self.check();
            }
            self.world.pass(FINISH_MS + 250);
            self.check();
        }
        assert_eq!(self.finals, due, "each finish has its final result");
    }
}

fn check_final(life: &Life, to: SocketId, message: &Value) {
    if !life.start_acked {
        return; // Past its deadline, and nothing but the end can be told.
    }
    for index in life.texts.keys() {
        assert!(life.results.contains(&(to, *index)), "{index} was not told to the last owner");
    }
    let texts: Vec<&str> = life.texts.values().map(String::as_str).collect();
    let merged = texts.iter().copied().filter(|text| !text.is_empty()).collect::<Vec<_>>();
    assert_eq!(message["text"], merged.join(" "), "the merge is in the order of the indexes");
    let complete = message["complete"].as_bool().unwrap();
    assert_eq!(complete, message.get("missing").is_none());
    let missing = message["missing"].as_array().cloned().unwrap_or_default();
    assert_eq!(missing.len() as u64, message["missing_count"].as_u64().unwrap_or(0));
    assert_eq!(complete, missing.is_empty());
    for index in missing {
        let index = index.as_u64().unwrap() as u32;
        assert!(!life.texts.contains_key(&index), "{index} was delivered and is not missing");
    }
    if complete {
        let unanswered: Vec<_> =
            life.acked.difference(&life.texts.keys().copied().collect()).copied().collect();
        assert!(unanswered.is_empty(), "acked, not answered, and called complete: {unanswered:?}");
        assert_eq!(message["chunk_count"], life.texts.len());
    }
}

fn known(id: &Value) -> &'static str {
    SESSIONS.into_iter().find(|known| id == known).expect("a session of this test")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_interleaving_keeps_the_promises(
        steps in prop::collection::vec(step(), 1..250),
        finish_all in any::<bool>(),
        per_shard in any::<bool>(),
        outbox_bytes in prop_oneof![Just(1usize), 100..600usize, Just(1 << 20)],
    ) {
        let mut watched = Watched::new(per_shard, outbox_bytes);
        for step in steps {
            watched.take(step);
        }
        if finish_all {
            watched.finish_all();
        }
        for n in 0..SOCKETS + SESSIONS.len() as u32 {
            watched.world.drop_socket(match n {
                0..SOCKETS => watched.socket(n),
                _ => socket(n),
            });
        }
        let sent = watched.world.sent.len();
        watched.world.assert_empty();
        prop_assert_eq!(watched.world.sent.len(), sent, "nothing is said to nobody");
    }
}
