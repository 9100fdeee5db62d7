//! The configuration as a whole: the table, precedence, defaults, the sample.

mod properties;
mod refusals;
mod reload;
mod topics;

use std::collections::BTreeSet;
use std::io::Write;

use super::settings::SETTINGS;
use super::*;
use crate::broker::Queue;

/// Sources on two cores; `file` is the text of the file.
struct Case {
    sources: Sources,
    /// Kept until the case ends: the file is read by its path.
    file: Option<tempfile::NamedTempFile>,
}

impl Case {
    fn new() -> Self {
        let sources = Sources { cores_allowed: vec![0, 1], ..Sources::default() };
        Self { sources, file: None }
    }

    fn flag(mut self, name: &'static str, value: &str) -> Self {
        self.sources.flags.insert(name, value.into());
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.env.insert(name.into(), value.into());
        self
    }

    fn file(mut self, text: &str) -> Self {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        self.sources.file = Some(file.path().into());
        self.file = Some(file);
        self
    }

    fn load(&self) -> Effective {
        load(&self.sources).unwrap_or_else(|error| panic!("{error}"))
    }

    fn error(&self) -> String {
        load(&self.sources).expect_err("a configuration that must be refused").to_string()
    }
}

fn value<'a>(effective: &'a Effective, key: &str) -> &'a EffectiveValue {
    effective.values.iter().find(|value| value.key == key).unwrap_or_else(|| panic!("no {key}"))
}

fn tasks(config: &Config) -> &TasksRoute {
    match &config.routes[0].kind {
        RouteKind::Tasks(tasks) => tasks,
        other => panic!("a route of kind {}", other.name()),
    }
}

#[track_caller]
fn assert_all(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

/// Fault 2: a limit of 5 out of a stale variable beat the file's 1000, and later a
/// constant in the code beat everything. Here each value comes from the strongest source
/// that has it, alone, and says which that was.
#[test]
fn fault_2_each_value_comes_from_its_strongest_source_and_names_it() {
    let file = "[limits]\nconnections = 1000\nhandshakes = 500\naccepts_per_second = 50";
    let case = Case::new()
        .file(file)
        .env("RINGGATE_LIMITS_CONNECTIONS", "5")
        .env("RINGGATE_LIMITS_HANDSHAKES", "7")
        .flag("connections", "2_000");
    let effective = case.load();
    let limits = &effective.config.limits;
    assert_eq!((limits.connections, limits.handshakes, limits.accepts_per_second), (2000, 7, 50));
    assert_eq!(limits.outbox_bytes, 256 << 10);
    let source = |key| value(&effective, key).source.to_string();
    assert_eq!(source("limits.connections"), "flag --connections");
    assert_eq!(source("limits.handshakes"), "environment RINGGATE_LIMITS_HANDSHAKES");
    assert!(source("limits.accepts_per_second").starts_with("file "));
    assert!(source("limits.accepts_per_second").ends_with(":4"), "the line");
    assert_eq!(source("limits.outbox_bytes"), "default");
}

/// A value of each setting that differs from its default.
fn other_value(key: &str) -> &'static str {
    match key {
        "listen" => "127.0.0.1:1",
        "admin" | "log_level" => "off",
        "cores" => "1",
        "redis" => "redis://h/1",
        "echo" => "/e",
        "origins" => "https://a",
        "admin_hosts" => "gate.example",
        "limits.message_bytes" | "limits.outbox_bytes" => "8KiB",
        "limits.broker_pending_bytes" | "limits.held_bytes" => "32MiB",
        "ring.receive_buffer_bytes" => "4KiB",
        "heartbeat.ping" => "20s",
        "heartbeat.idle" => "70s",
        "ring.spin" => "7us",
        key if key.starts_with("deadlines.") => "700ms",
        _ => "77",
    }
}

/// Fault 2, for every row of the table: each source that is stronger wins, and what wins
/// arrives in the configuration.
#[test]
fn fault_2_holds_for_every_setting() {
    let default = Case::new().load();
    for setting in SETTINGS {
        let flag = setting.flag.expect("every setting of the gateway has a flag");
        let other = other_value(setting.key);
        let by_flag = Case::new()
            .flag(flag, other)
            .env(&setting.environment_name(), "never read")
            .file(&format!("{} = \"never read\"", setting.key))
            .load();
        let by_env = Case::new()
            .env(&setting.environment_name(), other)
            .file(&format!("{} = \"never read\"", setting.key))
            .load();
        let by_file = Case::new().file(&format!("{} = \"{other}\"", setting.key)).load();
        for (effective, source) in [(&by_flag, "flag"), (&by_env, "env"), (&by_file, "file")] {
            let shown = value(effective, setting.key);
            assert!(shown.source.to_string().starts_with(source), "{}: {shown:?}", setting.key);
            assert_eq!(shown.value, other, "{}", setting.key);
            assert_ne!(effective.config, default.config, "{} is stored", setting.key);
            assert_eq!(effective.config, by_flag.config, "{}", setting.key);
        }
    }
}

/// Fault 3: `LOG_LEVEL=debug` in lower case killed the worker at its start.
#[test]
fn fault_3_log_levels_in_any_case() {
    for text in ["debug", "DEBUG", "Debug", "dEbUg"] {
        let level = |case: Case| case.load().config.log_level;
        assert_eq!(level(Case::new().env("RINGGATE_LOG_LEVEL", text)), log::LevelFilter::Debug);
        assert_eq!(level(Case::new().flag("log-level", text)), log::LevelFilter::Debug);
        let file = format!("log_level = {text:?}");
        assert_eq!(level(Case::new().file(&file)), log::LevelFilter::Debug);
    }
    assert_all(&Case::new().flag("log-level", "loud").error(), &["--log-level", "loud", "debug"]);
}

#[test]
fn the_table_is_sound() {
    let mut names = BTreeSet::new();
    for setting in SETTINGS {
        let flag = setting.flag.expect("a flag");
        for name in [setting.key.to_owned(), setting.environment_name(), format!("--{flag}")] {
            assert!(names.insert(name.clone()), "{name} twice");
        }
        assert!(!setting.help.is_empty() && !setting.help.ends_with('.'), "{}", setting.key);
    }
    // A default that could not be read would be a problem of this configuration.
    let effective = Case::new().load();
    for (setting, value) in SETTINGS.iter().zip(&effective.values) {
        assert_eq!((setting.key, &value.source), (value.key.as_str(), &Source::Default));
    }
    let secret: Vec<_> = SETTINGS.iter().filter(|s| s.secret).map(|s| s.key).collect();
    assert_eq!(secret, ["redis"]);
}

#[test]
fn without_a_file_there_are_the_speech_route_and_the_topics_route() {
    let config = Case::new().load().config;
    let paths: Vec<_> =
        config.routes.iter().map(|route| (&*route.path, route.kind.name())).collect();
    assert_eq!(paths, [("/ws/asr", "tasks"), ("/ws/topics", "topics")]);
    assert_eq!(config.routes[0].path, "/ws/asr");
    let tasks = tasks(&config);
    assert_eq!(tasks.queue, Queue::List { key: "asr_chunk_queue".into() });
    assert_eq!((tasks.chunk_deadline_ms, tasks.finish_deadline_ms), (60_000, 60_000));
    assert_eq!(tasks.merge_separator, " ");
    assert_eq!(config.cores, [0, 1], "all that the process may use");
    assert_eq!(config.redis, None);
    assert_eq!(config.timing.ping_ms, 30_000);
    assert_eq!(config.ring.spin_us, 0);
}

#[test]
fn echo_adds_a_route_and_may_not_take_a_path() {
    let config = Case::new().flag("echo", "/echo").load().config;
    assert_eq!(config.routes[0], Route { path: "/echo".into(), kind: RouteKind::Echo });
    assert_eq!(config.routes.len(), 3);
    for path in ["/ws/asr", "/ws/topics"] {
        assert_all(&Case::new().flag("echo", path).error(), &[path, "another route"]);
    }
    for path in ["echo", "/healthz", "/v1/x", "/a b", "/a?b"] {
        assert_all(&Case::new().flag("echo", path).error(), &["--echo", path]);
    }
}

#[test]
fn routes_are_read_with_their_lines() {
    let effective = Case::new()
        .file(
            "[[route]]\npath = \"/a\"\nkind = \"tasks\"\nqueue = { mode = \"list\", key = \"q\" }\n\
             inflight = 3\n\n[[route]]\npath = \"/b\"\nkind = \"echo\"\n",
        )
        .load();
    let tasks = tasks(&effective.config);
    assert_eq!((&**tasks.queue.key(), tasks.inflight), ("q", 3));
    assert_eq!(effective.config.routes[1].kind, RouteKind::Echo);
    assert!(value(&effective, "route[0].inflight").source.to_string().ends_with(":5"));
    assert_eq!(value(&effective, "route[0].chunk_deadline").source, Source::Default);
}

/// The sample is every setting at its default, so that it can neither go stale nor lie.
#[test]
fn the_sample_file_names_every_setting_with_its_default() {
    let text = include_str!("../../../tuning/ringgate.toml");
    let sample = Case::new().file(text).load();
    let default = Case::new().load();
    assert_eq!(sample.config, default.config);
    for (sample, default) in sample.values.iter().zip(&default.values) {
        assert_eq!((&sample.key, &sample.value), (&default.key, &default.value));
        assert!(matches!(sample.source, Source::File { .. }), "{} is not named", sample.key);
    }
}

#[test]
fn values_are_read_in_all_their_forms() {
    let config = Case::new()
        .file(
            "cores = [1, 0]\nadmin_hosts = \"Gate, a.example\"\norigins = [\"https://A.example:8443\", \"http://b\"]\n\
             limits = { message_bytes = 1_000_000, connections = \"5_000\", outbox_bytes = 0x10000 }\n\
             heartbeat.ping = \"1m\"\nheartbeat.idle = \"2 min\"\nring.spin = 0",
        )
        .flag("admin", "OFF")
        .flag("listen", "[::1]:80")
        .load()
        .config;
    assert_eq!(config.cores, [0, 1]);
    assert_eq!(config.origins, ["https://a.example:8443", "http://b"]);
    assert_eq!(config.admin_hosts, ["gate", "a.example"]);
    let limits = &config.limits;
    assert_eq!(
        (limits.message_bytes, limits.connections, limits.outbox_bytes),
        (1_000_000, 5_000, 65_536)
    );
    assert_eq!((config.timing.ping_ms, config.timing.idle_ms), (60_000, 120_000));
    assert_eq!(config.ring.spin_us, 0);
    assert_eq!((config.admin, config.listen.port()), (None, 80));
}

#[test]
fn a_stream_has_its_own_defaults_and_every_setting_is_stored() {
    let route = |queue: &str| {
        let head = "[[route]]\npath = \"/a\"\nkind = \"tasks\"\n";
        let file = format!("{head}queue = {{ mode = \"stream\" {queue} }}\n");
        let config = Case::new().flag("redis", "redis://h").file(&file).load().config;
        let TasksRoute { queue, claim_idle_ms, .. } = tasks(&config).clone();
        (queue, claim_idle_ms)
    };
    let stream = |key: &str, group: &str| Queue::Stream { key: key.into(), group: group.into() };
    assert_eq!(route(""), (stream("asr_tasks", "asr_workers"), Some(60_000)));
    let given = ", key = \"k\", group = \"g\", claim_idle = \"5s\"";
    assert_eq!(route(given), (stream("k", "g"), Some(5_000)));
}

/// Every setting of a tasks route arrives in it.
#[test]
fn every_setting_of_a_tasks_route_is_stored() {
    let route = |rest: &str| {
        let head = "[[route]]\npath = \"/a\"\nkind = \"tasks\"\n";
        tasks(&Case::new().file(&format!("{head}{rest}")).load().config).clone()
    };
    let default = route("");
    for setting in TASKS_SETTINGS {
        let other = match setting.kind {
            // Its default, or less, would not be over queue_low.
            _ if setting.key == "queue_high" => "7777",
            // Of a queue's mode there is a test of its own; the others have one word each.
            Kind::Word(..) => continue,
            Kind::Milliseconds(..) => "\"7s\"",
            Kind::Bytes(..) => "\"7KiB\"",
            Kind::Text(..) => "\"seven\"",
            _ => "7",
        };
        assert_ne!(route(&format!("{} = {other}", setting.key)), default, "{}", setting.key);
    }
}
