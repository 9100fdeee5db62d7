//! ▢ The chunks of one session: what became of each, and the merge.
//!
//! A chunk has two names: its index, which the client chose (gaps and any order are
//! allowed), and its ordinal, its place in the order of arrival, which never changes and
//! fits into a ticket.

use std::collections::VecDeque;

use super::ordinals::Ordinals;
use super::result::WorkerResult;

/// One chunk of a session.
#[derive(Debug)]
pub struct Chunk {
    /// As the client numbers it.
    pub index: u32,
    /// What became of it.
    pub phase: Phase,
    /// Whether the client has had its ack.
    pub acked: bool,
    /// Whether the present owner of the session has been sent its answer, or that it was
    /// refused.
    pub sent: bool,
}

impl Chunk {
    /// Whether the broker has taken it (or did not need to: there was no audio).
    pub fn is_accepted(&self) -> bool {
        !matches!(self.phase, Phase::Pushing | Phase::Refused)
    }
}

/// What became of a chunk. It goes downward, except that a refused one may be sent again
/// and that one given up may still be answered.
#[derive(Debug)]
pub enum Phase {
    /// The broker has it; whether it takes it is not known yet.
    Pushing,
    /// The broker did not take it, and the client knows. As good as never sent.
    Refused,
    /// In the queue or with a worker.
    Queued {
        /// When it is looked for in the cache.
        deadline_ms: u64,
    },
    /// Past its deadline; given up unless the cache, which is being read, has the answer.
    Overdue,
    /// Given up.
    Expired,
    /// A worker has answered.
    Answered(Answer),
}

/// A worker's answer, as far as it is kept.
#[derive(Debug)]
pub struct Answer {
    /// `None` where the session had no room left for it.
    pub text: Option<Box<str>>,
    /// The worker's complaint.
    pub error: Option<Box<str>>,
}

/// What [`Chunks::take`] made of an index.
#[derive(Debug, PartialEq, Eq)]
pub enum Taken {
    /// Not seen before, or refused before: now `Pushing`, under this ordinal.
    New(u32),
    /// Known under this ordinal.
    Repeated(u32),
    /// Not taken: the session has too many chunks.
    Full,
}

/// What [`Chunks::answer`] made of a result.
#[derive(Debug, PartialEq, Eq)]
pub enum Answered {
    /// The first answer to the chunk with this ordinal.
    First(u32),
    /// The first answer, and it came before the broker said that it has the chunk.
    Early(u32),
    /// The first answer, after the chunk had been given up.
    Late(u32),
    /// Not the first one.
    Duplicate,
    /// There is no such chunk.
    Unknown,
}

/// What a session's final result says about its chunks.
#[derive(Debug, PartialEq, Eq)]
pub struct Summary {
    /// Chunks that count, refused ones excepted.
    pub chunks: usize,
    /// The texts in the order of the indexes, empty ones left out.
    pub text: String,
    /// The lowest indexes that the text lacks.
    pub missing: Vec<u32>,
    /// How many indexes the text lacks.
    pub missing_count: usize,
}

/// Every chunk of one session.
#[derive(Default, Debug)]
pub struct Chunks {
    /// By ordinal.
    list: Vec<Chunk>,
    ordinals: Ordinals,
    /// Ordinals in the order of their deadlines; those answered since are passed over.
    queued: VecDeque<u32>,
    /// Ordinals that were `Overdue` when the cache was last asked.
    overdue: Vec<u32>,
    unanswered: u32,
    pushing: u32,
    text_bytes: usize,
}

impl Chunks {
    /// Chunks that are on their way to an answer: `Pushing`, `Queued` or `Overdue`.
    pub fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Bytes of texts that are kept.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    /// The index after the highest one; `None` where there is no higher one.
    pub fn next_index(&self) -> Option<u32> {
        self.ordinals.highest().map_or(Some(0), |highest| highest.checked_add(1))
    }

    /// Chunks that are `Pushing`.
    pub fn pushing(&self) -> u32 {
        self.pushing
    }

    /// Every chunk in the order of arrival.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Chunk> {
        self.list.iter_mut()
    }

    /// The chunk with this ordinal.
    pub fn get_mut(&mut self, ordinal: u32) -> Option<&mut Chunk> {
        self.list.get_mut(ordinal as usize)
    }

    /// Whether a chunk with this index was sent, and not refused.
    pub fn contains(&self, index: u32) -> bool {
        let ordinal = self.ordinals.of(index);
        let chunk = ordinal.and_then(|ordinal| self.list.get(ordinal as usize));
        chunk.is_some_and(|chunk| !matches!(chunk.phase, Phase::Refused))
    }

    /// Makes `index` a chunk, unless it is one or there are `limit` of them.
    pub fn take(&mut self, index: u32, limit: u32) -> Taken {
        if let Some(ordinal) = self.ordinals.of(index) {
            let refused = self.get_mut(ordinal).filter(|c| matches!(c.phase, Phase::Refused));
            let Some(chunk) = refused else { return Taken::Repeated(ordinal) };
            (chunk.phase, chunk.sent) = (Phase::Pushing, false);
            self.unanswered += 1;
            self.pushing += 1;
            return Taken::New(ordinal);
        }
        let ordinal = self.list.len() as u32;
        if ordinal >= limit {
            return Taken::Full;
        }
        self.list.push(Chunk { index, phase: Phase::Pushing, acked: false, sent: false });
        self.ordinals.push(index);
        self.unanswered += 1;
        self.pushing += 1;
        Taken::New(ordinal)
    }

    /// The broker took it. `None` if it was not `Pushing`: a worker was faster.
    pub fn accept(&mut self, ordinal: u32, deadline_ms: u64) -> Option<&mut Chunk> {
        let chunk = self.list.get_mut(ordinal as usize)?;
        let Phase::Pushing = chunk.phase else { return None };
        chunk.phase = Phase::Queued { deadline_ms };
        self.pushing -= 1;
        self.queued.push_back(ordinal);
        Some(chunk)
    }

    /// The broker did not take it. `None` if it was not `Pushing`; else its index.
    pub fn refuse(&mut self, ordinal: u32) -> Option<u32> {
        let chunk = self.list.get_mut(ordinal as usize)?;
        let Phase::Pushing = chunk.phase else { return None };
        chunk.phase = Phase::Refused;
        self.pushing -= 1;
        self.unanswered -= 1;
        Some(chunk.index)
    }

    /// Keeps a worker's answer, its text only while the session has `text_limit_bytes`.
    pub fn answer(&mut self, result: &WorkerResult<'_>, text_limit_bytes: usize) -> Answered {
        let Some(ordinal) = self.ordinals.of(result.index) else { return Answered::Unknown };
        let Some(chunk) = self.list.get_mut(ordinal as usize) else { return Answered::Unknown };
        let answered = match chunk.phase {
            Phase::Refused => return Answered::Unknown,
            Phase::Answered(_) => return Answered::Duplicate,
            Phase::Expired => Answered::Late(ordinal),
            Phase::Pushing => Answered::Early(ordinal),
            Phase::Queued { .. } | Phase::Overdue => Answered::First(ordinal),
        };
        let mut keep = |text: &str| {
            let bytes = self.text_bytes.saturating_add(text.len());
            (bytes <= text_limit_bytes).then(|| {
                self.text_bytes = bytes;
                Box::from(text)
            })
        };
        let text = keep(&result.text);
        let error = result.error.as_deref().and_then(keep);
        chunk.phase = Phase::Answered(Answer { text, error });
        self.unanswered -= u32::from(!matches!(answered, Answered::Late(_)));
        self.pushing -= u32::from(matches!(answered, Answered::Early(_)));
        answered
    }

    /// When the next `Queued` chunk is overdue.
    pub fn next_deadline_ms(&mut self) -> Option<u64> {
        while let Some(&ordinal) = self.queued.front() {
            match self.list.get(ordinal as usize).map(|chunk| &chunk.phase) {
                Some(Phase::Queued { deadline_ms }) => return Some(*deadline_ms),
                _ => self.queued.pop_front(),
            };
        }
        None
    }

    /// Makes every `Queued` chunk past its deadline `Overdue`: the cache is about to be
    /// read, and what it does not have is given up.
    pub fn mark_overdue(&mut self, now_ms: u64) {
        while self.next_deadline_ms().is_some_and(|deadline_ms| deadline_ms <= now_ms) {
            let Some(ordinal) = self.queued.pop_front() else { return };
            if let Some(chunk) = self.list.get_mut(ordinal as usize) {
                chunk.phase = Phase::Overdue;
                self.overdue.push(ordinal);
            }
        }
    }

    /// Gives up every chunk that is still `Overdue`; how many.
    pub fn expire_overdue(&mut self) -> u32 {
        let mut expired = 0;
        for ordinal in self.overdue.drain(..) {
            let chunk = self.list.get_mut(ordinal as usize);
            if let Some(chunk) = chunk.filter(|chunk| matches!(chunk.phase, Phase::Overdue)) {
                chunk.phase = Phase::Expired;
                expired += 1;
            }
        }
        self.unanswered -= expired;
        expired
    }

    /// Gives up every chunk that the broker has and nobody has answered. One that it may
    /// not have stays as it is, for it must not be acked.
    pub fn give_up(&mut self) {
        for chunk in &mut self.list {
            if matches!(chunk.phase, Phase::Queued { .. } | Phase::Overdue) {
                chunk.phase = Phase::Expired;
                self.unanswered -= 1;
            }
        }
    }

    /// The merge, and what it lacks: chunks without an answer, chunks that the broker
    /// refused and the client did not send again, and answers that there was no room for.
    pub fn summary(&self, separator: &str, missing_max: usize) -> Summary {
        let mut summary =
            Summary { chunks: 0, text: String::new(), missing: Vec::new(), missing_count: 0 };
        for (index, ordinal) in self.ordinals.iter() {
            let Some(chunk) = self.list.get(ordinal as usize) else { continue };
            summary.chunks += usize::from(!matches!(chunk.phase, Phase::Refused));
            match &chunk.phase {
                Phase::Answered(Answer { text: Some(text), .. }) => {
                    if !text.is_empty() && !summary.text.is_empty() {
                        summary.text.push_str(separator);
                    }
                    summary.text.push_str(text);
                }
                _ => {
                    summary.missing_count += 1;
                    if summary.missing.len() < missing_max {
                        summary.missing.push(index);
                    }
                }
            }
        }
        summary
    }
}
