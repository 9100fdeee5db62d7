//! The load of the benchmark scripts: one thread on one core against one server.
//!
//! `echo` measures what a message costs the server's processor, in a closed loop; `idle` holds
//! connections open in steps, for whoever measures the server's memory from outside. It must
//! cost less than the server does for the same message, so it parses nothing that it can count,
//! and it shares no code with the gateway, so that neither hides a fault of the other.

mod connect;
mod echo;
mod idle;
mod machine;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, value_parser};

/// What went wrong, as it is told to the person at the terminal.
type Failure = Box<dyn std::error::Error>;

/// Closed-loop echo load and idle connections, from one pinned thread.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Sends messages on every connection, each after the reply to the one before it.
    Echo(echo::EchoArgs),
    /// Opens connections step by step and holds them, answering pings.
    Idle(idle::IdleArgs),
}

/// What both modes are told.
#[derive(Args, Clone)]
struct Common {
    /// Address of the server.
    #[arg(long)]
    server: SocketAddr,
    /// Path of the WebSocket route.
    #[arg(long, default_value = "/echo")]
    path: String,
    /// Plain TCP: no handshake and no frames expected back.
    #[arg(long)]
    raw: bool,
    /// Number of connections.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Core to run on.
    #[arg(long, default_value_t = 1)]
    core: usize,
    /// Bound on the whole run, in seconds.
    #[arg(long, default_value_t = 120, value_parser = value_parser!(u64).range(1..=3600))]
    timeout_seconds: u64,
}

/// The end of the whole run, past which every wait is a failure.
#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    seconds: u64,
}

impl Deadline {
    fn check(&self) -> Result<(), Failure> {
        if Instant::now() < self.at {
            return Ok(());
        }
        Err(format!("not done after {} s (--timeout-seconds)", self.seconds).into())
    }
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let common = match &cli.mode {
        Mode::Echo(args) => args.common.clone(),
        Mode::Idle(args) => args.common.clone(),
    };
    let seconds = common.timeout_seconds;
    let deadline = Deadline { at: Instant::now() + Duration::from_secs(seconds), seconds };
    machine::pin_to(common.core)?;
    machine::allow_descriptors(common.connections)?;
    match cli.mode {
        Mode::Echo(args) => echo::run(&args, deadline),
        Mode::Idle(args) => idle::run(&args, deadline),
    }
}
