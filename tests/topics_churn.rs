//! Ten thousand subscribers who come, go and vanish: Redis has one subscription a topic, none
//! when nobody is left, and the gateway's memory stays where it was.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    env,
    net::SocketAddr,
    time::{Duration, Instant},
};

use ringgate::bench::{
    ClientId, Crowd, End, Fleet,
    choice::{Choices, topic_name},
    process::Process as Pid,
    reading::{Item, items},
    target::{Sources, Target},
};
use support::{crowd::raise_descriptors, gateway::http_get, process::Process, redis::RedisServer};

const CONNECTIONS: u32 = 10_000;
const TOPICS: u32 = 500;
const TOPICS_PER_USER: usize = 3;
/// Of all connections, so many leave and come anew in a round.
const CHURN: usize = 1_000;
/// Rounds over which memory is to be flat.
const ROUNDS: usize = 20;
/// Rounds in which it has to become so. At first the allocator's pages spread: a crowd that came
/// at once lies closer together than one that came one by one. That ends; a leak does not.
const ROUNDS_MAX: usize = 70;
const MEMORY_SHARE_MAX: f64 = 0.02;
const OPENING_MAX: usize = 256;
/// For what takes a whole crowd: an unoptimised gateway and its clients share two cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// The subscribers, as the fleet tells of them.
struct Subscribers {
    choices: Choices,
    next_user: u32,
    /// Asked for, not subscribed yet.
    coming: usize,
    here: Vec<ClientId>,
    ended: Vec<(u32, End)>,
    errors: Vec<String>,
}

impl Crowd for Subscribers {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        let topics: Vec<String> =
            self.choices.next_user(TOPICS_PER_USER).into_iter().map(topic_name).collect();
        let wish = serde_json::json!({"op": "subscribe", "topics": topics});
        fleet.send_text(client, &wish.to_string());
    }

    fn on_message(&mut self, _: &mut Fleet, client: ClientId, payload: &[u8]) {
        for item in items(payload) {
            match item {
                Item::Subscribed => {
                    self.coming -= 1;
                    self.here.push(client);
                }
                Item::Error(text) => self.errors.push(text),
                _ => {}
            }
        }
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        self.ended.push((client.user, end));
    }
}

struct Stage {
    fleet: Fleet,
    subscribers: Subscribers,
    target: Target,
    redis: redis::Connection,
    admin: SocketAddr,
}

impl Stage {
    /// `count` more subscribers, all subscribed.
    fn come(&mut self, count: usize) {
        let (mut left, deadline) = (count, Instant::now() + PATIENCE);
        while left > 0 || self.subscribers.coming > 0 {
            while left > 0 && self.subscribers.coming < OPENING_MAX {
                let user = self.subscribers.next_user;
                self.fleet.connect(&self.target, user).expect("a socket");
                self.subscribers.next_user += 1;
                self.subscribers.coming += 1;
                left -= 1;
            }
            self.turn();
            assert!(Instant::now() < deadline, "{} are not subscribed", self.subscribers.coming);
            let Subscribers { ended, errors, .. } = &self.subscribers;
            assert!(ended.is_empty() && errors.is_empty(), "{ended:?} {errors:?}");
        }
    }

    /// The `count` that are here for the longest time leave, one half with a close frame.
    fn go(&mut self, count: usize) {
        let leaving: Vec<ClientId> = self.subscribers.here.drain(..count).collect();
        for (nth, client) in leaving.into_iter().enumerate() {
            if nth % 2 == 0 {
                self.fleet.leave(client);
            } else {
                self.fleet.hang_up(client);
            }
        }
        let open = self.subscribers.here.len() as f64;
        self.until("the gateway knows who left", |stage| stage.metric("connections") == open);
    }

    fn turn(&mut self) {
        if !self.fleet.turn(&mut self.subscribers).expect("a ring") {
            self.fleet.wait(Duration::from_millis(2)).expect("a ring");
        }
    }

    fn until(&mut self, what: &str, done: impl Fn(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            for _ in 0..20 {
                self.turn();
            }
            assert!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        }
    }

    /// Channels that anybody is subscribed to at Redis, and the most subscribers of one.
    fn channels(&mut self) -> (usize, usize) {
        let channels: Vec<String> =
            redis::cmd("PUBSUB").arg("CHANNELS").query(&mut self.redis).expect("channels");
        let numbers: Vec<redis::Value> = redis::cmd("PUBSUB")
            .arg("NUMSUB")
            .arg(&channels)
            .query(&mut self.redis)
            .expect("numbers");
        let most = numbers.iter().filter_map(|value| match value {
            redis::Value::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        });
        (channels.len(), most.max().unwrap_or(0))
    }

    /// Sum over the shards of a gauge or counter.
    fn metric(&self, name: &str) -> f64 {
        let text = http_get(self.admin, "/metrics").1;
        let mark = format!("ringgate_{name}{{");
        let lines = text.lines().filter(|line| line.starts_with(&mark));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

#[test]
fn ten_thousand_subscribers_come_go_and_vanish_and_leave_nothing() {
    raise_descriptors();
    // Inherited by the gateway: with huge pages memory moves by 2 MiB, which is 5 % here.
    nix::sys::prctl::set_thp_disable(true).expect("huge pages off");
    let seed = env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("SEED={seed}");
    let redis_server = RedisServer::start();
    let url = redis_server.url();
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--cores", "0,1"];
    let times = ["--ping", "5s", "--idle", "12s", "--close-deadline", "1s"];
    let limits = ["--redis", &url, "--connections", "12000"];
    let serve = [&["serve"], &ports[..], &times[..], &limits[..]].concat();
    let (process, address, admin) = Process::start(&serve).addresses();
    let client = redis::Client::open(url.as_str()).expect("a url");
    let mut stage = Stage {
        fleet: Fleet::new("127.0.0.0/28".parse::<Sources>().expect("sources"), CONNECTIONS)
            .expect("a ring"),
        subscribers: Subscribers {
            choices: Choices::new(TOPICS, 1.0, seed).expect("choices"),
            next_user: 0,
            coming: 0,
            here: Vec::new(),
            ended: Vec::new(),
            errors: Vec::new(),
        },
        target: format!("ws://{address}/ws/topics").parse().expect("a target"),
        redis: client.get_connection().expect("redis"),
        admin,
    };
    stage.until("ready", |stage| http_get(stage.admin, "/readyz").1.contains("\"ready\":true"));
    assert_eq!(stage.channels(), (0, 0), "nobody is there yet");

    let begin = Instant::now();
    stage.come(CONNECTIONS as usize);
    let (channels, most) = stage.channels();
    println!(
        "{CONNECTIONS} subscribers after {:.1?}: {channels} channels, {most} subscriber each",
        begin.elapsed()
    );
    assert!(channels <= TOPICS as usize && most == 1, "{channels} channels, up to {most} each");
    assert_eq!(stage.metric("topics"), channels as f64);
    let subscriptions = f64::from(CONNECTIONS) * TOPICS_PER_USER as f64;
    assert_eq!(stage.metric("topic_subscriptions"), subscriptions);

    let gateway = Pid(process.child.id());
    let mut memory: Vec<u64> = Vec::new();
    let grown = |memory: &[u64]| {
        let (last, rounds) = (memory.len().checked_sub(1)?, ROUNDS);
        let before = *memory.get(last.checked_sub(rounds)?)?;
        Some(memory[last] as f64 / before as f64 - 1.0)
    };
    while grown(&memory).is_none_or(|share| share > MEMORY_SHARE_MAX) {
        assert!(memory.len() < ROUNDS_MAX, "memory keeps growing: {memory:?}");
        stage.go(CHURN);
        stage.come(CHURN);
        memory.push(gateway.private_dirty_bytes().expect("its memory"));
    }
    let (channels, most) = stage.channels();
    assert!(channels <= TOPICS as usize && most == 1, "{channels} channels, up to {most} each");
    assert_eq!(stage.metric("topic_subscriptions"), subscriptions, "nothing has leaked");
    println!(
        "{} rounds of {CHURN}, {:+.2} % over the last {ROUNDS}: {memory:?}",
        memory.len(),
        grown(&memory).unwrap_or_default() * 100.0
    );

    // Nobody reads, answers pings or says goodbye from here on: no FIN comes.
    let begin = Instant::now();
    while stage.channels() != (0, 0) || stage.metric("topic_subscriptions") > 0.0 {
        assert!(begin.elapsed() < PATIENCE, "{:?} channels are left", stage.channels());
        std::thread::park_timeout(Duration::from_millis(100));
    }
    println!("none was left {:.1?} after all had vanished", begin.elapsed());
    for gauge in
        ["topics", "topic_subscriptions", "connections", "outbox_bytes", "redis_subscriptions"]
    {
        let deadline = Instant::now() + PATIENCE;
        while stage.metric(gauge) > 0.0 {
            assert!(Instant::now() < deadline, "{gauge} is {}", stage.metric(gauge));
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }
}
