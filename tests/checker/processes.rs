//! The processes of a run: `ringgate serve`, `ringgate worker`, killed and started again.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::support::gateway::http_get;

/// How long a gateway may take until it answers on its admin port.
const START: Duration = Duration::from_secs(20);

/// The first port that is tried. Those of outgoing connections begin at 32768: one that came
/// from the port of a dead gateway would keep the next one from listening.
const PORTS: u16 = 12_000;

/// A `ringgate` that is started with the same words again. Dies with this value.
pub struct Process {
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub fn start(args: &[&str], log: PathBuf) -> Self {
        let args = args.iter().map(|word| word.to_string()).collect();
        let mut process = Self { args, log, child: None };
        process.restart();
        process
    }

    pub fn restart(&mut self) {
        let log = File::options().append(true).create(true).open(&self.log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.args(&self.args).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.stderr(log).spawn().expect("it starts"));
    }

    /// SIGKILL. An end of its own is a fault of the product: what its log says last.
    pub fn kill(&mut self) -> Result<(), String> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let ended = child.try_wait().expect("a status");
        let _ = child.kill();
        let _ = child.wait();
        match ended {
            None => Ok(()),
            Some(status) => Err(format!("{:?} ended by itself: {status}", self.args)),
        }
    }

    /// What it has said that speaks of a fault of its own.
    pub fn panics(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect()
    }

    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(15).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// A gateway on ports that it keeps over its lives.
pub fn gateway(
    name: &str,
    directory: &Path,
    redis: &str,
    file: &str,
) -> (Process, [SocketAddr; 2]) {
    let config = directory.join(format!("{name}.toml"));
    std::fs::write(&config, file).expect("written");
    let addresses = [free_address(), free_address()];
    let [listen, admin] = addresses.map(|address| address.to_string());
    let config = config.to_str().expect("a path");
    let args = ["serve", "--listen", &listen, "--admin", &admin, "--cores", &cores()];
    let args = [&args[..], &["--redis", redis, "--config", config, "--log-level", "warn"]].concat();
    let process = Process::start(&args, directory.join(format!("{name}.log")));
    (process, addresses)
}

/// Awaits that the broker is up on every shard.
pub fn until_ready(admin: SocketAddr) -> bool {
    let deadline = Instant::now() + START;
    loop {
        let listens = std::net::TcpStream::connect(admin).is_ok();
        if listens && http_get(admin, "/readyz").0.contains(" 200 ") {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Two shards where there are two cores.
pub fn cores() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores > 1 { "0-1".to_owned() } else { "0".to_owned() }
}

pub fn shards() -> u64 {
    if cores() == "0" { 1 } else { 2 }
}

/// Nobody else's, for as long as the run lasts, unless somebody asks for exactly this one. Each
/// is told once: what was told may not be bound yet.
pub fn free_address() -> SocketAddr {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    static START: LazyLock<u64> = LazyLock::new(|| {
        u64::from(std::process::id()) * 37 + uuid::Uuid::new_v4().as_u64_pair().0 % 997
    });
    (0..15_000)
        .map(|_| PORTS + ((*START + TOLD.fetch_add(1, Relaxed)) % 15_000) as u16)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("a free port")
}
