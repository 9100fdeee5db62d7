//! ▢ Coefficients out of bench reports: `cost.fit` of each, by what its profile puts load on.
//!
//! | profile | what is taken |
//! |---|---|
//! | `idle` | memory, processor time without messages |
//! | `echo` | memory, processor time a message |
//! | `tasks`, `topics` | the same, with sessions or subscriptions in the memory of a connection |
//! | any other | memory, and processor time without messages where it has that |

use std::fmt;

use serde_json::Value;

use super::coefficients::{
    BusyBuffers, Coefficients, Cpu, Included, Memory, Origin, PerConnection, RECEIVE_SHARE, Waking,
};
use crate::bench::cost::model::{self, Cost, Fit, Line};

/// Version of the reports that are read.
pub const REPORT_FORMAT: u64 = 1;
/// Seconds between two pings in the run of a report: the gateway's default.
pub const REPORT_PING_SECONDS: f64 = 30.0;
/// No figure of a report is larger, or smaller than its negative: a petabyte.
const FIGURE_MAX: f64 = 1e15;

/// Why a report has no coefficients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReportError {
    /// No report of ringgate bench: what it lacks.
    NotAReport(&'static str),
    /// Of another version.
    Format(String),
    /// The server's cost was not looked at.
    NoCost,
    /// Cost at one number of connections only.
    NoFit,
    /// A figure that cannot be, by its path.
    BadFigure(String),
}

/// What a report has for a plan.
#[derive(Clone, PartialEq, Debug)]
pub struct Measured {
    profile: String,
    fit: Fit,
    /// Memory at the most connections of the run: how the kernel's is shared out.
    memory: Option<model::Memory>,
}

impl Measured {
    /// Reads a report's JSON.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn from_report(report: &Value) -> Result<Self, ReportError> {
        let format = report.get("format").ok_or(ReportError::NotAReport("format"))?;
        if format.as_u64() != Some(REPORT_FORMAT) {
            return Err(ReportError::Format(format.to_string()));
        }
        let profile = report.get("profile").and_then(Value::as_str);
        let profile = profile.ok_or(ReportError::NotAReport("profile"))?.to_owned();
        let cost = report.get("cost").filter(|cost| !cost.is_null()).ok_or(ReportError::NoCost)?;
        let cost: Cost = serde::Deserialize::deserialize(cost)
            .map_err(|error: serde_json::Error| ReportError::BadFigure(format!("cost: {error}")))?;
        let fit = cost.fit.ok_or(ReportError::NoFit)?;
        check(&fit)?;
        let largest = cost.points.iter().max_by_key(|point| point.connections);
        Ok(Self { profile, fit, memory: largest.map(|point| point.memory) })
    }

    /// Which profile ran.
    pub fn profile(&self) -> &str {
        &self.profile
    }

    fn is_idle(&self) -> bool {
        self.profile == "idle"
    }

    /// Bytes of one connection; the kernel's in the shares of the run.
    fn connection(&self) -> PerConnection {
        let memory = self.memory.unwrap_or_default();
        let kinds = PerConnection {
            user_bytes: self.fit.user_bytes.slope.max(0.0),
            tcp_bytes: memory.tcp_bytes.max(0.0),
            socket_inode_bytes: memory.socket_inode_bytes.max(0.0),
            file_bytes: memory.file_bytes.max(0.0),
            dentry_bytes: memory.dentry_bytes.max(0.0),
            io_uring_bytes: memory.io_uring_bytes.max(0.0),
            epoll_bytes: memory.epoll_bytes.max(0.0),
        };
        let kinds = match kinds.kernel_bytes() > 0.0 {
            true => kinds,
            false => PerConnection { user_bytes: kinds.user_bytes, ..PerConnection::default() },
        };
        kinds.with_kernel_bytes(self.fit.kernel_bytes.slope.max(0.0))
    }
}

impl Coefficients {
    /// The defaults, with everything that one report has in their place.
    ///
    /// # Errors
    /// [`ReportError`].
    pub fn from_report(report: &Value) -> Result<Self, ReportError> {
        Ok(Self::from_measured(&[("report".to_owned(), Measured::from_report(report)?)]))
    }

    /// The defaults, with everything that the reports have in their place; each with its name.
    /// Of two that have the same the later one is believed, but of memory one of `idle`, whose
    /// connections have nothing else in it.
    pub fn from_measured(reports: &[(String, Measured)]) -> Self {
        let mut coefficients = Self::default();
        let (idle, busy): (Vec<_>, Vec<_>) = reports.iter().partition(|(_, m)| m.is_idle());
        for (name, measured) in busy.into_iter().chain(idle) {
            coefficients.take(measured, name);
        }
        coefficients
    }

    fn take(&mut self, measured: &Measured, name: &str) {
        let profile = measured.profile.clone();
        let origin = Origin::Report { name: name.to_owned(), profile };
        self.take_memory(measured, &origin);
        if let Some(line) = measured.fit.idle_cpu_us {
            let line = usable(line);
            let (process_us, ping_us) = (line.fixed.max(0.0), line.slope * REPORT_PING_SECONDS);
            let waking = Waking { pong_us: 0.0, ..self.cpu.waking };
            self.cpu = Cpu { process_us, shard_us: 0.0, ping_us, waking, ..self.cpu };
            self.origins.idle = origin.clone();
        }
        let Some(message_us) = measured.fit.cpu_us_per_message else { return };
        let Cpu { included, waking, .. } = self.cpu;
        match measured.profile.as_str() {
            "echo" => {
                // A message of the report is taken or given; an echo is one of each.
                let receive_us = 2.0 * message_us * RECEIVE_SHARE;
                let send_us = 2.0 * message_us * (1.0 - RECEIVE_SHARE);
                let included = Included { echo: None, ..included };
                let waking = Waking { echo_us: 0.0, ..waking };
                self.cpu = Cpu { receive_us, send_us, included, waking, ..self.cpu };
                self.origins.echo = origin;
            }
            "tasks" => {
                // A chunk is one message, and its ack another.
                let (chunk_us, result_us) = (2.0 * message_us, message_us);
                let included = Included { tasks: None, ..included };
                let waking = Waking { tasks_us: 0.0, ..waking };
                self.cpu = Cpu { chunk_us, result_us, included, waking, ..self.cpu };
                self.origins.tasks = origin;
            }
            "topics" => {
                let included = Included { topics: None, ..included };
                // Every value costs the same then, alone or in a batch; all else is in it.
                let (frame_us, value_us) = (message_us, message_us);
                let waking = Waking { topics_us: 0.0, ..waking };
                let rest = Cpu { publication_us: 0.0, included, waking, ..self.cpu };
                self.cpu = Cpu { frame_us, value_us, ..rest };
                self.origins.topics = origin;
            }
            _ => {}
        }
    }

    fn take_memory(&mut self, measured: &Measured, origin: &Origin) {
        let Fit { user_bytes, kernel_bytes, buffer_bytes, .. } = measured.fit;
        let defaults = Memory::default();
        let mut buffers = self.memory.buffers;
        if measured.is_idle() {
            buffers.idle = usable(buffer_bytes);
        } else {
            buffers.busy = BusyBuffers::Measured(usable(buffer_bytes));
            self.origins.buffers = origin.clone();
        }
        self.memory = Memory {
            process_bytes: usable(user_bytes).fixed,
            shard_bytes: 0.0,
            kernel_fixed_bytes: usable(kernel_bytes).fixed,
            connection: measured.connection(),
            buffers,
            ..defaults
        };
        match measured.profile.as_str() {
            "tasks" => self.memory.session_bytes = 0.0,
            "topics" => {
                self.memory.subscription_bytes = 0.0;
                self.memory.subscriber_bytes = 0.0;
                self.memory.topic_bytes = 0.0;
                self.memory.topic_on_shard_bytes = 0.0;
            }
            _ => {}
        }
        self.origins.memory = origin.clone();
    }
}

/// What grows downward is noise: nothing becomes cheaper by more connections.
fn usable(line: Line) -> Line {
    Line { slope: line.slope.max(0.0), ..line }
}

fn check(fit: &Fit) -> Result<(), ReportError> {
    let idle = fit.idle_cpu_us.unwrap_or_default();
    let lines = [
        ("user_bytes", fit.user_bytes),
        ("kernel_bytes", fit.kernel_bytes),
        ("buffer_bytes", fit.buffer_bytes),
        ("idle_cpu_us", idle),
    ];
    let of_line = |(name, line): &(&str, Line)| {
        [(format!("{name}.fixed"), line.fixed), (format!("{name}.slope"), line.slope)]
    };
    let message = ("cpu_us_per_message".to_owned(), fit.cpu_us_per_message.unwrap_or(0.0));
    let mut figures = lines.iter().flat_map(of_line).chain([message.clone()]);
    if let Some((name, _)) =
        figures.find(|(_, figure)| !figure.is_finite() || figure.abs() > FIGURE_MAX)
    {
        return Err(ReportError::BadFigure(format!("cost.fit.{name}: not within 10^15")));
    }
    match message.1 < 0.0 {
        true => Err(ReportError::BadFigure(format!("cost.fit.{}: less than 0", message.0))),
        false => Ok(()),
    }
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAReport(key) => write!(
                f,
                "no report of ringgate bench, for it has no `{key}`; give what `ringgate bench \
                 --json FILE` wrote"
            ),
            Self::Format(found) => write!(
                f,
                "a report of format {found}, and this ringgate reads format {REPORT_FORMAT}; \
                 measure again with this version"
            ),
            Self::NoCost => f.write_str(
                "a report without the server's cost; measure again with --server-pid, on the \
                 server's machine",
            ),
            Self::NoFit => f.write_str(
                "cost at one number of connections only, and a line needs 2 or more; measure \
                 again with several stages",
            ),
            Self::BadFigure(what) => {
                write!(f, "{what}; give a report as `ringgate bench --json FILE` wrote it")
            }
        }
    }
}

impl std::error::Error for ReportError {}
