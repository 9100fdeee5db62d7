//! ▢ Capacity planning: what a number of connections with a given traffic needs, and which limit
//! binds first.
//!
//! ```text
//! Traffic ─→ estimate ←─ Coefficients ←─ bench reports (measured), or docs/measurements.md
//!               │
//!               ├─→ binding: every limit, and the number of connections at which it binds
//!               ├─→ reconnect: until everyone is back
//!               └─→ needs: sysctls, limits of the process, settings
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`traffic`] | the input: connections and what they do |
//! | [`coefficients`] | what one of everything costs; [`measured`] reads it out of bench reports |
//! | [`mod@estimate`] | descriptors, memory, processor time; [`redis`] and [`network`] the rest |
//! | [`reconnect`] | how long everyone takes to come back |
//! | [`binding`] | which limit binds first |
//! | [`mod@needs`] | what has to be set |
//! | [`report`] | all of it as text; as JSON it is a [`Plan`] |
//!
//! Off the data path. Must not: measure; change anything. A host is read through
//! [`crate::doctor::host`] alone.

pub mod binding;
pub mod coefficients;
pub mod estimate;
pub mod measured;
pub mod needs;
pub mod network;
pub mod reconnect;
pub mod redis;
pub mod report;
#[cfg(test)]
mod tests;
pub mod traffic;

use serde::Serialize;

use self::{
    binding::{Limits, Means, limits},
    needs::{Needs, needs},
    reconnect::{Herd, Reconnect},
};
pub use self::{
    coefficients::Coefficients,
    estimate::{Estimate, estimate},
    measured::ReportError,
    traffic::Traffic,
};
use crate::doctor::{host::Host, room::Room};

/// Version of the JSON of a [`Plan`].
const FORMAT: u32 = 1;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// What is planned for.
    pub traffic: Traffic,
    /// What one of everything costs.
    pub coefficients: Coefficients,
    /// What there is beside the host.
    pub means: Means,
    /// How a lost crowd comes back.
    pub herd: Herd,
    /// The host; `None`: none is looked at.
    pub host: Option<&'a Host>,
}

/// The answer.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Plan {
    /// Version of this form.
    pub format: u32,
    /// What was planned for.
    pub traffic: Traffic,
    /// What was planned with.
    pub means: Means,
    /// Sums of the estimate.
    pub totals: Totals,
    /// What it takes.
    pub estimate: Estimate,
    /// Ports and addresses, where clients come through a proxy or are a load generator.
    pub ports: Ports,
    /// Until everyone is back.
    pub reconnect: Reconnect,
    /// Every limit, the first to bind first.
    #[serde(flatten)]
    pub limits: Limits,
    /// What has to be set.
    pub needs: Needs,
    /// What one of everything was taken to cost.
    pub coefficients: Coefficients,
}

/// Sums of an [`Estimate`].
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Totals {
    /// Memory, all of it.
    pub memory_bytes: f64,
    /// The process's own.
    pub user_bytes: f64,
    /// The kernel's, without buffers.
    pub kernel_bytes: f64,
    /// All of it, of one connection.
    pub bytes_per_connection: f64,
    /// Cores of the gateway.
    pub cpu_cores: f64,
    /// Commands of everyone to Redis.
    pub redis_commands_per_second: f64,
    /// Bytes that Redis sends to everyone.
    pub redis_output_bytes_per_second: f64,
}

/// What the other side of the connections needs, where it is one machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Ports {
    /// Ports of one source address, to one address and port of the gateway.
    pub per_address: u64,
    /// Source addresses for all connections.
    pub addresses: u64,
    /// As many, once a proxy leaves room for as many ports that are still in TIME_WAIT.
    pub addresses_with_time_wait: u64,
}

/// Answers.
pub fn plan(question: &Question<'_>) -> Plan {
    let Question { traffic, coefficients, means, host, .. } = question;
    let room = host.map(Room::of);
    let somaxconn = room.as_ref().and_then(|room| room.somaxconn.as_ref().ok().copied().flatten());
    let nic_of_host = room.as_ref().and_then(|room| room.nic_bits_per_second);
    let nic = means.nic_bits_per_second.or(nic_of_host.map(|bits| bits as f64));
    let means = Means { nic_bits_per_second: nic, ..*means };
    let backlog = Herd::backlog_of(somaxconn);
    let herd = Herd { backlog, nic_bits_per_second: nic, ..question.herd };
    let estimate = estimate(traffic, coefficients);
    Plan {
        format: FORMAT,
        traffic: *traffic,
        means,
        totals: Totals::of(traffic, &estimate),
        estimate,
        ports: Ports::of(traffic.connections, means.ports_per_address),
        reconnect: reconnect::estimate(traffic, coefficients.cpu.accept_us, &herd),
        limits: limits(traffic, coefficients, &means, room.as_ref()),
        needs: needs(traffic, *host),
        coefficients: coefficients.clone(),
    }
}

impl Totals {
    fn of(traffic: &Traffic, estimate: &Estimate) -> Self {
        let memory = &estimate.memory;
        let grown = memory.total_bytes() - memory.fixed_bytes - memory.kernel_fixed_bytes;
        Self {
            memory_bytes: memory.total_bytes(),
            user_bytes: memory.user_bytes(),
            kernel_bytes: memory.kernel_bytes(),
            bytes_per_connection: grown.max(0.0) / traffic.connections.max(1) as f64,
            cpu_cores: estimate.cpu.total(),
            redis_commands_per_second: estimate.redis.commands_per_second(),
            redis_output_bytes_per_second: estimate.redis.output_bytes_per_second(),
        }
    }
}

impl Ports {
    fn of(connections: u64, per_address: u64) -> Self {
        let per_address = per_address.max(1);
        Self {
            per_address,
            addresses: connections.div_ceil(per_address),
            addresses_with_time_wait: connections.saturating_mul(2).div_ceil(per_address),
        }
    }
}
