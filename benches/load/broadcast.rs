//! The subscribers of one server, and what is published to all of them in a closed loop: the next
//! message when everybody has had the oldest one in flight.
//!
//! All messages have one length, so that what a subscriber has received so far says which one it
//! is reading. Every byte is compared with what was published: one that is lost, repeated or out
//! of order shows by the sequence number in the payload.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringgate::{
    ids::SocketId,
    metrics::ShardMetrics,
    ring::{Event, Ring, RingOptions},
};
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::connect::{self, Endpoint};
use crate::frames::{MASK, first_frame, frame};
use crate::{Deadline, Failure};

const TEXT: OpCode = OpCode::Data(Data::Text);
/// A delivery that takes longer than this is lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Digits of the sequence number at the head of a payload.
pub const SEQUENCE_DIGITS: usize = 16;
/// Besides them a payload has two quotes.
pub const PAYLOAD_BYTES_MIN: u32 = SEQUENCE_DIGITS as u32 + 2;

/// What is published.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Subscribers of each server.
    pub subscribers: u32,
    /// Bytes of a payload, which is a JSON string.
    pub bytes: u32,
    /// Messages that not everybody has had.
    pub inflight: u32,
    /// Name of the topic, and of its channel.
    pub topic: String,
}

/// Where messages are published.
#[derive(Clone, Copy, Debug)]
pub enum Publisher {
    /// The bytes of the frame, as they are to go out.
    Raw(SocketAddr),
    /// PUBLISH of the payload.
    Redis(SocketAddr),
}

struct Subscriber {
    /// Until it is subscribed: what has come of the answer.
    answer: Option<Vec<u8>>,
    received_bytes: u64,
}

struct Publication {
    frame: Vec<u8>,
    published_at: Instant,
    /// Subscribers who have not had it.
    missing: usize,
}

/// All subscribers of one server, and its publisher.
pub struct Broadcast {
    ring: Ring,
    events: Vec<Event>,
    /// By the slot of their sockets, which a new ring gives in order.
    subscribers: Vec<Subscriber>,
    publisher: SocketId,
    via: Publisher,
    shape: Shape,
    frame_bytes: u64,
    /// In flight, oldest first.
    publications: VecDeque<Publication>,
    published: u64,
    writing: bool,
    /// Messages that subscribers have had.
    pub deliveries: u64,
    /// From the publication to the last of its deliveries.
    pub spread_ns: Histogram<u64>,
}

impl Broadcast {
    /// Opens all connections and awaits all subscriptions.
    pub fn open(
        endpoint: &Endpoint,
        via: Publisher,
        shape: Shape,
        deadline: Deadline,
    ) -> Result<Self, Failure> {
        let sockets = shape.subscribers + 1;
        let options = RingOptions { registered_sockets: sockets, ..RingOptions::default() };
        let mut ring = Ring::new(&options, Arc::new(ShardMetrics::default()))?;
        let mut subscribers = Vec::new();
        // A plain server sends it back, and so is known to have accepted.
        let ask =
            if endpoint.raw { vec![b'?'] } else { frame(TEXT, &subscribe(&shape), Some(MASK))? };
        for index in 0..shape.subscribers {
            deadline.check()?;
            let opened = connect::open(endpoint, 1, index)?;
            let id = ring.adopt(opened.stream.into())?;
            ring.send(id, ask.clone()).map_err(|_| "a new socket takes no write")?;
            let answer = Some(opened.surplus);
            subscribers.push(Subscriber { answer, received_bytes: 0 });
        }
        let (Publisher::Raw(address) | Publisher::Redis(address)) = via;
        let plain = Endpoint { server: address, raw: true, path: String::new() };
        let publisher = ring.adopt(connect::open(&plain, 1, 0)?.stream.into())?;
        let frame_bytes = message(&shape, 0)?.len() as u64;
        let mut broadcast = Self {
            ring,
            events: Vec::new(),
            subscribers,
            publisher,
            via,
            shape,
            frame_bytes,
            publications: VecDeque::new(),
            published: 0,
            writing: false,
            deliveries: 0,
            spread_ns: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
        };
        broadcast.await_subscriptions(deadline)?;
        Ok(broadcast)
    }

    fn await_subscriptions(&mut self, deadline: Deadline) -> Result<(), Failure> {
        while self.subscribers.iter().any(|subscriber| subscriber.answer.is_some()) {
            deadline.check()?;
            // The check above goes through all of them.
            for _ in 0..1000 {
                self.turn()?;
            }
        }
        Ok(())
    }

    /// Publishes for at least that long, then until everybody has had everything.
    pub fn run_for(&mut self, time: Duration, deadline: Deadline) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.publish()?;
            self.turn()?;
            deadline.check()?;
        }
        while !self.publications.is_empty() {
            self.turn()?;
        }
        Ok(())
    }

    /// Turns without publishing: what the server has left to do for the last messages is done.
    pub fn settle(&mut self, time: Duration) -> Result<(), Failure> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Failure> {
        if self.writing || self.publications.len() >= self.shape.inflight as usize {
            return Ok(());
        }
        let payload = payload(&self.shape, self.published);
        let frame = message(&self.shape, self.published)?;
        let wire = match self.via {
            Publisher::Raw(_) => frame.clone(),
            Publisher::Redis(_) => publish_command(&self.shape.topic, &payload),
        };
        let (published_at, missing) = (Instant::now(), self.subscribers.len());
        self.publications.push_back(Publication { frame, published_at, missing });
        self.published += 1;
        self.writing = true;
        let sent = self.ring.send(self.publisher, wire);
        sent.map_err(|_| "the publisher takes no write".into())
    }

    /// Spins rather than sleeps, as in the closed loop of `echo`.
    fn turn(&mut self) -> Result<(), Failure> {
        let mut events = std::mem::take(&mut self.events);
        if self.ring.turn(&mut events)? == 0 {
            std::hint::spin_loop();
            if let Some(oldest) = self.publications.front()
                && oldest.published_at.elapsed() > DELIVERY_TIMEOUT
            {
                let missing = oldest.missing;
                return Err(format!("{missing} deliveries took over {DELIVERY_TIMEOUT:?}").into());
            }
        }
        events.drain(..).try_for_each(|event| self.on_event(event))?;
        self.events = events;
        Ok(())
    }

    fn on_event(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Received(id, mut received) => {
                let taken = if id == self.publisher {
                    check_answer(received.bytes_mut())
                } else {
                    self.receive(id.slot as usize, received.bytes_mut())
                };
                self.ring.recycle(id, received);
                taken
            }
            Event::Sent(id, _) => {
                self.writing &= id != self.publisher;
                Ok(())
            }
            other => connect::ended(&other),
        }
    }

    fn receive(&mut self, index: usize, received: &[u8]) -> Result<(), Failure> {
        let subscriber = &mut self.subscribers[index];
        if let Some(answer) = &mut subscriber.answer {
            answer.extend_from_slice(received);
            if is_subscribed(answer)? {
                subscriber.answer = None;
            }
            return Ok(());
        }
        let mut rest = received;
        let oldest = self.published - self.publications.len() as u64;
        while !rest.is_empty() {
            let (sequence, within) = (
                subscriber.received_bytes / self.frame_bytes,
                (subscriber.received_bytes % self.frame_bytes) as usize,
            );
            let place = sequence.checked_sub(oldest);
            let publication = place.and_then(|place| self.publications.get_mut(place as usize));
            let Some(publication) = publication else {
                return Err(format!("connection {}: more than was published", index + 1).into());
            };
            let expected = &publication.frame[within..];
            let (part, after) = rest.split_at(expected.len().min(rest.len()));
            if !expected.starts_with(part) {
                let (came, wanted) = (part.escape_ascii(), publication.frame.escape_ascii());
                return Err(format!("connection {}: {came}\n... of {wanted}", index + 1).into());
            }
            subscriber.received_bytes += part.len() as u64;
            rest = after;
            if part.len() == expected.len() {
                publication.missing -= 1;
                self.deliveries += 1;
            }
        }
        while let Some(oldest) = self.publications.front().filter(|oldest| oldest.missing == 0) {
            self.spread_ns.saturating_record(oldest.published_at.elapsed().as_nanos() as u64);
            self.publications.pop_front();
        }
        Ok(())
    }
}

fn subscribe(shape: &Shape) -> Vec<u8> {
    format!(r#"{{"op":"subscribe","topics":["{}"],"conflate_ms":0}}"#, shape.topic).into_bytes()
}

/// Whether the answer to `subscribe`, or to the one byte of a plain server, is there.
fn is_subscribed(answer: &[u8]) -> Result<bool, Failure> {
    if answer == b"?" {
        return Ok(true);
    }
    let Some(frame) = first_frame(answer)? else { return Ok(false) };
    let text = String::from_utf8_lossy(frame.payload);
    if text.contains(r#""op":"subscribed""#) && frame.after.is_empty() {
        return Ok(true);
    }
    Err(format!("not the confirmation of a subscription: {text}").into())
}

/// A JSON string that begins with the sequence number.
fn payload(shape: &Shape, sequence: u64) -> Vec<u8> {
    let filler = shape.bytes.saturating_sub(PAYLOAD_BYTES_MIN) as usize;
    format!("\"{sequence:0SEQUENCE_DIGITS$}{}\"", "x".repeat(filler)).into_bytes()
}

/// What every subscriber is to be sent.
fn message(shape: &Shape, sequence: u64) -> Result<Vec<u8>, Failure> {
    let head = format!(r#"{{"topic":"{}","data":"#, shape.topic);
    frame(TEXT, &[head.as_bytes(), &payload(shape, sequence), b"}"].concat(), None)
}

fn publish_command(channel: &str, payload: &[u8]) -> Vec<u8> {
    let head =
        format!("*3\r\n$7\r\nPUBLISH\r\n${}\r\n{channel}\r\n${}\r\n", channel.len(), payload.len());
    [head.as_bytes(), payload, b"\r\n"].concat()
}

/// Redis says how many have had it, or what is wrong.
fn check_answer(answer: &[u8]) -> Result<(), Failure> {
    if answer.starts_with(b"-") {
        return Err(format!("PUBLISH: {}", answer.escape_ascii()).into());
    }
    Ok(())
}
