//! Idle connections: opened in steps, held, pings answered, until standard input ends.
//!
//! At each step a line `step N` goes out, and a line on standard input lets it go on; in between
//! a script measures the server.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use clap::{Args, value_parser};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde_json::json;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::connect::{self, Endpoint};
use crate::frames::{Frame, first_frame};
use crate::{Deadline, Failure, machine};

/// Events taken by one wait.
const WAIT_EVENTS: usize = 512;
/// The one receive buffer.
const BUFFER_BYTES: usize = 64 * 1024;
/// One wait at the most, so that standard input and the clock are looked at.
const WAIT_MS: u16 = 50;
/// Pings are looked for after so many new connections.
const SERVE_EVERY: u32 = 64;
/// The client's mask of a pong.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What the idle mode is told.
#[derive(Args)]
pub struct IdleArgs {
    /// Address of the server.
    #[arg(long)]
    server: SocketAddr,
    /// Path of the WebSocket route.
    #[arg(long, default_value = "/echo")]
    path: String,
    /// Plain TCP: no handshake and no pings.
    #[arg(long)]
    raw: bool,
    /// Number of connections.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=20_000))]
    connections: u32,
    /// Loopback addresses (127.0.0.1 and up) to connect from.
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u8).range(1..=254))]
    sources: u8,
    /// Numbers of connections at which to stop, ascending; --connections is the last one.
    #[arg(long, value_delimiter = ',')]
    steps: Vec<u32>,
}

/// Opens, holds, and at the end prints one JSON object.
pub fn run(args: &IdleArgs, deadline: Deadline) -> Result<(), Failure> {
    let mut steps = args.steps.clone();
    if steps.last() != Some(&args.connections) {
        steps.push(args.connections);
    }
    if !steps.is_sorted_by(|one, next| one < next) {
        return Err("--steps must ascend, up to --connections".into());
    }
    machine::allow_descriptors(args.connections)?;
    let mut idle = Idle {
        endpoint: Endpoint { server: args.server, raw: args.raw, path: args.path.clone() },
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        connections: Vec::new(),
        buffer: vec![0; BUFFER_BYTES],
        raw: args.raw,
        pings: 0,
    };
    for step in steps {
        while (idle.connections.len() as u32) < step {
            idle.open(args)?;
            if (idle.connections.len() as u32).is_multiple_of(SERVE_EVERY) {
                idle.serve(0)?;
            }
            deadline.check()?;
        }
        println!("step {step}");
        if idle.hold(deadline)? == Word::End {
            return idle.report();
        }
    }
    while idle.hold(deadline)? != Word::End {}
    idle.report()
}

/// What standard input said.
#[derive(PartialEq)]
enum Word {
    GoOn,
    End,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
}

struct Idle {
    endpoint: Endpoint,
    epoll: Epoll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    raw: bool,
    pings: u64,
}

impl Idle {
    fn open(&mut self, args: &IdleArgs) -> Result<(), Failure> {
        let index = self.connections.len();
        let opened = connect::open(&self.endpoint, args.sources, index as u32)?;
        let interest = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
        self.epoll.add(&opened.stream, EpollEvent::new(interest, index as u64))?;
        self.connections.push(Connection { stream: opened.stream, partial: Vec::new() });
        self.take(index, &opened.surplus)
    }

    /// Answers pings until standard input has a line or ends.
    fn hold(&mut self, deadline: Deadline) -> Result<Word, Failure> {
        let stdin = std::io::stdin();
        loop {
            self.serve(WAIT_MS)?;
            let mut polled = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::ZERO)? > 0 {
                // One byte at a time and past any buffer: a line that came early stays for the
                // next step.
                let mut byte = [0];
                match nix::unistd::read(stdin.as_fd(), &mut byte)? {
                    0 => return Ok(Word::End),
                    _ if byte == *b"\n" => return Ok(Word::GoOn),
                    _ => {}
                }
            }
            deadline.check()?;
        }
    }

    fn serve(&mut self, wait_ms: u16) -> Result<(), Failure> {
        let mut events = [EpollEvent::empty(); WAIT_EVENTS];
        let ready = match self.epoll.wait(&mut events, EpollTimeout::from(wait_ms)) {
            Ok(ready) => ready,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..ready] {
            self.receive(event.data() as usize)?;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> Result<(), Failure> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let outcome = match self.connections[index].stream.read(&mut buffer) {
            Ok(0) => Err(format!("the server closed connection {}", index + 1).into()),
            Ok(received) => self.take(index, &buffer[..received]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(format!("connection {}: {error}", index + 1).into()),
        };
        self.buffer = buffer;
        outcome
    }

    /// Goes through the frames in what came: pings are answered, data is passed over.
    fn take(&mut self, index: usize, received: &[u8]) -> Result<(), Failure> {
        if self.raw || received.is_empty() {
            return Ok(());
        }
        let connection = &mut self.connections[index];
        let mut bytes = std::mem::take(&mut connection.partial);
        bytes.extend_from_slice(received);
        let mut rest = bytes.as_slice();
        while let Some(Frame { opcode, payload, after }) = first_frame(rest)? {
            match opcode {
                OpCode::Control(Control::Ping) => {
                    connection.stream.write_all(&pong(payload)?)?;
                    self.pings += 1;
                }
                OpCode::Control(Control::Close) => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    return Err(format!(
                        "the server closed connection {}, code {code:?}",
                        index + 1
                    )
                    .into());
                }
                _ => {}
            }
            rest = after;
        }
        connection.partial = rest.to_vec();
        Ok(())
    }

    fn report(&self) -> Result<(), Failure> {
        println!(
            "{}",
            json!({"connections": self.connections.len(), "pings_answered": self.pings})
        );
        Ok(())
    }
}

fn pong(payload: &[u8]) -> Result<Vec<u8>, Failure> {
    let header = FrameHeader {
        opcode: OpCode::Control(Control::Pong),
        mask: Some(MASK),
        ..FrameHeader::default()
    };
    let mut wire = Vec::new();
    header.format(payload.len() as u64, &mut wire)?;
    wire.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    Ok(wire)
}
