//! ▢ What an answer means: the front of the FIFO says what was asked.

use std::sync::Arc;

use redis::{PushKind, Value};

use super::{Link, LinkError, State};
use crate::broker::{
    Event, Queue,
    redis::{
        scripts::{Tidied, read_backlog, read_tidied},
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
            Value::ServerError(error) => self.on_error(error, now_ms, events),
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
                if self.canary.channel(&channel).is_some() {
                    self.on_canary(&payload);
                    return Ok(());
                }
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
                if let Some((Sent::CanarySubscribe(asked), _)) = self.work.oldest()
                    && asked.as_bytes() == channel
                {
                    self.work.answered();
                    self.canary.on_subscribed();
                    return Ok(());
                }
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
            (Some(Sent::Request(Request::Observe { .. })), value) => read_backlog(value).is_some(),
            (Some(Sent::Type(_)), Value::SimpleString(_)) | (Some(Sent::Group(_)), Value::Okay) => {
                true
            }
            (Some(Sent::Tidy(_)), value) => read_tidied(value).is_some(),
            (Some(Sent::CanaryPublish), value) => matches!(value, Value::Int(_)),
            (Some(Sent::Request(Request::Fetch { .. })), Value::Array(values)) => {
                values.iter().all(|value| matches!(value, Value::BulkString(_)))
            }
            _ => false,
        };
        if !fits {
            return Err(unexpected("an answer that does not fit what was asked"));
        }
        match (self.work.answered(), value) {
            (Some(Sent::Hello), hello) => return Self::check_role(&hello),
            (Some(Sent::Type(queue)), Value::SimpleString(found)) => {
                return Self::check_type(&queue, &found);
            }
            (Some(Sent::Tidy(key)), value) => {
                if let Some(tidied) = read_tidied(&value) {
                    self.on_tidied(&key, &tidied, now_ms);
                }
            }
            (Some(Sent::CanaryPublish), _) => self.canary.on_published(now_ms),
            (Some(Sent::Ping), _) if self.state == State::Greeting => self.come_up(now_ms, events),
            (Some(Sent::Request(Request::Push { ticket, .. })), _) => {
                events.push(Event::Pushed(ticket));
            }
            (Some(Sent::Request(Request::Observe { ticket, .. })), value) => {
                let backlog = read_backlog(&value);
                events.extend(backlog.map(|backlog| Event::Observed(ticket, backlog)));
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

    fn on_tidied(&mut self, key: &str, tidied: &Tidied, now_ms: u64) {
        self.upkeep.answered(tidied.more);
        let streams = &self.metrics.broker.streams;
        streams.requeued.add(tidied.requeued);
        streams.malformed.add(tidied.malformed);
        streams.abandoned.add(tidied.abandoned);
        streams.trimmed.add(tidied.trimmed);
        if tidied.requeued > 0 {
            self.complaints.tell("requeued", now_ms, || {
                format!(
                    "{} tasks of the stream {key:?} were queued again: the workers that took \
                     them did not acknowledge them in time",
                    tidied.requeued
                )
            });
        }
        let (malformed, abandoned) = (tidied.malformed, tidied.abandoned);
        if malformed + abandoned > 0 {
            self.complaints.tell("dropped", now_ms, || {
                format!(
                    "entries of the stream {key:?} were acknowledged without an answer: \
                     {malformed} are no task, {abandoned} have cost too many workers; the last \
                     was {}",
                    tidied.dropped_id
                )
            });
        }
    }
}

fn unexpected(what: &str) -> LinkError {
    LinkError::Protocol(what.to_string())
}
