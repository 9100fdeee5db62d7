//! Profile `zombies`: users who vanish without a word, as behind a network that was unplugged,
//! beside others who stay.
//!
//! A user who has vanished sends nothing any more, no pong either, and its socket stays open: the
//! server hears nothing and has no FIN and no reset to go by. What differs from a host that is
//! gone is that this one's kernel still acknowledges, so that no retransmission ever times out:
//! the harder case, which only a deadline of the server's own finds. (Sockets could be closed
//! without FIN by TCP_REPAIR, which needs CAP_NET_ADMIN; and when the server closes them could
//! not be seen then.)

use serde::{Deserialize, Serialize};

use super::{
    ClientId, Crowd, End, Fleet, clock, echo, idle,
    order::{Order, Share},
    script::Script,
    tally::Tally,
};

/// Times and counts of this profile, in the report.
pub const VANISHED: &str = "vanished";
const CLOSED: &str = "closed";
const CLOSED_WITH_FRAME: &str = "closed, told first";
const NEVER_CLOSED: &str = "never closed";
const CUT_SHORT: &str = "open when it was ended";

/// What happens.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Job {
    /// What the users do until they vanish; `None`: nothing.
    pub echo: Option<echo::Job>,
    /// Share of the users that vanishes, in percent.
    pub percent: u32,
    /// When, from the beginning of the run.
    pub vanish_ns: u64,
    /// How long the server has to close them.
    pub patience_ns: u64,
}

impl Job {
    /// Whether the user is one of those who vanish, who are evenly spread.
    fn vanishes(&self, user: u32) -> bool {
        let before = |user: u64| user * u64::from(self.percent.min(100)) / 100;
        before(u64::from(user) + 1) > before(u64::from(user))
    }
}

/// A script whose users can be taken out of it.
trait Living: Script {
    /// The user's connection, which is no business of the script any more.
    fn abandon(&mut self, user: u32) -> Option<ClientId>;
}

impl Living for echo::Users {
    fn abandon(&mut self, user: u32) -> Option<ClientId> {
        self.abandon(user)
    }
}

impl Living for idle::Users {
    fn abandon(&mut self, user: u32) -> Option<ClientId> {
        self.abandon(user)
    }
}

/// Users, some of whom vanish.
pub struct Users {
    job: Job,
    share: Share,
    vanish_ns: u64,
    living: Box<dyn Living>,
    /// How many have begun; those who have ended are the last.
    begun: u32,
    /// Connections of those who have vanished, by place in the share.
    vanished: Vec<Option<ClientId>>,
    have_vanished: bool,
}

impl Users {
    /// Nobody yet.
    pub fn new(job: &Job, order: &Order) -> Self {
        let living: Box<dyn Living> = match &job.echo {
            Some(echo) => Box::new(echo::Users::new(echo, order)),
            None => Box::new(idle::Users::new(&idle::Job {}, order)),
        };
        Self {
            vanish_ns: order.origin_ns.saturating_add(job.vanish_ns),
            job: job.clone(),
            share: order.share,
            living,
            begun: 0,
            vanished: Vec::new(),
            have_vanished: false,
        }
    }

    fn deadline_ns(&self) -> u64 {
        self.vanish_ns.saturating_add(self.job.patience_ns)
    }

    fn vanish(&mut self, fleet: &mut Fleet) {
        self.have_vanished = true;
        self.vanished.resize(self.begun as usize, None);
        let mut count = 0;
        for local in 0..self.begun {
            let user = self.share.user(local);
            if let Some(client) =
                self.job.vanishes(user).then(|| self.living.abandon(user)).flatten()
            {
                // One that is not open yet has nothing to vanish from.
                if fleet.mute(client) {
                    self.vanished[local as usize] = Some(client);
                    count += 1;
                } else {
                    fleet.hang_up(client);
                }
            }
        }
        let tally = self.living.tally();
        tally.count(VANISHED, count);
        tally.count(NEVER_CLOSED, 0);
    }

    /// The time is up for those whom the server has not closed, or the run is.
    fn give_up(&mut self, fleet: &mut Fleet, why: &str) {
        let left: Vec<ClientId> = self.vanished.iter_mut().filter_map(Option::take).collect();
        if !left.is_empty() {
            self.living.tally().count(why, left.len() as u64);
        }
        left.into_iter().for_each(|client| fleet.hang_up(client));
    }
}

impl Script for Users {
    fn begin(&mut self, fleet: &mut Fleet, user: u32, now_ns: u64) {
        self.begun = self.begun.max(self.share.local(user) as u32 + 1);
        self.living.begin(fleet, user, now_ns);
    }

    fn end(&mut self, fleet: &mut Fleet, user: u32) {
        let local = self.share.local(user);
        self.begun = self.begun.min(local as u32);
        if let Some(client) = self.vanished.get_mut(local).and_then(Option::take) {
            fleet.hang_up(client);
            self.living.tally().count(CUT_SHORT, 1);
        }
        self.living.end(fleet, user);
    }

    fn act(&mut self, fleet: &mut Fleet, now_ns: u64) -> Option<u64> {
        if !self.have_vanished && now_ns >= self.vanish_ns {
            self.vanish(fleet);
        }
        if now_ns >= self.deadline_ns() {
            self.give_up(fleet, NEVER_CLOSED);
        }
        let next_ns = [self.vanish_ns, self.deadline_ns()].into_iter().find(|at| *at > now_ns);
        self.living.act(fleet, now_ns).into_iter().chain(next_ns).min()
    }

    fn stop(&mut self, fleet: &mut Fleet) {
        let is_time = clock::now_ns() >= self.deadline_ns();
        self.give_up(fleet, if is_time { NEVER_CLOSED } else { CUT_SHORT });
        // Nobody vanishes while the last answers come in.
        self.have_vanished = true;
        self.living.stop(fleet);
    }

    fn under_way(&self) -> u64 {
        self.living.under_way()
    }

    fn tally(&mut self) -> &mut Tally {
        self.living.tally()
    }
}

impl Crowd for Users {
    fn on_open(&mut self, fleet: &mut Fleet, client: ClientId) {
        self.living.on_open(fleet, client);
    }

    fn on_message(&mut self, fleet: &mut Fleet, client: ClientId, payload: &[u8]) {
        self.living.on_message(fleet, client, payload);
    }

    fn on_answer(&mut self, fleet: &mut Fleet, client: ClientId, status: u16, body: &[u8]) {
        self.living.on_answer(fleet, client, status, body);
    }

    fn on_end(&mut self, fleet: &mut Fleet, client: ClientId, end: End) {
        let place = self.vanished.get_mut(self.share.local(client.user));
        if let Some(place) = place.filter(|place| **place == Some(client)) {
            *place = None;
            let took_ns = clock::now_ns().saturating_sub(self.vanish_ns);
            let tally = self.living.tally();
            tally.time(CLOSED, took_ns);
            tally.count(CLOSED_WITH_FRAME, u64::from(matches!(end, End::Closed(_))));
        } else {
            self.living.on_end(fleet, client, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn so_many_vanish_however_many_there_are(users in 1..2_000_u32, percent in 0..=100_u32) {
            let job = Job { echo: None, percent, vanish_ns: 0, patience_ns: 0 };
            let vanish = (0..users).filter(|user| job.vanishes(*user)).count() as u32;
            prop_assert_eq!(vanish, users * percent / 100);
        }
    }
}
