//! ▢ Bytes of the connection to Redis → whole RESP3 values.
//!
//! `redis::Parser` could be resumed by itself, but it believes every length that it is
//! told: it would collect a line without an end, or wait for a bulk string of 2^63 bytes,
//! for ever, and its memory cannot be seen from outside. So a scanner stands before it
//! that knows no more than where values end, resumes where it stopped (a large string that
//! arrives in many pieces is looked at once, when its last byte is there), and enforces
//! the limits. The parser then only ever sees whole values, and "needs more" does not
//! exist for it.
//!
//! Must not: know what was asked, or what an answer means.

use redis::{Parser, PushKind, Value};

use crate::limits::{
    REPLY_BUFFER_KEPT_BYTES, REPLY_BYTES, REPLY_DEPTH, REPLY_ELEMENTS, REPLY_LINE_BYTES,
};

/// Why the stream cannot be read on. The connection has to be closed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// Not RESP3.
    Malformed(String),
    /// One value is larger than a limit allows.
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it may be.
        limit: usize,
    },
}

/// Puts replies together. One for each connection.
#[derive(Default)]
pub struct Frames {
    /// The beginning of a value whose end has not arrived.
    partial: Vec<u8>,
    scanner: Scanner,
    parser: Parser,
}

impl Frames {
    /// Appends the values that `bytes` completes to `values`.
    ///
    /// # Errors
    /// The stream is broken; `values` holds what stood before the fault. What comes after
    /// an error is undefined, but not a panic.
    pub fn read(&mut self, bytes: &[u8], values: &mut Vec<Value>) -> Result<(), FrameError> {
        if self.partial.is_empty() {
            // The usual case: replies parsed where they lie, nothing copied.
            let scanned = self.scanner.scan(bytes);
            let (whole, rest) = bytes.split_at(self.scanner.take_whole_bytes());
            let parsed = self.parse(whole, values);
            self.partial.extend_from_slice(rest);
            return parsed.and(scanned);
        }
        if let Some(missing) = self.scanner.needs.checked_sub(self.partial.len()) {
            // Bounded: the scanner has checked the length against REPLY_BYTES.
            self.partial.reserve(missing.max(bytes.len()));
        }
        self.partial.extend_from_slice(bytes);
        let scanned = self.scanner.scan(&self.partial);
        let whole_bytes = self.scanner.take_whole_bytes();
        if whole_bytes == 0 {
            return scanned;
        }
        let mut buffer = std::mem::take(&mut self.partial);
        let parsed = match buffer.get(..whole_bytes) {
            Some(whole) => self.parse(whole, values),
            None => Ok(()),
        };
        buffer.drain(..whole_bytes);
        if buffer.is_empty() && buffer.capacity() > REPLY_BUFFER_KEPT_BYTES {
            buffer = Vec::new();
        }
        self.partial = buffer;
        parsed.and(scanned)
    }

    /// Bytes held of a value that is not complete.
    #[cfg(test)]
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    fn parse(&mut self, mut whole: &[u8], values: &mut Vec<Value>) -> Result<(), FrameError> {
        let mut left = std::mem::take(&mut self.scanner.whole_values);
        // Those that stand first, for the parser reads ahead of the value that it returns.
        while left > 0
            && let Some((value, rest)) = integer(whole).or_else(|| message(whole))
        {
            values.push(value);
            (whole, left) = (rest, left - 1);
        }
        for _ in 0..left {
            let value = self.parser.parse_value(&mut whole);
            values.push(value.map_err(|error| FrameError::Malformed(error.to_string()))?);
        }
        Ok(())
    }
}

/// The integer that stands first, and what comes after it: the answer to every task of a list,
/// which takes the parser five times as long. One with a sign, or a very long one, is left to it.
fn integer(whole: &[u8]) -> Option<(Value, &[u8])> {
    let (number, rest) = number(whole.strip_prefix(b":")?)?;
    Some((Value::Int(number), rest))
}

/// What was published, where that stands first, and what comes after it: every result and every
/// message of a topic, which take the parser ten times as many instructions.
fn message(whole: &[u8]) -> Option<(Value, &[u8])> {
    let (channel, rest) = string(whole.strip_prefix(b">3\r\n$7\r\nmessage\r\n")?)?;
    let (payload, rest) = string(rest)?;
    let data = [channel, payload].map(|bytes| Value::BulkString(bytes.to_vec())).into();
    Some((Value::Push { kind: PushKind::Message, data }, rest))
}

/// The bulk string that stands first, and what comes after it.
fn string(whole: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(whole.strip_prefix(b"$")?)?;
    let (string, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((string, rest.strip_prefix(b"\r\n")?))
}

/// The digits that stand first, with the end of their line, and what comes after them.
fn number(whole: &[u8]) -> Option<(i64, &[u8])> {
    let count = whole.iter().take(INTEGER_DIGITS_MAX).take_while(|byte| byte.is_ascii_digit());
    let (digits, rest) = whole.split_at_checked(count.count())?;
    let rest = rest.strip_prefix(b"\r\n").filter(|_| !digits.is_empty())?;
    Some((digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')), rest))
}

/// Digits of an integer that is read without the parser: whatever they are, it fits.
const INTEGER_DIGITS_MAX: usize = 18;

/// Finds the ends of values. All offsets count from the first byte of the value that is
/// not complete.
#[derive(Default)]
struct Scanner {
    /// Start of the element that is looked at.
    at: usize,
    /// No line end stands between `at` and here.
    searched: usize,
    /// Nothing can be said before there are that many bytes.
    needs: usize,
    /// Elements still missing of each aggregate that is open, outermost first.
    open: Vec<usize>,
    whole_values: usize,
    whole_bytes: usize,
}

/// What the line at the start of an element says.
enum Head {
    /// The line is the element.
    Line,
    /// A string of that many bytes follows.
    Bulk(usize),
    /// That many elements follow.
    Aggregate(usize),
}

impl Scanner {
    /// Bytes of the whole values that were found; offsets count from behind them now.
    fn take_whole_bytes(&mut self) -> usize {
        let whole = std::mem::take(&mut self.whole_bytes);
        self.at = self.at.saturating_sub(whole);
        self.searched = self.searched.saturating_sub(whole);
        self.needs = self.needs.saturating_sub(whole);
        whole
    }

    fn scan(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        while bytes.len() >= self.needs {
            self.searched = self.searched.max(self.at);
            let unsearched = bytes.get(self.searched..).unwrap_or_default();
            let Some(line_end) = unsearched.iter().position(|&byte| byte == b'\n') else {
                self.searched = bytes.len();
                let line_bytes = bytes.len().saturating_sub(self.at);
                return limited("a line of a reply", line_bytes, REPLY_LINE_BYTES);
            };
            let line_end = self.searched + line_end + 1;
            let line = bytes.get(self.at..line_end).unwrap_or_default();
            limited("a line of a reply", line.len(), REPLY_LINE_BYTES)?;
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(malformed("a line ends without CR"));
            };
            match head(line)? {
                Head::Line => self.element_ends(line_end),
                Head::Bulk(length) => {
                    let end = line_end + length + 2;
                    limited("a reply", end - self.whole_bytes, REPLY_BYTES)?;
                    if bytes.len() < end {
                        // The line is read once more when the string is there.
                        self.searched = line_end - 1;
                        self.needs = end;
                        return Ok(());
                    }
                    if bytes.get(end - 2..end) != Some(b"\r\n") {
                        return Err(malformed("a string is longer than announced"));
                    }
                    self.element_ends(end);
                }
                Head::Aggregate(0) => self.element_ends(line_end),
                Head::Aggregate(elements) => {
                    limited("the nesting of a reply", self.open.len() + 1, REPLY_DEPTH)?;
                    self.open.push(elements);
                    self.at = line_end;
                }
            }
            limited("a reply", self.at - self.whole_bytes, REPLY_BYTES)?;
        }
        Ok(())
    }

    fn element_ends(&mut self, end: usize) {
        self.at = end;
        while let Some(missing) = self.open.last_mut() {
            *missing -= 1;
            if *missing > 0 {
                return;
            }
            self.open.pop();
        }
        self.whole_values += 1;
        self.whole_bytes = end;
    }
}

/// Reads the first line of an element (RESP3, "Simple types" and "Aggregate data types").
fn head(line: &[u8]) -> Result<Head, FrameError> {
    let Some((&kind, rest)) = line.split_first() else {
        return Err(malformed("an empty line"));
    };
    let nil = rest == b"-1";
    Ok(match kind {
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => Head::Line,
        b'$' if nil => Head::Line,
        b'*' | b'~' if nil => Head::Aggregate(0),
        b'$' | b'!' | b'=' => Head::Bulk(length(rest, "a string in a reply", REPLY_BYTES)?),
        b'*' | b'~' | b'>' => Head::Aggregate(length(rest, "a list in a reply", REPLY_ELEMENTS)?),
        b'%' => Head::Aggregate(2 * length(rest, "a map in a reply", REPLY_ELEMENTS)?),
        // Attributes stand before the value that they belong to.
        b'|' => Head::Aggregate(2 * length(rest, "a map in a reply", REPLY_ELEMENTS)? + 1),
        _ => return Err(malformed("an unknown type of value")),
    })
}

fn length(digits: &[u8], what: &'static str, limit: usize) -> Result<usize, FrameError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(malformed("a length that is not a number"));
    }
    let length = digits.iter().fold(0usize, |sum, digit| {
        sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    limited(what, length, limit)?;
    Ok(length)
}

fn limited(what: &'static str, size: usize, limit: usize) -> Result<(), FrameError> {
    if size > limit { Err(FrameError::TooLarge { what, limit }) } else { Ok(()) }
}

fn malformed(text: &str) -> FrameError {
    FrameError::Malformed(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read_in_pieces(stream: &[u8], cuts: &[usize]) -> Result<Vec<Value>, FrameError> {
        let (mut frames, mut values, mut from) = (Frames::default(), Vec::new(), 0);
        for &cut in cuts.iter().chain([&stream.len()]) {
            frames.read(&stream[from..cut], &mut values)?;
            from = cut;
        }
        assert_eq!(frames.partial_bytes(), 0, "whole values leave nothing behind");
        Ok(values)
    }

    const EVERYTHING: &[u8] = b"+OK\r\n:12\r\n$5\r\na\r\nb\xff\r\n$0\r\n\r\n$-1\r\n*-1\r\n*0\r\n\
        *2\r\n$1\r\nx\r\n*1\r\n:1\r\n%1\r\n+k\r\n~2\r\n#t\r\n,1.5\r\n_\r\n(123\r\n\
        >3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$3\r\n\r\n\n\r\n-ERR no\r\n!6\r\nERR no\r\n\
        =7\r\ntxt:abc\r\n|1\r\n+a\r\n:1\r\n:7\r\n+OK\r\n";

    #[test]
    fn every_split_gives_the_same_values() {
        let whole = read_in_pieces(EVERYTHING, &[]).unwrap();
        assert_eq!(whole.len(), 17);
        for cut in 0..=EVERYTHING.len() {
            assert_eq!(read_in_pieces(EVERYTHING, &[cut]).unwrap(), whole, "cut at {cut}");
        }
        let bytewise: Vec<usize> = (1..EVERYTHING.len()).collect();
        assert_eq!(read_in_pieces(EVERYTHING, &bytewise).unwrap(), whole);
    }

    #[test]
    fn a_large_string_in_many_pieces_costs_its_length() {
        // Pieces of 1 KiB: were each a reason to look at all of it again, these would be
        // 16,000 times 8 MiB, which takes minutes.
        let payload = vec![b'\n'; 16 << 20];
        let mut stream = format!("*1\r\n${}\r\n", payload.len()).into_bytes();
        stream.extend_from_slice(&payload);
        stream.extend_from_slice(b"\r\n");
        let started = std::time::Instant::now();
        let cuts: Vec<usize> = (0..stream.len()).step_by(1024).skip(1).collect();
        let values = read_in_pieces(&stream, &cuts).unwrap();
        assert!(values == [Value::Array(vec![Value::BulkString(payload)])]);
        assert!(started.elapsed().as_secs() < 20, "took {:?}", started.elapsed());
    }

    #[test]
    fn absurd_sizes_are_refused_before_memory_is_taken() {
        let mut nested = b"*1\r\n".repeat(REPLY_DEPTH + 1);
        nested.extend_from_slice(b":1\r\n");
        let line = vec![b'+'; REPLY_LINE_BYTES + 1];
        for stream in [
            &b"$99999999999999999999999999\r\n"[..],
            b"$9223372036854775807\r\n",
            b"*9223372036854775807\r\n",
            b"%9223372036854775807\r\n",
            b"|9223372036854775807\r\n",
            &nested,
            &line,
        ] {
            let result = Frames::default().read(stream, &mut Vec::new());
            assert!(matches!(result, Err(FrameError::TooLarge { .. })), "{result:?}");
        }
    }

    #[test]
    fn many_strings_together_are_limited_too() {
        let piece = format!("${}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
        let mut frames = Frames::default();
        frames.read(b"*1000\r\n", &mut Vec::new()).unwrap();
        let mut pieces = (0..1000).map(|_| frames.read(piece.as_bytes(), &mut Vec::new()));
        assert!(matches!(
            pieces.find(|read| read.is_err()),
            Some(Err(FrameError::TooLarge { .. }))
        ));
    }

    #[test]
    fn malformed_streams_are_errors() {
        for stream in
            ["$-2\r\n", "$x\r\n", "?\r\n", "\r\n", "+a\n", "$1\r\nabc\r\n", ">1\r\n:1\r\n"]
        {
            let result = Frames::default().read(stream.as_bytes(), &mut Vec::new());
            assert!(matches!(result, Err(FrameError::Malformed(_))), "{stream:?}: {result:?}");
        }
    }

    proptest! {
        #[test]
        fn integers_are_read_as_the_parser_reads_them(text in prop_oneof![
            "[0-9]{1,20}", "[+-]?[0-9]{0,3}", "0{1,19}[0-9]?",
        ]) {
            let stream = format!(":{text}\r\n");
            let mut values = Vec::new();
            let read = Frames::default().read(stream.as_bytes(), &mut values);
            let expected = Parser::new().parse_value(stream.as_bytes());
            prop_assert_eq!(read.is_ok(), expected.is_ok());
            prop_assert_eq!(values.pop(), expected.ok());
        }

        /// Those that are usual, and those that nearly are.
        #[test]
        fn messages_are_read_as_the_parser_reads_them(
            count in prop_oneof![9 => Just("3".to_string()), 1 => "[0-4]|03"],
            kind in prop_oneof![9 => Just("message".to_string()), 1 => "smessage|mess|messagf"],
            channel in prop::collection::vec(any::<u8>(), 0..12),
            payload in prop_oneof![
                9 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
                    [format!("${}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n"].concat()
                }),
                1 => prop::sample::select(vec!["$-1\r\n", ":7\r\n", "+a\r\n", "$03\r\nabc\r\n"])
                    .prop_map(|other| other.as_bytes().to_vec()),
            ],
            behind in prop::sample::select(vec!["", ":1\r\n", "+OK\r\n", ">3\r\n$7\r\n"]),
        ) {
            let head = format!(">{count}\r\n${}\r\n{kind}\r\n${}\r\n", kind.len(), channel.len());
            let pieces = [head.as_bytes(), &channel, b"\r\n", &payload, behind.as_bytes()];
            let stream = pieces.concat();
            let (mut values, mut expected) = (Vec::new(), Vec::new());
            let read = Frames::default().read(&stream, &mut values);
            let mut parser = Parser::new();
            let mut rest = stream.as_slice();
            for _ in 0..values.len() {
                expected.push(parser.parse_value(&mut rest).expect("the parser reads it as well"));
            }
            prop_assert_eq!(&values, &expected);
            if (&*count, &*kind) == ("3", "message") {
                prop_assert!(read.is_ok() && !values.is_empty(), "{:?}", stream.escape_ascii());
            }
        }

        #[test]
        fn garbage_never_panics_and_splits_agree(
            tokens in prop::collection::vec(prop_oneof![
                Just(b"\r\n".to_vec()), Just(b"$".to_vec()), Just(b"*2\r\n".to_vec()),
                Just(b"$3\r\nabc\r\n".to_vec()), Just(b"-ERR x\r\n".to_vec()),
                Just(b">2\r\n".to_vec()), Just(b"%1\r\n".to_vec()), Just(b"|1\r\n".to_vec()),
                Just(b":".to_vec()), prop::collection::vec(any::<u8>(), 0..6),
            ], 0..24),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = tokens.concat();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let mut whole = Vec::new();
            let whole_result = Frames::default().read(&stream, &mut whole);
            let (mut frames, mut pieces, mut from) = (Frames::default(), Vec::new(), 0);
            let mut result = Ok(());
            for cut in cuts {
                result = result.and_then(|()| frames.read(&stream[from..cut], &mut pieces));
                from = cut;
            }
            prop_assert_eq!(result.is_ok(), whole_result.is_ok());
            // NaN is not equal to itself.
            prop_assert_eq!(format!("{pieces:?}"), format!("{whole:?}"));
        }
    }
}
