//! Any interleaving of clients, broker, workers and time keeps the promises.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const SESSIONS: [&str; 2] = ["a", "b.2"];
const UNREAD_BYTES: usize = 300;
const KEPT_BYTES: usize = 1_000;

#[derive(Clone, Debug)]
enum Step {
    /// A client connects under the name of a session, over the one that is there.
    Connect {
        session: usize,
    },
    Disconnect {
        session: usize,
    },
    Say {
        session: usize,
        message: Vec<u8>,
        binary: bool,
    },
    Execute,
    Hear,
    /// A worker publishes its next result for the nth task of the queue.
    Work {
        nth: usize,
        bytes: usize,
        done: bool,
        numbered: bool,
    },
    Junk {
        session: usize,
        bytes: Vec<u8>,
    },
    RefusePushes(bool),
    /// A client has read what it was sent.
    Drain {
        session: usize,
    },
    Pass {
        ms: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let session = || 0..SESSIONS.len();
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    prop_oneof![
        4 => session().prop_map(|session| Step::Connect { session }),
        3 => session().prop_map(|session| Step::Disconnect { session }),
        20 => (session(), bytes(), any::<bool>())
            .prop_map(|(session, message, binary)| Step::Say { session, message, binary }),
        20 => Just(Step::Execute),
        30 => Just(Step::Hear),
        25 => (0..8usize, 0..60usize, prop::bool::weighted(0.3), any::<bool>())
            .prop_map(|(nth, bytes, done, numbered)| Step::Work { nth, bytes, done, numbered }),
        2 => (session(), bytes()).prop_map(|(session, bytes)| Step::Junk { session, bytes }),
        2 => prop::bool::weighted(0.3).prop_map(Step::RefusePushes),
        10 => session().prop_map(|session| Step::Drain { session }),
        3 => (0..3_000u64).prop_map(|ms| Step::Pass { ms }),
    ]
}

/// What one session, over all its lives, has been told by workers and has told its clients.
#[derive(Default)]
struct Story {
    socket: Option<SocketId>,
    /// What clients said and the route took, in order: the data of its tasks.
    said: Vec<String>,
    /// Data of results that the route heard, in order, and how many clients heard of them.
    published: Vec<String>,
    heard: usize,
    opened: bool,
}

struct Watched {
    world: World,
    stories: HashMap<&'static str, Story>,
    sockets: u32,
    /// Results so far of each (session, life-independent place in the queue).
    numbers: HashMap<usize, u32>,
    /// Results that the route was handed.
    told: u64,
    nonce: u64,
}

impl Watched {
    fn new() -> Self {
        let world = World::new(RawConfig {
            task_deadline_ms: 2_000,
            inflight: 3,
            resume_ms: 4_000,
            unread_bytes: UNREAD_BYTES,
            kept_bytes: KEPT_BYTES,
            ..RawConfig::default()
        });
        let stories = SESSIONS.into_iter().map(|id| (id, Story::default())).collect();
        Self { world, stories, sockets: 0, numbers: HashMap::new(), told: 0, nonce: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Connect { session } => {
                let id = SESSIONS[session];
                self.sockets += 1;
                let socket = socket(self.sockets);
                self.world.connect(socket, Some(&format!("session={id}")));
                let story = self.stories.get_mut(id).unwrap();
                if let Some(old) = story.socket.replace(socket) {
                    assert_eq!(self.world.closed.pop(), Some((old, CloseCode::TakenOver)));
                    self.world.disconnect(old);
                }
                story.opened = false;
            }
            Step::Disconnect { session } => {
                let story = self.stories.get_mut(SESSIONS[session]).unwrap();
                if let Some(socket) = story.socket.take() {
                    self.world.disconnect(socket);
                }
            }
            Step::Say { session, message, binary } => self.say(SESSIONS[session], message, binary),
            Step::Execute => self.world.execute(),
            Step::Hear => {
                if let Some(event) = self.world.events.pop_front() {
                    self.hear(event);
                }
            }
            Step::Work { nth, bytes, done, numbered } => self.work(nth, bytes, done, numbered),
            Step::Junk { session, bytes } => {
                let channel = Arc::from(format!("asr_result_{}", SESSIONS[session]));
                self.hear(Event::Message { channel, payload: bytes });
            }
            Step::RefusePushes(refuse) => {
                self.world.refuse_with = refuse.then_some(BrokerError::Full);
            }
            Step::Drain { session } => {
                if let Some(socket) = self.stories[SESSIONS[session]].socket {
                    self.world.drain(socket);
                }
            }
            Step::Pass { ms } => self.world.pass(ms),
        }
        self.check();
    }

    fn say(&mut self, id: &'static str, message: Vec<u8>, binary: bool) {
        let story = self.stories.get_mut(id).unwrap();
        let Some(socket) = story.socket else { return };
        let (message, data) = if binary {
            let data = base64_simd::STANDARD.encode_to_string(&message);
            (Heard::Binary(message), data)
        } else {
            let text = String::from_utf8_lossy(&message).into_owned();
            (Heard::Text(text.clone()), text)
        };
        story.said.push(data);
        self.world.say(socket, &message);
    }

    fn hear(&mut self, event: Event) {
        if let Event::Message { channel, payload } = &event {
            self.told += 1;
            let result: Result<Value, _> = serde_json::from_slice(payload);
            if let Some(data) = result.ok().and_then(|r| r["data"].as_str().map(str::to_owned)) {
                let id = known(&channel["asr_result_".len()..]);
                self.stories.get_mut(id).unwrap().published.push(data);
            }
        }
        self.world.hear(event);
    }

    /// Every result has a text of its own, so that it is recognised where it arrives.
    fn work(&mut self, nth: usize, bytes: usize, done: bool, numbered: bool) {
        if self.world.queue.is_empty() {
            return;
        }
        let place = nth % self.world.queue.len();
        let task = self.world.queue[place].clone();
        let id = known(task["session_id"].as_str().unwrap());
        self.nonce += 1;
        let data = format!("{}{}", self.nonce, "-".repeat(bytes));
        let mut result = json!({"seq": task["seq"], "data": data, "done": done});
        if numbered {
            let number = self.numbers.entry(place).or_default();
            result["n"] = (*number).into();
            *number += 1;
        }
        let channel = Arc::from(format!("asr_result_{id}"));
        if self.world.subscriptions.contains(&channel) {
            let payload = result.to_string().into_bytes();
            self.world.events.push_back(Event::Message { channel, payload });
        }
    }

    /// A client that did not read and was closed for it is gone, once it has had what was
    /// sent before that.
    fn bury_slow(&mut self) {
        for (socket, code) in std::mem::take(&mut self.world.closed) {
            assert_eq!(code, CloseCode::SlowConsumer);
            self.world.disconnect(socket);
            for story in self.stories.values_mut() {
                story.socket.take_if(|its| *its == socket);
            }
        }
    }

    fn check(&mut self) {
        for (to, message) in std::mem::take(&mut self.world.sent) {
            let (_, story) = self
                .stories
                .iter_mut()
                .find(|(_, story)| story.socket == Some(to))
                .expect("only who is connected hears something");
            let Heard::Text(text) = message else { panic!("no worker sends bytes here") };
            match serde_json::from_str::<Value>(&text).ok().filter(Value::is_object) {
                Some(message) if message["type"] == "open" => {
                    assert!(!std::mem::replace(&mut story.opened, true), "open comes once");
                }
                Some(message) => assert_eq!(message["type"], "error", "{message}"),
                None => {
                    // In the order in which it was published, and no result twice.
                    let at = story.published.iter().skip(story.heard).position(|p| *p == text);
                    story.heard += at.expect("published, and in order") + 1;
                }
            }
            assert!(story.opened, "the open frame is the first");
        }
        self.bury_slow();
        let metrics = &self.world.metrics.tasks;
        assert!(metrics.kept_bytes.get() <= (KEPT_BYTES * SESSIONS.len()) as u64);
        let open = self.stories.values().filter(|story| story.socket.is_some()).count() as u64;
        assert!(metrics.sessions.get() >= open);
        assert_eq!(self.world.tasks.owned.len() as u64, open);
    }

    /// Tasks reach the queue in the order in which they were said, none twice.
    fn check_queue(&self) {
        for id in SESSIONS {
            let queued = self.world.queue.iter().filter(|task| task["session_id"] == id);
            let mut said = self.stories[id].said.iter();
            for task in queued {
                assert!(said.any(|data| task["data"] == data.as_str()), "{task}");
            }
        }
    }
}

fn known(id: &str) -> &'static str {
    SESSIONS.into_iter().find(|known| *known == id).expect("a session of this test")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_interleaving_keeps_the_promises(steps in prop::collection::vec(step(), 1..250)) {
        let mut watched = Watched::new();
        for step in steps {
            watched.take(step);
        }
        watched.check_queue();
        // The broker catches up, and every task that is left runs into its deadline.
        watched.world.refuse_with = None;
        while !watched.world.submitted.is_empty() || !watched.world.events.is_empty() {
            watched.take(Step::Execute);
            watched.take(Step::Hear);
        }
        watched.take(Step::Pass { ms: 2_250 });
        // What waits for a client that is behind is open work until it has read that.
        let is_behind = |watched: &Watched| {
            let mut sockets = watched.stories.values().filter_map(|story| story.socket);
            sockets.any(|socket| watched.world.awaited.contains(&socket))
        };
        while is_behind(&watched) {
            (0..SESSIONS.len()).for_each(|session| watched.take(Step::Drain { session }));
        }
        for story in watched.stories.values() {
            if let Some(socket) = story.socket {
                prop_assert!(story.opened && !watched.world.tasks.has_open_work(socket));
            }
        }
        prop_assert!(watched.world.paused.is_empty(), "a place that nothing frees");
        for session in 0..SESSIONS.len() {
            watched.take(Step::Disconnect { session });
        }
        watched.take(Step::Pass { ms: 4_250 });
        watched.world.assert_empty();
        let results = &watched.world.metrics.tasks.results;
        let outcomes = [
            &results.delivered, &results.duplicate, &results.orphaned, &results.late,
            &results.malformed, &results.lost,
        ];
        let counted: u64 = outcomes.iter().map(|outcome| outcome.get()).sum();
        prop_assert_eq!(counted, watched.told, "every result has one outcome");
        let heard: usize = watched.stories.values().map(|story| story.published.len()).sum();
        prop_assert!(results.delivered.get() <= heard as u64);
    }
}
