//! What is refused, and how it is said: option, value, limit, fix, and no secret.

use super::*;

#[test]
fn routes_that_make_no_sense_are_refused() {
    let error = |text: &str| Case::new().file(text).error();
    let route = |rest: &str| error(&format!("[[route]]\npath = \"/a\"\nkind = \"tasks\"\n{rest}"));
    assert_all(&error("[[route]]\nkind = \"echo\""), &["route[0].path", "must be given"]);
    assert_all(&error("[[route]]\npath = \"/a\""), &["route[0].kind", "tasks, topics, echo"]);
    assert_all(&error("[route]\npath = \"/a\""), &["[[route]]", "double brackets"]);
    assert_all(&error("route = []"), &["at least one route"]);
    assert_all(&route("inflight = 0"), &["route[0].inflight", ":4)", "1 or more"]);
    let stream = "queue.mode = \"stream\"\nrequire_workers = 1";
    assert_all(&route(stream), &["route[0].require_workers", "true or false"]);
    assert_all(&route("require_workers = true"), &["route[0].require_workers", "mode \"list\""]);
    let marks = route("queue_high = 60");
    assert_all(&marks, &["queue_low (default) = 4000", "less than route[0].queue_high", "= 60"]);
    assert_all(&route("queue_high = 5\nqueue_low = 5"), &["route[0].queue_low", "less than"]);
    assert_all(&route("queue_low = 0"), &["route[0].queue_low", "1 or more"]);
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
fn queues_that_cannot_be_are_refused() {
    let routes = |redis: bool, queues: &[&str]| {
        let route = |(index, queue): (usize, &&str)| {
            format!("[[route]]\npath = \"/{index}\"\nkind = \"tasks\"\nqueue = {{ {queue} }}\n")
        };
        let case = Case::new().file(&queues.iter().enumerate().map(route).collect::<String>());
        if redis { case.flag("redis", "redis://h") } else { case }.error()
    };
    let stream = "mode = \"stream\"";
    let embedded = routes(false, &["mode = \"list\"", stream]);
    assert_all(&embedded, &["route[1].queue.mode", ":8)", "stream", "embedded", "--redis"]);
    let wrong = routes(true, &["mode = \"set\""]);
    assert_all(&wrong, &["queue.mode", "\"set\"", "\"list\", \"stream\""]);
    let list = routes(true, &["group = \"g\""]);
    assert_all(&list, &["route[0].queue.group", "\"g\"", "no meaning", "stream"]);
    let both = routes(true, &["key = \"k\"", "mode = \"stream\", key = \"k\""]);
    assert_all(&both, &["route[1].queue.mode", "\"k\" is a list", "own key"]);
    let hasty = routes(true, &["mode = \"stream\", claim_idle = \"1ms\""]);
    assert_all(&hasty, &["route[0].queue.claim_idle", "100ms or more"]);
}

#[test]
fn words_are_refused_with_those_that_are_known() {
    let error = |text: &str| Case::new().file(&format!("[[route]]\npath = \"/a\"\n{text}")).error();
    let tasks = |text: &str| error(&format!("kind = \"tasks\"\n{text}"));
    let results = ["not known", "\"per-session\", \"per-shard\""];
    assert_all(&tasks("results = \"per-core\""), &results);
    assert_all(&tasks("dialect = \"tts\""), &["not known", "\"asr\"", "\"raw\""]);
    assert_all(&tasks("conflate_ms = 500"), &["route[0].conflate_ms", "no meaning", "\"tasks\""]);
    assert_all(&error("kind = \"ducks\""), &["not known", "\"tasks\", \"topics\", \"echo\""]);
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
    for bad in ["http://a", "a:80", "a..b", "", "a,,b", "*"] {
        let error = Case::new().flag("admin-hosts", bad).error();
        assert_all(&error, &["--admin-hosts", "without scheme and port", "\"none\""]);
    }

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
