//! What one run is made of: a seed, a length, modes, kinds of faults. All of it comes from
//! the environment, so that a run that failed can be had again.

use std::{env, fmt, str::FromStr, time::Duration};

/// Session ids, chunks, faults: everything that is drawn is drawn from this.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut dice = Self(seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03));
        dice.next();
        dice
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 (included) to `end` (excluded).
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from + 1))
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

/// How tasks wait and how results come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    pub stream: bool,
    pub per_shard: bool,
}

impl Mode {
    /// Time for the answer to a chunk. Over a list it is how long the tasks of killed workers
    /// are waited for; over a stream nothing may ever reach it: claims, restarts and
    /// reconnects together take less.
    pub fn chunk_deadline(self) -> Duration {
        Duration::from_secs(if self.stream { 15 } else { 4 })
    }

    pub fn finish_deadline(self) -> Duration {
        Duration::from_secs(if self.stream { 20 } else { 8 })
    }

    /// The gateways' configuration file.
    pub fn file(self) -> String {
        let queue = match self.stream {
            true => "{ mode = \"stream\", claim_idle = \"1s\" }",
            false => "{ mode = \"list\" }",
        };
        format!(
            "[[route]]\npath = \"/ws/asr\"\nkind = \"tasks\"\nqueue = {queue}\n\
             results = \"{}\"\nresume_ms = {}\nchunk_deadline = \"{}s\"\n\
             finish_deadline = \"{}s\"\n",
            if self.per_shard { "per-shard" } else { "per-session" },
            RESUME.as_millis(),
            self.chunk_deadline().as_secs(),
            self.finish_deadline().as_secs(),
        )
    }
}

/// How long a session waits for its client: some come back in time, and some do not.
pub const RESUME: Duration = Duration::from_secs(4);

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.stream, self.per_shard) {
            (false, false) => "list",
            (true, false) => "stream",
            (true, true) => "per-shard",
            (false, true) => "per-shard-list",
        })
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let of = |stream, per_shard| Ok(Self { stream, per_shard });
        match name {
            "list" => of(false, false),
            "stream" => of(true, false),
            "per-shard" => of(true, true),
            "per-shard-list" => of(false, true),
            _ => Err(format!("CHECKER_MODES: {name}: list, stream, per-shard, per-shard-list")),
        }
    }
}

/// What goes wrong on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// SIGKILL, and a restart on the same directory and port.
    Redis,
    /// SIGKILL, and a restart on the same ports.
    Gateway,
    /// SIGKILL of a `ringgate worker`, or the sudden end of one of the checker's own.
    Worker,
    /// Connections dropped in the middle, with and without a reset; sessions taken over.
    Client,
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "redis" => Ok(Self::Redis),
            "gateway" => Ok(Self::Gateway),
            "worker" => Ok(Self::Worker),
            "client" => Ok(Self::Client),
            _ => Err(format!("CHECKER_FAULTS: {name}: redis, gateway, worker, client or none")),
        }
    }
}

/// One run.
pub struct Plan {
    pub seed: u64,
    /// With faults, over all modes together; what is open then is brought to its end.
    pub seconds: u64,
    pub clients: usize,
    pub modes: Vec<Mode>,
    pub faults: Vec<Fault>,
}

impl Plan {
    pub fn from_env() -> Self {
        let number = |name: &str, default: u64| match env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")),
            Err(_) => default,
        };
        Self {
            seed: number("CHECKER_SEED", uuid::Uuid::new_v4().as_u64_pair().0 >> 16),
            seconds: number("CHECKER_SECONDS", 60),
            clients: number("CHECKER_CLIENTS", 240) as usize,
            modes: words("CHECKER_MODES", "list,stream,per-shard"),
            faults: words("CHECKER_FAULTS", "redis,gateway,worker,client"),
        }
    }

    pub fn time_for_each_mode(&self) -> Duration {
        Duration::from_secs(self.seconds) / self.modes.len().max(1) as u32
    }

    /// The command that does the same again: the same draws, though not the same interleaving.
    pub fn again(&self, mode: Mode) -> String {
        let Self { seed, clients, .. } = self;
        let seconds = self.time_for_each_mode().as_secs();
        let faults = env::var("CHECKER_FAULTS").map(|f| format!("CHECKER_FAULTS={f} "));
        format!(
            "CHECKER_SEED={seed} CHECKER_SECONDS={seconds} CHECKER_CLIENTS={clients} \
             CHECKER_MODES={mode} {}cargo test --test checker -- --nocapture",
            faults.unwrap_or_default()
        )
    }
}

fn words<T: FromStr<Err = String>>(name: &str, default: &str) -> Vec<T> {
    let text = env::var(name).unwrap_or_else(|_| default.to_owned());
    let words = text.split(',').filter(|word| !word.is_empty() && *word != "none");
    words.map(|word| word.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
}
