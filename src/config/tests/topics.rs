//! Topics routes: their settings, and the channels that they must not have.

use super::*;

fn topics(config: &Config) -> Vec<TopicsRoute> {
    config.topics_routes().map(|(_, route)| route.clone()).collect()
}

/// A file with one topics route for each text.
fn routes(texts: &[&str]) -> Case {
    let route = |(index, text): (usize, &&str)| {
        format!("[[route]]\npath = \"/{index}\"\nkind = \"topics\"\n{text}\n")
    };
    Case::new().file(&texts.iter().enumerate().map(route).collect::<String>())
}

#[test]
fn a_topics_route_has_these_defaults() {
    let given = topics(&routes(&[""]).load().config);
    assert_eq!(given, topics(&Case::new().load().config), "as without a file");
    let [route] = given.as_slice() else { panic!("{given:?}") };
    assert_eq!((route.channel.to_string().as_str(), route.conflate_ms), ("{topic}", 0));
    assert_eq!(route.overflow, Overflow::Drop);
    assert_eq!((route.topics_per_connection, route.topics_per_shard), (256, 1_000_000));
    let sessions = (route.session_ttl_ms, route.sessions_per_user, route.sessions_max);
    assert_eq!(sessions, (30_000, 16, 100_000));
}

#[test]
fn every_setting_of_a_topics_route_is_stored_and_shown() {
    let default = routes(&[""]).load();
    for setting in TOPICS_SETTINGS {
        let other = match setting.kind {
            Kind::Word(..) => "\"close\"",
            Kind::Milliseconds(..) => "\"7s\"",
            Kind::Channel(_) => "\"prices:{topic}\"",
            _ => "7",
        };
        let changed = routes(&[&format!("{} = {other}", setting.key)]).load();
        assert_ne!(topics(&changed.config), topics(&default.config), "{}", setting.key);
        let shown = value(&changed, &format!("route[0].{}", setting.key));
        assert_eq!(shown.value.trim_matches('"'), other.trim_matches('"'));
        assert!(shown.source.to_string().ends_with(":4"), "{shown:?}");
    }
}

#[test]
fn topics_settings_that_cannot_be_are_refused() {
    let error = |text: &str| routes(&[text]).error();
    for bad in ["\"prices\"", "\"{topic}:{topic}\"", "\"\""] {
        assert_all(&error(&format!("channel = {bad}")), &["route[0].channel", ":4)", bad]);
    }
    assert_all(&error("channel = \"prices\""), &["{topic} in it once", "\"prices:{topic}\""]);
    assert_all(&error("channel = \"a\\n{topic}\""), &["control characters"]);
    assert_all(&error("conflate_ms = 60_001"), &["60001", "0 to 60000", "60000 or less"]);
    assert_all(&error("overflow = \"block\""), &["\"block\"", "\"drop\", \"close\""]);
    assert_all(&error("session_ttl = \"10ms\""), &["session_ttl", "1s or more"]);
    assert_all(&error("topics_per_connection = 0"), &["topics_per_connection", "1 or more"]);
    assert_all(&error("inflight = 3"), &["route[0].inflight", "no meaning", "\"topics\""]);
    assert_all(&error("chanel = \"x{topic}\""), &["chanel", "nearest", "channel"]);
}

#[test]
fn topics_routes_share_no_channel() {
    let pattern = |text: &str| format!("channel = \"{text}\"");
    let pair = |one: &str, other: &str| routes(&[&pattern(one), &pattern(other)]);
    for (one, other) in
        [("{topic}", "{topic}"), ("{topic}", "news:{topic}"), ("a{topic}", "ab{topic}")]
    {
        let error = pair(one, other).error();
        assert_all(&error, &["route[1].channel (", ":8)", &format!("{other:?}"), "same channel"]);
        assert_all(&error, &[&format!("{one:?} of the route /0"), "prefix of its own"]);
    }
    assert_eq!(topics(&pair("prices:{topic}", "news:{topic}").load().config).len(), 2);
    // A route of another kind between them does not shift what is named.
    let between = "[[route]]\npath = \"/t\"\nkind = \"tasks\"\n";
    let file = format!("{between}[[route]]\npath = \"/a\"\nkind = \"topics\"\n{between}");
    let file = file.replacen("/t", "/u", 1) + "[[route]]\npath = \"/b\"\nkind = \"topics\"\n";
    assert_all(&Case::new().file(&file).error(), &["route[3].channel (default)", "route /a"]);
}

/// Where no topic of a route could ever be subscribed, its pattern is wrong; where only some
/// could not, those are refused when they are asked for.
#[test]
fn the_channels_of_results_are_no_topics() {
    for channel in ["asr_result_{topic}", "asr_result_x{topic}", "ringgate:{topic}"] {
        let error = routes(&[&format!("channel = {channel:?}")]).error();
        assert_all(&error, &["route[0].channel (", ":4)", channel, "results of tasks"]);
    }
    routes(&["channel = \"asr_{topic}\""]).load();
}
