//! ▢ What a client is told when it does not get what it asked for.

/// The `code` of an error message (contract, topics route), and a metric label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ErrorCode {
    /// Not a JSON object of the right form in a text frame.
    BadMessage,
    /// Neither a known `op` nor a known `type`.
    UnknownOp,
    /// A name that cannot be a topic of the route. The whole request is refused.
    BadTopic,
    /// More topics than the route allows. The whole request is refused.
    TooManyTopics,
    /// The broker did not confirm in time.
    BrokerUnavailable,
    /// The broker refuses the topic.
    Refused,
    /// No room at the moment.
    Busy,
}

impl ErrorCode {
    /// Every code, in the order of the discriminants.
    pub const ALL: [Self; 7] = [
        Self::BadMessage,
        Self::UnknownOp,
        Self::BadTopic,
        Self::TooManyTopics,
        Self::BrokerUnavailable,
        Self::Refused,
        Self::Busy,
    ];

    /// As it stands in the message.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadMessage => "bad_message",
            Self::UnknownOp => "unknown_op",
            Self::BadTopic => "bad_topic",
            Self::TooManyTopics => "too_many_topics",
            Self::BrokerUnavailable => "broker_unavailable",
            Self::Refused => "refused",
            Self::Busy => "busy",
        }
    }
}

/// An error message to a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// Which topic it is about, where it is about one.
    pub topic: Option<String>,
}

impl Problem {
    /// One that is about no topic.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), topic: None }
    }

    /// One about `topic`.
    pub fn about(topic: &str, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { topic: Some(topic.to_owned()), ..Self::new(code, message) }
    }
}
