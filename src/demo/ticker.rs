//! What there is to subscribe to in `ringgate demo`: prices that wander, published on a thread
//! of their own into the embedded broker, as any publisher would.

use std::{
    io,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::json;

use crate::{
    broker::embedded::WorkerPort,
    topics::{ChannelPattern, Topic},
};

/// Between two ticks of one topic.
pub const TICK_MS: u64 = 500;

/// The topics, and where their prices begin, in cents.
const SYMBOLS: [(&str, u64); 5] =
    [("AAPL", 18_942), ("AMZN", 17_835), ("GOOG", 16_210), ("MSFT", 41_580), ("NVDA", 90_455)];

/// A tick moves a price by so many parts of a thousand at most.
const STEP_PER_MILLE: u64 = 5;
/// Prices stay within these, in cents: a walk of any length is one that can be shown.
const PRICE_MIN: u64 = 100;
/// See [`PRICE_MIN`].
const PRICE_MAX: u64 = 100_000_000;

/// The names of the topics.
pub fn symbols() -> impl Iterator<Item = &'static str> {
    SYMBOLS.iter().map(|(name, _)| *name)
}

/// A running ticker. Dropping it ends it.
pub struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Publishes every topic every [`TICK_MS`], on the channels of `channels`. The prices of a
    /// `seed` are always the same.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(port: WorkerPort, channels: ChannelPattern, seed: u64) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let run = move || publish(&port, &channels, Walk::new(seed), &stopped);
        let thread = thread::Builder::new().name("ticker".to_owned()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("demo: the ticker panicked");
        }
    }
}

fn publish(port: &WorkerPort, channels: &ChannelPattern, mut walk: Walk, stopped: &Receiver<()>) {
    while stopped.recv_timeout(Duration::from_millis(TICK_MS)) == Err(RecvTimeoutError::Timeout) {
        for (symbol, cents) in walk.step() {
            let Ok(topic) = Topic::parse(symbol) else { continue };
            port.publish(&channels.channel_of(&topic), payload(cents, now_ms()).into_bytes());
        }
    }
}

/// `ts`: when it was published, in milliseconds since 1970, so that whoever receives it can
/// tell how long it took.
fn payload(cents: u64, ts: u64) -> String {
    // The number nearest to so many cents is written with two decimals at most.
    json!({"price": cents as f64 / 100.0, "ts": ts}).to_string()
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Prices that wander.
struct Walk {
    /// Never 0 (xorshift64, Marsaglia 2003).
    state: u64,
    cents: [u64; SYMBOLS.len()],
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self { state: seed | 1, cents: SYMBOLS.map(|(_, cents)| cents) }
    }

    /// The next price of each topic, in cents.
    fn step(&mut self) -> [(&'static str, u64); SYMBOLS.len()] {
        for at in 0..self.cents.len() {
            let reach = (self.cents[at] * STEP_PER_MILLE / 1000).max(1);
            let random = self.random();
            let up = random % (2 * reach + 1);
            self.cents[at] = (self.cents[at] + up - reach).clamp(PRICE_MIN, PRICE_MAX);
        }
        std::array::from_fn(|at| (SYMBOLS[at].0, self.cents[at]))
    }

    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::broker::{Command, Event, embedded::EmbeddedBroker};

    proptest! {
        #[test]
        fn prices_wander_within_their_bounds(seed in any::<u64>()) {
            let (mut walk, mut again) = (Walk::new(seed), Walk::new(seed));
            let mut before = walk.cents;
            for _ in 0..500 {
                let prices = walk.step();
                prop_assert_eq!(prices, again.step());
                for ((_, cents), before) in prices.iter().zip(before) {
                    prop_assert!((PRICE_MIN..=PRICE_MAX).contains(cents));
                    prop_assert!(cents.abs_diff(before) * 1000 <= (before * STEP_PER_MILLE).max(1000));
                }
                prop_assert_ne!(walk.cents, before, "they all stand still");
                before = walk.cents;
            }
        }

        #[test]
        fn a_payload_says_price_and_time(cents in PRICE_MIN..=PRICE_MAX, ts in any::<u64>()) {
            let value: Value = serde_json::from_str(&payload(cents, ts)).unwrap();
            prop_assert_eq!((value["price"].as_f64().unwrap() * 100.0).round() as u64, cents);
            prop_assert_eq!(value["ts"].as_u64(), Some(ts));
            prop_assert!(value["price"].to_string().split('.').next_back().unwrap().len() <= 2);
        }
    }

    #[test]
    fn ticks_come_on_the_channels_of_the_route_until_it_ends() {
        let broker = EmbeddedBroker::start().unwrap();
        let (wake, woken) = bounded(1);
        let wake = std::sync::Arc::new(move || {
            let _ = wake.try_send(());
        });
        let mut port = broker.attach(wake, 1 << 20, Default::default());
        let pattern = ChannelPattern::parse("prices:{topic}").unwrap();
        for name in symbols() {
            let channel = pattern.channel_of(&Topic::parse(name).unwrap());
            port.submit(Command::Subscribe { channel });
        }
        let ticker = Ticker::start(broker.worker_port(), pattern, 1).unwrap();
        let mut heard = Vec::new();
        while heard.len() < 2 * SYMBOLS.len() {
            woken.recv_timeout(Duration::from_secs(20)).expect("a tick");
            while let Some(event) = port.try_next() {
                if let Event::Message { channel, payload } = event {
                    let tick: Value = serde_json::from_slice(&payload).unwrap();
                    assert!(tick["ts"].as_u64().unwrap() <= now_ms());
                    heard.push(channel.strip_prefix("prices:").unwrap().to_owned());
                }
            }
        }
        let expected: Vec<&str> = symbols().chain(symbols()).collect();
        assert_eq!(heard, expected);
        let start = Instant::now();
        drop(ticker);
        assert!(start.elapsed() < Duration::from_millis(TICK_MS), "it does not wait for its tick");
    }
}
