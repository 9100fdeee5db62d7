//! The spike that the price engine was measured with: users who get a session, connect, stay
//! and leave, again and again, in stages; every one of them is served.
//!
//! `SPIKE_TIME_SCALE=1` replays it in its own time (340 s); the default is compressed.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::env;

use support::{
    bench::{Bench, figure, objections},
    crowd::raise_descriptors,
    gateway::TestGateway,
    redis::RedisServer,
};

const ROUTE: &str = "[[route]]\npath = \"/ws/topics\"\nkind = \"topics\"\n";

#[test]
fn the_spike_is_served_whole() {
    raise_descriptors();
    let time_scale = env::var("SPIKE_TIME_SCALE").unwrap_or_else(|_| "10".to_owned());
    let redis = RedisServer::start();
    let gateway = TestGateway::start_with("0,1", &[("redis", &redis.url())], Some(ROUTE));
    gateway.until("both links up", |g| g.each(|m| m.broker.up.get()) == [1, 1]);
    let (server, url) = (format!("ws://{}/ws/topics", gateway.address), redis.url());
    let target = ["spike", "--server", &server, "--redis", &url, "--source", "127.0.0.0/28"];
    let load = ["--stages", "spike", "--time-scale", &time_scale, "--ticks", "2"];
    let report = Bench::start(&[&target[..], &load].concat()).report();
    let (totals, good) = (report.totals, report.counts["good"]);
    assert_eq!((good, report.failures.len()), (totals.begun, 0), "{totals:?}");
    assert_eq!(figure(&report, "availability"), 100.0);
    assert!(totals.begun > 1_500 && report.plateaus[1].users == 1_500, "{totals:?}");
    let silent = report.counts.get("silent").copied().unwrap_or(0);
    assert!(silent * 100 < totals.begun, "nearly everyone hears a price: {silent}");
    assert_eq!(objections(&report).len(), 0);
    let nothing =
        |g: &TestGateway| g.sum(|m| m.connections.open.get() + m.broker.subscriptions.get());
    gateway.until("nothing is left", |g| nothing(g) == 0);
}
