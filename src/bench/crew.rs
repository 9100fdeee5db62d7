//! The processes of a load: started with an order each, heard line by line, and never left behind.
//!
//! A process of the load ends when its standard input does, so that none outlives the run,
//! however that ends.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use super::order::{Order, Said, Slice, Word};

/// The hidden command of a process of the load.
pub const COMMAND: &str = "bench-generator";
/// Lines that wait to be read: the pipe holds back who says more.
const LINES_MAX: usize = 64;

/// Something of the load.
pub enum Heard {
    /// Not in that time.
    Nothing,
    /// One more slice of one process.
    Slice(Box<Slice>),
    /// What one process counted after its last slice.
    Rest(Box<Slice>),
    /// All have said all that they had to say.
    AllDone,
}

/// All processes of a load. They die with this value.
pub struct Crew {
    members: Vec<Child>,
    inputs: Vec<ChildStdin>,
    lines: Receiver<(usize, Option<String>)>,
    done: usize,
}

impl Crew {
    /// A process for each order.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start(orders: Vec<Order>) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
        let (sender, lines) = sync_channel(LINES_MAX);
        let mut crew = Self { members: Vec::new(), inputs: Vec::new(), lines, done: 0 };
        for (nth, order) in orders.iter().enumerate() {
            let failed = |error| format!("process {nth} of the load: {error}");
            let mut command = Command::new(&program);
            command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
            // Ctrl-C is for the one that writes the report.
            let mut child = command.process_group(0).spawn().map_err(failed)?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            crew.members.push(child);
            let (Some(mut input), Some(output)) = (input, output) else {
                return Err(format!("process {nth} of the load has no pipes"));
            };
            let mut line = serde_json::to_vec(order).map_err(|error| error.to_string())?;
            line.push(b'\n');
            input.write_all(&line).map_err(failed)?;
            crew.inputs.push(input);
            read_lines(nth, output, sender.clone())?;
        }
        Ok(crew)
    }

    /// Says that to all; whoever has died is heard of otherwise.
    pub fn tell(&mut self, word: Word) {
        let Ok(mut line) = serde_json::to_vec(&word) else { return };
        line.push(b'\n');
        for input in &mut self.inputs {
            // See above.
            let _ = input.write_all(&line);
        }
    }

    /// Tells all to stop; they say what they have.
    pub fn stop(&mut self) {
        self.inputs.clear();
    }

    /// What is said next.
    ///
    /// # Errors
    /// A process failed or died.
    pub fn hear(&mut self, at_most: Duration) -> Result<Heard, String> {
        let (nth, line) = match self.lines.recv_timeout(at_most) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => return Ok(Heard::Nothing),
            Err(RecvTimeoutError::Disconnected) => return Ok(Heard::AllDone),
        };
        let Some(line) = line else {
            return Err(format!("process {nth} of the load died before it was done"));
        };
        match serde_json::from_str(&line) {
            Ok(Said::Slice(slice)) => Ok(Heard::Slice(slice)),
            Ok(Said::Rest(slice)) => Ok(Heard::Rest(slice)),
            Ok(Said::Failed(why)) => Err(format!("process {nth} of the load: {why}")),
            Ok(Said::Done) => {
                self.done += 1;
                Ok(if self.done == self.members.len() { Heard::AllDone } else { Heard::Nothing })
            }
            Err(error) => Err(format!("process {nth} of the load said {line:.80}: {error}")),
        }
    }
}

/// Hands on every line, and the end where it comes too early.
fn read_lines(
    nth: usize,
    output: impl std::io::Read + Send + 'static,
    lines: SyncSender<(usize, Option<String>)>,
) -> Result<(), String> {
    let read = move || {
        let mut is_done = false;
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            is_done = line == r#""done""#;
            if lines.send((nth, Some(line))).is_err() {
                return;
            }
        }
        if !is_done {
            // Nobody listens any more where this fails.
            let _ = lines.send((nth, None));
        }
    };
    let thread = thread::Builder::new().name(format!("load-{nth}")).spawn(read);
    thread.map(drop).map_err(|error| format!("a thread for process {nth} of the load: {error}"))
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.inputs.clear();
        for member in &mut self.members {
            // Those that are done have ended by themselves; there is nothing to do for the others.
            let _ = member.kill();
            let _ = member.wait();
        }
    }
}
