//! The program as a process, with what it says.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use super::client::PATIENCE;

/// The gateway on ports of its own.
const SERVE: [&str; 7] =
    ["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--cores", "0"];

/// A running `ringgate`, with what it says on standard error. Killed when it is dropped.
pub struct Process {
    pub child: Child,
    lines: Receiver<String>,
    pub said: Vec<String>,
}

impl Process {
    pub fn start(args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringgate"));
        command.args(args);
        Self::spawn(&mut command)
    }

    pub fn spawn(command: &mut Command) -> Self {
        Self::spawn_with(command, None)
    }

    /// With one variable in its environment, or none.
    pub fn spawn_with(command: &mut Command, variable: Option<(&str, &str)>) -> Self {
        let command = command.env_clear().envs(variable).stdin(Stdio::null());
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let errors = BufReader::new(child.stderr.take().expect("a pipe"));
        let (sender, lines) = channel();
        thread::spawn(move || {
            // Reads on when nobody listens, or the process would stand at a full pipe.
            errors.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Self { child, lines, said: Vec::new() }
    }

    /// The gateway on ports of its own; where clients connect, and the admin port.
    pub fn serve(args: &[&str]) -> (Self, SocketAddr, SocketAddr) {
        let process = Self::start(&[&SERVE, args].concat());
        process.addresses()
    }

    /// The same with fewer descriptors than connections will come.
    pub fn serve_with_descriptors(count: u32, args: &[&str]) -> (Self, SocketAddr, SocketAddr) {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_ringgate")).args(SERVE).args(args);
        Self::spawn(&mut command).addresses()
    }

    pub fn addresses(self) -> (Self, SocketAddr, SocketAddr) {
        let mut process = self;
        let listen = process.until("listening on ");
        let listen = listen.split(',').next().expect("an address").parse().expect("an address");
        let admin = process.until("admin: http://");
        let admin = admin.trim_end_matches('/').parse().expect("an address");
        (process, listen, admin)
    }

    /// What follows `mark` on the first line that has it.
    pub fn until(&mut self, mark: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("no {mark:?} in {:#?}", self.said));
            let found = line.split_once(mark).map(|(_, rest)| rest.to_owned());
            self.said.push(line);
            if let Some(rest) = found {
                return rest;
            }
        }
    }

    // By the command, since the crate denies the unsafe code that kill(2) needs.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("kill").success());
    }

    /// Its exit code, and how long that took.
    pub fn ended(&mut self) -> (Option<i32>, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a status") {
                self.said.extend(self.lines.iter());
                return (status.code(), start.elapsed());
            }
            assert!(start.elapsed() < PATIENCE, "it does not end: {:#?}", self.said);
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
