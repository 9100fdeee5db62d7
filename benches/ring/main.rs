//! The engine of the gateway alone, echoing bytes: no executor, no WebSocket, no limits.
//!
//! Shows that `ringgate::ring` can be driven by a blocking loop, and what of the gateway's
//! cost per message is the engine's. Counterpart of `epoll_floor`.

use std::{
    collections::HashMap,
    error::Error,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use clap::Parser;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::socket::{setsockopt, sockopt::TcpNoDelay},
    unistd::Pid,
};
use ringgate::{
    ids::SocketId,
    metrics::ShardMetrics,
    outbox::Outbox,
    ring::{Event, Ring, RingOptions},
};

/// Echoes bytes with the gateway's ring engine, on a blocking loop
#[derive(Parser)]
struct Options {
    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Core to run on
    #[arg(long, default_value_t = 0)]
    core: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut cores = CpuSet::new();
    cores.set(options.core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)?;

    let listener = TcpListener::bind(options.listen)?;
    setsockopt(&listener, TcpNoDelay, &true)?;
    println!("listening on {}", listener.local_addr()?);
    let mut ring = Ring::new(&RingOptions::default(), Arc::new(ShardMetrics::default()))?;
    ring.listen(listener.into())?;

    let (mut outboxes, mut events) = (HashMap::<SocketId, Outbox>::new(), Vec::new());
    let mut dirty = Vec::new();
    loop {
        if ring.turn(&mut events)? == 0 && dirty.is_empty() {
            if ring.prepare_sleep()? {
                ring.waker().block();
            }
            ring.awake();
        }
        for event in events.drain(..) {
            match event {
                Event::Received(id, mut received) => {
                    let outbox = outboxes.entry(id).or_default();
                    outbox.gather().extend_from_slice(received.bytes_mut());
                    ring.recycle(id, received);
                    dirty.push(id);
                }
                Event::Sent(id, spare) => {
                    if let Some(outbox) = outboxes.get_mut(&id) {
                        outbox.written(spare);
                        dirty.push(id);
                    }
                }
                Event::PeerFinished(id) | Event::Failed(id, _) => ring.close(id),
                Event::Freed(id) => drop(outboxes.remove(&id)),
                Event::Accepted(_) | Event::AcceptStopped(_) | Event::Tick | Event::Timer => {}
            }
        }
        for id in dirty.drain(..) {
            if let Some(write) = outboxes.get_mut(&id).and_then(Outbox::take_write)
                && let Err(unsent) = ring.send(id, write)
            {
                // Closing: nobody reads it any more.
                drop(unsent);
            }
        }
    }
}
