//! `POST /v1/topics/NAME`.

use crossbeam_channel::unbounded;

use super::*;
use crate::broker::{Command, Event, embedded::Port as BrokerPort};
use crate::limits::ADMIN_BODY_BYTES;

impl Port {
    fn publish(&self, path: &str, body: &[u8]) -> Answer {
        let headers = format!("Content-Length: {}\r\n", body.len());
        self.ask_as("localhost", "POST", path, &headers, body)
    }

    /// Somebody who is subscribed to these channels.
    fn subscriber(&self, channels: &[&str]) -> Subscriber {
        let (wake, woken) = unbounded();
        let wake = Arc::new(move || {
            let _ = wake.try_send(());
        });
        let port = self.broker.attach(wake, 1 << 20, Arc::default());
        let mut subscriber = Subscriber { port, woken };
        for channel in channels {
            subscriber.port.submit(Command::Subscribe { channel: (*channel).into() });
            while subscriber.next() != Event::Subscribed((*channel).into()) {}
        }
        subscriber
    }
}

struct Subscriber {
    port: BrokerPort,
    woken: crossbeam_channel::Receiver<()>,
}

impl Subscriber {
    fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.port.try_next() {
                return event;
            }
            self.woken.recv_timeout(Duration::from_secs(20)).expect("an event");
        }
    }
}

#[test]
fn what_is_posted_is_published_on_the_channel_of_the_topic() {
    let port = Port::start(Bounds::DEFAULT);
    let mut one = port.subscriber(&["AAPL", "prices:AAPL"]);
    let other = port.subscriber(&["AAPL"]);
    let payload = b"{\"price\": 1}\n\xff\0";
    for (path, topic, channel, subscribers) in [
        ("/v1/topics/AAPL", "AAPL", "AAPL", 2),
        ("/v1/topics/AAPL?route=/ws/prices", "AAPL", "prices:AAPL", 1),
        ("/v1/topics/AAPL?x=1&route=%2Fws%2Fprices", "AAPL", "prices:AAPL", 1),
        ("/v1/topics/%41APL", "AAPL", "AAPL", 2),
        ("/v1/topics/nobody", "nobody", "nobody", 0),
        ("/v1/topics/a%2Fb%20%C3%A4?route=/ws/prices", "a/b ä", "prices:a/b ä", 0),
        ("/v1/topics/a/b", "a/b", "a/b", 0),
    ] {
        let answer = port.publish(path, payload);
        let expected = json!({"topic": topic, "channel": channel, "subscribers": subscribers});
        assert_eq!((answer.status, answer.json()), (200, expected), "{path}");
        if subscribers > 0 {
            assert_eq!(
                one.next(),
                Event::Message { channel: channel.into(), payload: payload.to_vec() }
            );
        }
    }
    drop(other);
    port.admin.stop();
}

#[test]
fn a_topic_that_is_none_is_refused() {
    let port = Port::start(Bounds::DEFAULT);
    let long = format!("/v1/topics/{}", "x".repeat(300));
    for (path, status, code) in [
        ("/v1/topics/", 400, "bad_topic"),
        ("/v1/topics/a%0Ab", 400, "bad_topic"),
        ("/v1/topics/%FF", 400, "bad_topic"),
        (long.as_str(), 400, "bad_topic"),
        ("/v1/topics/asr_result_s1", 400, "bad_topic"),
        ("/v1/topics/ringgate:results:0:0", 400, "bad_topic"),
        ("/v1/topics/a?route=/ws/asr", 404, "not_found"),
    ] {
        let answer = port.publish(path, b"1");
        assert_eq!((answer.status, &answer.json()["code"]), (status, &json!(code)), "{path}");
    }
    assert_eq!(port.ask("GET", "/v1/topics/a", "").status, 405);
    port.admin.stop();
    let none = Port::start_with(Bounds::DEFAULT, |state| state.publishing.routes.clear());
    let answer = none.publish("/v1/topics/a", b"1");
    assert_eq!((answer.status, &answer.json()["code"]), (404, &json!("not_found")));
    none.admin.stop();
}

#[test]
fn a_body_past_the_limit_is_refused_with_it() {
    let port = Port::start(Bounds { request_bytes: 1_000, ..Bounds::DEFAULT });
    let longest = vec![b'x'; 100_000];
    assert_eq!(port.publish("/v1/topics/a", &longest).status, 200);
    let refused = |answer: Answer| {
        let json = answer.json();
        assert_eq!((answer.status, &json["code"]), (413, &json!("too_large")));
        assert!(json["error"].as_str().unwrap().contains("limits.message_bytes = "), "{json}");
    };
    refused(port.publish("/v1/topics/a", &[b'x'; 100_001]));
    // Without an announced length.
    let chunked = |length: usize| {
        let mut body = format!("{length:x}\r\n").into_bytes();
        body.extend(vec![b'x'; length]);
        body.extend(b"\r\n0\r\n\r\n");
        let headers = "Transfer-Encoding: chunked\r\n";
        port.ask_as("localhost", "POST", "/v1/topics/a", headers, &body)
    };
    assert_eq!(chunked(100_000).status, 200);
    refused(chunked(100_001));
    // A reload has lowered it.
    port.message_bytes.store(10, Relaxed);
    refused(port.publish("/v1/topics/a", &[b'x'; 11]));
    assert_eq!(port.publish("/v1/topics/a", &[b'x'; 10]).status, 200);
    port.admin.stop();
}

/// A body is granted to the one request that publishes it, not to its connection.
#[test]
fn the_next_request_of_a_connection_has_the_usual_bound() {
    let port = Port::start(Bounds { request_bytes: 1_000, ..Bounds::DEFAULT });
    let mut stream = port.connect();
    let body = "x".repeat(50_000);
    let head = "POST /v1/topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n";
    stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
    let mut answer = [0; 512];
    let read = stream.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..read]);
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(1_000));
    let _ = stream.write_all(long.as_bytes());
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(String::from_utf8_lossy(&rest), "");
    assert_eq!(port.sample("ringgate_admin_cut_total{reason=\"too_large\"}"), 1.0);
    port.admin.stop();
}

/// Bodies that do not come take all the room: others are refused until the deadline of those
/// has passed, not for ever.
#[test]
fn bodies_that_do_not_come_give_their_room_back() {
    let deadline = Duration::from_secs(1);
    let port = Port::start(Bounds { deadline, ..Bounds::DEFAULT });
    port.message_bytes.store(ADMIN_BODY_BYTES / 2, Relaxed);
    let announced = |bytes: usize| {
        let mut stream = port.connect();
        let head = "POST /v1/topics/a HTTP/1.1\r\nHost: localhost";
        write!(stream, "{head}\r\nContent-Length: {bytes}\r\n\r\n1").unwrap();
        stream
    };
    let stuck = [announced(ADMIN_BODY_BYTES / 2), announced(ADMIN_BODY_BYTES / 2)];
    wait_until("there is no room", || {
        let answer = port.publish("/v1/topics/a", b"1");
        answer.status == 503 && answer.json()["code"] == "busy"
    });
    wait_until("there is room", || port.publish("/v1/topics/a", b"1").status == 200);
    assert_eq!(port.sample("ringgate_admin_cut_total{reason=\"deadline\"}"), stuck.len() as f64);
    port.admin.stop();
}

#[test]
fn where_redis_carries_the_topics_the_command_is_told() {
    let port = Port::start_with(Bounds::DEFAULT, |state| state.publishing.port = None);
    for (path, command) in [
        ("/v1/topics/AAPL?route=/ws/prices", "PUBLISH prices:AAPL"),
        ("/v1/topics/a%20%22b%5C", r#"PUBLISH "a \"b\\""#),
    ] {
        let answer = port.publish(path, b"1");
        assert_eq!((answer.status, &answer.json()["code"]), (409, &json!("use_redis")));
        assert_eq!(answer.json()["command"], command);
    }
    port.admin.stop();
}

#[test]
fn another_sites_page_cannot_publish() {
    let port = Port::start(Bounds::DEFAULT);
    for (host, origin) in
        [("localhost", "https://evil.example"), ("evil.example", "http://evil.example")]
    {
        let headers = format!("Origin: {origin}\r\nContent-Length: 1\r\n");
        let answer = port.ask_as(host, "POST", "/v1/topics/a", &headers, b"1");
        assert_eq!(answer.status, 403, "{host} {origin}");
    }
    port.admin.stop();
}

#[test]
fn a_broker_that_has_stopped_is_told() {
    let port = Port::start(Bounds::DEFAULT);
    port.broker.stop();
    let answer = port.publish("/v1/topics/a", b"1");
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("broker_unavailable")));
    port.admin.stop();
}
