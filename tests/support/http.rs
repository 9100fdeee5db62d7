//! Plain requests to the public port, and their answers.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use serde_json::Value;

use super::client::PATIENCE;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    /// `Null` where there is none.
    pub body: Value,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }

    /// The text of a key of the body.
    pub fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_else(|| panic!("{key}: {self:?}"))
    }

    /// It is an error of this status and code, with a text for people.
    pub fn assert_error(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.text("code")), (status, code), "{self:?}");
        assert!(!self.text("error").is_empty(), "{self:?}");
        assert_eq!(self.field("retry-after").is_some(), status == 503, "{self:?}");
    }
}

/// Sends a request over a connection that has said nothing yet. `fields`: further lines of its
/// head, each with its CRLF.
pub fn request(
    mut stream: TcpStream,
    method: &str,
    target: &str,
    fields: &str,
    body: &str,
) -> Answer {
    let length = match method {
        "POST" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: test:80\r\n{length}{fields}\r\n");
    // It may have answered before all is written.
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    answer(stream)
}

/// Reads the answer, to the end of the connection.
pub fn answer(mut stream: TcpStream) -> Answer {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer that no reset takes along");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
    };
    Answer { status: status.expect("a status"), head: head.to_owned(), body }
}
