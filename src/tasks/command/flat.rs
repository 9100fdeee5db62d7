//! ▢ The usual form of a chunk, read at memory speed: one flat object of strings without
//! escapes and of whole numbers.
//!
//! serde_json looks at the audio byte by byte, and once more for its UTF-8: a sixth of all that
//! a chunk cost the gateway. Here the end of the audio is found, and its check for base64, which
//! it needs anyway, says the rest: base64 has no escape, no control character and nothing but
//! ASCII. Whatever is not of that form, and whatever is wrong, is left to serde_json: what this
//! module reads, it reads as serde_json would.

use memchr::memchr;

use super::Command;
use crate::tasks::task::Base64;

/// Digits of a number that is read here: whatever they are, it fits.
const DIGITS_MAX: usize = 18;

/// What the keys have said so far.
#[derive(Default)]
struct Fields<'a> {
    action: Option<&'a str>,
    session_id: Option<&'a str>,
    chunk_index: Option<i64>,
    audio_data: Option<Base64<'a>>,
}

/// The chunk; `None` where it takes a real parser to say what it is.
pub(super) fn parse_chunk(payload: &[u8]) -> Option<Command<'_>> {
    let (mut reader, mut fields) = (Reader { rest: payload }, Fields::default());
    reader.token(b"{")?;
    loop {
        reader.member(&mut fields)?;
        if reader.token(b",").is_none() {
            break;
        }
    }
    reader.token(b"}")?;
    let is_chunk = fields.action == Some("chunk") && reader.rest.is_empty();
    is_chunk.then_some(Command::Chunk {
        session_id: fields.session_id.unwrap_or_default().into(),
        index: fields.chunk_index.unwrap_or(0),
        audio: fields.audio_data.or_else(|| Base64::check(b"".as_slice())),
    })
}

enum Key {
    Action,
    SessionId,
    ChunkIndex,
    AudioData,
    Unknown,
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads one key with its value. A key that comes twice is an error, which is not for here.
    fn member(&mut self, fields: &mut Fields<'a>) -> Option<()> {
        let key = self.key()?;
        self.token(b":")?;
        match key {
            Key::Action => set(&mut fields.action, self.string()?),
            Key::SessionId => set(&mut fields.session_id, self.string()?),
            Key::ChunkIndex => set(&mut fields.chunk_index, self.number()?),
            Key::AudioData => set(&mut fields.audio_data, Base64::check(self.quoted()?)?),
            Key::Unknown if self.rest.starts_with(b"\"") => self.string().map(drop),
            Key::Unknown => self.number().map(drop),
        }
    }

    fn key(&mut self) -> Option<Key> {
        let known = [
            (b"\"action\"".as_slice(), Key::Action),
            (b"\"session_id\"", Key::SessionId),
            (b"\"chunk_index\"", Key::ChunkIndex),
            (b"\"audio_data\"", Key::AudioData),
        ];
        for (quoted, key) in known {
            if let Some(rest) = self.rest.strip_prefix(quoted) {
                self.rest = rest;
                return Some(key);
            }
        }
        let key = self.string()?;
        (!matches!(key, "binary" | "acks")).then_some(Key::Unknown)
    }

    /// Takes `token` with the blanks around it.
    fn token(&mut self, token: &[u8]) -> Option<()> {
        self.skip_blanks();
        self.rest = self.rest.strip_prefix(token)?;
        self.skip_blanks();
        Some(())
    }

    fn skip_blanks(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// What stands between two quotes, whatever it is.
    fn quoted(&mut self) -> Option<&'a [u8]> {
        let inside = self.rest.strip_prefix(b"\"")?;
        let (inside, rest) = inside.split_at_checked(memchr(b'"', inside)?)?;
        self.rest = rest.get(1..)?;
        Some(inside)
    }

    /// A string without escapes. They are short: byte by byte is the quickest.
    fn string(&mut self) -> Option<&'a str> {
        let inside = self.rest.strip_prefix(b"\"")?;
        let end = inside.iter().position(|&byte| matches!(byte, b'"' | b'\\' | ..b' '))?;
        let (string, rest) = inside.split_at_checked(end)?;
        self.rest = rest.strip_prefix(b"\"")?;
        std::str::from_utf8(string).ok()
    }

    /// An integer that is not negative; what follows it decides whether it was one.
    fn number(&mut self) -> Option<i64> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (number, rest) = self.rest.split_at_checked(digits)?;
        if digits == 0 || digits > DIGITS_MAX || (digits > 1 && number.starts_with(b"0")) {
            return None;
        }
        self.rest = rest;
        Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }
}

fn set<T>(field: &mut Option<T>, value: T) -> Option<()> {
    field.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    const CHUNK: &str = "{\"action\": \"chunk\",\t\"session_id\":\"s-1\", \"user_id\":\"ü\",\
        \"chunk_index\":  4294967295 ,\r\n\"audio_data\":\"AA+/AA==\", \"timestamp\":17} ";

    #[test]
    fn what_clients_send_is_of_the_usual_form_and_not_copied() {
        let Some(Command::Chunk { session_id, index, audio }) = parse_chunk(CHUNK.as_bytes())
        else {
            panic!("a chunk")
        };
        assert!(matches!(session_id, Cow::Borrowed("s-1")));
        assert_eq!((index, audio), (4_294_967_295, Base64::check(b"AA+/AA==".as_slice())));
        assert!(parse_chunk(br#"{"action":"chunk"}"#).is_some());
    }

    #[test]
    fn what_is_wrong_or_unusual_is_left_to_serde_json() {
        for unusual in [
            r#"{}"#,
            r#"{"action":"chunk",}"#,
            r#"{"action":"chunk"} x"#,
            r#"{"action":"chunk","action":"chunk"}"#,
            r#"{"action":"chunk\n"}"#,
            "{\"action\":\"chunk\",\"x\":\"a\nb\"}",
            r#"{"action":null}"#,
            r#"{"action":"start"}"#,
            r#"{"action":"chunk","chunk_index":01}"#,
            r#"{"action":"chunk","chunk_index":-1}"#,
            r#"{"action":"chunk","chunk_index":1.5}"#,
            r#"{"action":"chunk","chunk_index":}"#,
            r#"{"action":"chunk","chunk_index":9999999999999999999}"#,
            r#"{"action":"chunk","audio_data":"A"}"#,
            r#"{"action":"chunk","audio_data":"\/\/8="}"#,
            r#"{"action":"chunk","x":[]}"#,
            r#"{"action":"chunk","binary":true}"#,
            r#"["action","chunk"]"#,
        ] {
            assert_eq!(parse_chunk(unusual.as_bytes()), None, "{unusual}");
        }
    }

    /// Whatever is read here, serde_json reads alike.
    fn agrees(payload: &[u8]) -> Result<(), TestCaseError> {
        if let Some(command) = parse_chunk(payload) {
            let there = Command::parse_any(payload);
            prop_assert_eq!(Ok(command), there, "{}", payload.escape_ascii());
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn reads_objects_of_any_pieces_as_serde_json_does(
            pieces in prop::collection::vec(
                (
                    prop::sample::select(vec![
                        "session_id", "audio_data", "chunk_index", "user_id", "acks", "action", "",
                    ]),
                    prop::sample::select(vec![
                        "\"\"", "\"AAAA\"", "\"A\"", "\"é\"", "\"\\u0041\"", "\"\t\"", "0", "7",
                        "07", "-1", "1e2", "999999999999999999", "9223372036854775808", "null",
                        "true", "{}", " \"x\" ", "\"a\"\"b\"", "\"chunk\"",
                    ]),
                ),
                0..5,
            ),
            begun in any::<bool>(),
        ) {
            let chunk = begun.then(|| "\"action\":\"chunk\"".to_owned());
            let pairs = pieces.iter().map(|(key, value)| format!("\"{key}\":{value}"));
            let pairs: Vec<String> = chunk.into_iter().chain(pairs).collect();
            agrees(format!("{{{}}}", pairs.join(",")).as_bytes())?;
        }

        #[test]
        fn reads_a_damaged_chunk_as_serde_json_does(
            damages in prop::collection::vec(
                (
                    any::<prop::sample::Index>(),
                    prop_oneof![
                        any::<u8>(),
                        prop::sample::select(b"\"\\{}[]:,0-.e= \n\x7f\x80\xc3".as_slice()),
                    ],
                    0..3,
                ),
                1..4,
            ),
        ) {
            let mut payload = CHUNK.as_bytes().to_vec();
            for (at, byte, how) in damages {
                let at = at.index(payload.len());
                match how {
                    0 => drop(payload.remove(at)),
                    1 => payload.insert(at, byte),
                    _ => payload[at] = byte,
                }
            }
            agrees(&payload)?;
        }
    }
}
