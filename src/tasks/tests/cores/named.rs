//! ▢ Single cases of sessions that change their shard.

use super::*;

#[test]
fn an_id_that_is_open_on_another_route_is_refused_until_it_has_ended() {
    for (here, there) in (0..SHARDS).flat_map(|n| (0..SHARDS).map(move |to| (n, to))) {
        let ids = Default::default();
        let [mut one, mut two] = [5, 6].map(|route| Gateway::on_route(route, false, &ids));
        one.shards[here].start(socket(1), "a");
        one.settle();
        let start_there = |two: &mut Gateway| {
            two.shards[there].start(socket(2), "a");
            two.settle();
            (two.owner("a"), two.shards[there].metrics.tasks.errors.get())
        };
        assert_eq!(start_there(&mut two), (None, 1), "from {here} to {there}");
        assert!(two.shards[there].paused.is_empty());
        one.shards[here].finish(socket(1), "a");
        one.settle();
        assert_eq!(start_there(&mut two), (Some((there, socket(2))), 1));
        two.finish_all();
        two.leave();
        [one, two].iter_mut().for_each(Gateway::assert_empty);
    }
}

#[test]
fn a_session_follows_its_client_to_another_shard() {
    for per_shard in [false, true] {
        let mut gateway = Gateway::new(per_shard);
        let (old, new) = (gateway.socket(0, 1), gateway.socket(1, 2));
        gateway.shards[0].start(old, "a");
        gateway.settle();
        (0..3).for_each(|index| gateway.shards[0].chunk(old, "a", index, AUDIO));
        gateway.settle();
        gateway.work(0);
        gateway.settle();
        gateway.shards[1].start(new, "a");
        // What the client says before it is answered is heard after.
        gateway.shards[1].chunk(new, "a", 3, AUDIO);
        assert!(gateway.shards[1].paused.contains(&new));
        gateway.settle();
        assert!(gateway.shards[1].paused.is_empty());
        assert_eq!(gateway.shards[0].closed, [(old, CloseCode::TakenOver)]);
        assert_eq!(gateway.owner("a"), Some((1, new)));
        let had = |gateway: &Gateway| gateway.results[&(1, new, "a".into())].len();
        assert_eq!(had(&gateway), 1, "what the old one had had already");
        // Results of tasks that the old shard queued follow, without the cache.
        while gateway.shards.iter().any(|world| !world.queue.is_empty()) {
            gateway.work(0);
        }
        gateway.settle();
        assert_eq!(had(&gateway), 4);
        let forwarded = gateway.shards[0].metrics.tasks.results_forwarded.get();
        assert_eq!(forwarded, if per_shard { 2 } else { 0 });
        gateway.finish_all();
        assert_eq!(gateway.finals[0].2["text"], "t0 t1 t2 t3");
        gateway.assert_empty();
    }
}

#[test]
fn nothing_is_lost_between_two_subscriptions() {
    let mut gateway = Gateway::new(false);
    let (old, new) = (gateway.socket(0, 1), gateway.socket(1, 2));
    gateway.shards[0].start(old, "a");
    gateway.settle();
    gateway.shards[0].chunk(old, "a", 0, AUDIO);
    gateway.settle();
    gateway.shards[1].start(new, "a");
    gateway.note();
    // All the lanes, and no broker: the session has moved, its subscription has not.
    for _ in 0..9 {
        (0..9).for_each(|n| gateway.deliver(n / 3, n % 3));
    }
    assert_eq!(gateway.owner("a"), Some((1, new)));
    gateway.work(0);
    gateway.settle();
    // It was never cached: the old shard has heard it.
    assert_eq!(gateway.results[&(1, new, "a".into())].len(), 1);
    assert_eq!(gateway.shards[0].metrics.tasks.results_forwarded.get(), 1);
    assert!(gateway.shards[0].subscriptions.is_empty(), "heard no longer than needed");
    gateway.finish_all();
    gateway.assert_empty();
}

#[test]
fn a_client_whose_session_does_not_come_is_told() {
    let mut gateway = Gateway::new(false);
    let (old, new) = (gateway.socket(0, 1), gateway.socket(1, 2));
    gateway.shards[0].start(old, "a");
    gateway.settle();
    gateway.shards[0].chunk(old, "a", 0, AUDIO);
    gateway.note();
    gateway.shards[1].start(new, "a");
    gateway.note();
    // The broker does not answer the push: the session cannot leave.
    for _ in 0..9 {
        (0..9).for_each(|n| gateway.deliver(n / 3, n % 3));
    }
    gateway.shards[1].pass(crate::limits::TASKS_CLAIM_MS + 250);
    let heard = gateway.shards[1].heard(new);
    assert_eq!(heard, [error(Some("a"), "busy", "System busy")]);
    assert!(gateway.shards[1].paused.is_empty());
    // It comes in the end, and waits for whoever asks again.
    gateway.settle();
    assert_eq!(gateway.owner("a"), None);
    gateway.shards[1].start(new, "a");
    gateway.settle();
    assert_eq!(gateway.owner("a"), Some((1, new)));
    gateway.finish_all();
    gateway.assert_empty();
}

#[test]
fn a_claim_that_cannot_be_sent_is_busy() {
    let mut gateway = Gateway::new(false);
    // One of these has its home on another shard.
    for id in SESSIONS {
        let world = &mut gateway.shards[0];
        world.start(socket(1), id);
        let Some((_, message)) = world.told.pop() else { continue };
        let mut actions = Vec::new();
        world.tasks.on_unsent(message, world.now, &mut actions);
        world.carry_out(actions);
        assert_eq!(world.heard(socket(1)), [error(Some(id), "busy", "System busy")]);
        assert!(world.paused.is_empty());
        return gateway.assert_empty();
    }
    panic!("every session is at home on the first shard");
}

#[test]
fn a_concluded_session_that_moves_says_its_final_result_last() {
    let mut gateway = Gateway::new(false);
    let (old, new) = (gateway.socket(0, 1), gateway.socket(1, 2));
    gateway.shards[0].start(old, "a");
    gateway.settle();
    (0..2).for_each(|index| gateway.shards[0].chunk(old, "a", index, AUDIO));
    gateway.settle();
    gateway.work(0);
    gateway.settle();
    gateway.shards[0].finish(old, "a");
    gateway.disconnect(0, 1);
    gateway.pass(DEADLINE_MS + 500);
    gateway.settle();
    gateway.shards[1].start(new, "a");
    gateway.note();
    // All the lanes, and no broker: the session has moved, its subscription has not.
    for _ in 0..9 {
        (0..9).for_each(|n| gateway.deliver(n / 3, n % 3));
    }
    // The late answer overtakes the subscription.
    gateway.work(0);
    gateway.hear(0);
    gateway.deliver(0, 1);
    assert!(gateway.finals.is_empty(), "before its results: {:?}", gateway.finals);
    gateway.settle();
    assert_eq!(gateway.finals[0].2["text"], "t0 t1");
    gateway.assert_empty();
}
