//! ▢ The one catalogue of close codes, each a label of `ringgate_closed_total`, and the
//! payload of close frames (RFC 6455 sections 5.5.1 and 7.4).

use super::frame::{CONTROL_PAYLOAD_BYTES_MAX, Opcode, write_header};

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
    /// 3000 to 4999 from a peer: its own code, which is nothing to the gateway.
    Application,
    /// Any other registered code that a peer may send.
    Other,
}

impl CloseCode {
    /// Every code, in the order of their discriminants.
    pub const ALL: [Self; 17] = [
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
        Self::Application,
        Self::Other,
    ];

    /// The metric label: the number, or a word for the two that have none of their own.
    pub fn label(self) -> String {
        match self {
            Self::Application => "application".to_owned(),
            Self::Other => "other".to_owned(),
            code => code.number().to_string(),
        }
    }

    /// The number on the wire. `Application` and `Other` have none of their own: 0.
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
            Self::Application | Self::Other => 0,
        }
    }

    /// The catalogue's entry for a code that a peer sent. 4008 to 4010 are the gateway's
    /// verdicts only where it is the gateway that says them.
    pub fn from_wire(number: u16) -> Self {
        if matches!(number, 3000..=4999) {
            return Self::Application;
        }
        Self::ALL.into_iter().find(|code| code.number() == number).unwrap_or(Self::Other)
    }
}

/// What a peer did that the connection cannot survive, and the close frame to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The code of the close frame.
    pub code: CloseCode,
    /// The reason of the close frame, for people.
    pub reason: &'static str,
}

impl Violation {
    /// 1007, wherever text stands: in a text message or in the reason of a close frame.
    pub(super) const INVALID_UTF8: Self =
        Self { code: CloseCode::InvalidUtf8, reason: "text is not UTF-8" };

    /// 1009.
    pub(super) const TOO_BIG: Self = Self { code: CloseCode::TooBig, reason: "message is too big" };

    /// 1002.
    pub(super) const fn protocol(reason: &'static str) -> Self {
        Self { code: CloseCode::Protocol, reason }
    }
}

/// Reads the payload of a peer's close frame: its code, where it has one, and reason.
///
/// # Errors
/// 1002 for half a code or one that may not be sent, 1007 for a reason that is not UTF-8.
pub(super) fn parse_close(payload: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    let Some((&code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok((None, "")),
            _ => Err(Violation::protocol("close code is incomplete")),
        };
    };
    let code = u16::from_be_bytes(code);
    // Section 7.4, with 1012 to 1014 of the IANA registry: 1004 has no meaning, 1005,
    // 1006 and 1015 stand for what happened without a close frame.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("close code must not be sent"));
    }
    match simdutf8::basic::from_utf8(reason) {
        Ok(reason) => Ok((Some(code), reason)),
        Err(_) => Err(Violation::INVALID_UTF8),
    }
}

/// Appends a close frame; a longer `reason` is cut after a character so that it fits
/// (123 bytes).
///
/// Codes that may not be sent become: `NoStatus` a frame without code and reason (the
/// right answer to one), `Abnormal` 1011, `Application` and `Other` 1000.
pub fn write_close(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let code = match code {
        CloseCode::NoStatus => return write_header(out, Opcode::Close, 0),
        CloseCode::Abnormal => CloseCode::Internal,
        CloseCode::Application | CloseCode::Other => CloseCode::Normal,
        code => code,
    };
    let number = code.number().to_be_bytes();
    let reason_bytes_max = CONTROL_PAYLOAD_BYTES_MAX - number.len();
    let end = (0..=reason_bytes_max).rev().find(|&end| reason.is_char_boundary(end)).unwrap_or(0);
    write_header(out, Opcode::Close, number.len() + end);
    out.extend_from_slice(&number);
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

/// Appends the answer to a peer's close frame: the same code, which has been checked
/// (`parse_close`), or none; no reason.
pub fn write_close_answer(out: &mut Vec<u8>, number: Option<u16>) {
    let number = number.map(u16::to_be_bytes);
    write_header(out, Opcode::Close, number.map_or(0, |number| number.len()));
    out.extend(number.iter().flatten());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_accepted() {
        for code in 0..=u16::MAX {
            let accepted = parse_close(&code.to_be_bytes()).is_ok();
            let expected = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            assert_eq!(accepted, expected, "{code}");
        }
        assert_eq!(parse_close(&[]), Ok((None, "")));
        assert_eq!(parse_close(&[3]).unwrap_err().code, CloseCode::Protocol);
        assert_eq!(parse_close(b"\x03\xE8\xFF").unwrap_err().code, CloseCode::InvalidUtf8);
    }

    #[test]
    fn the_catalogue_knows_its_own_numbers() {
        for (at, code) in CloseCode::ALL.into_iter().enumerate() {
            assert_eq!(code as usize, at, "metrics are indexed by the discriminant");
            let labels = CloseCode::ALL.map(CloseCode::label);
            assert_eq!(labels.iter().filter(|label| **label == code.label()).count(), 1);
            if (1000..3000).contains(&code.number()) {
                assert_eq!(CloseCode::from_wire(code.number()), code);
            }
        }
        for own in [3000, 3999, 4000, 4008, 4010, 4999] {
            assert_eq!(CloseCode::from_wire(own), CloseCode::Application, "{own}");
        }
        assert_eq!(CloseCode::from_wire(1010), CloseCode::Other);
    }

    proptest! {
        #[test]
        fn every_close_frame_that_is_written_may_be_sent(
            at in 0..CloseCode::ALL.len(),
            reason in prop::collection::vec(any::<char>(), 0..80).prop_map(String::from_iter),
        ) {
            let code = CloseCode::ALL[at];
            let mut out = Vec::new();
            write_close(&mut out, code, &reason);
            prop_assert_eq!(out[0], 0x88);
            prop_assert_eq!(usize::from(out[1]), out.len() - 2);
            prop_assert!(out[1] <= 125);
            let (sent, sent_reason) = parse_close(&out[2..]).unwrap();
            let expected = match code {
                CloseCode::NoStatus => None,
                CloseCode::Abnormal => Some(1011),
                CloseCode::Application | CloseCode::Other => Some(1000),
                code => Some(code.number()),
            };
            prop_assert_eq!(sent, expected);
            if sent.is_some() {
                prop_assert!(reason.starts_with(sent_reason));
                let next = reason[sent_reason.len()..].chars().next().map_or(0, char::len_utf8);
                prop_assert!(
                    sent_reason == reason || sent_reason.len() + next > 123,
                    "cut no earlier than needed"
                );
            }
        }
    }
}
