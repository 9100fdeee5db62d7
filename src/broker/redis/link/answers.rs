//! ▢ What an answer means: the front of the FIFO says what was asked.

use std::sync::Arc;

use redis::{PushKind, ServerError, Value};

use super::{Link, LinkError, State};
use crate::broker::{
    Backlog, Error, Event, Queue,
    redis::{
        frames::FrameError,
        work::{Request, Sent},
    },
};

impl Link {
    pub(super) fn on_value(
        &mut self,
        value: Value,
        now_ms: u64,
        events: &mut Vec<Event>,
    ) -> Result<(), LinkError> {
        match value {
            Value::Attribute { data, .. } => self.on_value(*data, now_ms, events),
            Value::Push { kind, data } => self.on_push(&kind, data, events),
            Value::ServerError(error) => self.on_error(error, events),
            value => self.on_reply(value, now_ms, events),
        }
    }

    fn on_push(
        &mut self,
        kind: &PushKind,
        data: Vec<Value>,
        events: &mut Vec<Event>,
    ) -> Result<(), LinkError> {
        let mut data = data.into_iter();
        match (kind, data.next(), data.next()) {
            (
                PushKind::Message,
                Some(Value::BulkString(channel)),
                Some(Value::BulkString(payload)),
            ) => {
                // A channel that was given up a moment ago has no entry, and the contract
                // leaves it to the shard to count its last messages.
                let channel = String::from_utf8(channel)
                    .map_err(|_| unexpected("a message of a channel whose name is not UTF-8"))?;
                let channel = match self.subscriptions.name(&channel) {
                    Some(name) => name,
                    None => Arc::from(channel),
                };
                events.push(Event::Message { channel, payload });
                Ok(())
            }
            (PushKind::Subscribe, Some(Value::BulkString(channel)), _) => {
                let asked = self.work.confirmed(&channel);
                let asked = asked.ok_or_else(|| unexpected("a subscription not asked for"))?;
                if self.subscriptions.confirm(&asked) {
                    events.push(Event::Subscribed(asked.channel));
                }
                Ok(())
            }
            (PushKind::Unsubscribe, Some(Value::BulkString(channel)), _) => {
                match self.work.oldest() {
                    Some((Sent::Unsubscribe(asked), _)) if asked.as_bytes() == channel => {
                        self.work.answered();
                        Ok(())
                    }
                    _ => Err(unexpected("an unsubscription not asked for")),
                }
            }
            // Kinds that nobody asked for, such as `invalidate`, carry no answer.
            (PushKind::Message | PushKind::Subscribe | PushKind::Unsubscribe, ..) => {
                Err(unexpected("a push of another form"))
            }
            _ => Ok(()),
        }
    }

    fn on_reply(
        &mut self,
        value: Value,
        now_ms: u64,
        events: &mut Vec<Event>,
    ) -> Result<(), LinkError> {
        // What does not fit stays unanswered, and the next connection asks again.
        let fits = match (self.work.oldest().map(|(sent, _)| sent), &value) {
            (Some(Sent::Hello), Value::Map(_)) | (Some(Sent::Select), Value::Okay) => true,
            (Some(Sent::Ping), Value::SimpleString(pong)) => pong == "PONG",
            (Some(Sent::Request(Request::Push { queue, .. })), value) => match queue {
                Queue::List { .. } => matches!(value, Value::Int(_)),
                Queue::Stream { .. } => matches!(value, Value::BulkString(_)),
            },
            (Some(Sent::Request(Request::Observe { .. })), value) => backlog(value).is_some(),
            (Some(Sent::Request(Request::Fetch { .. })), Value::Array(values)) => {
                values.iter().all(|value| matches!(value, Value::BulkString(_)))
            }
            _ => false,
        };
        if !fits {
            return Err(unexpected("an answer that does not fit what was asked"));
        }
        match (self.work.answered(), value) {
            (Some(Sent::Ping), _) if self.state == State::Greeting => self.come_up(now_ms, events),
            (Some(Sent::Request(Request::Push { ticket, .. })), _) => {
                events.push(Event::Pushed(ticket));
            }
            (Some(Sent::Request(Request::Observe { ticket, .. })), value) => {
                events.extend(backlog(&value).map(|backlog| Event::Observed(ticket, backlog)));
            }
            (Some(Sent::Request(Request::Fetch { ticket, .. })), Value::Array(values)) => {
                let bytes = |value| match value {
                    Value::BulkString(bytes) => Some(bytes),
                    _ => None,
                };
                events.push(Event::Fetched(ticket, values.into_iter().filter_map(bytes).collect()));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_error(&mut self, error: ServerError, events: &mut Vec<Event>) -> Result<(), LinkError> {
        let text = match error.details() {
            Some(details) => format!("{} {details}", error.code()),
            None => error.code().to_string(),
        };
        // Neither refuses the command as such: the same one will be taken in a while.
        if matches!(error.code(), "LOADING" | "MASTERDOWN") {
            return Err(LinkError::NotReady(text));
        }
        match self.work.answered() {
            Some(Sent::Hello) => Err(refused_hello(&text, error.code())),
            Some(Sent::Select) => Err(LinkError::Refused(format!(
                "database {} of the redis option was refused: {text}",
                self.target.db
            ))),
            Some(Sent::Ping) => Err(LinkError::Refused(format!("PING was refused: {text}"))),
            Some(Sent::Request(request)) => {
                self.metrics.broker.failed.inc();
                events.push(request.failed(Error::Refused(text)));
                Ok(())
            }
            Some(Sent::Subscribe { asked, .. }) if asked.len() > 1 => {
                self.work.ask_each_alone(asked);
                Ok(())
            }
            Some(Sent::Subscribe { asked, .. }) => {
                for asked in asked {
                    if !self.subscriptions.is_current(&asked) {
                        continue;
                    }
                    self.metrics.broker.failed.inc();
                    self.subscriptions.remove(&asked.channel);
                    events
                        .push(Event::SubscribeFailed(asked.channel, Error::Refused(text.clone())));
                }
                Ok(())
            }
            // A user who may not unsubscribe: a new connection has no subscriptions.
            Some(Sent::Unsubscribe(_)) => {
                Err(LinkError::Refused(format!("UNSUBSCRIBE was refused: {text}")))
            }
            None => Err(LinkError::Refused(text)),
        }
    }

    /// An answer too large to hold would be as large the next time: it ends its fetch.
    pub(super) fn on_frame_error(
        &mut self,
        error: FrameError,
        events: &mut Vec<Event>,
    ) -> LinkError {
        match error {
            FrameError::Malformed(text) => LinkError::Protocol(text),
            FrameError::TooLarge { what, limit } => {
                let text = format!("{what} is over its limit of {limit}");
                if let Some((Sent::Request(Request::Fetch { .. }), _)) = self.work.oldest()
                    && let Some(Sent::Request(fetch)) = self.work.answered()
                {
                    self.metrics.broker.failed.inc();
                    events.push(fetch.failed(Error::Refused(text.clone())));
                }
                LinkError::Protocol(text)
            }
        }
    }
}

/// The answer of LLEN, or of the script that looks at a group.
fn backlog(value: &Value) -> Option<Backlog> {
    let count = |value: &Value| match value {
        Value::Int(count) => u64::try_from(*count).ok(),
        _ => None,
    };
    match value {
        Value::Array(counts) => match counts.as_slice() {
            [depth] => Some(Backlog { depth: count(depth)?, workers: None }),
            [depth, workers] => {
                Some(Backlog { depth: count(depth)?, workers: Some(count(workers)?) })
            }
            _ => None,
        },
        length => Some(Backlog { depth: count(length)?, workers: None }),
    }
}

fn unexpected(what: &str) -> LinkError {
    LinkError::Protocol(what.to_string())
}

fn refused_hello(text: &str, code: &str) -> LinkError {
    LinkError::Refused(match code {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => {
            format!("Redis refused the user or the password of the redis option: {text}")
        }
        "NOPROTO" => format!("Redis does not speak RESP3; version 6 or newer is needed: {text}"),
        "ERR" if text.contains("unknown command") => {
            format!("Redis does not know HELLO; version 6 or newer is needed: {text}")
        }
        _ => format!("Redis refused the connection: {text}"),
    })
}
