//! One process of the load: it has its share of the users, and says slice by slice what they did.

use std::{
    io::{self, Write},
    sync::Arc,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use super::{
    Fleet, clock, echo, idle,
    order::{Job, Order, Said, Slice, Word},
    script::Script,
    spike, storm, tasks, topics, zombies,
};

/// Connections that are being opened at once.
const OPENING_MAX: usize = 256;
/// Users who begin or end in one turn: the others go on meanwhile.
const CHANGE_MAX: usize = 32;
/// One sleep at most.
const NAP: Duration = Duration::from_millis(5);
/// For the goodbyes.
const LEAVE_NS: u64 = 5_000_000_000;

/// For the server to notice that everybody has vanished: its silence is a minute or more.
pub const VANISH_NS: u64 = 180_000_000_000;

/// What a generator is told while it works, by another thread.
#[derive(Default)]
pub struct Ear {
    published: OnceLock<u64>,
    is_over: Arc<AtomicBool>,
}

impl Ear {
    /// Takes a word of the run.
    pub fn hear(&self, word: Word) {
        let Word::Published(messages) = word;
        // The first word counts.
        let _ = self.published.set(messages);
    }

    /// Nothing more will be said: it is to end.
    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// Set once nothing more will be said.
    pub fn ending(&self) -> Arc<AtomicBool> {
        self.is_over.clone()
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }
}

/// Does what it is told, until it is done or its `ear` is told to end.
///
/// # Errors
/// No io_uring here, or nobody hears what it says.
pub fn run(order: &Order, ear: &Ear, out: &mut impl Write) -> Result<(), String> {
    match &order.job {
        Job::Echo(job) => generate(order, echo::Users::new(job, order), ear, out),
        Job::Idle(job) => generate(order, idle::Users::new(job, order), ear, out),
        Job::Topics(job) => generate(order, topics::Users::new(job, order)?, ear, out),
        Job::Spike(job) => generate(order, spike::Users::new(job, order)?, ear, out),
        Job::Storm(job) => generate(order, storm::Users::new(job, order), ear, out),
        Job::Zombies(job) => generate(order, zombies::Users::new(job, order), ear, out),
        Job::Tasks(job) => generate(order, tasks::Users::new(job, order), ear, out),
    }
}

fn generate(
    order: &Order,
    script: impl Script,
    ear: &Ear,
    out: &mut impl Write,
) -> Result<(), String> {
    let most = order.share.of_users(order.stages.peak());
    let fleet = Fleet::new(order.sources.clone(), most);
    let fleet = fleet.map_err(|error| format!("io_uring: {error}"))?;
    let processor_ns = clock::processor_ns();
    let mut generator =
        Generator { order, fleet, script, ear, present: 0, wanted: 0, slice: 0, processor_ns };
    generator.run(out)
}

struct Generator<'o, S> {
    order: &'o Order,
    fleet: Fleet,
    script: S,
    ear: &'o Ear,
    /// Users who have begun and not ended, the first of the share.
    present: u32,
    wanted: u32,
    slice: u32,
    processor_ns: u64,
}

impl<S: Script> Generator<'_, S> {
    fn run(&mut self, out: &mut impl Write) -> Result<(), String> {
        let length_ns = self.order.stages.length().as_nanos() as u64;
        let end_ns = self.order.origin_ns.saturating_add(length_ns);
        let mut now_ns = clock::now_ns();
        while now_ns < end_ns && !self.ear.is_over() {
            let next_slice_ns = self.slice_end_ns();
            if now_ns >= next_slice_ns {
                self.tell(out)?;
            }
            self.scale(now_ns);
            self.turn(now_ns, next_slice_ns)?;
            now_ns = clock::now_ns();
        }
        while self.slice_end_ns() <= now_ns.min(end_ns) {
            self.tell(out)?;
        }
        self.script.stop(&mut self.fleet);
        self.settle()?;
        let rest = self.slice();
        say(out, &Said::Rest(Box::new(rest)))?;
        if self.script.vanishes() {
            self.vanish();
            return say(out, &Said::Done);
        }
        (0..self.present)
            .for_each(|local| self.script.end(&mut self.fleet, self.order.share.user(local)));
        self.turn_while(LEAVE_NS, |generator| generator.fleet.open + generator.fleet.leaving > 0)?;
        say(out, &Said::Done)
    }

    /// Until all has come that is due, or for so long.
    fn settle(&mut self) -> Result<(), String> {
        let end_ns = clock::now_ns() + self.order.job.settle().as_nanos() as u64;
        let mut is_told = false;
        while self.script.under_way() > 0 && clock::now_ns() < end_ns {
            if let Some(&messages) = self.ear.published.get().filter(|_| !is_told) {
                self.script.published(messages);
                is_told = true;
            }
            self.turn(clock::now_ns(), end_ns)?;
        }
        self.script.settled();
        Ok(())
    }

    /// Nobody reads, answers or says goodbye from here on, and no FIN is sent.
    fn vanish(&self) {
        let end_ns = clock::now_ns() + VANISH_NS;
        while !self.ear.is_over() && clock::now_ns() < end_ns {
            thread::sleep(NAP);
        }
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
            open: u32::try_from(self.script.present(&self.fleet)).unwrap_or(u32::MAX),
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
