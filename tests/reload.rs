//! SIGHUP on a running gateway: what changes, what stays, and what it says about both.

#[expect(dead_code, reason = "each test file uses a part of it")]
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
};

use serde_json::{Value, json};
use support::{
    client::{Client, PATIENCE, masked, raw_upgraded, upgrade_request},
    gateway::http_get,
    process::Process,
};
use tempfile::TempDir;
use tungstenite::Message;

const ECHO: &str = "/echo";

/// A gateway with a file that can be written again.
struct Stage {
    directory: TempDir,
    process: Process,
    address: SocketAddr,
    admin: SocketAddr,
}

impl Stage {
    fn start(text: &str, args: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ringgate.toml");
        fs::write(&path, text).expect("written");
        let config = ["--config", path.to_str().expect("a path"), "--echo", ECHO];
        // Two shards where there are two cores: each has to take what is new.
        let cores = if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
            "all"
        } else {
            "0"
        };
        let ports = ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
        let process =
            Process::start(&[&ports[..], &["--cores", cores], &config[..], args].concat());
        let (process, address, admin) = process.addresses();
        // Said once signals are listened for.
        let mut process = process;
        process.until("SIGHUP");
        Self { directory, process, address, admin }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ringgate.toml")
    }

    /// Writes the file, sends SIGHUP, and gives what is said up to `end`.
    fn reload(&mut self, text: &str, end: &str) -> Vec<String> {
        fs::write(self.path(), text).expect("written");
        let before = self.process.said.len();
        self.process.signal("HUP");
        self.process.until(end);
        self.process.said[before..].to_vec()
    }

    /// Value and source of a setting on the admin port.
    fn shown(&self, key: &str) -> (String, String) {
        let (_, config) = http_get(self.admin, "/config");
        let values: Vec<Value> = serde_json::from_str(&config).expect("JSON");
        let value = values.iter().find(|value| value["key"] == key).expect("the setting");
        let text = |field: &str| value[field].as_str().expect("text").to_owned();
        (text("value"), text("source"))
    }
}

#[track_caller]
fn assert_said(said: &[String], words: &[&str]) {
    let found = said.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "{words:?} is not in {said:#?}");
}

fn echoes(client: &mut Client, text: &str) {
    client.socket.send(Message::text(text)).expect("sent");
    assert_eq!(client.socket.read().expect("an echo"), Message::text(text));
}

/// Also what is left of fault 2: what is shown is what is enforced, before and after.
#[test]
fn a_lower_limit_holds_for_the_next_connection_and_for_nobody_who_is_in() {
    let mut stage = Stage::start("[limits]\nconnections = 1000\n", &[]);
    let mut inside: Vec<_> = (0..3).map(|_| Client::connect(stage.address, ECHO)).collect();
    assert_eq!(stage.shown("limits.connections").0, "1000");

    let said = stage.reload("\n\n[limits]\nconnections = 2\n", "settings applied");
    assert_said(&said, &["limits.connections: 1000 → 2 (file ", "ringgate.toml:4)"]);
    assert_said(&said, &["1 settings applied, 0 need a restart"]);
    let (value, source) = stage.shown("limits.connections");
    assert!(value == "2" && source.ends_with(":4"), "{value} {source}");
    let refusal = Client::try_connect(stage.address, ECHO).err().expect("full");
    assert_eq!((refusal.status, &refusal.body["code"]), (503, &json!("connection_limit")));
    inside.iter_mut().for_each(|client| echoes(client, "still here"));

    let said = stage.reload("[limits]\nconnections = 4\n", "settings applied");
    assert_said(&said, &["limits.connections: 2 → 4"]);
    echoes(&mut Client::connect(stage.address, ECHO), "in");
}

#[test]
fn an_origin_is_added_and_taken_away() {
    let mut stage = Stage::start("origins = [\"https://one.example\"]\n", &[]);
    let status = |stage: &Stage, origin: &str| {
        let mut stream = TcpStream::connect(stage.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!("{}Origin: {origin}\r\n\r\n", upgrade_request(ECHO));
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("a status");
        String::from_utf8(status[9..].to_vec()).expect("a number")
    };
    let (one, two) = ("https://one.example", "https://two.example");
    assert_eq!([status(&stage, one), status(&stage, two)], ["101", "403"]);
    let both = "origins = [\"https://one.example\", \"https://two.example\"]\n";
    assert_said(&stage.reload(both, "settings applied"), &["reload: origins: ", "two.example"]);
    assert_eq!([status(&stage, one), status(&stage, two)], ["101", "101"]);
    stage.reload("origins = [\"https://two.example\"]\n", "settings applied");
    assert_eq!([status(&stage, one), status(&stage, two)], ["403", "101"]);
}

#[test]
fn a_lower_accept_rate_holds_at_once() {
    let mut stage = Stage::start("", &[]);
    let connect = |stage: &Stage| Client::try_connect(stage.address, ECHO);
    assert!((0..20).all(|_| connect(&stage).is_ok()));
    stage.reload("[limits]\naccepts_per_second = 1\n", "settings applied");
    // One a second and shard, and one at once.
    let refused: Vec<_> = (0..20).filter_map(|_| connect(&stage).err()).collect();
    assert!(refused.len() >= 10, "{} refused", refused.len());
    assert!(refused.iter().all(|r| r.body["code"] == "accept_rate"), "{refused:?}");
}

#[test]
fn bounds_of_messages_hold_for_connections_that_are_open() {
    let mut stage = Stage::start("[limits]\nmessage_bytes = \"1MiB\"\n", &[]);
    let mut old = Client::connect(stage.address, ECHO);
    echoes(&mut old, &"x".repeat(2_000));
    stage.reload("[limits]\nmessage_bytes = \"1KiB\"\n", "settings applied");
    echoes(&mut old, &"x".repeat(1_024));
    old.socket.send(Message::text("x".repeat(1_025))).expect("sent");
    assert_eq!(old.close_code(), 1009);
}

#[test]
fn a_shorter_heartbeat_reaches_a_new_connection() {
    let mut stage = Stage::start("", &[]);
    stage.reload("[heartbeat]\nping = \"200ms\"\nidle = \"1s\"\n", "settings applied");
    let mut silent = raw_upgraded(stage.address, ECHO);
    let mut ping = [0; 2];
    silent.read_exact(&mut ping).expect("long before the 30 s of before");
    assert_eq!(ping, [0x89, 0]);
    silent.write_all(&masked(0x88, b"")).expect("sent");
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let good = "[limits]\nconnections = 1\n";
    let mut stage = Stage::start(good, &[]);
    let (_, before) = http_get(stage.admin, "/config");
    let bad = [
        ("[limits]\nconnections = 7\naccepts_per_second = 0\n", ":3", "accepts_per_second"),
        ("[limits]\nconnections = 7\nconections = 8\n", ":3", "connections"),
        ("[limits]\nconnections = 7\n[", ":3", "not TOML"),
        ("[heartbeat]\nping = \"9s\"\nidle = \"8s\"\n[limits]\nconnections = 7", "idle", "ping"),
        ("[limits]\nconnections = 10_000_000\n", "limits.connections", "LimitNOFILE"),
    ];
    for (text, place, why) in bad {
        let said = stage.reload(text, "reload: nothing is changed: ");
        // Several problems take a line each.
        assert_said(&said, &["nothing is changed"]);
        let all = said.join("\n");
        assert!(all.contains(place) && all.contains(why), "{text}: {all}");
        assert_eq!(http_get(stage.admin, "/config").1, before, "{text}");
    }
    fs::remove_file(stage.path()).expect("removed");
    stage.process.signal("HUP");
    stage.process.until("reload: nothing is changed: ");
    let only = Client::connect(stage.address, ECHO);
    assert_eq!(Client::try_connect(stage.address, ECHO).err().expect("full").status, 503);
    only.close();
    // And a good one is taken again.
    let said = stage.reload("[limits]\nconnections = 3\n", "settings applied");
    assert_said(&said, &["limits.connections: 1 → 3"]);
}

#[test]
fn the_log_level_changes_and_what_needs_a_restart_is_said() {
    let mut stage = Stage::start("log_level = \"info\"\n", &["--drain", "300ms"]);
    let text = "log_level = \"WARN\"\nlisten = \"127.0.0.1:1\"\n[deadlines]\ndrain = \"9s\"\n\
                [ring]\nspin = \"50us\"\n[[route]]\npath = \"/new\"\nkind = \"echo\"\n";
    let said = stage.reload(text, "settings applied");
    assert_said(&said, &["reload: log_level: info → warn"]);
    assert_said(&said, &["needs a restart: ring.spin: 0 → 50us"]);
    assert_said(&said, &["needs a restart: route[", "/new"]);
    // A flag beats the file as it did at the start: neither has changed.
    assert!(!said.iter().any(|line| line.contains("listen") || line.contains("drain")), "{said:?}");
    assert_eq!(stage.shown("ring.spin"), ("0".into(), "default".into()));
    assert_eq!(stage.shown("log_level").0, "warn");
    let refusal = Client::try_connect(stage.address, "/new").err().expect("not before a restart");
    assert_eq!(refusal.status, 404);

    // What is said at info is not said now; a warning is.
    let text = format!("{text}\n[limits]\n");
    fs::write(stage.path(), text.replace("50us", "60us")).expect("written");
    let before = stage.process.said.len();
    stage.process.signal("HUP");
    stage.process.until("ring.spin: 0 → 60us");
    // And more is said again from the moment it is asked for.
    let said = stage.reload("log_level = \"Debug\"\n", "settings applied");
    assert_said(&said, &["log_level: warn → debug"]);
    let quiet = &stage.process.said[before..stage.process.said.len() - said.len()];
    assert!(!quiet.iter().any(|line| line.contains(" INFO ")), "{quiet:#?}");
    stage.process.signal("TERM");
    assert_eq!(stage.process.ended().0, Some(0), "{:#?}", stage.process.said);
}
