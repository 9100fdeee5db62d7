//! The fine timer, on the real clock.

use std::time::Instant;

use super::*;

/// A ring whose tick never comes, so that all that ends its sleep is the timer.
fn quiet_ring() -> Ring {
    let options = RingOptions { tick: Duration::from_secs(3600), ..RingOptions::default() };
    Ring::new(&options, Arc::new(ShardMetrics::default())).unwrap()
}

/// Sleeps until there are events, which are all timers: how many.
fn await_timers(ring: &mut Ring) -> usize {
    let mut events = Vec::new();
    while ring.turn(&mut events).unwrap() == 0 {
        if ring.prepare_sleep().unwrap() {
            ring.waker().clone().block();
        }
        ring.awake();
    }
    assert!(events.iter().all(|event| matches!(event, Event::Timer)), "{events:?}");
    events.len()
}

#[test]
fn fires_once_at_its_moment_and_wakes_the_sleeper() {
    let mut ring = quiet_ring();
    for wait_ms in [0, 1, 10, 30] {
        let began = Instant::now();
        ring.arm_timer(1_000 + wait_ms, 1_000).unwrap();
        assert_eq!(await_timers(&mut ring), 1);
        let elapsed = began.elapsed();
        assert!(elapsed >= Duration::from_millis(wait_ms), "{elapsed:?} for {wait_ms} ms");
        assert!(elapsed < Duration::from_secs(5), "{elapsed:?} for {wait_ms} ms");
    }
    while ring.turn(&mut Vec::new()).unwrap() > 0 {}
    assert!(ring.prepare_sleep().unwrap(), "nothing is due any more");
}

#[test]
fn an_earlier_moment_takes_the_place_of_a_later_one() {
    for submitted_before in [false, true] {
        let (mut ring, began) = (quiet_ring(), Instant::now());
        ring.arm_timer(3_600_000, 0).unwrap();
        if submitted_before {
            while ring.turn(&mut Vec::new()).unwrap() > 0 {}
        }
        ring.arm_timer(20, 0).unwrap();
        // Changes nothing.
        ring.arm_timer(7_200_000, 0).unwrap();
        assert_eq!(await_timers(&mut ring), 1);
        assert!(began.elapsed() >= Duration::from_millis(20));
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

/// A moment that comes while the timer fires is not lost: there is an event after it was
/// asked for.
#[test]
fn whoever_arms_it_hears_of_it() {
    let (mut ring, began) = (quiet_ring(), Instant::now());
    let now_ms = || began.elapsed().as_millis() as u64;
    for round in 0..300 {
        ring.arm_timer(now_ms() + 2, now_ms()).unwrap();
        ring.turn(&mut Vec::new()).unwrap();
        // About when it fires: before, meanwhile or after.
        while began.elapsed().subsec_nanos() % 2_000_000 < round * 6_000 {}
        ring.arm_timer(now_ms(), now_ms() + 1).unwrap();
        assert!((1..=2).contains(&await_timers(&mut ring)));
        assert_eq!(ring.timer.armed_ms, None);
    }
}
