//! The spike that the price engine was measured with: users who get a session, connect, stay
//! and leave, again and again, in stages; every one of them is served.
//!
//! `SPIKE_TIME_SCALE=1` replays it in its own time (340 s); the default is compressed.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{env, time::Duration};

use ringgate::bench::{
    spike::{self, Options},
    stages::Stages,
    target::Sources,
};
use ringgate::topics::ChannelPattern;
use support::{crowd::raise_descriptors, gateway::TestGateway, redis::RedisServer};

const STAGES: &str = "3m:1000,1m:1000,30s:1500,1m:1500,10s:0";
const ROUTE: &str = "[[route]]\npath = \"/ws/topics\"\nkind = \"topics\"\n";
const STAY: Duration = Duration::from_millis(12_500);

#[test]
fn the_spike_is_served_whole() {
    raise_descriptors();
    let given = env::var("SPIKE_TIME_SCALE").ok();
    let time_scale = given.map_or(10.0, |scale| scale.parse().expect("SPIKE_TIME_SCALE"));
    let redis = RedisServer::start();
    let gateway = TestGateway::start_with("0,1", &[("redis", &redis.url())], Some(ROUTE));
    gateway.until("both links up", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let stages: Stages = STAGES.parse().expect("stages");
    let report = spike::run(&Options {
        target: format!("ws://{}/ws/topics", gateway.address).parse().expect("a target"),
        sources: "127.0.0.0/28".parse::<Sources>().expect("sources"),
        redis: Some(redis.url()),
        channel: ChannelPattern::default(),
        stages: stages.compressed(time_scale),
        stay: STAY.div_f64(time_scale),
        topics: 500,
        topics_per_user: 3,
        ticks_per_second: 2.0,
        seed: 1,
    });
    let report = report.unwrap_or_else(|error| panic!("{error}"));
    println!("time scale {time_scale}\n{report}");
    assert_eq!((report.good, report.failures.len()), (report.connections, 0), "{report}");
    assert!(report.connections > 1_500 && report.peak > 1_000, "{report}");
    assert!(report.silent * 100 < report.connections, "nearly everyone hears a price: {report}");
    let nothing =
        |g: &TestGateway| g.sum(|m| m.connections.open.get() + m.broker.subscriptions.get());
    gateway.until("nothing is left", |g| nothing(g) == 0);
}
