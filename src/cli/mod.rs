//! The commands: arguments in, one call into the library, an exit code out.
//!
//! Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration.

pub mod args;
pub mod bench;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod flags;
pub mod manual;
pub mod plan;
mod process;
mod reload;
pub mod serve;
pub mod start_log;
pub mod worker;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::config::ConfigError;
use args::{Cli, Command};

/// Why a command ended other than by being done.
#[derive(Debug)]
pub enum Error {
    /// Bad configuration: exit code 2.
    Configuration(ConfigError),
    /// Arguments that parse but make no sense: exit code 2.
    Usage(String),
    /// The command could not write what it had to print: exit code 1, unless the reader
    /// merely had enough (`| head`).
    Output(io::Error),
    /// Whatever else went wrong while running: exit code 1. The text says what, and what
    /// to do about it.
    Failed(String),
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let done = match Cli::try_parse() {
        Ok(cli) => run(cli.command),
        Err(usage) => {
            // Help and version come this way too, with code 0. A closed pipe is no error.
            let _ = usage.print();
            return ExitCode::from(if usage.use_stderr() { 2 } else { 0 });
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            // `eprintln!` would panic where nobody reads standard error.
            let _ = writeln!(io::stderr(), "ringgate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchGenerator => bench::generate(),
        Command::Plan(args) => plan::run(&args, &mut io::stdout()),
        Command::BenchWorker => bench::work(),
        Command::Doctor(args) => doctor::run(&args, &mut io::stdout()),
        Command::Config(args) => config::run(&args, &mut io::stdout()),
        Command::Completions { shell } => manual::completions(shell, &mut io::stdout()),
        Command::Man { command } => manual::man(command.as_deref(), &mut io::stdout()),
    }
}

impl Error {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Usage(_) => 2,
            Self::Output(_) | Self::Failed(_) => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration(error) => error.fmt(f),
            Self::Output(error) => write!(f, "could not write to standard output: {error}"),
            Self::Usage(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(error)
    }
}
