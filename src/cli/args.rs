//! The command line: one definition for parsing, help, completions and the man page.

use clap::{Parser, Subcommand};

use super::bench::BenchArgs;
use super::config::ConfigArgs;
use super::demo::DemoArgs;
use super::doctor::DoctorArgs;
use super::plan::PlanArgs;
use super::serve::ServeArgs;
use super::worker::WorkerArgs;

/// WebSocket gateway on pinned io_uring executors, with task queues over Redis
#[derive(Parser, Debug)]
#[command(
    name = "ringgate",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 done, 1 failed while running, 2 bad usage or configuration."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the gateway
    #[command(
        after_help = "Signals: SIGTERM and SIGINT drain, a second one ends at once. SIGHUP reads \
                      file and environment again: limits, deadlines, heartbeat, origins and log \
                      level change at once, and the log says what needs a restart."
    )]
    Serve(ServeArgs),
    /// Run everything on this machine: broker, gateway, worker, ticker, and clients of both routes
    Demo(DemoArgs),
    /// Run a reference worker for a Redis queue
    Worker(WorkerArgs),
    /// Put load on a WebSocket server and measure what it does
    Bench(Box<BenchArgs>),
    /// One process of a load, started by `bench`
    #[command(name = crate::bench::GENERATOR_COMMAND, hide = true)]
    BenchGenerator,
    /// Plan capacity: what so many connections need, and which limit of this host binds first
    #[command(
        after_help = "A plan that does not fit ends with 0 as well: it says what to do. Exit \
                            codes: 0 done, 1 failed while running, 2 bad usage."
    )]
    Plan(Box<PlanArgs>),
    /// The worker of a load, started by `bench`
    #[command(name = crate::bench::worker::COMMAND, hide = true)]
    BenchWorker,
    /// Check this host: kernel, limits, sysctls, NIC queues, Redis; changes nothing
    #[command(after_help = "Each line: ok, warn or fail, what was found, what is wanted, and the \
                            command that mends it. Exit codes: 0 nothing fails, 1 something \
                            does, 2 bad usage or configuration.")]
    Doctor(DoctorArgs),
    /// Print the effective configuration, every value with its source
    Config(ConfigArgs),
    /// Print shell completions
    Completions {
        /// Shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print the man page, in roff
    Man {
        /// Page of this command instead of the whole
        command: Option<String>,
    },
}
