//! The load of the benchmark scripts: one thread on one core against one server.
//!
//! `echo` measures what a message costs the processor of servers, in a closed loop; `fanout` what
//! it costs them to send one to everybody; `idle` holds connections open in steps, for whoever
//! measures the server's memory from outside; `tasks` streams chunks to a tasks route, and `worker`
//! is the other end of its queue. It must cost less than the server does for the same message, so
//! it parses nothing that it can count.
//! Of the gateway it shares the ring engine and nothing of WebSocket.

mod broadcast;
mod closed_loop;
mod connect;
mod echo;
mod fanout;
mod frames;
mod idle;
mod machine;
mod session;
mod stats;
mod tasks;
mod worker;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, value_parser};

/// What went wrong, as it is told to the person at the terminal.
type Failure = Box<dyn std::error::Error>;

/// Closed-loop echo, fan-out and tasks load, idle connections and null workers, from one pinned thread.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    mode: Mode,
    /// Core to run on.
    #[arg(long, global = true, default_value_t = 1)]
    core: usize,
    /// Bound on the whole run, in seconds.
    #[arg(long, global = true, default_value_t = 120, value_parser = value_parser!(u64).range(1..=3600))]
    timeout_seconds: u64,
}

#[derive(Subcommand)]
enum Mode {
    /// Sends messages on every connection, each after the reply to the one before it.
    Echo(echo::EchoArgs),
    /// Publishes messages, each after everybody has had the one before it.
    Fanout(fanout::FanoutArgs),
    /// Opens connections step by step and holds them, answering pings.
    Idle(idle::IdleArgs),
    /// Streams chunks in sessions of a tasks route, some in flight in each.
    Tasks(tasks::TasksArgs),
    /// Takes tasks from a list of Redis and does next to nothing with them, until it is ended.
    Worker(worker::WorkerArgs),
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
    let seconds = cli.timeout_seconds;
    let deadline = Deadline { at: Instant::now() + Duration::from_secs(seconds), seconds };
    machine::pin_to(cli.core)?;
    match cli.mode {
        Mode::Echo(args) => echo::run(&args, deadline),
        Mode::Fanout(args) => fanout::run(&args, deadline),
        Mode::Idle(args) => idle::run(&args, deadline),
        Mode::Tasks(args) => tasks::run(&args, deadline),
        Mode::Worker(args) => worker::run(&args),
    }
}
