//! The server during a run: its processor time and memory slice by slice, and what each plateau
//! has cost.
//!
//! A server that ends meanwhile ends the watch and not the run; the result is invalid.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    cost::{
        Ends, Probe,
        calls::{Counted, SystemCalls},
        model::{Cost, Point},
    },
    process::Process,
    report::plateau::{Sum, measured_slices},
    stages::{Flat, Stages},
};

/// Of the head of a plateau, how much system calls are counted in: behind it is what is measured,
/// and counting makes every call slower.
const CALLS_SHARE: f64 = 0.6;

/// What a server used in one slice.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// Number of the slice.
    pub slice: usize,
    /// Processor time meanwhile.
    pub cpu: Duration,
    /// What it has in memory at its end.
    pub resident_bytes: u64,
}

/// One server under a load.
pub struct Watch {
    probe: Probe,
    pids: Vec<u32>,
    admin: Option<SocketAddr>,
    plateaus: Vec<Watched>,
    baseline: Point,
    flats: Vec<Flat>,
    slice: Duration,
    /// Processor time at the end of the last slice that was read; nothing before the origin.
    before: Option<Duration>,
    /// Why it was ended early.
    gone: Option<String>,
}

/// One plateau.
struct Watched {
    slices: std::ops::Range<usize>,
    /// The slice with which it begins, unmeasured head included.
    head: usize,
    head_time: Duration,
    /// Processor time in its measured slices.
    cpu: Duration,
    /// Its memory, once it was looked at.
    point: Option<Point>,
    calls: Option<JoinHandle<Result<Counted, String>>>,
}

impl Watch {
    /// Looks at the server before the first connection.
    ///
    /// # Errors
    /// A process that is not there.
    pub fn start(
        servers: &[Process],
        admin: Option<SocketAddr>,
        stages: &Stages,
        slice: Duration,
    ) -> Result<Self, String> {
        let pids: Vec<u32> = servers.iter().map(|server| server.0).collect();
        let no_process = |error| format!("--server-pid: {error}");
        // The load is in the same kernel as what it can read of.
        let mut probe = Probe::new(&pids, Ends::FLEET).map_err(no_process)?;
        let baseline = probe.baseline();
        let plateau = |(flat, (_, slices)): (&Flat, (u64, std::ops::Range<usize>))| {
            let head = (flat.from.as_secs_f64() / slice.as_secs_f64()).ceil() as usize;
            let head_time = slice * u32::try_from(slices.start.saturating_sub(head)).unwrap_or(0);
            Watched { slices, head, head_time, cpu: Duration::ZERO, point: None, calls: None }
        };
        let measured = measured_slices(stages, slice.as_secs_f64());
        let flats = stages.flats();
        let plateaus = flats.iter().zip(measured).map(plateau).collect();
        Ok(Self { probe, pids, admin, plateaus, baseline, flats, slice, before: None, gone: None })
    }

    /// At the end of the slice `ended`, or at the origin; `open`: connections, as far as known.
    pub fn look(&mut self, ended: Option<usize>, open: u64) -> Option<Used> {
        if self.gone.is_some() {
            return None;
        }
        let read = self.probe.cpu().and_then(|cpu| Ok((cpu, self.probe.resident_bytes()?)));
        let (cpu, resident_bytes) = match read {
            Ok(read) => read,
            Err(error) => {
                self.gone = Some(format!("--server-pid: {error}, before the end of the run"));
                return None;
            }
        };
        let before = self.before.replace(cpu);
        let next = ended.map_or(0, |slice| slice + 1);
        self.begin_calls(next);
        let (slice, used) = (ended?, cpu.saturating_sub(before?));
        self.ask(slice, open);
        for plateau in &mut self.plateaus {
            if plateau.slices.contains(&slice) {
                plateau.cpu += used;
            }
            // One slice before its end: with the last one the users are on their way out.
            if plateau.slices.len() > 1 && slice + 2 == plateau.slices.end {
                plateau.point = Some(self.probe.point(open, 0.0, Duration::ZERO, 0, None));
            }
        }
        Some(Used { slice, cpu: used, resident_bytes })
    }

    /// What one connection has in the server's rings, as soon as their number stands still.
    fn ask(&mut self, slice: usize, open: u64) {
        let end = self.slice * u32::try_from(slice + 1).unwrap_or(u32::MAX);
        let still =
            |flat: &&Flat| (flat.from..flat.to).contains(&end) && u64::from(flat.users) == open;
        if self.flats.iter().any(|flat| still(&flat)) {
            self.probe.ask(open);
        }
    }

    /// The server that ended meanwhile.
    pub fn gone(&self) -> Option<String> {
        self.gone.clone()
    }

    fn begin_calls(&mut self, next: usize) {
        for plateau in self.plateaus.iter_mut().filter(|plateau| plateau.head == next) {
            let (pids, admin, time) =
                (self.pids.clone(), self.admin, plateau.head_time.mul_f64(CALLS_SHARE));
            let count = move || {
                let calls = SystemCalls::start(&pids, admin)?;
                thread::sleep(time);
                calls.count()
            };
            plateau.calls = thread::Builder::new().name("calls".into()).spawn(count).ok();
        }
    }

    /// What it cost, with the messages that the load has counted; the plateaus that were not
    /// finished are left out.
    pub fn cost(mut self, slice: Duration, sums: &[Sum]) -> Cost {
        let mut points = vec![self.baseline];
        for plateau in std::mem::take(&mut self.plateaus) {
            let counted = self.counted(plateau.calls);
            let slices = sums.get(plateau.slices.clone());
            let (Some(point), Some(slices)) = (plateau.point, slices) else { continue };
            let seconds = slice.as_secs_f64() * slices.len() as f64;
            let messages = slices.iter().map(|sum| sum.tally.sent + sum.tally.received).sum();
            points.push(Point {
                connections: slices.iter().map(|sum| sum.open).min().unwrap_or(0),
                seconds,
                cpu_seconds: plateau.cpu.as_secs_f64(),
                messages,
                system_calls: counted.map(|counted| counted.over(seconds)),
                ..point
            });
        }
        Cost::new(points, self.probe.unread().to_vec())
    }

    fn counted(&mut self, calls: Option<JoinHandle<Result<Counted, String>>>) -> Option<Counted> {
        let counted = calls?.join().unwrap_or_else(|_| Err("counting system calls failed".into()));
        match counted {
            Ok(counted) => {
                counted.doubt().into_iter().for_each(|doubt| self.probe.tell(doubt.to_owned()));
                Some(counted)
            }
            Err(why) => {
                self.probe.tell(why);
                None
            }
        }
    }
}
