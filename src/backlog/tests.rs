//! The gate by its properties, and each fault of an old figure by name.

use proptest::prelude::*;

use super::*;
use crate::{
    broker::{Backlog, Error, Ticket},
    limits::{NEWCOMER_MS, QUEUE_READ_MS, QUEUE_RETRY_MAX_S, QUEUE_STALE_MS, RETRY_AFTER_S},
    metrics::Refused,
};

const HIGH: u64 = 60;
const LOW: u64 = 48;

fn config(high: u64, low: u64) -> GateConfig {
    GateConfig {
        route: "/ws/asr".to_owned(),
        queue: Queue::List { key: "q".into() },
        marks: Marks { high, low },
        require_workers: false,
    }
}

/// A node of some shards in front of one queue, whose true depth the test decides.
struct Node {
    node: NodeBacklog,
    shards: Vec<ShardBacklog>,
    depth: u64,
    workers: Option<u64>,
    now_ms: u64,
    sockets: u32,
}

impl Node {
    fn new(shards: usize, config: GateConfig) -> Self {
        let node = NodeBacklog::new(&[None, Some(config)], shards);
        let shards = (0..shards).map(|shard| node.of_shard(shard)).collect();
        Self { node, shards, depth: 0, workers: None, now_ms: 0, sockets: 0 }
    }

    fn queue(&self) -> &QueueState {
        &self.node.queues()[0]
    }

    fn expected_depth(&self) -> u64 {
        self.queue().waiting() + self.queue().expected()
    }

    fn is_closed(&self) -> bool {
        self.node.gates().any(|gate| gate.is_closed())
    }

    fn admit(&mut self, shard: usize) -> Result<SocketId, Refusal> {
        self.sockets += 1;
        let socket = SocketId { slot: self.sockets, generation: 0 };
        self.shards[shard].admit(1, socket, self.now_ms).map(|()| socket)
    }

    fn push(&mut self, shard: usize, socket: SocketId) {
        self.shards[shard].on_push(1, || Some(socket));
        self.depth += 1;
    }

    /// The broker's word on a push.
    fn answer(&mut self, shard: usize) {
        let ticket = Ticket(1 << 58);
        assert_eq!(RouteTag::index_of(ticket), 1);
        let given_back = self.shards[shard].on_event(Event::Pushed(ticket), self.now_ms);
        assert!(given_back.is_some(), "it is the session's");
    }

    /// A tick of one shard: its newcomers, its questions, answered at once.
    fn tick(&mut self, shard: usize) -> usize {
        let now_ms = self.now_ms;
        self.shards[shard].on_tick(now_ms);
        let questions: Vec<_> = self.shards[shard].questions(now_ms).collect();
        for question in &questions {
            let Command::Observe { ticket, .. } = question else { panic!("{question:?}") };
            let backlog = Backlog { depth: self.depth, workers: self.workers };
            let event = Event::Observed(*ticket, backlog);
            assert_eq!(self.shards[shard].on_event(event, now_ms), None);
        }
        questions.len()
    }

    /// So much later, with a reading.
    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        for shard in 0..self.shards.len() {
            self.tick(shard);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Admit(usize),
    Push(usize),
    Answer,
    Work(u64),
    Wait(u64),
    Tick(usize),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize).prop_map(Step::Admit),
        6 => any::<prop::sample::Index>().prop_map(|at| Step::Push(at.index(1 << 20))),
        3 => Just(Step::Answer),
        2 => (0..30u64).prop_map(Step::Work),
        2 => (0..400u64).prop_map(Step::Wait),
        3 => (0..3usize).prop_map(Step::Tick),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::Leave(at.index(1 << 20))),
    ]
}

proptest! {
    /// Whatever happens in whatever order, on one node: nobody comes in at or over the
    /// high mark, as it is known or as it is; a gate that has closed lets nobody in until
    /// the expected depth was under the low mark; and nothing is expected for ever.
    #[test]
    fn nobody_comes_in_past_the_marks(
        steps in prop::collection::vec(step(), 1..400),
        high in 2u64..80,
        width in 1u64..40,
    ) {
        let low = high.saturating_sub(width).max(1);
        let mut node = Node::new(3, config(high, low));
        let mut sockets: Vec<(usize, SocketId)> = Vec::new();
        let mut unanswered: Vec<usize> = Vec::new();
        let mut was_closed = false;
        for step in steps {
            match step {
                Step::Admit(shard) => {
                    // With the newcomers whose time is over gone, as `admit` sees it.
                    node.shards[shard].on_tick(node.now_ms);
                    let (expected, truly) = (node.expected_depth(), node.depth);
                    let admitted = node.admit(shard);
                    prop_assert!(expected >= truly, "underestimated: {expected} < {truly}");
                    if let Ok(socket) = admitted {
                        sockets.push((shard, socket));
                        prop_assert!(expected < high, "{expected} is not under {high}");
                        prop_assert!(!was_closed || expected < low, "{expected}: in the band");
                    } else if node.queue().is_stale(node.now_ms) {
                        continue;
                    } else {
                        let mark = if was_closed { low } else { high };
                        prop_assert!(expected >= mark, "refused at {expected} under {mark}");
                    }
                }
                Step::Push(_) | Step::Leave(_) if sockets.is_empty() => {}
                Step::Push(at) => {
                    let (shard, socket) = sockets[at % sockets.len()];
                    node.push(shard, socket);
                    unanswered.push(shard);
                }
                Step::Answer => unanswered.drain(..).for_each(|shard| node.answer(shard)),
                Step::Work(tasks) => node.depth = node.depth.saturating_sub(tasks),
                Step::Wait(ms) => node.now_ms += ms,
                Step::Tick(shard) => drop(node.tick(shard)),
                Step::Leave(at) => {
                    let (shard, socket) = sockets.swap_remove(at % sockets.len());
                    node.shards[shard].leave(socket);
                }
            }
            was_closed = node.is_closed();
        }
        node.pass(NEWCOMER_MS);
        prop_assert_eq!(node.queue().expected(), 0);
    }

    /// Between the marks a gate stays as it is, however the depth moves.
    #[test]
    fn a_gate_does_not_flap_in_its_band(
        low in 1u64..1000,
        width in 1u64..1000,
        closed in any::<bool>(),
        depths in prop::collection::vec(0.0..1.0f64, 1..100),
    ) {
        let marks = Marks { high: low + width, low };
        let mut now = closed;
        for share in depths {
            let depth = low + (share * width as f64) as u64;
            now = marks.closes(now, depth);
            prop_assert_eq!(now, closed, "at {}", depth);
        }
        prop_assert!(marks.closes(now, marks.high) && !marks.closes(now, low - 1));
    }

    /// Of each period one reading, however many shards there are and however their ticks
    /// fall.
    #[test]
    fn the_depth_is_read_once_a_node_and_period(
        phases in prop::collection::vec(0..QUEUE_READ_MS, 1..8),
        jitter in prop::collection::vec(0..3u64, 100),
    ) {
        let mut node = Node::new(phases.len(), config(HIGH, LOW));
        let mut ticks: Vec<(u64, usize)> = Vec::new();
        for period in 0..40 {
            let of_period = phases.iter().enumerate().map(|(shard, phase)| {
                (period * QUEUE_READ_MS + phase + jitter[(period as usize + shard) % 100], shard)
            });
            ticks.extend(of_period);
        }
        ticks.sort_unstable();
        let mut read_ms = Vec::new();
        for (now_ms, shard) in ticks {
            node.now_ms = now_ms;
            if node.tick(shard) > 0 {
                read_ms.push(now_ms);
            }
        }
        let gaps: Vec<_> = read_ms.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let bounds = QUEUE_READ_MS - limits::QUEUE_READ_SLACK_MS..2 * QUEUE_READ_MS;
        prop_assert!(gaps.iter().all(|gap| bounds.contains(gap)), "{:?}", gaps);
        prop_assert!(read_ms.len() >= 30, "{}", read_ms.len());
    }
}

/// Fault 16: the depth was looked at, and in the 250 ms until the next look hundreds came
/// in on the old figure.
#[test]
fn fault_16_a_burst_between_two_readings_is_bounded() {
    let mut node = Node::new(2, config(HIGH, LOW));
    node.pass(1);
    let mut admitted = 0;
    for n in 0..500 {
        let shard = n % 2;
        if let Ok(socket) = node.admit(shard) {
            admitted += 1;
            (0..10).for_each(|_| node.push(shard, socket));
        }
    }
    assert_eq!((admitted, node.depth), (6, 60), "ten tasks each up to sixty");
}

/// All at once: nobody has pushed anything when the last one asks.
#[test]
fn a_burst_before_the_first_push_is_bounded() {
    let mut node = Node::new(2, config(HIGH, LOW));
    node.pass(1);
    let admitted: Vec<_> = (0..500).filter_map(|n| node.admit(n % 2).ok()).collect();
    assert_eq!(admitted.len() as u64, HIGH, "one task each is the least that is expected");
    // Who has seen what connections bring expects it of the next.
    for (n, socket) in admitted.iter().enumerate() {
        (0..10).for_each(|_| node.push(n % 2, *socket));
    }
    node.depth = 0;
    (0..10 * HIGH).for_each(|n| node.answer(n as usize % 2));
    node.pass(NEWCOMER_MS);
    assert_eq!(node.expected_depth(), 0);
    let again = (0..500).filter(|n| node.admit(n % 2).is_ok()).count() as u64;
    assert!((HIGH / 10..=HIGH / 8).contains(&again), "{again} at about ten tasks each");
}

/// Idle connections cost a task for a second, and then nothing.
#[test]
fn idle_connections_fill_no_queue() {
    let mut node = Node::new(1, config(HIGH, LOW));
    let mut open = 0;
    for _ in 0..100 {
        open += (0..HIGH).filter(|_| node.admit(0).is_ok()).count() as u64;
        node.pass(NEWCOMER_MS);
    }
    assert_eq!(open, 100 * HIGH);
    assert_eq!(node.expected_depth(), 0);
}

#[test]
fn pushes_that_a_reading_may_lack_are_added_to_it() {
    let mut node = Node::new(2, config(HIGH, LOW));
    let socket = node.admit(1).unwrap();
    (0..10).for_each(|_| node.push(1, socket));
    (0..4).for_each(|_| node.answer(1));
    node.now_ms += QUEUE_READ_MS;
    let question = node.shards[0].questions(node.now_ms).next();
    let Some(Command::Observe { ticket, .. }) = question else { panic!("{question:?}") };
    // Four are in the list for sure. The answer was on its way when two more came in.
    (0..2).for_each(|_| node.push(1, socket));
    let backlog = Backlog { depth: 4, workers: None };
    assert_eq!(node.shards[0].on_event(Event::Observed(ticket, backlog), node.now_ms), None);
    assert_eq!(node.queue().waiting(), 4 + 6 + 2);
    assert_eq!(node.queue().depth(), Some(4));
}

#[test]
fn a_silent_shard_leaves_the_turn_to_the_others_and_is_counted() {
    let mut node = Node::new(2, config(HIGH, LOW));
    assert_eq!(node.shards[0].questions(0).count(), 1);
    for period in 1..=10 {
        node.now_ms = period * QUEUE_READ_MS;
        assert_eq!(node.shards[0].questions(node.now_ms).count(), 0, "its question is open");
        assert_eq!(node.tick(1), 1);
    }
    assert!(node.admit(0).is_ok(), "what one shard reads, all know");
    let counts = node.queue().counts();
    assert_eq!((counts.read, counts.late, counts.failed), (10, 10, 0));
}

#[test]
fn an_answer_that_was_overtaken_is_not_news() {
    let mut node = Node::new(2, config(HIGH, LOW));
    let question = node.shards[0].questions(0).next();
    let Some(Command::Observe { ticket, .. }) = question else { panic!("{question:?}") };
    node.depth = HIGH;
    node.now_ms = QUEUE_READ_MS;
    node.tick(1);
    let old = Event::Observed(ticket, Backlog { depth: 0, workers: None });
    assert_eq!(node.shards[0].on_event(old, node.now_ms), None);
    assert_eq!(node.queue().depth(), Some(HIGH));
    assert_eq!(node.admit(0).unwrap_err().reason, Refused::QueueFull);
}

#[test]
fn an_unknown_depth_refuses_after_a_while_and_says_why() {
    let mut node = Node::new(1, config(HIGH, LOW));
    node.pass(1);
    node.now_ms += QUEUE_STALE_MS;
    assert!(node.admit(0).is_ok(), "the last reading counts for a while");
    let question = node.shards[0].questions(node.now_ms).next();
    let Some(Command::Observe { ticket, .. }) = question else { panic!("{question:?}") };
    let failed = Event::ObserveFailed(ticket, Error::Refused("NOPERM".to_owned()));
    assert_eq!(node.shards[0].on_event(failed, node.now_ms), None);
    node.now_ms += 1;
    assert_eq!(node.admit(0).unwrap_err().reason, Refused::BrokerUnavailable);
    assert_eq!(node.queue().counts().failed, 1);
    node.pass(QUEUE_READ_MS);
    assert!(node.admit(0).is_ok());
}

#[test]
fn a_broker_that_came_back_is_given_its_time() {
    let mut node = Node::new(1, config(HIGH, LOW));
    node.now_ms = 3_600_000;
    assert!(node.admit(0).is_err());
    assert_eq!(node.shards[0].on_event(Event::Up, node.now_ms), Some(Event::Up));
    assert!(node.admit(0).is_ok());
}

#[test]
fn without_workers_nobody_comes_in_where_they_are_required() {
    let required = GateConfig { require_workers: true, ..config(HIGH, LOW) };
    let mut node = Node::new(1, required);
    assert!(node.admit(0).is_ok(), "not known yet");
    node.workers = Some(0);
    node.pass(QUEUE_READ_MS);
    assert_eq!(node.admit(0), Err(Refusal::no_workers()));
    node.workers = Some(1);
    node.pass(QUEUE_READ_MS);
    assert!(node.admit(0).is_ok());

    let mut node = Node::new(1, config(HIGH, LOW));
    node.workers = Some(0);
    node.pass(QUEUE_READ_MS);
    assert!(node.admit(0).is_ok(), "not required here");
}

#[test]
fn retry_after_is_the_time_that_workers_need() {
    let retry = |node: &mut Node| node.admit(0).unwrap_err().retry_after_s;
    let mut node = Node::new(1, config(HIGH, LOW));
    node.depth = 3 * HIGH;
    node.pass(1);
    assert_eq!(retry(&mut node), Some(RETRY_AFTER_S), "no rate is known yet");
    // Twenty tasks a second; 180 - 100 = 80 wait, and 33 of them are too many.
    (0..20).for_each(|_| {
        node.depth -= 5;
        node.pass(QUEUE_READ_MS);
    });
    assert_eq!(retry(&mut node), Some(2));
    node.depth = 1_000_000;
    node.pass(QUEUE_READ_MS);
    assert_eq!(retry(&mut node), Some(QUEUE_RETRY_MAX_S));
}

#[test]
fn routes_on_one_queue_share_its_reading_and_have_their_own_marks() {
    let stream = Queue::Stream { key: "q".into(), group: "g".into() };
    let routes = [
        Some(config(10, 5)),
        None,
        Some(GateConfig { require_workers: true, ..config(20, 15) }),
        Some(GateConfig { queue: stream, ..config(10, 5) }),
    ];
    let node = NodeBacklog::new(&routes, 1);
    assert_eq!(node.queues().len(), 2);
    assert!(node.queues()[0].wants_workers() && !node.queues()[1].wants_workers());
    let mut shard = node.of_shard(0);
    let tickets = shard.questions(0).map(|question| match question {
        Command::Observe { ticket, .. } => ticket,
        other => panic!("{other:?}"),
    });
    let tickets: Vec<_> = tickets.collect();
    let backlog = Backlog { depth: 12, workers: Some(1) };
    assert_eq!(shard.on_event(Event::Observed(tickets[0], backlog), 0), None);
    let socket = |slot| SocketId { slot, generation: 0 };
    let mut admits = |route| shard.admit(route, socket(route as u32), 0).is_ok();
    assert_eq!([0, 1, 2, 3].map(&mut admits), [false, true, true, true]);
}
