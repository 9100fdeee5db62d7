//! The loop: turn while there is something to do, spin a little, sleep.

use std::{
    io,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use super::{Handler, Shard};
use crate::{ids::SocketId, limits, rt, ws::CloseCode};

/// Runs the shard until it has drained, on the executor of this thread.
///
/// # Errors
/// What is wrong with the ring itself; every connection of the shard is lost then.
pub async fn run(mut shard: Shard) -> io::Result<()> {
    let waker = shard.wire.ring.waker().clone();
    let sleeper = rt::Sleeper::new(waker.fd())?;
    let spin = Duration::from_micros(shard.options.spin_us);
    let moment = Duration::from_micros(limits::RING_WAIT_US);
    let mut idle_since = None;
    while !shard.is_done() {
        if shard.turn()? {
            idle_since = None;
            continue;
        }
        let idle = idle_since.get_or_insert_with(Instant::now).elapsed();
        if idle < spin {
            std::hint::spin_loop();
        } else if idle < spin + moment {
            // Under load the next completion is some microseconds away. To wait for it in the
            // ring costs one system call; through the executor it costs several.
            shard.wire.ring.wait(moment)?;
        } else {
            idle_since = None;
            if shard.wire.ring.prepare_sleep()? && !shard.has_news() {
                sleeper.sleep().await?;
            }
            shard.wire.ring.awake();
        }
    }
    shard.end()
}

impl Shard {
    /// Whoever is still here when the time is up goes the way of everyone else.
    fn end(&mut self) -> io::Result<()> {
        let ids: Vec<SocketId> = self.wire.connections.ids().collect();
        for id in ids {
            self.wire.terminate(id, CloseCode::Abnormal);
        }
        for id in self.wire.ring.drain(limits::END_TICKS_MAX)? {
            self.tear_down(id);
        }
        // Who has claimed a session of this shard by now is answered like the others.
        self.hear_peers();
        for route in &mut self.routes {
            match &mut route.handler {
                Handler::Tasks(tasks) => tasks.end_all(&mut self.actions),
                Handler::Raw(tasks) => tasks.end_all(self.now, &mut self.actions),
                Handler::Topics(topics) => topics.end_all(&mut self.topic_actions),
                Handler::Echo => {}
            }
        }
        self.carry_out();
        self.sessions.end_all();
        self.flush_peers();
        Ok(())
    }

    /// Work that does not show on the ring.
    fn has_news(&self) -> bool {
        self.broker.has_news()
            || self.peers.has_news()
            || self.shared.ending.load(Relaxed)
            || (self.drain.is_none() && self.shared.draining.load(Relaxed))
    }

    fn is_done(&mut self) -> bool {
        if self.shared.ending.load(Relaxed) {
            return true;
        }
        if self.drain.is_none()
            && self.shared.draining.load(Relaxed)
            && let Err(error) = self.start_drain()
        {
            log::error!("the listener could not be closed: {error}");
        }
        self.end_abandoned();
        self.is_drained()
    }
}
