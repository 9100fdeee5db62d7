//! What all threads of one mode have in common: the counts, the violations, and what has to be
//! known of Redis and of the gateways' lives.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Instant,
};

use super::model::Violation;
use super::plan::{Fault, Mode};

/// Violations that are told; what follows the first is often its consequence.
const TOLD_MAX: usize = 20;

/// One mode of a run, as its threads see it.
pub struct Stage {
    pub seed: u64,
    pub mode: Mode,
    pub faults: Vec<Fault>,
    pub doors: [Door; 2],
    /// Odd while Redis is certainly dead.
    pub outage: AtomicU64,
    /// Clients begin nothing new and break nothing, faults end.
    pub over: AtomicBool,
    /// Workers end.
    pub done: AtomicBool,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    violations: Mutex<Vec<String>>,
    /// When the checker's own workers had the cache's answer, by session and index.
    cached: Mutex<HashMap<(String, u32), Instant>>,
    /// Acked chunks that were told missing, by the gateway's door and life.
    missing: Mutex<HashMap<(usize, u64), u64>>,
    /// Those chunks, by session and index.
    lost: Mutex<Vec<(String, u32)>>,
    begin: Instant,
    timeline: Mutex<Vec<String>>,
}

/// Where a gateway listens, whoever lives there.
pub struct Door {
    pub listen: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    /// Which of its lives this is: odd while it is certainly dead.
    pub life: AtomicU64,
}

impl Stage {
    pub fn new(seed: u64, mode: Mode, faults: Vec<Fault>, doors: [Door; 2]) -> Self {
        Self {
            seed,
            mode,
            faults,
            doors,
            outage: AtomicU64::new(0),
            over: AtomicBool::new(false),
            done: AtomicBool::new(false),
            counts: Mutex::default(),
            violations: Mutex::default(),
            cached: Mutex::default(),
            missing: Mutex::default(),
            lost: Mutex::default(),
            begin: Instant::now(),
            timeline: Mutex::default(),
        }
    }

    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault) && !self.over.load(SeqCst)
    }

    pub fn count(&self, what: &'static str, by: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what).or_default() += by;
    }

    /// Something that explains what follows.
    pub fn happened(&self, what: &str) {
        let mut timeline = self.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        timeline.push(format!("{:>9.3} s  {what}", self.begin.elapsed().as_secs_f64()));
    }

    pub fn timeline(&self) -> String {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    pub fn violated(&self, Violation(what): Violation) {
        self.happened(&what);
        let mut violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        violations.push(what);
    }

    pub fn on_cached(&self, session: &str, index: u32) {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.entry((session.to_owned(), index)).or_insert_with(Instant::now);
    }

    pub fn cached(&self, session: &str, index: u32) -> Option<Instant> {
        let cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        cached.get(&(session.to_owned(), index)).copied()
    }

    /// Acked chunks were told missing by the gateway that lives there.
    pub fn on_missing(&self, door: usize, life: u64, session: &str, chunks: &BTreeSet<u32>) {
        if chunks.is_empty() {
            return;
        }
        self.happened(&format!("{session}: {chunks:?} are missing"));
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing.entry((door, life)).or_default() += chunks.len() as u64;
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.extend(chunks.iter().map(|index| (session.to_owned(), *index)));
    }

    /// How many of those were answered by a worker of the checker's after all.
    pub fn answered_late(&self) -> u64 {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.iter().filter(|(session, index)| self.cached(session, *index).is_some()).count() as u64
    }

    pub fn missing(&self, door: usize, life: u64) -> u64 {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.get(&(door, life)).copied().unwrap_or_default()
    }

    /// The table, a group of figures a line.
    pub fn summary(&self) -> String {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = vec![format!("  {:<34}{:>10}", self.mode.to_string(), "")];
        lines.extend(counts.iter().map(|(what, count)| format!("  {what:<34}{count:>10}")));
        lines.join("\n")
    }

    /// Everything that must not be; empty where all is well.
    pub fn told(&self) -> String {
        let violations = self.violations.lock().unwrap_or_else(PoisonError::into_inner);
        let more = violations.len().saturating_sub(TOLD_MAX);
        let mut told: Vec<String> = violations.iter().take(TOLD_MAX).cloned().collect();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        told.join("\n")
    }
}
