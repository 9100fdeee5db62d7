//! ▢ The long way of the [decoder](super::decoder): frames that are split over several
//! inputs, and messages that are split over several frames.
//!
//! Exists only while something is incomplete. Its memory follows what has arrived, never
//! what was announced.

use super::close::Violation;
use super::decoder::{Input, Kind};
use super::frame::{HEADER_BYTES_MAX, Header, Opcode};
use super::mask::Mask;
use super::utf8::Progress;
use crate::limits::PARTIAL_RESERVE_BYTES;

/// What is incomplete on one connection.
#[derive(Debug, Default)]
pub struct Partial {
    stage: Stage,
    /// The data message whose pieces are arriving; control frames may stand in between.
    message: Message,
    /// Kind of the fragmented message that has begun and awaits its continuation.
    fragmented: Option<Kind>,
    /// What has arrived, unmasked, of a control frame that was split.
    control: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Stage {
    /// A frame header, of which some bytes may be here.
    Header(HeaderBytes),
    /// The payload of a data frame.
    Data { kind: Kind, fin: bool, remaining_bytes: usize, mask: Mask },
    /// The payload of a control frame.
    Control { opcode: Opcode, remaining_bytes: usize, mask: Mask },
    /// Nothing: the message was handed out, and goes with the next call.
    HandedOut,
    /// Nothing: the connection is over.
    Ended,
}

/// What [`Partial::advance`] came to.
pub enum Step<'b> {
    /// The input is used up.
    UsedUp,
    /// [`Partial::message_mut`] is whole.
    Message(Kind),
    /// A control frame, unmasked in the input.
    Control(Opcode, &'b mut [u8]),
    /// A control frame, in [`Partial::control`].
    HeldControl(Opcode),
}

impl Partial {
    /// Whether nothing is incomplete any more, so that everything can be given back.
    #[inline]
    pub fn is_spent(&self) -> bool {
        match self.stage {
            Stage::HandedOut => true,
            Stage::Header(ref header) => header.length == 0 && self.fragmented.is_none(),
            Stage::Data { .. } | Stage::Control { .. } | Stage::Ended => false,
        }
    }

    /// Heap bytes owned.
    pub fn heap_bytes(&self) -> usize {
        self.message.bytes.capacity() + self.control.capacity()
    }

    /// The message, after [`Step::Message`].
    pub fn message_mut(&mut self) -> &mut [u8] {
        &mut self.message.bytes
    }

    /// The payload of a control frame, after [`Step::HeldControl`].
    pub fn control(&self) -> &[u8] {
        &self.control
    }

    /// Ends the connection; only [`Self::control`] is kept, for the close event.
    pub fn end(&mut self) {
        self.stage = Stage::Ended;
        self.message = Message::default();
    }

    /// Uses `input` up to the next event or violation.
    pub fn advance<'b>(
        &mut self,
        input: &mut Input<'b>,
        message_limit_bytes: usize,
    ) -> Result<Step<'b>, Violation> {
        loop {
            match &mut self.stage {
                Stage::Header(header) => match header.complete(input)? {
                    None => return Ok(Step::UsedUp),
                    Some(header) => self.begin(header, message_limit_bytes)?,
                },
                Stage::Data { kind, fin, remaining_bytes, mask } => {
                    let (kind, fin) = (*kind, *fin);
                    let arrived = input.take(*remaining_bytes);
                    mask.apply(arrived);
                    // A last frame says how long the message will be; before it, only
                    // the limit does.
                    let longest_bytes = if fin {
                        self.message.bytes.len().saturating_add(*remaining_bytes)
                    } else {
                        message_limit_bytes
                    };
                    *remaining_bytes -= arrived.len();
                    let is_whole = *remaining_bytes == 0;
                    self.message.append(kind, arrived, longest_bytes)?;
                    if !is_whole {
                        return Ok(Step::UsedUp);
                    }
                    if fin {
                        self.message.finish(kind)?;
                        self.stage = Stage::HandedOut;
                        return Ok(Step::Message(kind));
                    }
                    self.fragmented = Some(kind);
                    self.stage = Stage::default();
                }
                Stage::Control { opcode, remaining_bytes, mask } => {
                    let opcode = *opcode;
                    let arrived = input.take(*remaining_bytes);
                    mask.apply(arrived);
                    *remaining_bytes -= arrived.len();
                    let is_whole = *remaining_bytes == 0;
                    if is_whole && self.control.is_empty() {
                        self.stage = Stage::default();
                        return Ok(Step::Control(opcode, arrived));
                    }
                    self.control.extend_from_slice(arrived);
                    if !is_whole {
                        return Ok(Step::UsedUp);
                    }
                    self.stage = Stage::default();
                    return Ok(Step::HeldControl(opcode));
                }
                // The decoder drops what is spent; were it to come back, it would start
                // anew.
                Stage::HandedOut => *self = Self::default(),
                Stage::Ended => {
                    self.control = Vec::new();
                    input.take(usize::MAX);
                    return Ok(Step::UsedUp);
                }
            }
        }
    }

    /// Takes up the frame that `header` announces.
    fn begin(&mut self, header: Header, message_limit_bytes: usize) -> Result<(), Violation> {
        let mask = Mask::new(header.mask_key);
        if header.opcode.is_control() {
            self.control.clear();
            let remaining_bytes = header.payload_bytes as usize;
            self.stage = Stage::Control { opcode: header.opcode, remaining_bytes, mask };
            return Ok(());
        }
        let kind = match (header.opcode, self.fragmented) {
            (Opcode::Continuation, Some(kind)) => kind,
            (Opcode::Continuation, None) => {
                return Err(Violation::protocol("continuation of no message"));
            }
            (_, Some(_)) => {
                return Err(Violation::protocol("new message inside a fragmented one"));
            }
            (Opcode::Text, None) => Kind::Text,
            (_, None) => Kind::Binary,
        };
        let room_bytes = message_limit_bytes.saturating_sub(self.message.bytes.len());
        let remaining_bytes = match usize::try_from(header.payload_bytes) {
            Ok(payload_bytes) if payload_bytes <= room_bytes => payload_bytes,
            _ => return Err(Violation::TOO_BIG),
        };
        self.stage = Stage::Data { kind, fin: header.fin, remaining_bytes, mask };
        Ok(())
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::Header(HeaderBytes::default())
    }
}

/// The beginning of a header.
#[derive(Debug, Default)]
struct HeaderBytes {
    bytes: [u8; HEADER_BYTES_MAX],
    /// How many of them are here.
    length: u8,
}

impl HeaderBytes {
    /// Takes bytes until the header is whole; `None` where the input ends before.
    fn complete(&mut self, input: &mut Input<'_>) -> Result<Option<Header>, Violation> {
        while let Some(slot) = self.bytes.get_mut(usize::from(self.length)) {
            let [byte] = *input.take(1) else { return Ok(None) };
            *slot = byte;
            self.length += 1;
            let here = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
            if let Some((header, _)) = Header::parse(here)? {
                return Ok(Some(header));
            }
        }
        // No header is longer than the room for one.
        Err(Violation::protocol("frame header is too long"))
    }
}

/// A data message as far as it has arrived, unmasked.
#[derive(Debug, Default)]
struct Message {
    bytes: Vec<u8>,
    text: Progress,
}

impl Message {
    /// Appends a piece. `longest_bytes` is what the message may come to.
    fn append(
        &mut self,
        kind: Kind,
        arrived: &[u8],
        longest_bytes: usize,
    ) -> Result<(), Violation> {
        let needed = self.bytes.len().saturating_add(arrived.len());
        if needed > self.bytes.capacity() {
            // Doubling, so that many small pieces cost no more than one copy each.
            let doubled = needed.saturating_add(needed.max(PARTIAL_RESERVE_BYTES));
            let wanted = doubled.min(longest_bytes).max(needed);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(arrived);
        match kind {
            Kind::Text => self.text.advance(&self.bytes).map_err(|_| Violation::INVALID_UTF8),
            Kind::Binary => Ok(()),
        }
    }

    /// Checks what only the end can tell: that the last character is whole.
    fn finish(&self, kind: Kind) -> Result<(), Violation> {
        match kind {
            Kind::Text if !self.text.is_complete(&self.bytes) => Err(Violation::INVALID_UTF8),
            _ => Ok(()),
        }
    }
}
