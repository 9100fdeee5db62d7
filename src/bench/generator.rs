//! One process of the load: it has its share of the users, and says slice by slice what they did.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use super::{
    Fleet, clock, echo, idle,
    order::{Job, Order, Said, Slice},
    script::Script,
    storm, tasks, zombies,
};

/// Connections that are being opened at once.
const OPENING_MAX: usize = 256;
/// Users who begin or end in one turn: the others go on meanwhile.
const CHANGE_MAX: usize = 32;
/// One sleep at most.
const NAP: Duration = Duration::from_millis(5);
/// For the goodbyes.
const LEAVE_NS: u64 = 5_000_000_000;

/// Does what it is told, until it is done or `stop` is set.
///
/// # Errors
/// No io_uring here, or nobody hears what it says.
pub fn run(order: &Order, stop: &AtomicBool, out: &mut impl Write) -> Result<(), String> {
    match &order.job {
        Job::Echo(job) => generate(order, echo::Users::new(job, order), stop, out),
        Job::Idle(job) => generate(order, idle::Users::new(job, order), stop, out),
        Job::Storm(job) => generate(order, storm::Users::new(job, order), stop, out),
        Job::Zombies(job) => generate(order, zombies::Users::new(job, order), stop, out),
        Job::Tasks(job) => generate(order, tasks::Users::new(job, order), stop, out),
    }
}

fn generate(
    order: &Order,
    script: impl Script,
    stop: &AtomicBool,
    out: &mut impl Write,
) -> Result<(), String> {
    let most = order.share.of_users(order.stages.peak());
    let fleet = Fleet::new(order.sources.clone(), most);
    let fleet = fleet.map_err(|error| format!("io_uring: {error}"))?;
    let processor_ns = clock::processor_ns();
    let mut generator =
        Generator { order, fleet, script, present: 0, wanted: 0, slice: 0, processor_ns };
    generator.run(stop, out)
}

struct Generator<'o, S> {
    order: &'o Order,
    fleet: Fleet,
    script: S,
    /// Users who have begun and not ended, the first of the share.
    present: u32,
    wanted: u32,
    slice: u32,
    processor_ns: u64,
}

impl<S: Script> Generator<'_, S> {
    fn run(&mut self, stop: &AtomicBool, out: &mut impl Write) -> Result<(), String> {
        let length_ns = self.order.stages.length().as_nanos() as u64;
        let end_ns = self.order.origin_ns.saturating_add(length_ns);
        let mut now_ns = clock::now_ns();
        while now_ns < end_ns && !stop.load(Relaxed) {
            let next_slice_ns = self.slice_end_ns();
            if now_ns >= next_slice_ns {
                self.tell(out)?;
            }
            self.scale(now_ns);
            self.turn(now_ns, next_slice_ns)?;
            now_ns = clock::now_ns();
        }
        if now_ns >= self.slice_end_ns() {
            self.tell(out)?;
        }
        self.script.stop(&mut self.fleet);
        let settle_ns = self.order.job.settle().as_nanos() as u64;
        self.turn_while(settle_ns, |generator| generator.script.under_way() > 0)?;
        let rest = self.slice();
        say(out, &Said::Rest(Box::new(rest)))?;
        (0..self.present)
            .for_each(|local| self.script.end(&mut self.fleet, self.order.share.user(local)));
        self.turn_while(LEAVE_NS, |generator| generator.fleet.open > 0)?;
        say(out, &Said::Done)
    }

    /// Lets users begin and end as the stages say.
    fn scale(&mut self, now_ns: u64) {
        let time = Duration::from_nanos(now_ns.saturating_sub(self.order.origin_ns));
        let share = self.order.share;
        self.wanted = share.of_users(self.order.stages.users_at(time));
        for _ in 0..CHANGE_MAX {
            if self.present < self.wanted && self.fleet.opening < OPENING_MAX {
                self.script.begin(&mut self.fleet, share.user(self.present), now_ns);
                self.present += 1;
            } else if self.present > self.wanted {
                self.present -= 1;
                self.script.end(&mut self.fleet, share.user(self.present));
            } else {
                return;
            }
        }
    }

    fn turn(&mut self, now_ns: u64, until_ns: u64) -> Result<(), String> {
        let failed = |error: io::Error| format!("io_uring: {error}");
        let next_ns = self.script.act(&mut self.fleet, now_ns).unwrap_or(until_ns);
        if !self.fleet.turn(&mut self.script).map_err(failed)? {
            let rest = next_ns.min(until_ns).saturating_sub(clock::now_ns());
            let busy = self.present != self.wanted && self.fleet.opening < OPENING_MAX;
            if rest > 0 && !busy {
                self.fleet.wait(Duration::from_nanos(rest).min(NAP)).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn turn_while(
        &mut self,
        at_most_ns: u64,
        goes_on: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let end_ns = clock::now_ns() + at_most_ns;
        while goes_on(self) && clock::now_ns() < end_ns {
            self.turn(clock::now_ns(), end_ns)?;
        }
        Ok(())
    }

    fn slice_end_ns(&self) -> u64 {
        let slices = u64::from(self.slice) + 1;
        self.order.origin_ns + slices * self.order.slice_ms * 1_000_000
    }

    fn tell(&mut self, out: &mut impl Write) -> Result<(), String> {
        let slice = self.slice();
        say(out, &Said::Slice(Box::new(slice)))
    }

    fn slice(&mut self) -> Slice {
        let processor_ns = clock::processor_ns();
        let mut tally = std::mem::take(self.script.tally());
        tally.pings = std::mem::take(&mut self.fleet.pings);
        let slice = Slice {
            nth: self.slice,
            wanted: self.wanted,
            open: u32::try_from(self.fleet.open).unwrap_or(u32::MAX),
            processor_ns: processor_ns - self.processor_ns,
            tally,
        };
        (self.slice, self.processor_ns) = (self.slice + 1, processor_ns);
        slice
    }
}

/// One line.
///
/// # Errors
/// Nobody hears it.
pub fn say(out: &mut impl Write, said: &Said) -> Result<(), String> {
    let mut line = serde_json::to_vec(said).map_err(|error| error.to_string())?;
    line.push(b'\n');
    out.write_all(&line).and_then(|()| out.flush()).map_err(|error| error.to_string())
}
