//! ▢ The one catalogue of close codes; each is a label of `ringgate_closed_total`.

/// Why a WebSocket ended. The wire code, or what stood in for one.
///
/// RFC 6455 section 7.4; 4008 to 4010 are Ringgate's own (contract, HTTP section).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum CloseCode {
    /// 1000: the peer or the gateway was done.
    Normal,
    /// 1001: the peer is going away.
    GoingAway,
    /// 1002: a frame broke the protocol.
    Protocol,
    /// 1003: a kind of data that the route does not take.
    Unsupported,
    /// 1005: the peer's close frame had no code. Never sent.
    NoStatus,
    /// 1006: the connection ended without a close frame. Never sent.
    Abnormal,
    /// 1007: text that is not UTF-8.
    InvalidUtf8,
    /// 1008: against the gateway's policy.
    Policy,
    /// 1009: a message past `message_bytes`.
    TooBig,
    /// 1011: the gateway failed.
    Internal,
    /// 1012: the gateway is being restarted (drain).
    Restart,
    /// 1013: overloaded, try again later.
    TryAgainLater,
    /// 4008: the peer does not read what it is sent.
    SlowConsumer,
    /// 4009: another connection took the session over.
    TakenOver,
    /// 4010: no byte from the peer for too long.
    NoSignOfLife,
    /// Any other code that a peer may send (3000 to 4999, or registered).
    Other,
}

impl CloseCode {
    /// Every code, in the order of their discriminants.
    pub const ALL: [Self; 16] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::Unsupported,
        Self::NoStatus,
        Self::Abnormal,
        Self::InvalidUtf8,
        Self::Policy,
        Self::TooBig,
        Self::Internal,
        Self::Restart,
        Self::TryAgainLater,
        Self::SlowConsumer,
        Self::TakenOver,
        Self::NoSignOfLife,
        Self::Other,
    ];

    /// The number on the wire, and the metric label. `Other` has none of its own: 0.
    pub const fn number(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::Unsupported => 1003,
            Self::NoStatus => 1005,
            Self::Abnormal => 1006,
            Self::InvalidUtf8 => 1007,
            Self::Policy => 1008,
            Self::TooBig => 1009,
            Self::Internal => 1011,
            Self::Restart => 1012,
            Self::TryAgainLater => 1013,
            Self::SlowConsumer => 4008,
            Self::TakenOver => 4009,
            Self::NoSignOfLife => 4010,
            Self::Other => 0,
        }
    }

    /// The catalogue's entry for a code that a peer sent.
    pub fn from_wire(number: u16) -> Self {
        Self::ALL.into_iter().find(|code| code.number() == number).unwrap_or(Self::Other)
    }
}
