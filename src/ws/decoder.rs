//! ▢ From the bytes of a client to its messages and control frames.
//!
//! The hot path of every inbound message: a frame that lies whole in the receive buffer
//! is unmasked and handed out where it lies, without a copy or an allocation, and the
//! decoder keeps nothing. Only the rest of a partial frame, or a fragmented message,
//! owns memory (`ws/partial.rs`), and gives it back with the message.
//!
//! It must not answer anything (pongs, close frames): the caller does.

use super::close::{Violation, parse_close};
use super::frame::{Header, Opcode};
use super::mask::Mask;
use super::partial::{Partial, Step};
use super::utf8::is_utf8;

/// The decoder of one connection: nothing at all between two messages.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Partial>>);

// A million connections, nearly all of them between two messages.
const _: () = assert!(size_of::<Decoder>() == 8);

/// Received bytes, used up from the front. They are unmasked in place.
#[derive(Debug)]
pub struct Input<'b> {
    rest: &'b mut [u8],
}

/// What a data message carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// UTF-8, validated.
    Text,
    /// Anything.
    Binary,
}

/// Something whole that a client sent.
#[derive(PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// A data message, put together from all its frames.
    Message {
        /// Text or binary; text has been validated.
        kind: Kind,
        /// The caller's to scribble on until the next call.
        payload: &'a mut [u8],
    },
    /// To be answered with a pong of the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// An answer to a ping, or just a sign of life; at most 125 bytes.
    Pong(&'a [u8]),
    /// The peer closes. Nothing comes after it.
    Close {
        /// Its code, one of those that may be sent; `None` where the frame was empty.
        code: Option<u16>,
        /// Its reason, for people; at most 123 bytes.
        reason: &'a str,
    },
}

impl Decoder {
    /// A decoder between two messages.
    pub const fn new() -> Self {
        Self(None)
    }

    /// The next event of `input`, or `None` when it is used up. Call it until then: the
    /// memory of a message is given back by the call after the one that returned it.
    ///
    /// After a close event or a violation the rest of the connection is thrown away: the
    /// answer is always `None`. `message_limit_bytes` bounds a message over all its
    /// frames; it takes effect with the next frame header.
    ///
    /// # Errors
    /// The first thing that breaks RFC 6455, as early as it can be known: a header by its
    /// own bytes, a message past the limit by the header that announces it (1009), text
    /// by its first bad byte (1007).
    #[inline]
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        message_limit_bytes: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        if self.0.as_deref().is_some_and(Partial::is_spent) {
            self.0 = None;
        }
        if self.0.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some((opcode, payload)) = input.take_whole_message(message_limit_bytes) {
                return self.hand_out_in_place(input, opcode, payload);
            }
        }
        self.next_partial(input, message_limit_bytes)
    }

    /// Heap bytes owned now: zero between two messages, else a fixed part and what has
    /// arrived of the message, at most about twice that.
    pub fn held_bytes(&self) -> usize {
        self.0.as_deref().map_or(0, |partial| size_of::<Partial>() + partial.heap_bytes())
    }

    #[inline]
    fn hand_out_in_place<'a, 'b: 'a>(
        &'a mut self,
        input: &mut Input<'b>,
        opcode: Opcode,
        payload: &'b mut [u8],
    ) -> Result<Option<Event<'a>>, Violation> {
        match opcode {
            Opcode::Binary => Ok(Some(Event::Message { kind: Kind::Binary, payload })),
            Opcode::Text if is_utf8(payload) => {
                Ok(Some(Event::Message { kind: Kind::Text, payload }))
            }
            Opcode::Ping => Ok(Some(Event::Ping(payload))),
            Opcode::Pong => Ok(Some(Event::Pong(payload))),
            Opcode::Close => {
                self.end(input);
                close_event(payload).map(Some)
            }
            Opcode::Text | Opcode::Continuation => {
                self.end(input);
                Err(Violation::INVALID_UTF8)
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn next_partial<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        message_limit_bytes: usize,
    ) -> Result<Option<Event<'a>>, Violation> {
        let step = match self.partial().advance(input, message_limit_bytes) {
            Ok(step) => step,
            Err(violation) => {
                self.end(input);
                return Err(violation);
            }
        };
        match step {
            Step::UsedUp => Ok(None),
            Step::Message(kind) => {
                Ok(Some(Event::Message { kind, payload: self.partial().message_mut() }))
            }
            Step::Control(opcode, payload) => self.hand_out_in_place(input, opcode, payload),
            Step::HeldControl(Opcode::Ping) => Ok(Some(Event::Ping(self.partial().control()))),
            Step::HeldControl(Opcode::Close) => {
                input.clear();
                self.partial().end();
                close_event(self.partial().control()).map(Some)
            }
            Step::HeldControl(_) => Ok(Some(Event::Pong(self.partial().control()))),
        }
    }

    fn partial(&mut self) -> &mut Partial {
        self.0.get_or_insert_default()
    }

    /// Throws away the rest of `input` and all that comes after it.
    #[cold]
    fn end(&mut self, input: &mut Input<'_>) {
        input.clear();
        self.0 = None;
        self.partial().end();
    }
}

impl<'b> Input<'b> {
    /// All of `received`, which must be what followed the bytes of the last input.
    pub fn new(received: &'b mut [u8]) -> Self {
        Self { rest: received }
    }

    /// Whether everything has been used up.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not used yet.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// The next `bytes`, or what there is.
    pub(super) fn take(&mut self, bytes: usize) -> &'b mut [u8] {
        let rest = std::mem::take(&mut self.rest);
        let (taken, rest) = rest.split_at_mut(bytes.min(rest.len()));
        self.rest = rest;
        taken
    }

    fn clear(&mut self) {
        self.rest = &mut [];
    }

    /// The opcode and the unmasked payload of the next frame, where that is a whole
    /// control frame or a whole message. In every other case, errors included, nothing is
    /// taken and the long way finds out.
    #[inline]
    fn take_whole_message(&mut self, limit_bytes: usize) -> Option<(Opcode, &'b mut [u8])> {
        let (header, header_bytes) = Header::parse(self.rest).ok()??;
        let whole = header.fin && header.opcode != Opcode::Continuation;
        let payload_bytes = usize::try_from(header.payload_bytes).ok()?;
        let frame_bytes = header_bytes.checked_add(payload_bytes)?;
        if !whole || frame_bytes > self.rest.len() {
            return None;
        }
        if payload_bytes > limit_bytes && !header.opcode.is_control() {
            return None;
        }
        let (_, payload) = self.take(frame_bytes).split_at_mut(header_bytes);
        Mask::new(header.mask_key).apply(payload);
        Some((header.opcode, payload))
    }
}

fn close_event(payload: &[u8]) -> Result<Event<'_>, Violation> {
    let (code, reason) = parse_close(payload)?;
    Ok(Event::Close { code, reason })
}

#[cfg(test)]
mod tests;
