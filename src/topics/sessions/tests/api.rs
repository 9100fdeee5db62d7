//! Requests as clients write them, and answers as they read them.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::world::tag;
use crate::ws::{Head, parse_head};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const TOPICS_MAX: usize = 3;

fn routes() -> Vec<SessionRoute> {
    let settings =
        SessionSettings { ttl_ms: 30_000, per_user: 2, topics_max: TOPICS_MAX, conflate_ms: 7 };
    let route = |(index, path): (usize, &str)| SessionRoute {
        tag: tag(index),
        path: path.into(),
        channel: ChannelPattern::default(),
        settings,
        places: Places::new(9),
    };
    ["/ws/topics", "/ws/news"].into_iter().enumerate().map(route).collect()
}

fn with_head<T>(host: &str, test: impl FnOnce(&Head<'_>) -> T) -> T {
    let request = format!("POST /v1/sessions HTTP/1.1\r\n{host}\r\n");
    let (head, _) = parse_head(request.as_bytes()).unwrap().unwrap();
    test(&head)
}

fn wish(body: &str) -> Result<(Wish, WsAddress), Refusal> {
    let routes = routes();
    let api = Api::new(&routes, 2).unwrap();
    with_head("Host: localhost:8080\r\n", |head| api.wish(head, body.as_bytes(), HERE))
}

fn read(answer: &crate::http::Answer) -> (u16, Value) {
    let mut out = Vec::new();
    answer.write(&mut out);
    let text = String::from_utf8(out).unwrap();
    let body = text.split_once("\r\n\r\n").unwrap().1;
    (answer.status(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn a_wish_is_taken_apart() {
    let body = r#" {"topics":["b","a","b"],"conflate_ms":500,"user_id":"anna","route":"/ws/news"}"#;
    let (wish, address) = wish(body).unwrap();
    let names: Vec<_> = wish.start.topics.iter().map(Topic::as_str).collect();
    assert_eq!((names, wish.start.conflate_ms), (vec!["b", "a"], Some(500)), "each once");
    assert_eq!((wish.route, wish.user.name().map(UserId::as_str)), (tag(1), Some("anna")));
    let id = SessionId::random(ShardId(1));
    let (status, body) = read(&Reply::Created { id, expires_in_ms: 29_001 }.answer(Some(&address)));
    let url = format!("ws://localhost:8080/ws/news?session={id}&user_id=anna");
    let expected = json!({"session_id": id.to_string(), "ws_url": url, "expires_in_s": 30});
    assert_eq!((status, body), (201, expected));
}

#[test]
fn a_wish_may_say_nothing_but_topics() {
    let (wish, address) = self::wish(r#"{"topics":["a"],"conflate_ms":null}"#).unwrap();
    assert_eq!((wish.route, wish.start.conflate_ms), (tag(0), None));
    assert_eq!(wish.user, UserKey::from_address(HERE));
    let id = SessionId::random(ShardId(0));
    let (_, body) = read(&Reply::Created { id, expires_in_ms: 1 }.answer(Some(&address)));
    assert_eq!(body["ws_url"], format!("ws://localhost:8080/ws/topics?session={id}"));
}

#[test]
fn what_is_no_wish_is_told_why() {
    use Refused::{BadRequest, BadTopic, TooManyTopics, UnknownRoute};
    let many = json!({"topics": vec!["a"; 10_000]}).to_string();
    let deep = format!("{{\"topics\":{}", "[".repeat(50_000));
    let long = format!("{{\"topics\":[{}]}}", "\"a\"".repeat(20_000));
    let loud = json!({"topics": "x".repeat(10_000)}).to_string();
    for (body, reason, says) in [
        ("", BadRequest, "JSON object"),
        ("[[\"a\"],null,null,null]", BadRequest, "JSON object"),
        ("{", BadRequest, "EOF"),
        (r#"{"topics":["a"]} x"#, BadRequest, "trailing"),
        ("{}", BadRequest, "missing field `topics`"),
        (r#"{"topics":[]}"#, BadRequest, "at least one"),
        (r#"{"topics":null}"#, BadRequest, "null"),
        (r#"{"topics":[1]}"#, BadRequest, "expected a string"),
        (r#"{"topics":["a"],"userid":"x"}"#, BadRequest, "unknown field `userid`"),
        (r#"{"topics":["a"],"topics":["b"]}"#, BadRequest, "duplicate field"),
        (r#"{"topics":["a"],"conflate_ms":-1}"#, BadRequest, "-1"),
        (r#"{"topics":["a"],"conflate_ms":0.5}"#, BadRequest, "0.5"),
        (r#"{"topics":["a"],"conflate_ms":"1"}"#, BadRequest, "string"),
        (r#"{"topics":["a"],"conflate_ms":60001}"#, BadRequest, "0 to 60000"),
        (r#"{"topics":["a"],"user_id":""}"#, BadRequest, "user_id must be"),
        (r#"{"topics":["a"],"user_id":"a&b=c"}"#, BadRequest, "user_id must be"),
        (r#"{"topics":["a"],"user_id":7}"#, BadRequest, "expected a string"),
        (r#"{"topics":["a"],"route":"/ws/asr"}"#, UnknownRoute, "/ws/topics, /ws/news"),
        (r#"{"topics":["a",""]}"#, BadTopic, "1 to 256 bytes"),
        (r#"{"topics":["a\n"]}"#, BadTopic, "control"),
        (r#"{"topics":["asr_result_x"]}"#, BadTopic, "reserved"),
        (r#"{"topics":["a","b","c","d"]}"#, TooManyTopics, "At most 3 topics"),
        (&many, TooManyTopics, "10000"),
        (&deep, BadRequest, ""),
        (&long, BadRequest, ""),
        (&loud, BadRequest, "xxx"),
    ] {
        let refusal = wish(body).unwrap_err();
        assert_eq!(refusal.reason, reason, "{body:.80}: {refusal:?}");
        assert!(refusal.message.contains(says), "{body:.80}: {refusal:?}");
        assert!(refusal.message.len() < 300, "{} bytes", refusal.message.len());
        let (status, answer) = read(&refusal.answer());
        assert_eq!((status, answer["code"].as_str()), (400, Some(reason.label())));
    }
    assert!(wish(&"{\"topics\":[\"\u{e4}\"]}".replace('\u{e4}', "\\u0000")).is_err());
}

#[test]
fn a_host_that_would_break_an_address_is_refused() {
    let routes = routes();
    let api = Api::new(&routes, 2).unwrap();
    let body = br#"{"topics":["a"]}"#;
    for host in ["Host: [::1]:80\r\n", "Host: a-b.example_c\r\n"] {
        assert!(with_head(host, |head| api.wish(head, body, HERE)).is_ok(), "{host}");
    }
    for host in [
        "",
        "Host: \r\n",
        "Host: a/b\r\n",
        "Host: a b\r\n",
        "Host: a@b\r\n",
        "Host: a\"\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: \u{e4}\r\n",
    ] {
        let refusal = with_head(host, |head| api.wish(head, body, HERE)).unwrap_err();
        assert_eq!(refusal.reason, Refused::BadRequest, "{host}");
    }
}

#[test]
fn paths_name_what_they_name() {
    for (path, expected) in [
        ("/v1/sessions", Some(Endpoint::All)),
        ("/v1/sessions/", Some(Endpoint::One(""))),
        ("/v1/sessions/a/b", Some(Endpoint::One("a/b"))),
        ("/v1/sessionsx", None),
        ("/v1", None),
        ("/ws/topics", None),
    ] {
        assert_eq!(Endpoint::of(path), expected, "{path}");
    }
}

#[test]
fn an_upgrade_names_its_session_in_the_query() {
    let routes = routes();
    let api = Api::new(&routes, 2).unwrap();
    let id = SessionId::random(ShardId(1));
    let user = UserId::parse("a:b").ok();
    let question = Question::Take { id, user, route: tag(1) };
    let query = format!("x&session={id}&user_id=a%3Ab");
    assert_eq!(api.taken(Some(&query), "/ws/news"), Some(Ok(question)));
    assert_eq!(api.taken(Some("x=1"), "/ws/news"), None);
    assert_eq!(api.taken(None, "/ws/news"), None);
    assert_eq!(api.taken(Some(&query), "/ws/asr"), None, "sessions of tasks have that key too");
    let far = format!("session={}", SessionId::random(ShardId(2)));
    for bad in ["session=", "session=x", far.as_str()] {
        assert_eq!(api.taken(Some(bad), "/ws/news"), Some(Err(Refusal::not_found())), "{bad}");
    }
}

#[test]
fn an_answer_says_how_it_stands() {
    let id = SessionId::random(ShardId(0));
    let start = Arc::new(Start { topics: vec![Topic::parse("a\"b").unwrap()], conflate_ms: None });
    let found = |expires_in_ms| {
        let start = start.clone();
        read(&Reply::Found { id, start, conflate_ms: 7, expires_in_ms }.answer(None)).1
    };
    let mut expected = json!({
        "session_id": id.to_string(), "topics": ["a\"b"], "conflate_ms": 7, "state": "connected",
    });
    assert_eq!(found(None), expected);
    expected["state"] = "waiting".into();
    expected["expires_in_s"] = 0.into();
    assert_eq!(found(Some(0)), expected);
    assert_eq!(Reply::Deleted.answer(None).status(), 204);
    let (status, body) = read(&Reply::Refused(Refusal::quota(16)).answer(None));
    assert_eq!((status, body["code"].as_str()), (429, Some("session_quota")));
    assert!(body["error"].as_str().unwrap().contains("16"));
}

proptest! {
    #[test]
    fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a-z0-9]{0,60}") {
        let routes = routes();
        let api = Api::new(&routes, 2).unwrap();
        with_head("Host: a\r\n", |head| {
            let _ = api.wish(head, &bytes, HERE);
            let _ = api.wish(head, format!("{{\"topics\":{text}").as_bytes(), HERE);
        });
        let _ = api.question(&text, Some(&text), true);
    }
}
