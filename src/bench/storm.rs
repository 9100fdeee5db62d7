//! Profile `storm`: everyone drops the connection at the same moment and comes back at once, as
//! after a network that was cut or a gateway that was replaced.
//!
//! Who is refused, reset or not answered tries again after a jittered wait, a bounded number of
//! times. A user's time counts from the moment of the drop to the open WebSocket.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet,
    backoff::Backoff,
    clock,
    order::{Order, Share},
    report::{Figure, Report},
    roster::Roster,
    script::Script,
    tally::Tally,
};

/// Connections that are begun in one turn: the sockets that were dropped are given back, and
/// answers heard, meanwhile.
const DIALS_MAX: usize = 128;
/// Shares of the users whose return is told, in percent.
const SHARES: [u32; 4] = [50, 90, 99, 100];
/// Processor time in the time in which users came back, past which the load was what took it.
const BUSY_SHARE_MAX: f64 = 0.95;
/// A connection that was open for so long was no failed attempt when it ends: a server that opens
/// and closes at once is not knocked at for ever.
const STAYED_NS: u64 = 1_000_000_000;
/// Storms of one run, at most: each has its own times.
pub const STORMS_MAX: usize = 32;

/// Times and counts of this profile, in the report.
const RECONNECTED: &str = "reconnected";
/// Users who dropped their connection; the number of the storm follows where there are several.
pub const DROPPED: &str = "dropped";
const ATTEMPTS: &str = "attempts to come back";
const GAVE_UP: &str = "gave up";
/// Users who had no connection when everyone was to drop theirs.
pub const AWAY: &str = "away when all dropped";
/// Users who were neither back nor had given up when the run ended.
pub const TRYING: &str = "still trying at the end";
/// Processes of the load that had no processor left until their users were back, each storm.
pub const BUSY: &str = "busy until all were back";

/// What happens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// When everyone drops the connection, from the beginning of the run; ascending, at most
    /// [`STORMS_MAX`].
    pub drops_ns: Vec<u64>,
    /// Attempts of a user to come back, the first included.
    pub attempts: u32,
    /// Between them.
    pub backoff: Backoff,
}

impl Job {
    /// How soon everyone was back, storm by storm.
    pub fn figures(&self, report: &Report) -> Vec<Figure> {
        (0..self.drops_ns.len()).flat_map(|storm| self.figures_of(storm, report)).collect()
    }

    fn figures_of(&self, storm: usize, report: &Report) -> Vec<Figure> {
        let dropped = report.counts.get(&self.name(DROPPED, storm)).copied().unwrap_or(0);
        let times = report.times.get(&self.name(RECONNECTED, storm)).cloned().unwrap_or_default();
        let time = |share: u32| {
            let rank = (dropped * u64::from(share)).div_ceil(100);
            let is_reached = rank > 0 && rank <= times.len();
            is_reached.then(|| Figure {
                name: self.name(&format!("{share} % back"), storm),
                value: times.quantile_ms(rank as f64 / times.len() as f64),
                unit: "ms".to_owned(),
            })
        };
        let share = Figure {
            name: self.name("came back", storm),
            value: times.len() as f64 * 100.0 / dropped.max(1) as f64,
            unit: "%".to_owned(),
        };
        let share = (dropped > 0).then_some(share);
        SHARES.into_iter().filter_map(time).chain(share).collect()
    }

    /// With its number where there are several.
    fn name(&self, what: &str, storm: usize) -> String {
        match self.drops_ns.len() {
            0 | 1 => what.to_owned(),
            _ => format!("{what}, storm {}", storm + 1),
        }
    }
}

/// Whether a user is there, or how it gets there.
#[derive(Clone, Copy, Default)]
struct Place {
    /// It has begun and not ended.
    is_present: bool,
    /// Since when it is there.
    opened_ns: Option<u64>,
    /// Attempts since it last stayed.
    attempts: u32,
    /// When the next one is due.
    retry_ns: Option<u64>,
    /// The storm that it has to come back from.
    storm: Option<u32>,
}

/// The users who come back in one storm.
#[derive(Clone, Copy, Default)]
struct Storm {
    dropped_ns: u64,
    /// Those who are not back.
    missing: u64,
    /// Processor time of this process at its beginning.
    processor_ns: u64,
}

/// Users who are there, but for storms.
pub struct Users {
    job: Job,
    origin_ns: u64,
    share: Share,
    random: StdRng,
    roster: Roster,
    /// By place in the share.
    places: Vec<Place>,
    /// Those so far.
    storms: Vec<Storm>,
    /// Users who connect as soon as may be.
    herd: VecDeque<u32>,
    retries: BinaryHeap<Reverse<(u64, u32)>>,
    opening: u64,
    is_over: bool,
}

impl Users {
    /// Nobody yet.
    pub fn new(job: &Job, order: &Order) -> Self {
        Self {
            job: job.clone(),
            origin_ns: order.origin_ns,
            share: order.share,
            random: StdRng::seed_from_u64(order.seed.wrapping_add(order.share.nth.into())),
            roster: Roster::new(order.target.clone(), order.share),
            places: Vec::new(),
            storms: Vec::new(),
            herd: VecDeque::new(),
            retries: BinaryHeap::new(),
            opening: 0,
            is_over: false,
        }
    }

    fn place(&mut self, user: u32) -> &mut Place {
        let local = self.share.local(user);
        if self.places.len() <= local {
            self.places.resize_with(local + 1, Place::default);
        }
        &mut self.places[local]
    }

    /// When the next storm is.
    fn next_drop_ns(&self) -> Option<u64> {
        let after = self.job.drops_ns.get(self.storms.len()).filter(|_| !self.is_over)?;
        Some(self.origin_ns.saturating_add(*after))
    }

    /// Everyone who has a connection drops it.
    fn drop_all(&mut self, fleet: &mut Fleet, dropped_ns: u64) {
        let number = self.storms.len();
        let (mut dropped, mut away) = (0, 0);
        for local in 0..self.places.len() {
            let user = self.share.user(u32::try_from(local).unwrap_or(u32::MAX));
            let place = &mut self.places[local];
            if place.opened_ns.is_none() {
                away += u64::from(place.is_present);
                continue;
            }
            let storm = u32::try_from(number).ok();
            *place = Place { is_present: true, storm, ..Place::default() };
            if let Some(client) = self.roster.forget(user) {
                fleet.hang_up(client);
            }
            self.herd.push_back(user);
            dropped += 1;
        }
        let processor_ns = clock::processor_ns();
        self.storms.push(Storm { dropped_ns, missing: dropped, processor_ns });
        self.roster.tally.count(&self.job.name(DROPPED, number), dropped);
        if away > 0 {
            self.roster.tally.count(AWAY, away);
        }
    }

    fn dial(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        let place = self.place(user);
        if !place.is_present || place.opened_ns.is_some() {
            return;
        }
        place.attempts += 1;
        let is_return = place.storm.is_some();
        if is_return {
            self.roster.tally.count(ATTEMPTS, 1);
        }
        self.roster.connect(fleet, user, now_ns);
        match self.roster.client(user) {
            Some(_) => self.opening += 1,
            None => self.fail(user, None, now_ns),
        }
    }

    /// An attempt of the user has failed, or its connection has gone: again, later.
    fn fail(&mut self, user: u32, retry_after_s: Option<u32>, now_ns: u64) {
        let attempts = self.place(user).attempts;
        if attempts >= self.job.attempts {
            self.roster.tally.count(GAVE_UP, 1);
            return self.settle(user);
        }
        let wait_ns = self.job.backoff.wait_ns(attempts.max(1), retry_after_s, &mut self.random);
        let retry_ns = now_ns.saturating_add(wait_ns);
        self.place(user).retry_ns = Some(retry_ns);
        self.retries.push(Reverse((retry_ns, user)));
    }

    /// Its storm is over for the user, one way or the other; which one it was.
    fn settle(&mut self, user: u32) {
        let storm = self.place(user).storm.take();
        if let Some(storm) = storm.and_then(|number| self.storms.get_mut(number as usize)) {
            storm.missing = storm.missing.saturating_sub(1);
        }
    }

    fn returned(&mut self, user: u32, number: u32) {
        let now_ns = clock::now_ns();
        self.settle(user);
        let Some(storm) = self.storms.get(number as usize).copied() else { return };
        let took_ns = now_ns.saturating_sub(storm.dropped_ns);
        let name = self.job.name(RECONNECTED, number as usize);
        let tally = &mut self.roster.tally;
        tally.time(&name, took_ns);
        let busy_ns = clock::processor_ns().saturating_sub(storm.processor_ns);
        if storm.missing == 0 && busy_ns as f64 > took_ns as f64 * BUSY_SHARE_MAX {
            tally.count(BUSY, 1);
        }
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        *self.place(user) = Place { is_present: true, ..Place::default() };
        self.dial(fleet, user, now_ns);
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        self.settle(user);
        let before = std::mem::take(self.place(user));
        if let Some(client) = self.roster.forget(user) {
            self.opening -= u64::from(before.opened_ns.is_none());
            fleet.leave(client);
        }
    }

    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64> {
        if let Some(drop_ns) = self.next_drop_ns().filter(|drop_ns| *drop_ns <= now_ns) {
            self.drop_all(fleet, drop_ns);
            // The next turn closes the sockets, and the one after it has their places.
            return Some(now_ns);
        }
        for _ in 0..DIALS_MAX.min(self.herd.len()) {
            let Some(user) = self.herd.pop_front() else { break };
            self.dial(fleet, user, now_ns);
        }
        while let Some(&Reverse((retry_ns, user))) = self.retries.peek() {
            if retry_ns > now_ns {
                break;
            }
            self.retries.pop();
            if self.place(user).retry_ns == Some(retry_ns) && !self.is_over {
                self.place(user).retry_ns = None;
                self.herd.push_back(user);
            }
        }
        if !self.herd.is_empty() {
            return Some(now_ns);
        }
        let retry_ns = self.retries.peek().map(|Reverse((retry_ns, _))| *retry_ns);
        self.next_drop_ns().into_iter().chain(retry_ns).min()
    }

    fn stop(&mut self, _: &mut Fleet) {
        self.is_over = true;
        self.herd.clear();
        let trying = self.places.iter().filter(|place| place.storm.is_some()).count();
        if trying > 0 {
            self.roster.tally.count(TRYING, trying as u64);
        }
    }

    fn under_way(&self) -> u64 {
        self.opening
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.roster.tally
    }
}

impl Crowd for Users {
    fn on_open(&mut self, _: &mut Fleet, client: ClientId) {
        self.roster.opened(client);
        self.opening -= 1;
        let place = self.place(client.user);
        place.opened_ns = Some(clock::now_ns());
        if let Some(storm) = place.storm {
            self.returned(client.user, storm);
        }
    }

    fn on_message(&mut self, _: &mut Fleet, _: ClientId, _: &[u8]) {
        self.roster.tally.received += 1;
    }

    fn on_end(&mut self, _: &mut Fleet, client: ClientId, end: End) {
        if !self.roster.ended(client, &end) {
            return;
        }
        let now_ns = clock::now_ns();
        let place = self.place(client.user);
        match place.opened_ns.take() {
            Some(opened_ns) if now_ns.saturating_sub(opened_ns) >= STAYED_NS => place.attempts = 0,
            Some(_) => {}
            None => self.opening -= 1,
        }
        let retry_after_s = match end {
            End::Refused(_, retry_after_s) => retry_after_s,
            _ => None,
        };
        self.fail(client.user, retry_after_s, now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::Times;

    fn job(storms: usize) -> Job {
        let backoff = Backoff { first_ms: 100, most_ms: 1_000 };
        Job { drops_ns: vec![0; storms], attempts: 3, backoff }
    }

    fn report(name: &str, dropped: u64, times_ms: impl IntoIterator<Item = u64>) -> Report {
        let (mut report, mut times) = (Report::default(), Times::default());
        times_ms.into_iter().for_each(|ms| times.record(ms * 1_000_000));
        report.counts.insert(name.replace(RECONNECTED, DROPPED), dropped);
        report.times.insert(name.to_owned(), times);
        report
    }

    fn value(figures: &[Figure], name: &str) -> Option<u64> {
        let figure = figures.iter().find(|figure| figure.name == name)?;
        Some(figure.value.round() as u64)
    }

    #[test]
    fn shares_are_of_those_who_were_dropped() {
        let figures = job(1).figures(&report(RECONNECTED, 100, 1..=100));
        assert_eq!(value(&figures, "50 % back"), Some(50));
        assert_eq!(value(&figures, "90 % back"), Some(90));
        assert_eq!(value(&figures, "99 % back"), Some(99));
        assert_eq!(value(&figures, "100 % back"), Some(100));
        assert_eq!(value(&figures, "came back"), Some(100));
        // Half of those who came back are not half of all.
        let figures = job(1).figures(&report(RECONNECTED, 100, 1..=60));
        assert_eq!(value(&figures, "50 % back"), Some(50));
        assert_eq!(value(&figures, "90 % back"), None, "they never were");
        assert_eq!(value(&figures, "came back"), Some(60));
        assert_eq!(job(1).figures(&Report::default()), []);
    }

    #[test]
    fn several_storms_have_a_number_each() {
        let figures = job(2).figures(&report("reconnected, storm 2", 10, [7; 10]));
        assert_eq!(value(&figures, "100 % back, storm 2"), Some(7));
        assert!(figures.iter().all(|figure| figure.name.ends_with("storm 2")), "{figures:?}");
    }
}
