//! Many users at once, each on a thread of its own, started one after another.

use std::{
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A blocking client needs little.
const STACK_BYTES: usize = 256 << 10;
/// Between two looks at the crowd.
const LOOK: Duration = Duration::from_millis(20);

/// As many descriptors as this process may have: both ends of every connection are here.
pub fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("raised");
}

/// Users under way.
pub struct Crowd<T> {
    started: Instant,
    users: Vec<JoinHandle<T>>,
}

impl<T: Send + 'static> Crowd<T> {
    /// `count` users, `apart` from each other; each runs `user` with its number.
    pub fn start(
        count: usize,
        apart: Duration,
        user: impl Fn(usize) -> T + Clone + Send + 'static,
    ) -> Self {
        let started = Instant::now();
        let spawn = |number: usize| {
            let user = user.clone();
            let run = move || {
                let begin = started + apart * number as u32;
                thread::sleep(begin.saturating_duration_since(Instant::now()));
                user(number)
            };
            thread::Builder::new().stack_size(STACK_BYTES).spawn(run).expect("a thread")
        };
        Self { started, users: (0..count).map(spawn).collect() }
    }

    /// Looks at whatever the users do until the last one has ended, panicked ones included.
    /// How each ended (`panicked`: what stands for one that did), and how long all took.
    pub fn watch(self, mut look: impl FnMut(), panicked: impl Fn() -> T) -> (Vec<T>, Duration) {
        while !self.users.iter().all(JoinHandle::is_finished) {
            look();
            thread::park_timeout(LOOK);
        }
        let took = self.started.elapsed();
        let end = |user: JoinHandle<T>| user.join().unwrap_or_else(|_| panicked());
        (self.users.into_iter().map(end).collect(), took)
    }
}
