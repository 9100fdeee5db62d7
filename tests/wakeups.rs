//! No interleaving of senders and a shard that goes to sleep leaves a message unseen.
//!
//! The very sources of the gateway, with loom's atomics in place of the standard ones: loom
//! tries every interleaving and every value that the memory model lets a load return. A lost
//! wake-up shows as a deadlock.

use loom::{
    sync::{Arc, atomic, atomic::AtomicU64, atomic::Ordering::Relaxed},
    thread,
};

#[path = "../src/router/doorbell.rs"]
mod doorbell;
#[path = "../src/ring/sleep.rs"]
mod sleep;

use doorbell::Doorbell;
use sleep::SleepFlag;

/// A lane that promises no more than its memory: the weakest that the handshake must bear.
struct Relay {
    lanes: Vec<AtomicU64>,
    doorbell: Doorbell,
    sleeping: SleepFlag,
    /// Parked and unparked in place of its eventfd: a signal stays until it is read.
    shard: thread::Thread,
}

impl Relay {
    /// Of the calling thread.
    fn new(senders: usize) -> Self {
        Self {
            lanes: (0..senders).map(|_| AtomicU64::new(0)).collect(),
            doorbell: Doorbell::new(senders),
            sleeping: SleepFlag::new(),
            shard: thread::current(),
        }
    }

    /// As `Router::send`, `Router::flush` and `Waker::wake`.
    fn send(&self, me: usize, number: u64) {
        self.lanes[me].store(number, Relaxed);
        self.doorbell.ring(me);
        if self.sleeping.must_signal() {
            self.shard.unpark();
        }
    }

    /// As the loop of a shard: collect, and where there is nothing, sleep.
    fn receive(&self, all: &[u64]) {
        let mut seen = vec![0; all.len()];
        while seen != all {
            let mut any = false;
            self.doorbell.answer(|from| {
                any = true;
                seen[from] = self.lanes[from].load(Relaxed);
            });
            if any {
                continue;
            }
            self.sleeping.announce_sleep();
            if !self.doorbell.is_ringing() {
                thread::park();
            }
            self.sleeping.announce_awake();
        }
    }
}

/// Three preemptions reach every known kind of such faults (loom's own advice) in seconds.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(test);
}

#[test]
fn one_sender_wakes_a_sleeping_shard() {
    model(|| {
        let relay = Arc::new(Relay::new(1));
        let sender = thread::spawn({
            let relay = relay.clone();
            move || (1..=2).for_each(|number| relay.send(0, number))
        });
        relay.receive(&[2]);
        sender.join().unwrap();
    });
}

#[test]
fn two_senders_do_not_hide_each_other() {
    model(|| {
        let relay = Arc::new(Relay::new(2));
        let senders = [0, 1].map(|me| {
            let relay = relay.clone();
            thread::spawn(move || relay.send(me, 1))
        });
        relay.receive(&[1, 1]);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

/// Without bells, the sleeper looks at the lane itself: the embedded broker and the thread
/// that dials do so.
#[test]
fn the_flag_alone_wakes_for_a_lane_that_is_looked_at() {
    model(|| {
        let relay = Arc::new(Relay::new(1));
        let sender = thread::spawn({
            let relay = relay.clone();
            move || {
                relay.lanes[0].store(1, Relaxed);
                if relay.sleeping.must_signal() {
                    relay.shard.unpark();
                }
            }
        });
        while relay.lanes[0].load(Relaxed) == 0 {
            relay.sleeping.announce_sleep();
            if relay.lanes[0].load(Relaxed) == 0 {
                thread::park();
            }
            relay.sleeping.announce_awake();
        }
        sender.join().unwrap();
    });
}

/// The model must be able to fail: where the sleeper looks first and announces afterwards,
/// there are interleavings in which neither sees the other. The right order has none.
#[test]
fn to_look_before_the_announcement_loses_wake_ups() {
    for (announce_first, lost) in [(true, false), (false, true)] {
        let was_lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let noted = was_lost.clone();
        model(move || {
            let relay = Arc::new(Relay::new(1));
            let sender = thread::spawn({
                let relay = relay.clone();
                move || {
                    relay.lanes[0].store(1, Relaxed);
                    relay.sleeping.must_signal()
                }
            });
            let look = || relay.lanes[0].load(Relaxed) == 1;
            let mut seen = !announce_first && look();
            relay.sleeping.announce_sleep();
            seen |= announce_first && look();
            let signalled = sender.join().unwrap();
            noted.fetch_or(!seen && !signalled, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(was_lost.load(std::sync::atomic::Ordering::Relaxed), lost);
    }
}
