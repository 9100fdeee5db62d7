//! The configuration as a whole: precedence, messages, masking, the table itself.

use std::collections::BTreeSet;
use std::io::Write;

use proptest::prelude::*;

use super::settings::SETTINGS;
use super::*;

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
        RouteKind::Echo => panic!("an echo route"),
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
fn without_a_file_there_is_the_speech_route() {
    let config = Case::new().load().config;
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].path, "/ws/asr");
    let tasks = tasks(&config);
    assert_eq!(&*tasks.queue_key, "asr_chunk_queue");
    assert_eq!((tasks.chunk_deadline_ms, tasks.finish_deadline_ms), (60_000, 60_000));
    assert_eq!(tasks.merge_separator, " ");
    assert_eq!(config.cores, [0, 1], "all that the process may use");
    assert_eq!(config.redis, None);
    assert_eq!(config.timing.ping_ms, 30_000);
    assert_eq!(config.ring.spin_us, 50);
}

#[test]
fn echo_adds_a_route_and_may_not_take_a_path() {
    let config = Case::new().flag("echo", "/echo").load().config;
    assert_eq!(config.routes[0], Route { path: "/echo".into(), kind: RouteKind::Echo });
    assert_eq!(config.routes.len(), 2);
    assert_all(&Case::new().flag("echo", "/ws/asr").error(), &["/ws/asr", "another route"]);
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
    assert_eq!((&*tasks.queue_key, tasks.inflight), ("q", 3));
    assert_eq!(effective.config.routes[1].kind, RouteKind::Echo);
    assert!(value(&effective, "route[0].inflight").source.to_string().ends_with(":5"));
    assert_eq!(value(&effective, "route[0].chunk_deadline").source, Source::Default);
}

#[test]
fn routes_that_make_no_sense_are_refused() {
    let error = |text: &str| Case::new().file(text).error();
    let route = |rest: &str| error(&format!("[[route]]\npath = \"/a\"\nkind = \"tasks\"\n{rest}"));
    assert_all(&error("[[route]]\nkind = \"echo\""), &["route[0].path", "must be given"]);
    assert_all(&error("[[route]]\npath = \"/a\""), &["route[0].kind", "tasks, echo"]);
    assert_all(&error("[route]\npath = \"/a\""), &["[[route]]", "double brackets"]);
    assert_all(&error("route = []"), &["at least one route"]);
    assert_all(&route("inflight = 0"), &["route[0].inflight", ":4)", "1 or more"]);
    assert_all(&route("chunk_deadlin = 1"), &["chunk_deadlin", "nearest", "chunk_deadline"]);
    assert_all(&route("queue = \"q\""), &["route[0].queue", "must be a table"]);
    assert_all(
        &route("[[route]]\npath = \"/a\"\nkind = \"echo\""),
        &["route[1].path", ":5)", "another route"],
    );
    let echo = "[[route]]\npath = \"/a\"\nkind = \"echo\"\ninflight = 2";
    assert_all(&error(echo), &["route[0].inflight", "no meaning"]);
}

#[test]
fn what_comes_later_is_refused_with_what_is_known() {
    let error = |text: &str| Case::new().file(&format!("[[route]]\npath = \"/a\"\n{text}")).error();
    assert_all(&error("kind = \"topics\""), &["planned", "\"tasks\", \"echo\""]);
    let tasks = |text: &str| error(&format!("kind = \"tasks\"\n{text}"));
    assert_all(&tasks("queue = { mode = \"stream\" }"), &["queue.mode", "planned", "\"list\""]);
    assert_all(&tasks("results = \"per-shard\""), &["planned", "\"per-session\""]);
    assert_all(&tasks("dialect = \"raw\""), &["planned", "\"asr\""]);
    assert_all(&tasks("queue_high = 5000"), &["route[0].queue_high", "planned"]);
    assert_all(&error("kind = \"ducks\""), &["not known", "\"tasks\", \"echo\""]);
}

#[test]
fn values_of_the_wrong_kind_name_option_value_limit_and_fix() {
    let file = |text: &str| Case::new().file(text).error();
    assert_all(&file("listen = 8080"), &["listen (", ":1)", "8080", "an integer", "0.0.0.0:8080"]);
    assert_all(&file("\nlog_level = true"), &["log_level (", ":2)", "a boolean"]);
    assert_all(&file("limits = 3"), &["limits", "must be a table"]);
    assert_all(&file("[limits]\nconnections = -1"), &["limits.connections", "-1", "not negative"]);
    assert_all(&file("[limits]\nconnections = 1.5"), &["1.5", "whole number"]);
    assert_all(&file("[limits]\nconnections = [1]"), &["[1]", "whole number"]);
    assert_all(&file("[heartbeat]\nping = 30"), &["heartbeat.ping", "30", "with its unit"]);
    assert_all(&file("[heartbeat]\nping = \"1500us\""), &["multiple of 1ms"]);
    assert_all(&file("cores = [0, 0]"), &["named twice"]);
    assert_all(&file("cores = \"0-7\""), &["core 2", "0-1"]);
    assert_all(&file("cores = \"99999999999-1\""), &["core numbers"]);
    assert_all(&file("origins = [\"https://a/b\"]"), &["https://a/b", "without a path"]);
    assert_all(&Case::new().flag("origins", "*").error(), &["--origins", "any"]);

    let flag = |name, text: &str| Case::new().flag(name, text).error();
    assert_all(&flag("connections", "0"), &["--connections", "\"0\"", "1 or more"]);
    assert_all(&flag("connections", "99999999999999999999"), &["whole number"]);
    assert_all(&flag("message-bytes", "16MB"), &["16MB", "MiB"]);
    assert_all(&flag("message-bytes", "2GiB"), &["125B to 1GiB", "1GiB or less"]);
    assert_all(&flag("held-bytes", "99999999999999TiB"), &["--held-bytes"]);
    assert_all(&flag("spin", "2ms"), &["--spin", "0 to 1ms", "1ms or less"]);
    assert_all(&flag("listen", "localhost:80"), &["--listen", "localhost:80", "an IP address"]);
    let env = Case::new().env("RINGGATE_ADMIN", "no").error();
    assert_all(&env, &["RINGGATE_ADMIN", "\"no\"", "or \"off\""]);
}

#[test]
fn settings_are_checked_against_each_other() {
    let error = Case::new().flag("idle", "30s").error();
    assert_all(&error, &["--idle = 30s", "more than heartbeat.ping (default) = 30s"]);
    let error = Case::new().env("RINGGATE_LIMITS_HELD_BYTES", "1MiB").error();
    assert_all(&error, &["RINGGATE_LIMITS_HELD_BYTES = 1MiB", "limits.message_bytes (default)"]);
    let error = Case::new().flag("receive-buffers", "32768").flag("receive-buffer-bytes", "1MiB");
    assert_all(&error.error(), &["--receive-buffers", "1GiB a shard"]);
    let error = Case::new().flag("admin", "127.0.0.1:8080").error();
    assert_all(&error, &["--admin = 127.0.0.1:8080", "listen (default) = 0.0.0.0:8080"]);
    Case::new().flag("admin", "127.0.0.1:0").flag("listen", "127.0.0.1:0").load();
}

#[test]
fn all_problems_of_all_sources_come_at_once() {
    let error = Case::new()
        .file("conections = 1\n[ring]\nspin = \"1s\"\n[[route]]\npath = \"a\"\nkind = \"echo\"\n")
        .env("RINGGATE_REDDIS", "x")
        .flag("ping", "fast")
        .error();
    assert_all(&error, &["5 problems", "conections (", "ring.spin (", "route[0].path ("]);
    assert_all(&error, &["RINGGATE_REDDIS", "--ping = \"fast\""]);
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let env = |name: &str| Case::new().env(name, "s3cret").error();
    let error = env("RINGGATE_LIMITS_CONECTIONS");
    assert_all(&error, &["RINGGATE_LIMITS_CONECTIONS:", "is RINGGATE_LIMITS_CONNECTIONS"]);
    assert!(!env("RINGGATE_REDIS_PASSWORD").contains("s3cret"));
    let file = |text: &str| Case::new().file(text).error();
    assert_all(&file("message_bytes = 1"), &["message_bytes (", ":1)", "is limits.message_bytes"]);
    assert_all(&file("[limit]\nconnections = 1"), &["limit (", "nearest"]);
    assert_all(
        &file("[limits]\noutbox = 1"),
        &["limits.outbox (", ":2)", "is limits.outbox_bytes"],
    );
    Case::new().env("OTHER_VARIABLE", "1").load();
}

#[test]
fn broken_toml_is_told_by_line_and_column() {
    let error = Case::new().file("listen = \"0.0.0.0:1\"\nadmin = = 3\n").error();
    assert_all(&error, &["not TOML", "line 2, column 9"]);
    assert_all(&Case::new().file("a = 1\na = 2").error(), &["line 2", "duplicate key"]);
    let missing = Case {
        sources: Sources { file: Some("/nowhere/x.toml".into()), ..Case::new().sources },
        file: None,
    };
    assert_all(&missing.error(), &["--config /nowhere/x.toml", "No such file"]);
    let long = "#".repeat((1 << 20) + 1);
    assert_all(&Case::new().file(&long).error(), &["longer than 1048576 bytes"]);
}

#[test]
fn secrets_are_masked_wherever_they_could_show() {
    let effective = Case::new().flag("redis", "redis://app:s3cret@h:1/2").load();
    assert_eq!(effective.config.redis.as_ref().unwrap().expose(), "redis://app:s3cret@h:1/2");
    assert_eq!(value(&effective, "redis").value, "redis://app:***@h:1/2");
    assert!(!format!("{effective:?}").contains("s3cret"));
    for text in ["redis:/:s3cret@h", "rediss://:s3cret@h", "redis://:s3cret@h/x", "s3cret"] {
        for case in [
            Case::new().flag("redis", text),
            Case::new().env("RINGGATE_REDIS", text),
            Case::new().file(&format!("redis = {text:?}")),
            Case::new().file(&format!("redis = [{text:?}]")),
            Case::new().file(&format!("redis = \"{text}")),
            Case::new().file(&format!("redis = {text}")),
            Case::new().file(&format!("redis = \"x\" {text}")),
            Case::new().file(&format!("reddis = {text:?}")),
        ] {
            let error = load(&case.sources).expect_err(text);
            assert!(!error.to_string().contains("s3cret"), "{error}");
            assert!(!format!("{error:?}").contains("s3cret"), "{error:?}");
        }
    }
}

/// The sample is every setting at its default, so that it can neither go stale nor lie.
#[test]
fn the_sample_file_names_every_setting_with_its_default() {
    let text = include_str!("../../tuning/ringgate.toml");
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
            "cores = [1, 0]\norigins = [\"https://A.example:8443\", \"http://b\"]\n\
             limits = { message_bytes = 1_000_000, connections = \"5_000\", outbox_bytes = 0x10000 }\n\
             heartbeat.ping = \"1m\"\nheartbeat.idle = \"2 min\"\nring.spin = 0",
        )
        .flag("admin", "OFF")
        .flag("listen", "[::1]:80")
        .load()
        .config;
    assert_eq!(config.cores, [0, 1]);
    assert_eq!(config.origins, ["https://a.example:8443", "http://b"]);
    let limits = &config.limits;
    assert_eq!(
        (limits.message_bytes, limits.connections, limits.outbox_bytes),
        (1_000_000, 5_000, 65_536)
    );
    assert_eq!((config.timing.ping_ms, config.timing.idle_ms), (60_000, 120_000));
    assert_eq!(config.ring.spin_us, 0);
    assert_eq!((config.admin, config.listen.port()), (None, 80));
}

fn raw_text(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}

proptest! {
    #[test]
    fn shown_values_read_back(
        bytes in any::<u64>(),
        steps in 0..u64::MAX / 1_000,
        cores in proptest::collection::btree_set(0usize..=8191, 1..50),
    ) {
        prop_assert_eq!(value::bytes(&raw_text(&value::show_bytes(bytes))), Ok(bytes));
        for step_us in [1, 1_000] {
            let shown = value::show_duration(steps, step_us);
            prop_assert_eq!(value::duration(&raw_text(&shown), step_us), Ok(steps));
        }
        let cores: Vec<usize> = cores.into_iter().collect();
        prop_assert_eq!(value::cores(&raw_text(&value::show_cores(&cores))), Ok(cores));
    }

    /// Whatever the flags, variables and file say: values in range or problems, no panic.
    #[test]
    fn no_input_panics(texts in proptest::collection::vec("\\PC{0,12}|[0-9_a-zA-Z:./-]{0,12}", SETTINGS.len()), file in "\\PC{0,80}") {
        let mut case = Case::new();
        for (setting, text) in SETTINGS.iter().zip(&texts) {
            case.sources.flags.insert(setting.flag.expect("a flag"), text.clone());
        }
        let _ = load(&case.sources);
        let _ = load(&Case::new().file(&file).sources);
    }

    /// A file of known keys with any values: the same.
    #[test]
    fn no_file_value_panics(
        index in 0..SETTINGS.len(),
        toml in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
            Just("1979-05-27".to_owned()),
            Just("{ a = 1 }".to_owned()),
            Just("[[[[[[1]]]]]]".to_owned()),
            Just("9".repeat(60)),
        ],
    ) {
        let case = Case::new().file(&format!("{} = {toml}", SETTINGS[index].key));
        if let Err(error) = load(&case.sources) {
            prop_assert!(!error.problems.is_empty());
        }
    }
}
