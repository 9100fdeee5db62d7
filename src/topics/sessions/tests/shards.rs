//! Every interleaving of several shards: used once, no quota exceeded, nothing left.

use proptest::prelude::*;

use super::super::*;
use super::world::{PER_USER, PLACES, TTL_MS, World, tag, user};
use crate::limits::SESSIONS_BYTES_PER_SHARD;

#[derive(Clone, Debug)]
enum Step {
    Create { shard: usize, user: usize, route: usize },
    Ask { shard: usize, what: u8, session: usize, user: Option<usize>, route: usize },
    Leave { nth: usize },
    Deliver { from: usize, to: usize },
    Fill { from: usize, to: usize, full: bool },
    Pass { ms: u64 },
    Tick { shard: usize },
    End { shard: usize },
}

fn step() -> impl Strategy<Value = Step> {
    // Users are told as they are three times out of four.
    let claimed = prop::option::weighted(0.9, 0..4usize);
    prop_oneof![
        6 => (0..4usize, 0..4usize, 0..2usize)
            .prop_map(|(shard, user, route)| Step::Create { shard, user, route }),
        10 => (0..4usize, 0..5u8, 0..20usize, claimed, 0..2usize)
            .prop_map(|(shard, what, session, user, route)| {
                Step::Ask { shard, what, session, user, route }
            }),
        3 => (0..20usize).prop_map(|nth| Step::Leave { nth }),
        20 => (0..4usize, 0..4usize).prop_map(|(from, to)| Step::Deliver { from, to }),
        1 => (0..4usize, 0..4usize, any::<bool>())
            .prop_map(|(from, to, full)| Step::Fill { from, to, full }),
        2 => (0..600u64).prop_map(|ms| Step::Pass { ms }),
        3 => (0..4usize).prop_map(|shard| Step::Tick { shard }),
    ]
}

fn take(world: &mut World, step: Step) {
    let count = world.shards.len();
    match step {
        Step::Create { shard, user: which, route } => {
            world.ask(shard % count, wish(which, route));
        }
        Step::Ask { shard, what, session, user: claimed, route } => {
            let unknown = SessionId::random(ShardId((session % count) as u16));
            // The newest ones are those that there still may be.
            let newest = world.ids.len().checked_sub(1 + session / 2);
            let id = newest.and_then(|nth| world.ids.get(nth).copied()).unwrap_or(unknown);
            let user = claimed.and_then(|which| user(which).name().cloned());
            let question = match what {
                0 => Question::Look { id, user },
                1 => Question::Delete { id, user },
                _ => Question::Take { id, user, route: tag(route) },
            };
            world.ask(shard % count, question);
        }
        Step::Leave { nth } => {
            if let Some(client) = world.clients().get(nth).copied() {
                world.leave(client);
            }
        }
        Step::Deliver { from, to } => world.deliver(from % count, to % count),
        Step::Fill { from, to, full: true } => _ = world.full.insert((from, to)),
        Step::Fill { from, to, full: false } => _ = world.full.remove(&(from, to)),
        Step::Pass { ms } => world.now_ms += ms,
        Step::Tick { shard } => world.tick(shard % count),
        Step::End { shard } => world.end(shard % count),
    }
    world.compare();
}

fn wish(which: usize, route: usize) -> Question {
    let start = Start {
        topics: vec![Topic::parse(&format!("topic-{which}")).unwrap()],
        conflate_ms: (which == 1).then_some(500),
    };
    Question::Create(Wish { route: tag(route), user: user(which), start })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_interleaving_agrees_with_one_book(
        shards in 1..5usize,
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut world = World::new(shards);
        for step in steps {
            take(&mut world, step);
        }
        world.finish();
    }

    #[test]
    fn a_shard_that_ends_takes_its_own_along_and_no_more(
        steps in prop::collection::vec(step(), 1..120),
        ends in 0..4usize,
        after in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(4);
        for step in steps.into_iter().chain([Step::End { shard: ends }]) {
            take(&mut world, step);
        }
        for step in after {
            take(&mut world, step);
        }
        world.finish();
    }
}

/// The only session of a user, and the shard where it lives; the other one.
fn one(world: &mut World, which: usize) -> (SessionId, usize, usize) {
    let home = world.home_of(&user(which)).index();
    world.ask(home, wish(which, 0));
    (*world.ids.last().expect("created"), home, 1 - home)
}

#[test]
fn a_session_is_used_once_from_whichever_shard() {
    let mut world = World::new(2);
    let (id, home, away) = one(&mut world, 0);
    let take = Question::Take { id, user: user(0).name().cloned(), route: tag(0) };
    world.ask(away, take.clone());
    world.ask(away, take.clone());
    world.ask(home, take);
    assert_eq!(world.guests.len(), 1, "the one who is at home was first");
    (0..2).for_each(|_| world.deliver(away, home));
    (0..2).for_each(|_| world.deliver(home, away));
    assert_eq!((world.guests.len(), world.waiting.len()), (1, 0));
    world.compare();
    world.finish();
}

#[test]
fn a_session_whose_grant_nobody_hears_is_given_back() {
    let mut world = World::new(2);
    let (id, home, away) = one(&mut world, 0);
    let user = user(0).name().cloned();
    let client = world.ask(away, Question::Take { id, user, route: tag(0) });
    world.deliver(away, home);
    world.leave(client);
    world.deliver(home, away);
    world.deliver(away, home);
    world.compare();
    assert!(world.shards.iter().all(Sessions::is_empty));
}

#[test]
fn a_quota_counts_what_waits() {
    let mut world = World::new(1);
    for _ in 0..PLACES {
        world.ask(0, wish(3, 0));
        let id = *world.ids.last().unwrap();
        world.ask(0, Question::Take { id, user: None, route: tag(0) });
    }
    for _ in 0..=PER_USER {
        world.ask(0, wish(3, 0));
    }
    assert_eq!((world.ids.len(), world.guests.len()), (PLACES + PER_USER, PLACES));
    world.now_ms += TTL_MS;
    world.tick(0);
    world.ask(0, wish(3, 0));
    assert_eq!(world.ids.len(), PLACES + PER_USER + 1);
    world.finish();
}

#[test]
fn sessions_are_bounded_in_bytes() {
    let (metrics, places) = (Arc::<ShardMetrics>::default(), Places::new(usize::MAX));
    let settings = SessionSettings {
        ttl_ms: TTL_MS,
        per_user: usize::MAX,
        topics_max: usize::MAX,
        conflate_ms: 0,
    };
    let route = SessionRoute {
        tag: tag(0),
        path: "/t".into(),
        channel: ChannelPattern::default(),
        settings,
        places: places.clone(),
    };
    let mut sessions = Sessions::new(ShardId(0), 1, vec![route], metrics.clone());
    // Shared, so that the test itself needs no such memory.
    let topics = vec![Topic::parse(&"x".repeat(256)).unwrap(); 100_000];
    let wish = Wish { route: tag(0), user: user(3), start: Start { topics, conflate_ms: None } };
    let (mut made, mut actions) = (0, Vec::new());
    let refusal = loop {
        let socket = SocketId { slot: made, generation: 0 };
        match sessions.ask(socket, Question::Create(wish.clone()), 0, &mut actions) {
            Some(Reply::Created { .. }) => made += 1,
            Some(Reply::Refused(refusal)) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal.reason, Refused::Memory);
    let bytes = metrics.topic_sessions.bytes.get() as usize;
    assert!(bytes <= SESSIONS_BYTES_PER_SHARD && bytes > SESSIONS_BYTES_PER_SHARD / 2);
    assert_eq!(places.taken(), made as usize, "what was refused took no place");
    sessions.on_tick(2 * TTL_MS);
    assert!(sessions.is_empty());
}
