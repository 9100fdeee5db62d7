//! ▢ Refusals before the upgrade, as HTTP responses with a JSON body.
//!
//! Each is counted by its [`Refused`] reason, whose label is also the `code` of the body.

use std::borrow::Cow;
use std::fmt::Write;

use super::response::write_json;
use crate::limits::{HEAD_BYTES_MAX, HEAD_FIELDS_MAX, RETRY_AFTER_S};
use crate::metrics::Refused;

/// Why a request gets no WebSocket, and what it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What it is counted as, and the `code` of the answer.
    pub reason: Refused,
    /// HTTP status.
    pub status: u16,
    /// The `error` of the answer, for people.
    pub message: Cow<'static, str>,
    /// Seconds after which it makes sense to try again.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    /// 400: not a request that could become a WebSocket.
    pub fn bad_handshake(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Refused::BadHandshake, 400, message)
    }

    /// 403: the origin is not allowed.
    pub fn origin() -> Self {
        Self::new(Refused::Origin, 403, "Origin not allowed")
    }

    /// 404: no such route.
    pub fn not_found() -> Self {
        Self::new(Refused::NotFound, 404, "No such route")
    }

    /// 405: anything but GET.
    pub fn method() -> Self {
        Self::new(Refused::Method, 405, "Method not allowed, use GET")
    }

    /// 408: the request head was not complete in time.
    pub fn slow() -> Self {
        Self::new(Refused::Slow, 408, "Request not received in time")
    }

    /// 426: a plain request to a WebSocket route.
    pub fn upgrade_required() -> Self {
        Self::new(Refused::Version, 426, "This is a WebSocket route, an upgrade is required")
    }

    /// 426: a WebSocket version other than 13.
    pub fn version() -> Self {
        Self::new(Refused::Version, 426, "Unsupported WebSocket version, use 13")
    }

    /// 431: the request head has more than [`HEAD_BYTES_MAX`] bytes.
    pub fn head_too_long() -> Self {
        let message = format!("Request head is longer than {HEAD_BYTES_MAX} bytes");
        Self::new(Refused::HeaderTooLarge, 431, message)
    }

    /// 431: the request has more than [`HEAD_FIELDS_MAX`] header fields.
    pub fn too_many_fields() -> Self {
        let message = format!("Request has more than {HEAD_FIELDS_MAX} header fields");
        Self::new(Refused::HeaderTooLarge, 431, message)
    }

    /// 503: as many connections as the configuration allows. The text is the one that
    /// clients of the speech gateway know.
    pub fn connection_limit() -> Self {
        let message = "Connection limit reached, please try again later";
        Self::unavailable(Refused::ConnectionLimit, message)
    }

    /// 503: connections come faster than the configuration allows.
    pub fn accept_rate() -> Self {
        let message = "Too many new connections, please try again later";
        Self::unavailable(Refused::AcceptRate, message)
    }

    /// 503: the broker is away.
    pub fn broker_unavailable() -> Self {
        let message = "Broker unavailable, please try again later";
        Self::unavailable(Refused::BrokerUnavailable, message)
    }

    /// 503: more tasks wait than the route allows, for about so many seconds. The text is
    /// the one that clients of the speech gateway know.
    pub fn queue_full(retry_after_s: u32) -> Self {
        let refusal = Self::unavailable(Refused::QueueFull, INSUFFICIENT_WORKERS);
        Self { retry_after_s: Some(retry_after_s), ..refusal }
    }

    /// 503: nobody is there to work. The text is the same.
    pub fn no_workers() -> Self {
        Self::unavailable(Refused::NoWorkers, INSUFFICIENT_WORKERS)
    }

    /// 503: the gateway is draining.
    pub fn draining() -> Self {
        let message = "Gateway is restarting, please try again later";
        Self::unavailable(Refused::Draining, message)
    }

    fn unavailable(reason: Refused, message: &'static str) -> Self {
        Self { retry_after_s: Some(RETRY_AFTER_S), ..Self::new(reason, 503, message) }
    }

    fn new(reason: Refused, status: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, status, message: message.into(), retry_after_s: None }
    }

    /// Appends the whole response. The socket is to be closed after it.
    pub fn write_response(&self, out: &mut Vec<u8>) {
        let mut extra = String::new();
        match self.status {
            405 => extra.push_str("Allow: GET\r\n"),
            // RFC 6455 section 4.4 wants the version, RFC 9110 section 15.5.22 the protocol.
            426 => extra.push_str("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            _ => {}
        }
        if let Some(seconds) = self.retry_after_s {
            // Writing to a String cannot fail.
            let _ = write!(extra, "Retry-After: {seconds}\r\n");
        }
        let status = format!("{} {}", self.status, phrase(self.status));
        let message = serde_json::Value::from(self.message.as_ref());
        let code = self.reason.label();
        write_json(out, &status, &extra, &format!(r#"{{"error":{message},"code":"{code}"}}"#));
    }
}

const INSUFFICIENT_WORKERS: &str = "System busy (Insufficient workers), please try again later";

/// The reason phrase of the statuses above (RFC 9110, RFC 6585).
const fn phrase(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_json_ok;
    use super::*;

    fn every_refusal() -> Vec<Refusal> {
        vec![
            Refusal::bad_handshake("a \"quoted\"\r\nmessage"),
            Refusal::origin(),
            Refusal::not_found(),
            Refusal::method(),
            Refusal::slow(),
            Refusal::upgrade_required(),
            Refusal::version(),
            Refusal::head_too_long(),
            Refusal::too_many_fields(),
            Refusal::connection_limit(),
            Refusal::accept_rate(),
            Refusal::broker_unavailable(),
            Refusal::draining(),
            Refusal::queue_full(7),
            Refusal::no_workers(),
        ]
    }

    /// Status, header lookup, body; checks what every response has.
    fn parse(bytes: &[u8]) -> (u16, impl Fn(&str) -> Option<String>, serde_json::Value) {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut fields);
        let head_bytes = response.parse(bytes).unwrap().unwrap();
        let status = response.code.unwrap();
        assert!(!response.reason.unwrap().is_empty(), "{status} has a phrase");
        let fields: Vec<_> = response
            .headers
            .iter()
            .map(|field| (field.name, String::from_utf8(field.value.to_vec()).unwrap()))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let field = move |name: &str| {
            fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
        };
        let body = &bytes[head_bytes..];
        assert_eq!(field("content-length").unwrap(), body.len().to_string());
        assert_eq!(field("content-type").unwrap(), "application/json");
        assert!(field("connection").unwrap().starts_with("close"));
        (status, field, serde_json::from_slice(body).unwrap())
    }

    #[test]
    fn every_refusal_is_a_whole_response() {
        for refusal in every_refusal() {
            let mut out = Vec::new();
            refusal.write_response(&mut out);
            let (status, field, body) = parse(&out);
            assert_eq!(status, refusal.status);
            assert_eq!(body["error"], *refusal.message);
            assert_eq!(body["code"], refusal.reason.label());
            assert_eq!(field("retry-after").is_some(), status == 503);
            assert_eq!(field("allow").as_deref(), (status == 405).then_some("GET"));
            let upgrade = status == 426;
            assert_eq!(field("upgrade").as_deref(), upgrade.then_some("websocket"));
            assert_eq!(field("sec-websocket-version").as_deref(), upgrade.then_some("13"));
            let listed = field("connection").unwrap().contains("Upgrade");
            assert_eq!(listed, upgrade, "Upgrade is named in Connection");
        }
    }

    #[test]
    fn every_reason_that_has_an_answer_has_a_refusal() {
        let refusals = every_refusal();
        for reason in Refused::ALL {
            let answered = refusals.iter().any(|refusal| refusal.reason == reason);
            assert_eq!(answered, reason != Refused::HandshakeLimit, "{reason:?}");
        }
    }

    #[test]
    fn the_connection_limit_says_what_old_clients_know() {
        let message = Refusal::connection_limit().message;
        assert_eq!(message, "Connection limit reached, please try again later");
    }

    #[test]
    fn a_full_queue_and_absent_workers_say_what_old_clients_know() {
        let text = "System busy (Insufficient workers), please try again later";
        assert_eq!(Refusal::queue_full(7).message, text);
        assert_eq!(Refusal::no_workers().message, text);
        let mut out = Vec::new();
        Refusal::queue_full(7).write_response(&mut out);
        let (status, field, body) = parse(&out);
        assert_eq!((status, body["code"].as_str()), (503, Some("queue_full")));
        assert_eq!(field("retry-after").as_deref(), Some("7"));
    }

    #[test]
    fn a_health_check_is_answered_with_200() {
        let mut out = Vec::new();
        write_json_ok(&mut out, r#"{"status":"ok"}"#);
        let (status, _, body) = parse(&out);
        assert_eq!((status, body["status"].as_str()), (200, Some("ok")));
    }
}
