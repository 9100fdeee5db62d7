//! ▢ A task of the list queue, and the result that answers it (systems, section 1).

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::audio::{Audio, AudioError, Measure};

/// One task: `{"session_id","chunk_index","audio_data","timestamp"}`. The timestamp, and
/// keys that are not known, mean nothing to the worker.
#[derive(Deserialize, Debug)]
pub struct Task<'a> {
    /// Whose chunk it is.
    #[serde(borrow)]
    pub session_id: Cow<'a, str>,
    /// Which one of the session.
    pub chunk_index: i64,
    /// Standard base64 of the audio.
    #[serde(borrow)]
    pub audio_data: Cow<'a, str>,
    /// Where the result is to be published; `None`: on the session's own channel.
    #[serde(borrow, default)]
    pub reply_to: Option<Cow<'a, str>>,
}

/// Not a task, and why.
#[derive(Debug)]
pub enum TaskError {
    /// Not JSON, or a key is missing or of another type.
    Json(serde_json::Error),
    /// The session has no name, so that nobody could hear the answer.
    NoSession,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(error) => write!(f, "not the JSON of a task: {error}"),
            Self::NoSession => f.write_str("session_id is empty"),
        }
    }
}

impl std::error::Error for TaskError {}

/// Where a result goes, and its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Publish it here first.
    pub channel: String,
    /// Append it to this list afterwards, which then lives for
    /// [`RESULT_CACHE_TTL_S`](crate::limits::RESULT_CACHE_TTL_S).
    pub cache_key: String,
    /// `{"chunk_index","text","duration","error"}`, and `session_id` where the task names a
    /// channel that is not the session's own.
    pub payload: Vec<u8>,
}

impl<'a> Task<'a> {
    /// Reads what was popped from the queue.
    ///
    /// # Errors
    /// [`TaskError`]: nothing can be answered.
    pub fn parse(raw: &'a [u8]) -> Result<Self, TaskError> {
        let task: Self = serde_json::from_slice(raw).map_err(TaskError::Json)?;
        if task.session_id.is_empty() { Err(TaskError::NoSession) } else { Ok(task) }
    }

    /// Listens to the audio and says what was heard. Audio that cannot be read is
    /// answered too, with an empty text and the reason in `error`: a client that waits
    /// for a deadline learns nothing.
    pub fn answer(&self) -> Answer {
        let measured = Audio::from_base64(&self.audio_data).map(|audio| audio.measure());
        let reply_to = self.reply_to.as_deref().filter(|channel| !channel.is_empty());
        let own = || format!("asr_result_{}", self.session_id);
        Answer {
            channel: reply_to.map_or_else(own, str::to_owned),
            cache_key: format!("asr:results:{}", self.session_id),
            payload: payload(reply_to.map(|_| &*self.session_id), self.chunk_index, measured),
        }
    }
}

/// A result as workers publish it.
#[derive(Serialize)]
struct ResultMessage<'a> {
    /// Where it is not in the channel's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    chunk_index: i64,
    text: String,
    /// Seconds of audio, 0 where there was none to read. The gateway only passes it on.
    duration: f64,
    /// Empty where all is well.
    error: String,
}

fn payload(
    session_id: Option<&str>,
    chunk_index: i64,
    measured: Result<Measure, AudioError>,
) -> Vec<u8> {
    let message = match measured {
        Ok(measure) => ResultMessage {
            session_id,
            chunk_index,
            text: measure.to_string(),
            duration: measure.seconds,
            error: String::new(),
        },
        Err(error) => ResultMessage {
            session_id,
            chunk_index,
            text: String::new(),
            duration: 0.0,
            error: error.to_string(),
        },
    };
    serde_json::to_vec(&message).expect("two numbers and two strings are always JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn answer_to(task: &Value) -> (Answer, Value) {
        let raw = task.to_string();
        let answer = Task::parse(raw.as_bytes()).unwrap().answer();
        let payload = serde_json::from_slice(&answer.payload).unwrap();
        (answer, payload)
    }

    #[test]
    fn measures_the_chunk_of_a_load_script() {
        let audio = base64_simd::STANDARD.encode_to_string(vec![0_u8; 3_200]);
        assert_eq!(audio.len(), 4_268);
        let (answer, payload) = answer_to(&json!({
            "session_id": "s-1", "chunk_index": 7, "audio_data": audio, "timestamp": 1700000000000_u64,
        }));
        assert_eq!(answer.channel, "asr_result_s-1");
        assert_eq!(answer.cache_key, "asr:results:s-1");
        assert_eq!(
            payload,
            json!({"chunk_index": 7, "text": "0.10 s, -inf dBFS, 0 % speech", "duration": 0.1, "error": ""})
        );
    }

    #[test]
    fn a_task_that_names_a_channel_is_answered_there_with_its_session() {
        let mut task = json!({"session_id": "s", "chunk_index": 2, "audio_data": "AAAA"});
        for nowhere in [Value::Null, json!("")] {
            task["reply_to"] = nowhere;
            let (answer, payload) = answer_to(&task);
            assert_eq!((&*answer.channel, payload.get("session_id")), ("asr_result_s", None));
        }
        task["reply_to"] = "ringgate:results:7:0".into();
        let (answer, payload) = answer_to(&task);
        assert_eq!(answer.channel, "ringgate:results:7:0");
        assert_eq!(answer.cache_key, "asr:results:s");
        assert_eq!((&payload["session_id"], &payload["chunk_index"]), (&json!("s"), &json!(2)));
    }

    #[test]
    fn audio_that_cannot_be_read_is_answered_with_the_reason() {
        for (audio, reason) in
            [("", "audio is empty"), ("!!", "audio is not standard base64"), ("AAAA", "3 bytes")]
        {
            let (_, payload) =
                answer_to(&json!({"session_id": "s", "chunk_index": 1, "audio_data": audio}));
            assert_eq!((&payload["chunk_index"], &payload["text"]), (&json!(1), &json!("")));
            assert_eq!(payload["duration"], json!(0.0));
            assert!(payload["error"].as_str().unwrap().contains(reason), "{payload}");
        }
    }

    #[test]
    fn escaped_strings_are_read_too() {
        let raw = br#"{"audio_data":"\/\/8A","chunk_index":0,"session_id":"a\u002db","extra":[1]}"#;
        let task = Task::parse(raw).unwrap();
        assert_eq!((&*task.session_id, &*task.audio_data), ("a-b", "//8A"));
    }

    #[test]
    fn what_is_no_task_is_told_apart() {
        for raw in [
            "",
            "null",
            "{}",
            r#"{"session_id":"s","chunk_index":"1","audio_data":""}"#,
            r#"{"session_id":"s","chunk_index":1.5,"audio_data":""}"#,
            r#"{"session_id":"s","chunk_index":1}"#,
            r#"{"session_id":"","chunk_index":1,"audio_data":""}"#,
        ] {
            assert!(Task::parse(raw.as_bytes()).is_err(), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Task::parse(&raw).map(|task| task.answer());
        }

        #[test]
        fn any_session_and_audio_give_a_result(session in ".{1,40}", index: i64, audio in ".{0,64}") {
            let (answer, payload) = answer_to(
                &json!({"session_id": session, "chunk_index": index, "audio_data": audio}));
            prop_assert_eq!(answer.channel, format!("asr_result_{session}"));
            prop_assert_eq!(&payload["chunk_index"], &json!(index));
            prop_assert!(payload["text"] == "" || payload["error"] == "");
        }
    }
}
