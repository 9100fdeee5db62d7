//! ▢ What a worker says about one raw task, parsed from a published payload.

use std::borrow::Cow;

use serde::Deserialize;

use super::reply::Frame;
use crate::limits::RAW_RESULT_BYTES;
use crate::tasks::json::{self, Text};

/// One result, borrowing from its payload.
#[derive(Debug, PartialEq)]
pub struct WorkerResult<'a> {
    /// Whose, where the worker says so.
    pub session_id: Option<Cow<'a, str>>,
    /// Which task.
    pub seq: u64,
    /// Number of this result among those of its task, from 0, where the worker numbers
    /// them.
    pub number: Option<u32>,
    /// What the client is sent; nothing only where the task is done.
    pub data: Option<Data<'a>>,
    /// Whether it is the task's last.
    pub done: bool,
}

/// What a result carries.
#[derive(Debug, PartialEq)]
pub enum Data<'a> {
    /// For a text frame.
    Text(Cow<'a, str>),
    /// For a binary frame; standard base64, not checked yet.
    Base64(Cow<'a, str>),
}

/// The payload is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl<'a> WorkerResult<'a> {
    /// Reads one result: at most [`RAW_RESULT_BYTES`] of JSON with `seq`, and either one
    /// kind of data or `done`. A `null` counts as absent.
    ///
    /// # Errors
    /// [`Malformed`]; no input panics.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        if payload.len() > RAW_RESULT_BYTES || !json::is_object(payload) {
            return Err(Malformed);
        }
        let raw: Raw<'a> = serde_json::from_slice(payload).map_err(|_| Malformed)?;
        let done = raw.done.unwrap_or(false);
        let data = match (raw.data, raw.data_base64) {
            (Some(Text(text)), None) => Some(Data::Text(text)),
            (None, Some(Text(base64))) => Some(Data::Base64(base64)),
            (None, None) if done => None,
            _ => return Err(Malformed),
        };
        let session_id = raw.session_id.map(|Text(id)| id);
        Ok(Self { session_id, seq: raw.seq, number: raw.n, data, done })
    }
}

impl Data<'_> {
    /// The frame that the client is sent.
    ///
    /// # Errors
    /// [`Malformed`]: it is not base64.
    pub fn to_frame(&self) -> Result<Frame, Malformed> {
        match self {
            Self::Text(text) => Ok(Frame::Text(text.as_bytes().to_vec())),
            Self::Base64(base64) => {
                let bytes = base64_simd::STANDARD.decode_to_vec(base64.as_bytes());
                bytes.map(Frame::Binary).map_err(|_| Malformed)
            }
        }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    session_id: Option<Text<'a>>,
    seq: u64,
    n: Option<u32>,
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    data_base64: Option<Text<'a>>,
    done: Option<bool>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<WorkerResult<'_>, Malformed> {
        WorkerResult::parse(text.as_bytes())
    }

    #[test]
    fn reads_what_workers_publish() {
        let result =
            |data, done| WorkerResult { session_id: None, seq: 4, number: None, data, done };
        let text = Some(Data::Text("caf\u{e9}\n\"".into()));
        assert_eq!(parse(r#"{"seq":4,"data":"caf\u00e9\n\"","x":[{}]}"#), Ok(result(text, false)));
        let base64 = Some(Data::Base64("AAA=".into()));
        assert_eq!(
            parse(r#" {"seq":4,"data_base64":"AAA=","data":null,"done":true}"#),
            Ok(result(base64, true))
        );
        assert_eq!(parse(r#"{"done":true,"seq":4}"#), Ok(result(None, true)));
        let named = parse(r#"{"session_id":"s","seq":0,"n":7,"data":"","done":null}"#).unwrap();
        assert_eq!((named.session_id.as_deref(), named.number), (Some("s"), Some(7)));
        assert_eq!((named.data, named.done), (Some(Data::Text("".into())), false));
    }

    #[test]
    fn refuses_what_is_no_result() {
        for bad in [
            "",
            "hello",
            r#"[4,"x"]"#,
            r#"{"data":"x"}"#,
            r#"{"seq":4}"#,
            r#"{"seq":4,"done":false}"#,
            r#"{"seq":4,"data":"x","data_base64":"AA=="}"#,
            r#"{"seq":-1,"data":"x"}"#,
            r#"{"seq":1.0,"data":"x"}"#,
            r#"{"seq":"1","data":"x"}"#,
            r#"{"seq":18446744073709551616,"data":"x"}"#,
            r#"{"seq":1,"data":{}}"#,
            r#"{"seq":1,"data":"x","n":-1}"#,
            r#"{"seq":1,"data":"x","n":4294967296}"#,
            r#"{"seq":1,"data":"x","done":1}"#,
            r#"{"seq":1,"data":"\ud800"}"#,
            r#"{"seq":1,"seq":1,"data":"x"}"#,
            &format!(r#"{{"seq":1,"data":"x","y":{}}}"#, "[".repeat(200_000)),
        ] {
            assert_eq!(parse(bad), Err(Malformed), "{bad:.80}");
        }
        assert_eq!(WorkerResult::parse(b"{\"seq\":1,\"data\":\"\xff\"}"), Err(Malformed));
    }

    #[test]
    fn a_huge_result_is_not_even_read() {
        let mut huge = json!({"seq": 1, "data": "x"}).to_string().into_bytes();
        assert!(WorkerResult::parse(&huge).is_ok());
        huge.resize(RAW_RESULT_BYTES, b' ');
        assert!(WorkerResult::parse(&huge).is_ok());
        huge.push(b' ');
        assert_eq!(WorkerResult::parse(&huge), Err(Malformed));
    }

    #[test]
    fn base64_is_strict() {
        for bad in ["A", "AAA", "AAA!", "AA==\n", "AA-_", "AB=="] {
            assert_eq!(Data::Base64(bad.into()).to_frame(), Err(Malformed), "{bad}");
        }
        assert_eq!(Data::Base64("".into()).to_frame(), Ok(Frame::Binary(vec![])));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = WorkerResult::parse(&payload);
        }

        #[test]
        fn any_data_becomes_the_frame_that_it_says(
            text in any::<String>(),
            bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let payload = json!({"seq": 1, "data": text}).to_string();
            let frame = parse(&payload).unwrap().data.unwrap().to_frame();
            prop_assert_eq!(frame, Ok(Frame::Text(text.into_bytes())));
            let base64 = base64_simd::STANDARD.encode_to_string(&bytes);
            let payload = json!({"seq": 1, "data_base64": base64}).to_string();
            let frame = parse(&payload).unwrap().data.unwrap().to_frame();
            prop_assert_eq!(frame, Ok(Frame::Binary(bytes)));
        }
    }
}
