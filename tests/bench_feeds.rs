//! The profiles whose topics tick, as their users run them: over a real Redis, by several
//! processes, against a gateway that stays, and against one that does not.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use support::{
    bench::{Bench, figure, objections},
    client::PATIENCE,
    gateway::http_get,
    process::Process,
    redis::RedisServer,
};

/// A gateway of the test's own, with its Redis.
struct Scene {
    redis: RedisServer,
    gateway: Process,
    server: String,
    admin: SocketAddr,
}

impl Scene {
    fn start(args: &[&str]) -> Self {
        let redis = RedisServer::start();
        let url = redis.url();
        let (gateway, address, admin) = Process::serve(&[&["--redis", &url], args].concat());
        let scene = Self { redis, gateway, server: format!("ws://{address}/ws/topics"), admin };
        scene.until("ready", |text| text.contains("\"ready\":true"), "/readyz");
        scene
    }

    /// A load on it.
    fn bench(&self, profile: &str, args: &[&str]) -> Bench {
        let url = self.redis.url();
        let common = [profile, "--server", &self.server, "--redis", &url, "--topics", "20"];
        Bench::start(&[&common, args].concat())
    }

    /// Until the admin port shows something.
    fn until(&self, what: &str, is_there: impl Fn(&str) -> bool, path: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(&http_get(self.admin, path).1) {
            assert!(Instant::now() < deadline, "waited in vain for: {what}");
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Until messages have reached so many connections.
    fn until_delivered(&self, wanted: f64) {
        self.until("messages", |text| delivered(text) >= wanted, "/metrics");
    }
}

/// Messages that a gateway has handed to connections, by its metrics.
fn delivered(metrics: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with("ringgate_delivered_total"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// No wait is longer than it must be, and no topic slower than ten times a second.
const QUICK: [&str; 6] = ["--ramp-seconds", "0.3", "--ticks", "10", "--seconds", "2"];

#[test]
fn two_processes_receive_all_that_was_due() {
    let scene = Scene::start(&[]);
    let load = ["--users", "61", "--conflate-ms", "0", "--processes", "2"];
    let report = scene.bench("topics", &[&QUICK[..], &load].concat()).report();
    let totals = report.totals;
    assert_eq!((totals.opened, report.times["subscribing"].len()), (61, 61));
    assert_eq!((totals.received, totals.lost, totals.told), (totals.expected, 0, 0));
    let delivered = delivered(&http_get(scene.admin, "/metrics").1);
    assert_eq!(delivered as u64, totals.received, "the gateway has counted the same");
    // 61 users with 3 topics, 10 a second, for 2 s and more.
    assert!(totals.received >= 61 * 3 * 10 * 2, "{totals:?}");
    // 200 a second; the connection's own messages are no deliveries.
    assert_eq!(figure(&report, "published") as u64, totals.sent);
    assert_eq!(totals.sent, 460, "what is due in 2.3 s is published, no more and no less");
    assert_eq!((report.plateaus[0].open_least, objections(&report).len()), (61, 0));
    assert_eq!(report.failures.len(), 0);
}

#[test]
fn conflated_messages_are_told_apart_from_missing_ones() {
    let scene = Scene::start(&[]);
    let load = ["--users", "20", "--conflate-ms", "500", "--processes", "2"];
    let report = scene.bench("topics", &[&QUICK[..], &load].concat()).report();
    assert_eq!((report.totals.received, objections(&report).len()), (report.totals.expected, 0));
    assert!(report.counts["conflated"] > report.totals.received, "{:?}", report.counts);
}

#[test]
fn a_gateway_that_dies_is_in_the_report() {
    let mut scene = Scene::start(&[]);
    let server = scene.gateway.child.id().to_string();
    let load = ["--users", "40", "--conflate-ms", "0", "--processes", "2", "--server-pid", &server];
    let bench = scene.bench("topics", &[&QUICK[..], &load].concat());
    scene.until_delivered(500.0);
    scene.gateway.child.kill().expect("it was running");
    scene.gateway.child.wait().expect("its end");
    let report = bench.report();
    let (totals, failed) = (report.totals, report.failures.values().sum::<u64>());
    assert!(failed >= 40, "{:?}", report.failures);
    assert!(report.failures.keys().any(|why| why.starts_with("lost")), "{:?}", report.failures);
    assert_eq!((totals.received + totals.lost, totals.told), (totals.expected, 0));
    assert_eq!(report.plateaus[0].open_least, 0);
    assert!(
        objections(&report).iter().any(|why| why.contains("--server-pid: there is no process"))
    );
}

#[test]
fn a_redis_that_dies_makes_the_result_invalid() {
    let mut scene = Scene::start(&[]);
    let bench = scene.bench("topics", &[&QUICK[..], &["--users", "10"]].concat());
    scene.until_delivered(20.0);
    scene.redis.kill();
    let report = bench.report();
    assert!(objections(&report).iter().any(|why| why.contains("the publisher ended after")));
    assert!(report.totals.received > 0);
}

#[test]
fn who_vanishes_is_forgotten_in_time() {
    let scene = Scene::start(&["--ping", "500ms", "--idle", "1s", "--close-deadline", "1s"]);
    let admin = scene.admin.to_string();
    let load = ["--stages", "3s:30,10s:30", "--time-scale", "10", "--vanish", "--admin", &admin];
    let report = scene.bench("topics", &[&load[..], &["--ticks", "10"]].concat()).report();
    assert_eq!((report.totals.received, objections(&report).len()), (report.totals.expected, 0));
    let forgotten = figure(&report, "all forgotten");
    assert!((0.2..10.0).contains(&forgotten), "{forgotten}");
}

#[test]
fn what_slow_readers_miss_they_are_told() {
    let scene = Scene::start(&["--outbox-bytes", "64KiB"]);
    let load = ["--users", "12", "--slow-readers", "2", "--processes", "2", "--conflate-ms", "0"];
    let large = ["--payload-bytes", "16384", "--window-ms", "800", "--ticks", "20"];
    let times = ["--ramp-seconds", "0.3", "--seconds", "4", "--topics-per-user", "1"];
    let report = scene.bench("slow-readers", &[&load[..], &large, &times].concat()).report();
    let (totals, counts) = (report.totals, &report.counts);
    assert_eq!(totals.received + totals.told, totals.expected, "{totals:?}");
    assert!(counts["slow missed"] > 0, "they had room for everything: {counts:?}");
    assert_eq!(counts["slow missed"], counts["slow told lost"]);
    assert!(figure(&report, "window pairs") >= 1.0 && figure(&report, "ratio of p99") > 0.0);
    assert_eq!(objections(&report).len(), 0);
}

/// Users who fail begin again: each round is counted once, and nobody is there twice.
#[test]
fn a_spike_that_fails_is_told_as_it_is() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let route = "[[route]]\npath = \"/ws/topics\"\nkind = \"topics\"\ntopics_per_connection = 2\n";
    std::fs::write(&file, route).expect("written");
    let path = file.path().display().to_string();
    let (_gateway, address, _) = Process::serve(&["--config", &path]);
    let server = format!("ws://{address}/ws/topics");
    // Nobody gets a session, and each waits for as long as it would have stayed.
    let load = ["spike", "--server", &server, "--no-publish", "--topics-per-user", "3"];
    let times = ["--stages", "3s:20,5s:20", "--stay-ms", "1000", "--time-scale", "10"];
    let report = Bench::start(&[&load[..], &times].concat()).report();
    let rounds = report.totals.begun;
    assert!((60..200).contains(&rounds), "{rounds} rounds");
    assert_eq!(report.failures.values().sum::<u64>(), rounds, "{:?}", report.failures);
    assert!(report.failures.keys().all(|why| why.contains("POST")), "{:?}", report.failures);
    assert_eq!((figure(&report, "availability"), report.totals.opened), (0.0, 0));
    assert_eq!((report.counts.get("good"), objections(&report).len()), (None, 0));
}
