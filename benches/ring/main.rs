//! The engine of the gateway alone, echoing and fanning out bytes: no executor, no WebSocket, no
//! limits.
//!
//! Shows that `ringgate::ring` can be driven by a blocking loop, and what of the gateway's
//! cost per message is the engine's. Counterpart of `epoll_floor`.

use std::{
    error::Error,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use bytes::Bytes;
use clap::Parser;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::resource::{Resource, getrlimit, setrlimit},
    sys::socket::{setsockopt, sockopt::TcpNoDelay},
    unistd::Pid,
};
use ringgate::{
    ids::SocketId,
    metrics::ShardMetrics,
    outbox::Outbox,
    ring::{Event, Ring, RingOptions},
};

/// Echoes and fans out bytes with the gateway's ring engine, on a blocking loop
#[derive(Parser)]
struct Options {
    /// Address to listen on
    #[arg(long)]
    listen: SocketAddr,
    /// Address to listen on for what goes to every connection of the other one
    #[arg(long)]
    publish: Option<SocketAddr>,
    /// Core to run on
    #[arg(long, default_value_t = 0)]
    core: usize,
    /// Sockets that are registered with the ring
    #[arg(long, default_value_t = RingOptions::default().registered_sockets)]
    registered: u32,
    /// Receive buffers, which bound the reads in flight
    #[arg(long, default_value_t = RingOptions::default().receive_buffers)]
    receive_buffers: usize,
    /// Copies what is published into each receiver's own buffer
    #[arg(long)]
    copy: bool,
    /// Pieces of what is published, each with an owned byte behind it, as in a batch
    #[arg(long, default_value_t = 1)]
    pieces: usize,
}

/// One connection, by its slot.
struct Connection {
    id: SocketId,
    outbox: Outbox,
    dirty: bool,
    publishes: bool,
}

struct Server {
    ring: Ring,
    publish_listener: Option<TcpListener>,
    connections: Vec<Option<Connection>>,
    dirty: Vec<SocketId>,
    copy: bool,
    pieces: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut cores = CpuSet::new();
    cores.set(options.core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;

    let listener = listen(options.listen)?;
    let publish_listener = options.publish.map(listen).transpose()?;
    if let Some(listener) = &publish_listener {
        listener.set_nonblocking(true)?;
    }
    let ring_options = RingOptions {
        registered_sockets: options.registered,
        receive_buffers: options.receive_buffers,
        ..RingOptions::default()
    };
    let mut ring = Ring::new(&ring_options, Arc::new(ShardMetrics::default()))?;
    ring.listen(listener.into())?;
    let (connections, dirty) = (Vec::new(), Vec::new());
    let Options { copy, pieces, .. } = options;
    let mut server = Server { ring, publish_listener, connections, dirty, copy, pieces };
    let mut events = Vec::new();
    loop {
        if server.ring.turn(&mut events)? == 0 {
            if server.ring.prepare_sleep()? {
                server.ring.waker().block();
            }
            server.ring.awake();
        }
        events.drain(..).try_for_each(|event| server.on_event(event))?;
        server.flush();
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, Box<dyn Error>> {
    let listener = TcpListener::bind(address)?;
    setsockopt(&listener, TcpNoDelay, &true)?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

impl Server {
    fn on_event(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Received(id, mut received) => {
                self.on_bytes(id, received.bytes_mut());
                self.ring.recycle(id, received);
            }
            Event::Sent(id, spare) => {
                if let Some(connection) = &mut self.connections[id.slot as usize] {
                    connection.outbox.written(spare);
                    mark(connection, &mut self.dirty);
                }
            }
            Event::PeerFinished(id) | Event::Failed(id, _) => self.ring.close(id),
            Event::Freed(id) => self.connections[id.slot as usize] = None,
            Event::Accepted(id) => self.insert(id, false),
            // Publishers are few and long-lived: they may wait a tick.
            Event::Tick => {
                while let Some(Ok((stream, _))) =
                    self.publish_listener.as_ref().map(TcpListener::accept)
                {
                    let id = self.ring.adopt(stream.into())?;
                    self.insert(id, true);
                }
            }
            Event::AcceptStopped(_) | Event::Timer => {}
        }
        Ok(())
    }

    fn insert(&mut self, id: SocketId, publishes: bool) {
        let slots = self.connections.len().max(id.slot as usize + 1);
        self.connections.resize_with(slots, || None);
        let outbox = Outbox::default();
        self.connections[id.slot as usize] =
            Some(Connection { id, outbox, dirty: false, publishes });
    }

    fn on_bytes(&mut self, id: SocketId, bytes: &[u8]) {
        let Some(connection) = &mut self.connections[id.slot as usize] else { return };
        if !connection.publishes {
            connection.outbox.gather().extend_from_slice(bytes);
            return mark(connection, &mut self.dirty);
        }
        let frame = Bytes::copy_from_slice(bytes);
        let piece_bytes = frame.len().div_ceil(self.pieces);
        let pieces: Vec<Bytes> =
            frame.chunks(piece_bytes).map(|piece| frame.slice_ref(piece)).collect();
        for receiver in self.connections.iter_mut().flatten().filter(|other| !other.publishes) {
            if self.copy {
                receiver.outbox.gather().extend_from_slice(&frame);
            } else if let [piece] = &pieces[..] {
                receiver.outbox.share(piece);
            } else {
                for piece in &pieces {
                    let (shared, last) = (piece.slice(..piece.len() - 1), piece[piece.len() - 1]);
                    receiver.outbox.share(&shared);
                    receiver.outbox.gather().push(last);
                }
            }
            mark(receiver, &mut self.dirty);
        }
    }

    fn flush(&mut self) {
        for id in self.dirty.drain(..) {
            let Some(connection) = &mut self.connections[id.slot as usize] else { continue };
            connection.dirty = false;
            // It is refused where the socket is being closed: nobody reads it any more.
            let _ = connection.outbox.take_write().map(|write| self.ring.send(id, write));
        }
    }
}

fn mark(connection: &mut Connection, dirty: &mut Vec<SocketId>) {
    if !connection.dirty {
        connection.dirty = true;
        dirty.push(connection.id);
    }
}
