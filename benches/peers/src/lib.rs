//! What the echo servers on other WebSocket libraries share: command line, core, runtime, listener.
//!
//! They are to be compared with one core of the gateway, by `scripts/compare.sh`. So each runs on
//! one thread, tokio's current-thread runtime, pinned to one core: with tokio's pool of threads the
//! kernel would move work between cores, and what a message costs would hang on what else runs
//! there. Per core this is the better of the two for them as well, since nothing is stolen and
//! nothing woken across cores. Everything else is as the library's own example of an echo server
//! has it, with its defaults; TCP_NODELAY is set, as it is in the gateway.
//!
//! No part of the product: failures end a connection in silence, and nothing is bounded.

use std::io;
use std::net::SocketAddr;

use clap::Parser;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use tokio::net::{TcpListener, TcpStream};

/// Echoes WebSocket messages, on one thread.
#[derive(Parser)]
struct Args {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Core to run on.
    #[arg(long)]
    core: usize,
}

/// Accepts on the address of the command line, on its core, for good, and gives every connection
/// to `serve`, which is to spawn a task and return.
pub fn run(serve: impl Fn(TcpStream)) -> io::Result<()> {
    let args = Args::parse();
    let mut cores = CpuSet::new();
    cores.set(args.core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        println!("listening on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            serve(stream);
        }
    })
}
