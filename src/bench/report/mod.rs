//! ▢ What a run has measured: for people, as JSON, and as a page with plots.
//!
//! | module | what it is |
//! |---|---|
//! | [`host`] | the machine and the limits that a run was made under |
//! | [`plateau`] ▢ | what is measured: the times in which the number of users did not change |
//! | [`validity`] ▢ | why a result would mislead |
//! | [`windows`] ▢ | what slow readers cost the others |
//! | `text` ▢ | the report for people |
//! | [`page`] ▢ | the report as an HTML page with plots |
//! | [`compare`] ▢ | two reports against each other |
//! | [`amount`] ▢ | figures as people read them |

pub mod amount;
pub mod compare;
pub mod host;
pub mod page;
pub mod plateau;
mod text;
pub mod validity;
pub mod windows;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{cost::model::Cost, tally::Times};
use host::Host;
use plateau::Plateau;

/// Of [`Report::format`]; another number is another shape.
pub const FORMAT: u32 = 1;

/// Everything about one run.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the profile.
    pub profile: String,
    /// When it began, in UTC (RFC 3339).
    pub began: String,
    /// The arguments.
    pub command: Vec<String>,
    /// What ran it, and where.
    pub host: Host,
    /// The server's route.
    pub server: String,
    /// How many users there were meant to be when, with their times as they were.
    pub stages: String,
    /// Processes of the load.
    pub processes: u32,
    /// How long it took.
    pub seconds: f64,
    /// Somebody ended it before its time.
    pub interrupted: bool,
    /// Over the whole run.
    pub totals: Totals,
    /// Connections that ended by themselves or did not come about, by what happened.
    pub failures: BTreeMap<String, u64>,
    /// What was measured while the number of users did not change.
    pub plateaus: Vec<Plateau>,
    /// All the time, slice by slice.
    pub slices: Vec<Moment>,
    /// What the profile counts beside messages, by name.
    pub counts: BTreeMap<String, u64>,
    /// Times of the profile's own, by name.
    pub times: BTreeMap<String, Times>,
    /// Figures of the profile's own: name, value and unit.
    pub figures: Vec<Figure>,
    /// What the profile says in words, for people.
    #[serde(default)]
    pub notes: Vec<String>,
    /// What the server cost, where it is on this machine.
    pub cost: Option<Cost>,
    /// Why the result would mislead; empty where it would not.
    pub invalid: Vec<String>,
    /// From the time at which a message should have been sent to its answer, over all plateaus.
    pub latency: Times,
    /// From the first packet to the open WebSocket, over the whole run.
    pub opening: Times,
}

/// Sums over the whole run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Connections that were begun.
    pub begun: u64,
    /// Connections that came to be open.
    pub opened: u64,
    /// Messages sent.
    pub sent: u64,
    /// Messages that should have come.
    pub expected: u64,
    /// Messages that came.
    pub received: u64,
    /// Of those that should have come: their connection had gone.
    pub lost: u64,
    /// Of those that should have come: the server said that they are lost.
    #[serde(default)]
    pub told: u64,
    /// Twice, out of order, or with other bytes.
    pub wrong: u64,
    /// Pings answered.
    pub pings: u64,
    /// Messages that the load sent over 10 ms too late.
    pub late: u64,
    /// Messages that the load did not send, as too many were under way.
    pub withheld: u64,
}

impl Totals {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.opened += other.opened;
        self.sent += other.sent;
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.pings += other.pings;
        self.late += other.late;
        self.withheld += other.withheld;
        self.told += other.told;
    }
}

/// One slice of time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// End of the slice, in seconds from the beginning.
    pub at_s: f64,
    /// Users that should be there.
    pub wanted: u64,
    /// Open connections.
    pub open: u64,
    /// Messages sent, a second.
    pub sent_per_second: f64,
    /// Messages received, a second.
    pub received_per_second: f64,
    /// 50th percentile of latency, in milliseconds; absent where nothing was answered.
    pub latency_p50_ms: Option<f64>,
    /// 99th percentile.
    pub latency_p99_ms: Option<f64>,
    /// Processor time of the server; 1 is one core.
    pub server_cores: Option<f64>,
    /// What the server has in memory.
    pub server_resident_bytes: Option<u64>,
    /// Processor time of the busiest process of the load.
    pub load_cores: f64,
}

/// One figure of a profile's own.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// `ms`, `s`, `%`, …; empty for a count.
    pub unit: String,
}

impl Report {
    /// Reads a report that was written before.
    ///
    /// # Errors
    /// It is none, or one of another format.
    pub fn from_json(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: Option<u32>,
        }
        let head: Head = serde_json::from_str(text)
            .map_err(|error| format!("it is no report of `ringgate bench`: {error}"))?;
        match head.format {
            Some(FORMAT) => {}
            Some(other) => {
                return Err(format!("its format is {other}, and this version reads {FORMAT}"));
            }
            None => return Err("it is no report of `ringgate bench`: it has no \"format\"".into()),
        }
        serde_json::from_str(text).map_err(|error| format!("a report of format {FORMAT}: {error}"))
    }
}
