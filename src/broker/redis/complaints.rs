//! ▢ What Redis refuses is logged once, and again only after a while, however often it
//! happens: the metrics count, the log explains.

use crate::limits::{COMPLAINT_KINDS, COMPLAINT_PAUSE_MS};

/// The kinds of refusals that were logged.
#[derive(Default, Debug)]
pub struct Complaints {
    told: Vec<Told>,
}

#[derive(Debug)]
struct Told {
    kind: String,
    at_ms: u64,
    since: u64,
}

impl Complaints {
    /// Logs `text` unless `kind` (an error code) was logged a short while ago. `true`: it
    /// was logged. Past [`COMPLAINT_KINDS`] all others are one kind.
    pub fn tell(&mut self, kind: &str, now_ms: u64, text: impl FnOnce() -> String) -> bool {
        let full = self.told.len() >= COMPLAINT_KINDS;
        let known = self.told.iter_mut().position(|told| told.kind == kind);
        let known = known.or_else(|| full.then(|| self.told.len().saturating_sub(1)));
        let since = match known.and_then(|at| self.told.get_mut(at)) {
            Some(told) if now_ms.saturating_sub(told.at_ms) < COMPLAINT_PAUSE_MS => {
                told.since = told.since.saturating_add(1);
                return false;
            }
            Some(told) => {
                told.at_ms = now_ms;
                std::mem::take(&mut told.since)
            }
            None => {
                self.told.push(Told { kind: kind.to_string(), at_ms: now_ms, since: 0 });
                0
            }
        };
        match since {
            0 => log::warn!("broker: {}", text()),
            more => log::warn!("broker: {} ({more} more like it since it was last said)", text()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_in_a_while() {
        let mut complaints = Complaints::default();
        let mut tell = |kind: &str, now_ms| complaints.tell(kind, now_ms, || kind.to_string());
        assert!(tell("OOM", 5));
        assert!(tell("WRONGTYPE", 6));
        assert!(!tell("OOM", 4 + COMPLAINT_PAUSE_MS));
        assert!(tell("OOM", 5 + COMPLAINT_PAUSE_MS));
    }

    #[test]
    fn there_are_not_more_kinds_than_the_limit() {
        let mut complaints = Complaints::default();
        let told = (0..1_000)
            .filter(|kind| complaints.tell(&kind.to_string(), 0, || kind.to_string()))
            .count();
        assert_eq!((told, complaints.told.len()), (COMPLAINT_KINDS, COMPLAINT_KINDS));
    }
}
