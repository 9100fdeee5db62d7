//! ▢ Which limit binds first: what there is of everything that runs out, and the number of
//! connections at which it does, with the same traffic for each.

use serde::Serialize;

use super::{
    coefficients::Coefficients,
    estimate::{Estimate, estimate},
    traffic::{CONNECTIONS_MAX, Traffic},
};
use crate::doctor::{
    room::{Found, Room},
    wanted::PAGE_BYTES,
};

/// What is planned with beside the host.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Means {
    /// Share of cores, of Redis and of the network that may be busy, above 0 to 1: what is left is
    /// for bursts, and for shards that have more than their share of the connections.
    pub load_share: f64,
    /// Bits a second of the network card, each way; `None`: not known.
    pub nic_bits_per_second: Option<f64>,
    /// Addresses from which clients come, where they come through a proxy; `None`: directly.
    pub source_addresses: Option<u64>,
    /// Ports of each of them for connections to one address and port.
    pub ports_per_address: u64,
}

/// In what something is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Pieces.
    Count,
    /// Bytes.
    Bytes,
    /// Cores.
    Cores,
    /// Bits a second.
    BitsPerSecond,
}

/// Something that runs out.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Limit {
    /// What.
    pub name: &'static str,
    /// How much there is.
    pub have: f64,
    /// How much the planned connections need.
    pub need: f64,
    /// Of both.
    pub unit: Unit,
    /// The most connections that fit; `None`: more than are ever planned for.
    pub binds_at: Option<u64>,
    /// What to do where it is too little.
    pub fix: &'static str,
}

impl Limit {
    /// Whether the planned connections fit.
    pub fn holds(&self) -> bool {
        self.need <= self.have
    }
}

/// Limits, the first to bind first.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Limits {
    /// What runs out.
    pub limits: Vec<Limit>,
    /// What could not be looked at, and why.
    pub unread: Vec<String>,
}

/// How much a traffic needs of something.
type Need = fn(&Traffic, &Estimate) -> f64;

struct Supply {
    name: &'static str,
    have: f64,
    unit: Unit,
    need: Need,
    fix: &'static str,
}

/// The limits of `means`, and of the host where there is one.
pub fn limits(
    traffic: &Traffic,
    coefficients: &Coefficients,
    means: &Means,
    room: Option<&Room>,
) -> Limits {
    let mut unread = Vec::new();
    let mut supplies = supplies_of_means(traffic, means);
    if let Some(room) = room {
        supplies.extend(supplies_of_host(room, means.load_share, &mut unread));
    }
    let planned = estimate(traffic, coefficients);
    let mut limits: Vec<Limit> = supplies
        .into_iter()
        .map(|Supply { name, have, unit, need, fix }| Limit {
            name,
            have,
            need: need(traffic, &planned),
            unit,
            binds_at: most(traffic, |of| need(of, &estimate(of, coefficients)) <= have),
            fix,
        })
        .collect();
    limits.sort_by_key(|limit| limit.binds_at.unwrap_or(u64::MAX));
    Limits { limits, unread }
}

fn supplies_of_means(traffic: &Traffic, means: &Means) -> Vec<Supply> {
    let mut supplies = vec![Supply {
        name: "cores of the shards",
        have: traffic.shards as f64 * means.load_share,
        unit: Unit::Cores,
        need: |_, estimate| estimate.cpu.total(),
        fix: "more --cores, or another gateway",
    }];
    if traffic.tasks.is_some() || traffic.topics.is_some() {
        supplies.push(Supply {
            name: "core of Redis",
            have: means.load_share,
            unit: Unit::Cores,
            need: |_, estimate| estimate.redis.cpu_cores,
            fix: "a Redis for each gateway, or for each route",
        });
    }
    if let Some(bits) = means.nic_bits_per_second {
        let have = bits * means.load_share;
        let fix = "a faster card, or another gateway";
        supplies.push(Supply {
            name: "network, in",
            have,
            unit: Unit::BitsPerSecond,
            need: |_, estimate| estimate.network.inbound.bits_per_second,
            fix,
        });
        supplies.push(Supply {
            name: "network, out",
            have,
            unit: Unit::BitsPerSecond,
            need: |_, estimate| estimate.network.outbound.bits_per_second,
            fix,
        });
    }
    if let Some(addresses) = means.source_addresses {
        supplies.push(Supply {
            name: "ports of the proxy",
            have: addresses as f64 * means.ports_per_address as f64,
            unit: Unit::Count,
            need: connections,
            fix: "more addresses of the proxy or of the gateway, or a wider ip_local_port_range \
                  there",
        });
    }
    supplies
}

/// What the host says; `unread` gets the rest.
fn supplies_of_host(room: &Room, load_share: f64, unread: &mut Vec<String>) -> Vec<Supply> {
    let descriptors: Need = |_, estimate| estimate.descriptors as f64;
    let memory: Need = |_, estimate| estimate.memory.total_bytes();
    let list: [(_, &Found, f64, Unit, Need, _); 8] = [
        (
            "nofile, hard",
            &room.descriptors,
            1.0,
            Unit::Count,
            descriptors,
            "LimitNOFILE in the unit, or ulimit -Hn",
        ),
        ("fs.nr_open", &room.nr_open, 1.0, Unit::Count, descriptors, "tuning/apply"),
        ("fs.file-max", &room.files, 1.0, Unit::Count, descriptors, "tuning/apply"),
        (
            "memory available",
            &room.memory_bytes,
            1.0,
            Unit::Bytes,
            memory,
            "more memory, or another gateway",
        ),
        (
            "cgroup memory",
            &room.cgroup_memory_bytes,
            1.0,
            Unit::Bytes,
            memory,
            "MemoryMax in the unit, or the container's limit",
        ),
        (
            "cgroup cpu",
            &room.cgroup_cpu_thousandths,
            load_share / 1e3,
            Unit::Cores,
            |_, estimate| estimate.cpu.total(),
            "CPUQuota in the unit, or the container's limit",
        ),
        (
            "net.ipv4.tcp_mem",
            &room.tcp_pages,
            PAGE_BYTES as f64,
            Unit::Bytes,
            |_, estimate| estimate.memory.buffer_bytes,
            "tuning/apply",
        ),
        (
            "net.netfilter.nf_conntrack_max",
            &room.tracked,
            1.0,
            Unit::Count,
            connections,
            "tuning/apply, or a notrack rule for the public port",
        ),
    ];
    let mut supplies = Vec::new();
    for (name, found, scale, unit, need, fix) in list {
        match found {
            Ok(None) => {}
            Ok(Some(have)) => {
                supplies.push(Supply { name, have: *have as f64 * scale, unit, need, fix });
            }
            Err(why) => unread.push(format!("{name}: {why}")),
        }
    }
    supplies
}

fn connections(traffic: &Traffic, _: &Estimate) -> f64 {
    traffic.connections as f64
}

/// The most connections that fit: needs never become less, so halving finds it. `None`: all.
fn most(traffic: &Traffic, fits: impl Fn(&Traffic) -> bool) -> Option<u64> {
    let fits = |connections| fits(&Traffic { connections, ..*traffic });
    if fits(CONNECTIONS_MAX) {
        return None;
    }
    let (mut fit, mut too_many) = (0, CONNECTIONS_MAX);
    while too_many - fit > 1 {
        let half = fit + (too_many - fit) / 2;
        if fits(half) { fit = half } else { too_many = half }
    }
    Some(fit)
}
