//! ▢ Why a request about a session gets nothing, and what it is told.

use std::borrow::Cow;

use crate::{
    http::{Answer, BodyError},
    limits::RETRY_AFTER_S,
};

/// The reasons (`ringgate_topic_sessions_refused_total{reason}`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Refused {
    /// 400: not the JSON that is asked for, or a head that makes no sense.
    BadRequest,
    /// 400: a text that names no topic.
    BadTopic,
    /// 400: more topics than a connection may have.
    TooManyTopics,
    /// 400: no topics route has that path.
    UnknownRoute,
    /// 404: there is no such session, or it is another user's.
    NotFound,
    /// 405.
    Method,
    /// 409: the session has its WebSocket.
    Used,
    /// 411.
    LengthRequired,
    /// 413.
    TooLarge,
    /// 417.
    Expectation,
    /// 429: as many sessions of one user as may wait.
    Quota,
    /// 501.
    NotImplemented,
    /// 503: as many sessions as may wait.
    Limit,
    /// 503: there is no memory for more.
    Memory,
    /// 503: the shard where the session lives could not be asked, or does not answer.
    Busy,
}

impl Refused {
    /// Every reason, in the order of their discriminants.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::BadTopic,
        Self::TooManyTopics,
        Self::UnknownRoute,
        Self::NotFound,
        Self::Method,
        Self::Used,
        Self::LengthRequired,
        Self::TooLarge,
        Self::Expectation,
        Self::Quota,
        Self::NotImplemented,
        Self::Limit,
        Self::Memory,
        Self::Busy,
    ];

    /// The metric label, and the `code` of the JSON answer.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadTopic => "bad_topic",
            Self::TooManyTopics => "too_many_topics",
            Self::UnknownRoute => "unknown_route",
            Self::NotFound => "session_not_found",
            Self::Method => "method_not_allowed",
            Self::Used => "session_used",
            Self::LengthRequired => "length_required",
            Self::TooLarge => "too_large",
            Self::Expectation => "expectation_failed",
            Self::Quota => "session_quota",
            Self::NotImplemented => "not_implemented",
            Self::Limit => "session_limit",
            Self::Memory => "memory",
            Self::Busy => "busy",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest | Self::BadTopic | Self::TooManyTopics | Self::UnknownRoute => 400,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::Used => 409,
            Self::LengthRequired => 411,
            Self::TooLarge => 413,
            Self::Expectation => 417,
            Self::Quota => 429,
            Self::NotImplemented => 501,
            Self::Limit | Self::Memory | Self::Busy => 503,
        }
    }
}

/// A reason, with what it is told to people as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// What it is counted as.
    pub reason: Refused,
    /// The `error` of the answer.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Any reason.
    pub fn new(reason: Refused, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into() }
    }

    /// 400.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Refused::BadRequest, message)
    }

    /// 404. The same for what never was, what has ended, and what is another user's.
    pub fn not_found() -> Self {
        Self::new(Refused::NotFound, "No such session, or it has expired")
    }

    /// 409.
    pub fn used() -> Self {
        Self::new(Refused::Used, "This session has its WebSocket already, create another one")
    }

    /// 429: so many of one user may wait.
    pub fn quota(limit: usize) -> Self {
        let message = format!("At most {limit} unused sessions a user, use or delete one first");
        Self::new(Refused::Quota, message)
    }

    /// 503: as many as may wait.
    pub fn limit() -> Self {
        Self::new(Refused::Limit, "Too many unused sessions, please try again later")
    }

    /// 503: no memory.
    pub fn memory() -> Self {
        Self::new(Refused::Memory, "No memory for another session, please try again later")
    }

    /// 503: its home does not answer.
    pub fn busy() -> Self {
        Self::new(Refused::Busy, "System busy, please try again later")
    }

    /// What it is told.
    pub fn answer(&self) -> Answer {
        let (status, code) = (self.reason.status(), self.reason.label());
        let answer = Answer::error(status, code, &self.message);
        if status == 503 { answer.retry_after(RETRY_AFTER_S) } else { answer }
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let reason = match error {
            BodyError::Length => Refused::BadRequest,
            BodyError::Chunked => Refused::LengthRequired,
            BodyError::TooLarge { .. } => Refused::TooLarge,
            BodyError::Expectation => Refused::Expectation,
            BodyError::Coding => Refused::NotImplemented,
        };
        Self::new(reason, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_their_order_with_labels_of_their_own() {
        for (index, reason) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            let same = Refused::ALL.into_iter().filter(|other| other.label() == reason.label());
            assert_eq!(same.count(), 1, "{reason:?}");
        }
    }

    #[test]
    fn bodies_that_are_not_read_keep_their_status() {
        for error in [
            BodyError::Length,
            BodyError::Chunked,
            BodyError::TooLarge { limit_bytes: 9 },
            BodyError::Expectation,
            BodyError::Coding,
        ] {
            let refusal = Refusal::from(error);
            assert_eq!(refusal.reason.status(), error.status(), "{error:?}");
            assert_eq!(refusal.answer().status(), error.status());
        }
    }
}
