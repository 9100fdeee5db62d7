//! A client: one session after another, each over as many connections as it takes.
//!
//! It does what the reference clients do: after a break it starts the same session again, at
//! whichever gateway, and sends what it has no result of. And it breaks its connections itself:
//! with a FIN, with a reset, or not at all, taking the session over beside the old connection.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering::SeqCst,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::json;

use super::audio;
use super::model::{Final, Heard, Session, Violation};
use super::old::{Old, TAKEN_OVER};
use super::plan::{Dice, Fault, RESUME};
use super::report::Stage;
use super::wire::{NoWire, Wire, Word};

/// Chunks of the longest session.
const CHUNKS_MAX: u64 = 16;

/// What the longest chain of deadlines leaves for the way of a message, on a busy machine.
const SLACK: Duration = Duration::from_secs(15);

pub struct Client<'a> {
    stage: &'a Stage,
    dice: Dice,
    number: u64,
    link: Option<Link>,
    olds: Vec<Old>,
}

/// A connection, and whose it is.
pub struct Link {
    pub wire: Wire,
    pub door: usize,
    /// Which life of the gateway.
    pub life: u64,
}

impl Link {
    /// Whether both are connections to the same process.
    pub fn is_beside(&self, other: &Self) -> bool {
        (self.door, self.life) == (other.door, other.life)
    }
}

/// A session under way.
struct Talk {
    session: Session,
    /// Chunks that may be unacked.
    window: usize,
    /// `finish` goes out before all is acked.
    hasty: bool,
    pace_ms: u64,
    /// The door of the next connection.
    door: usize,
    /// Where the last start was acked, and when that connection was left.
    left: Option<(usize, u64, Instant)>,
    /// Gateways to which a start was sent over a connection that was left before its ack. It
    /// may be read after that of the next connection, on another core, and then takes the
    /// session from it.
    ghosts: Vec<(usize, u64)>,
}

/// How a connection went.
#[expect(clippy::large_enum_variant, reason = "one a client, on its stack")]
enum Outcome {
    Final {
        link: Link,
        told: Final,
        reusable: bool,
    },
    /// The session needs another connection, after a pause.
    Again(Duration),
}

impl<'a> Client<'a> {
    pub fn new(stage: &'a Stage, number: u64) -> Self {
        let dice = Dice::new(stage.seed, 10_000 + number);
        Self { stage, dice, number, link: None, olds: Vec::new() }
    }

    pub fn run(mut self) {
        sleep(self.dice.millis(0, 1_000));
        let mut count = 0;
        while !self.stage.over.load(SeqCst) {
            let id = format!("{}-c{}-{count}", self.stage.mode, self.number);
            self.run_session(id);
            sleep(self.dice.millis(0, 1_500));
            count += 1;
        }
        if let Some(link) = self.link.take() {
            link.wire.close();
        }
    }

    fn run_session(&mut self, id: String) {
        let dice = &mut self.dice;
        let mut talk = Talk {
            session: Session::new(id, 1 + dice.below(CHUNKS_MAX) as u32, self.stage.mode),
            window: 1 + dice.below(8) as usize,
            hasty: dice.percent(25),
            pace_ms: dice.pick(&[0, 20, 100, 200]),
            door: dice.below(2) as usize,
            left: None,
            ghosts: Vec::new(),
        };
        self.stage.count("sessions", 1);
        self.stage.count("chunks", talk.session.chunks.into());
        let mut progress = (Instant::now(), 0);
        loop {
            match self.converse(&mut talk) {
                Outcome::Final { link, told, reusable } => {
                    self.conclude(&talk, &link, &told);
                    self.leave(link, reusable);
                    break;
                }
                Outcome::Again(pause) => sleep(pause),
            }
            if talk.session.results.len() > progress.1 {
                progress = (Instant::now(), talk.session.results.len());
            }
            if progress.0.elapsed() > 2 * self.limit() {
                let Session { id, results, chunks, .. } = &talk.session;
                let what = format!("{id}: no progress: {} of {chunks} results", results.len());
                self.stage.violated(Violation(what));
                self.stage.count("sessions failed", 1);
                break;
            }
        }
        for old in std::mem::take(&mut self.olds) {
            if let Err(violation) = old.end(self.stage) {
                self.stage.violated(violation);
            }
        }
    }

    /// How long a gateway may take for a final result, whatever happens.
    fn limit(&self) -> Duration {
        self.stage.mode.chunk_deadline() + self.stage.mode.finish_deadline() + SLACK
    }

    fn conclude(&self, talk: &Talk, link: &Link, told: &Final) {
        let stage = self.stage;
        stage.count(if told.complete { "sessions complete" } else { "sessions partial" }, 1);
        stage.count("chunks acked", talk.session.acks.len() as u64);
        stage.count("chunks answered", talk.session.results.len() as u64);
        stage.count("chunks missing, acked", told.lost.len() as u64);
        stage.count("chunks missing, never acked", told.unacked as u64);
        stage.on_missing(link.door, link.life, &talk.session.id, &told.lost);
    }

    /// The connection may serve another session.
    fn leave(&mut self, link: Link, reusable: bool) {
        match self.dice.below(4) {
            0 | 1 if reusable => self.link = Some(link),
            0..3 => link.wire.close(),
            _ => link.wire.drop_it(false),
        }
    }

    fn connect(&mut self, door: usize) -> Option<Link> {
        let gateway = &self.stage.doors[door];
        let life = gateway.life.load(SeqCst);
        match Wire::connect(gateway.listen) {
            Ok(wire) if gateway.life.load(SeqCst) == life => Some(Link { wire, door, life }),
            Ok(_) | Err(NoWire::Broken) => None,
            Err(NoWire::Refused(status, code)) => {
                match (status, &*code) {
                    (503, "broker_unavailable") => self.stage.count("refused, no broker", 1),
                    (503, "queue_full") => self.stage.count("refused, queue full", 1),
                    _ => self.stage.violated(Violation(format!("refused: {status} {code}"))),
                }
                None
            }
        }
    }

    fn converse(&mut self, talk: &mut Talk) -> Outcome {
        let link = self.link.take();
        let Some(mut link) = link.or_else(|| self.connect(talk.door)) else {
            talk.door = self.dice.below(2) as usize;
            return Outcome::Again(self.dice.millis(20, 300));
        };
        talk.session.on_start_sent(self.stage.outage.load(SeqCst));
        let start = json!({"action": "start", "session_id": talk.session.id});
        let was_finishing = talk.session.finish_was_sent();
        for old in &mut self.olds {
            old.on_other_start_sent(&link);
        }
        let told = match link.wire.say(&start) {
            true => self.listen(talk, &mut link),
            false => Told::Broken,
        };
        match told {
            // What was said after the session had ended is answered with an error.
            Told::Final(told) => Outcome::Final { link, told, reusable: !was_finishing },
            Told::Cut => self.cut(talk, link),
            Told::Broken => {
                self.note_left(talk, &link);
                talk.door = self.dice.below(2) as usize;
                self.stage.count("connections lost", 1);
                Outcome::Again(self.dice.millis(0, 300))
            }
        }
    }

    fn note_left(&self, talk: &mut Talk, link: &Link) {
        if talk.session.is_started() {
            talk.left = Some((link.door, link.life, Instant::now()));
        } else {
            talk.ghosts.push((link.door, link.life));
        }
    }

    /// Speaks and hears until the final result, the end of the connection, or the moment that
    /// was drawn for its cut.
    fn listen(&mut self, talk: &mut Talk, link: &mut Link) -> Told {
        let cuts = self.stage.has(Fault::Client) && self.dice.percent(40);
        let mut events_left = self.dice.below(3 * u64::from(talk.session.chunks) + 3);
        let mut queue = VecDeque::new();
        let (mut finish_sent, mut last_word) = (false, Instant::now());
        loop {
            if cuts && events_left == 0 && self.stage.has(Fault::Client) {
                return Told::Cut;
            }
            let sent = match self.speak(talk, link, &mut queue, &mut finish_sent) {
                Ok(sent) => sent,
                Err(()) => return Told::Broken,
            };
            events_left = events_left.saturating_sub(u64::from(sent));
            let wait = if sent { self.dice.below(talk.pace_ms + 1) } else { 20 };
            let heard = match link.wire.hear(Duration::from_millis(wait)) {
                Word::Nothing if last_word.elapsed() > self.limit() => {
                    let what = format!("{}: silence", talk.session.id);
                    self.stage.violated(Violation(what));
                    return Told::Broken;
                }
                Word::Nothing => continue,
                Word::End(code) => return self.on_end(talk, link, code),
                Word::Message(message) => {
                    let outage = self.stage.outage.load(SeqCst);
                    let id = talk.session.id.clone();
                    let cached = |index| self.stage.cached(&id, index);
                    talk.session.hear(&message, outage, cached)
                }
            };
            last_word = Instant::now();
            events_left = events_left.saturating_sub(1);
            match heard {
                Ok(Heard::StartAck) => queue = self.on_started(talk, link),
                Ok(Heard::Ack(_) | Heard::Result(_)) => {}
                Ok(Heard::Rejected(index)) => {
                    self.stage.count("chunks rejected", 1);
                    queue.push_back(index);
                    sleep(Duration::from_millis(50));
                }
                Ok(Heard::Refused(_)) => {
                    self.stage.count("starts refused", 1);
                    return Told::Broken;
                }
                Ok(Heard::Final(told)) => return Told::Final(told),
                Err(violation) => {
                    self.stage.violated(violation);
                    return Told::Broken;
                }
            }
        }
    }

    /// Says at most one thing; whether it did.
    fn speak(
        &self,
        talk: &mut Talk,
        link: &mut Link,
        queue: &mut VecDeque<u32>,
        finish_sent: &mut bool,
    ) -> Result<bool, ()> {
        let session = &mut talk.session;
        let said = |went: bool| went.then_some(true).ok_or(());
        if !session.is_started() {
            return Ok(false);
        }
        if session.unacked() < talk.window
            && let Some(index) = queue.pop_front()
        {
            let audio = audio::chunk(&session.id, index);
            let audio = base64_simd::STANDARD.encode_to_string(audio);
            session.on_sent(index, Instant::now(), self.stage.outage.load(SeqCst));
            return said(link.wire.say(&json!({
                "action": "chunk", "session_id": session.id, "chunk_index": index,
                "audio_data": audio,
            })));
        }
        if queue.is_empty() && !*finish_sent && (talk.hasty || session.unacked() == 0) {
            *finish_sent = true;
            session.on_finish_sent();
            let finish = json!({"action": "finish", "session_id": session.id});
            return said(link.wire.say(&finish));
        }
        Ok(false)
    }

    fn on_started(&mut self, talk: &mut Talk, link: &Link) -> VecDeque<u32> {
        let same = talk.left.is_some_and(|(door, life, at)| {
            (door, life) == (link.door, link.life) && at.elapsed() < RESUME / 2
        });
        if talk.left.is_some() {
            self.stage.count(if same { "resumes" } else { "returns to a new session" }, 1);
        }
        for old in &mut self.olds {
            old.on_other_started(link);
        }
        if same && !talk.session.finish_was_sent() && self.dice.percent(60) {
            self.stage.count("resumes that trust their acks", 1);
            talk.session.trust();
        } else {
            talk.session.distrust();
        }
        let mut to_send = talk.session.to_send();
        // Any order is allowed, and the merge is in that of the indexes.
        if self.dice.percent(30) {
            for last in (1..to_send.len()).rev() {
                to_send.swap(last, self.dice.below(last as u64 + 1) as usize);
            }
        }
        to_send.into()
    }

    fn on_end(&self, talk: &Talk, link: &Link, code: Option<u16>) -> Told {
        if code == Some(TAKEN_OVER) && talk.ghosts.contains(&(link.door, link.life)) {
            self.stage.count("takeovers by an own late start", 1);
        } else if let Some(code) = code {
            // A gateway that is killed says nothing.
            let what = format!("{}: closed with {code}", talk.session.id);
            self.stage.violated(Violation(what));
        }
        Told::Broken
    }

    /// Breaks the connection in one of its ways; how long the client stays away.
    fn cut(&mut self, talk: &mut Talk, link: Link) -> Outcome {
        self.note_left(talk, &link);
        let other = 1 - link.door;
        talk.door = if self.dice.percent(60) { link.door } else { other };
        self.stage.count("kills of connections", 1);
        match self.dice.below(10) {
            0..4 => link.wire.drop_it(false),
            4..7 => link.wire.drop_it(true),
            kind => {
                talk.door = if kind < 9 { link.door } else { other };
                let contested = talk.ghosts.contains(&(link.door, link.life));
                self.olds.push(Old::new(&talk.session, link, contested));
                return Outcome::Again(Duration::ZERO);
            }
        }
        Outcome::Again(match self.dice.below(10) {
            0..5 => Duration::ZERO,
            5..9 => self.dice.millis(0, 500),
            _ => self.dice.millis(0, 6_000),
        })
    }
}

/// What became of a connection.
enum Told {
    Final(Final),
    Cut,
    Broken,
}
