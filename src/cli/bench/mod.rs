//! `ringgate bench`: the load generator.

mod feed;
mod load;
mod profiles;
mod saved;

use std::{io, sync::Arc, thread};

use clap::{Args, Subcommand, value_parser};
use serde::de::DeserializeOwned;

use super::Error;
use crate::bench::{
    echo,
    generator::{self, Ear},
    idle,
    order::{Job, Order, Said},
    worker::{self, Duty},
};
use feed::{SlowReadersArgs, SpikeArgs, TopicsArgs};
use load::{LoadArgs, rate};
use profiles::{CapacityArgs, StormArgs, TasksArgs, ZombiesArgs};
use saved::{CompareArgs, HtmlArgs};

/// Arguments of `ringgate bench`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Latency counts from the time at which a message was meant to be sent. A \
                        result that would mislead says INVALID and why, and the exit code is 1. \
                        Ctrl-C ends a run early and reports what was measured until then.")]
pub struct BenchArgs {
    /// What to do to the server, or with its reports
    #[command(subcommand)]
    profile: Profile,
}

#[derive(Subcommand, Clone, Debug)]
enum Profile {
    /// Connections that do nothing but answer pings
    Idle(LoadArgs),
    /// Users who send messages, each of which is sent back; any WebSocket server
    Echo(EchoArgs),
    /// Users who all drop the connection at the same moment, and come back; any WebSocket server
    Storm(StormArgs),
    /// Users some of whom vanish without a word, beside others who stay; any WebSocket server
    Zombies(ZombiesArgs),
    /// The most users, or messages a second, that an echo server holds
    Capacity(CapacityArgs),
    /// Users with sessions of chunks, which workers answer
    Tasks(TasksArgs),
    /// Users subscribed to a few of many topics, each of which ticks
    Topics(TopicsArgs),
    /// Users subscribed to topics, some of whom do not read in every second window
    SlowReaders(SlowReadersArgs),
    /// Users who get a session, connect, stay a while, leave and come again, in stages
    Spike(SpikeArgs),
    /// Compare two saved reports, figure by figure
    Compare(CompareArgs),
    /// Make the page with plots of a saved report
    Html(HtmlArgs),
}

#[derive(Args, Clone, Debug)]
struct EchoArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Messages a second of each user, at their time whatever the server does [default: the next
    /// when the answer is there]
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Bytes of a message
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(8..=1 << 20))]
    payload_bytes: u32,
    /// Bytes over TCP without WebSocket, to a server that sends back whatever it gets
    #[arg(long)]
    raw: bool,
}

/// Runs a profile and prints its report.
///
/// # Errors
/// Whatever keeps the load from being made, and a result that would mislead; a server that does
/// badly is a report.
pub fn run(args: &BenchArgs) -> Result<(), Error> {
    match &args.profile {
        Profile::Idle(load) => load.run("idle", Job::Idle(idle::Job {})),
        Profile::Echo(EchoArgs { load, rate, payload_bytes, raw }) => {
            let job = echo::Job { bytes: *payload_bytes as usize, rate: *rate, raw: *raw };
            load.run("echo", Job::Echo(job))
        }
        Profile::Storm(args) => args.run(),
        Profile::Zombies(args) => args.run(),
        Profile::Capacity(args) => args.run(),
        Profile::Tasks(args) => args.run(),
        Profile::Topics(args) => args.run(),
        Profile::SlowReaders(args) => args.run(),
        Profile::Spike(args) => args.run(),
        Profile::Compare(args) => args.run(),
        Profile::Html(args) => args.run(),
    }
}

/// One process of a load: its order is the first line of standard input, whose end is the end.
///
/// # Errors
/// There is no such order, or nobody hears the answer.
pub fn generate() -> Result<(), Error> {
    let (order, ear): (Order, _) = told()?;
    crate::host::raise_descriptors();
    let mut out = io::stdout().lock();
    let pinned = order.core.map_or(Ok(()), load::pin_to);
    let done = pinned.and_then(|()| generator::run(&order, &ear, &mut out));
    done.or_else(|why| generator::say(&mut out, &Said::Failed(why))).map_err(Error::Failed)
}

/// A worker beside a load, likewise.
///
/// # Errors
/// There is no such order, or whatever ends the worker early.
pub fn work() -> Result<(), Error> {
    let (duty, ear): (Duty, _) = told()?;
    worker::work(duty, ear.ending()).map_err(Error::Failed)
}

/// What the first line of standard input says, and what is set when that ends.
fn told<T: DeserializeOwned>() -> Result<(T, Arc<Ear>), Error> {
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(|error| Error::Failed(error.to_string()))?;
    let told = serde_json::from_str(&line).map_err(|error| {
        Error::Usage(format!("standard input has no order of `ringgate bench`: {error}"))
    })?;
    let ear = Arc::new(Ear::default());
    let heard = ear.clone();
    let watch = move || {
        let words = io::stdin().lines().map_while(Result::ok);
        words.filter_map(|line| serde_json::from_str(&line).ok()).for_each(|word| heard.hear(word));
        // At the end or where something goes wrong: nobody has anything more for this process.
        heard.end();
    };
    let watching = thread::Builder::new().name("watch".into()).spawn(watch);
    watching.map_err(|error| Error::Failed(format!("a thread: {error}")))?;
    Ok((told, ear))
}
