//! Lanes keep their order and their bounds, whoever sends and collects when.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn mesh(count: usize) -> (Vec<Router<u64>>, Vec<Arc<ShardMetrics>>) {
    let metrics: Vec<Arc<ShardMetrics>> = (0..count).map(|_| Arc::default()).collect();
    (Router::mesh(&metrics), metrics)
}

fn collect(router: &mut Router<u64>) -> Vec<u64> {
    let mut messages = Vec::new();
    router.collect(&mut messages);
    messages
}

#[test]
fn one_shard_alone_has_nobody_to_send_to() {
    let (mut routers, _) = mesh(1);
    assert_eq!(routers[0].send(ShardId(0), Lane::Reply, 7), Err(Unsent::Gone(7)));
    assert_eq!(routers[0].send(ShardId(9), Lane::Reply, 7), Err(Unsent::Gone(7)));
    assert!(!routers[0].has_news());
}

#[test]
fn a_full_lane_gives_the_message_back_and_holds_no_other_up() {
    let (mut routers, metrics) = mesh(3);
    let places = lane_places(2) as u64;
    for n in 0..places {
        assert_eq!(routers[0].send(ShardId(1), Lane::FanOut, n), Ok(()));
    }
    assert_eq!(routers[0].send(ShardId(1), Lane::FanOut, 77), Err(Unsent::Full(77)));
    assert_eq!(routers[0].send(ShardId(1), Lane::Reply, 88), Ok(()));
    assert_eq!(routers[0].send(ShardId(2), Lane::FanOut, 99), Ok(()));
    let full = &metrics[0].router.full;
    assert_eq!((full[Lane::FanOut as usize].get(), full[Lane::Reply as usize].get()), (1, 0));
    routers[0].flush();
    // The reply, which was sent last, does not stand behind the fan-out.
    assert_eq!(collect(&mut routers[1])[0], 88);
    assert_eq!(collect(&mut routers[2]), [99]);
}

#[test]
fn a_turn_takes_a_bounded_batch_and_knows_that_there_is_more() {
    let (mut routers, _) = mesh(2);
    let places = lane_places(1);
    assert!(places > ROUTER_BATCH, "or this test shows nothing");
    for n in 0..places as u64 {
        routers[0].send(ShardId(1), Lane::Reply, n).unwrap();
    }
    assert!(!routers[1].has_news(), "told by the flush, not before");
    routers[0].flush();
    let mut all = Vec::new();
    while routers[1].has_news() {
        let batch = collect(&mut routers[1]);
        assert!(batch.len() <= ROUTER_BATCH);
        all.extend(batch);
    }
    assert_eq!(all, Vec::from_iter(0..places as u64));
}

#[test]
fn a_peer_that_has_ended_is_gone() {
    let (mut routers, _) = mesh(2);
    routers.pop();
    assert_eq!(routers[0].send(ShardId(1), Lane::Reply, 7), Err(Unsent::Gone(7)));
}

#[test]
fn a_sleeping_shard_is_woken_once_a_batch() {
    let (mut routers, metrics) = mesh(2);
    let options = crate::ring::RingOptions::default();
    let mut ring = crate::ring::Ring::new(&options, Arc::default()).expect("a ring");
    for n in 0..3 {
        routers[0].send(ShardId(1), Lane::Reply, n).unwrap();
    }
    routers[0].flush();
    assert_eq!(metrics[0].router.wakes.get(), 0, "there is nobody to wake yet");
    routers[1].attach(ring.waker().clone());
    while !ring.prepare_sleep().unwrap() {
        ring.turn(&mut Vec::new()).unwrap();
    }
    routers[0].flush();
    assert_eq!(metrics[0].router.wakes.get(), 1, "what it owed before");
    ring.waker().block();
    ring.awake();
    assert_eq!(collect(&mut routers[1]), [0, 1, 2]);
    routers[0].flush();
    assert_eq!(metrics[0].router.wakes.get(), 1, "nothing was sent");
}

proptest! {
    /// Whoever sends and collects in whatever order: nothing is lost, nothing changes its
    /// place in its lane, and what came back as full was full.
    #[test]
    fn every_lane_is_a_bounded_queue(
        shards in 2usize..5,
        steps in prop::collection::vec((0u16..5, 0u16..5, any::<bool>(), 0u8..4), 1..400),
    ) {
        let (mut routers, _) = mesh(shards);
        let mut lanes = vec![vec![[VecDeque::new(), VecDeque::new()]; shards]; shards];
        let mut next = 0;
        for (from, to, fan_out, what) in steps {
            let (from, to) = (from as usize % shards, to as usize % shards);
            let lane = if fan_out { Lane::FanOut } else { Lane::Reply };
            if what == 0 {
                routers[from].flush();
            } else if what == 1 || from == to {
                receive(&mut routers, &mut lanes, to)?;
            } else {
                for _ in 0..40 {
                    let queue: &mut VecDeque<u64> = &mut lanes[from][to][lane as usize];
                    let message = (from as u64) << 32 | (lane as u64) << 31 | next;
                    next += 1;
                    let sent = routers[from].send(ShardId(to as u16), lane, message);
                    prop_assert_eq!(sent.is_ok(), queue.len() < lane_places(shards - 1));
                    if sent.is_ok() {
                        queue.push_back(message);
                    }
                }
            }
        }
        routers.iter_mut().for_each(Router::flush);
        for to in 0..shards {
            while routers[to].has_news() {
                receive(&mut routers, &mut lanes, to)?;
            }
        }
        prop_assert!(lanes.iter().flatten().flatten().all(VecDeque::is_empty));
    }
}

type Lanes = Vec<Vec<[VecDeque<u64>; 2]>>;

fn receive(routers: &mut [Router<u64>], lanes: &mut Lanes, to: usize) -> Result<(), TestCaseError> {
    for message in collect(&mut routers[to]) {
        let (from, lane) = ((message >> 32) as usize, (message >> 31 & 1) as usize);
        prop_assert_eq!(lanes[from][to][lane].pop_front(), Some(message));
    }
    Ok(())
}
