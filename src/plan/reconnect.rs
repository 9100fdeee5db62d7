//! ▢ How long everyone takes to come back, when all connections are lost at once.
//!
//! Several things bound it, each computed alone; the longest is the answer. Clients are those of
//! the kernel, which sends a lost SYN again after 1, 3, 7, 15, 31 and 63 s, and of RFC 9110, which
//! come back when `Retry-After` says.

use serde::Serialize;

use super::traffic::Traffic;
use crate::limits::{LISTEN_BACKLOG, RETRY_AFTER_S};

/// Seconds between the tries of a SYN, and from the last of them to the error that the client
/// sees, after which it begins again (`tcp_syn_retries` 6; RFC 6298).
const SYN_GAPS_S: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
/// On the wire for one client, the larger direction: its request of a browser, or the answer,
/// and the packets of the connection.
const HANDSHAKE_BYTES: f64 = 1_500.0;

/// How a lost crowd comes back.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Herd {
    /// `limits.accepts_per_second`, 1 to 10⁶.
    pub accepts_per_second: f64,
    /// Seconds over which clients spread their first try, 0 to 3600.
    pub spread_seconds: f64,
    /// Connections that may wait at each shard's listener.
    pub backlog: f64,
    /// Bits a second of the network card; `None`: not known.
    pub nic_bits_per_second: Option<f64>,
}

/// Until everyone is back, in seconds, by what it waits for.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Reconnect {
    /// The clients' own spread.
    pub spread_seconds: f64,
    /// Processor time of accept, handshake and upgrade, on all shards.
    pub accept_cpu_seconds: f64,
    /// `limits.accepts_per_second`, where clients come back as evenly as they can.
    pub accept_limit_seconds: f64,
    /// The same where all who are refused come back together when `Retry-After` says.
    pub retry_after_seconds: f64,
    /// Until the last SYN that found the listener's queue full is tried again and taken.
    pub backlog_seconds: f64,
    /// Connections whose first SYN finds it full.
    pub dropped_syns: f64,
    /// The handshakes on the wire.
    pub network_seconds: Option<f64>,
    /// The longest of all these.
    pub seconds: f64,
}

impl Herd {
    /// Places at a listener where the kernel caps it at so many (`net.core.somaxconn`).
    pub fn backlog_of(somaxconn: Option<u64>) -> f64 {
        let asked = LISTEN_BACKLOG as f64;
        somaxconn.map_or(asked, |most| (most as f64).clamp(1.0, asked))
    }
}

/// Until everyone is back.
pub fn estimate(traffic: &Traffic, accept_us: f64, herd: &Herd) -> Reconnect {
    let (all, shards) = (traffic.connections as f64, traffic.shards as f64);
    let served_per_second = shards * 1e6 / accept_us;
    let places = shards * herd.backlog;
    let (dropped_syns, backlog_seconds) = backlog(all, served_per_second, places, herd);
    let mut reconnect = Reconnect {
        spread_seconds: herd.spread_seconds,
        accept_cpu_seconds: all / served_per_second,
        accept_limit_seconds: all / herd.accepts_per_second,
        retry_after_seconds: retry_after(all, served_per_second, herd),
        backlog_seconds,
        dropped_syns,
        network_seconds: herd.nic_bits_per_second.map(|bits| all * HANDSHAKE_BYTES * 8.0 / bits),
        seconds: 0.0,
    };
    reconnect.seconds = [
        reconnect.spread_seconds,
        reconnect.accept_cpu_seconds,
        reconnect.accept_limit_seconds,
        reconnect.retry_after_seconds,
        reconnect.backlog_seconds,
        reconnect.network_seconds.unwrap_or(0.0),
    ]
    .into_iter()
    .fold(0.0, f64::max);
    reconnect
}

/// How many SYNs find the queues full, and when the last of them is taken.
fn backlog(all: f64, served_per_second: f64, places: f64, herd: &Herd) -> (f64, f64) {
    let dropped = (all - places - served_per_second * herd.spread_seconds).max(0.0);
    if dropped == 0.0 {
        return (0.0, 0.0);
    }
    // Each time those that are left find the places that were served meanwhile.
    let taken = |gap_s: f64| places.min(served_per_second * gap_s);
    let a_round: f64 = SYN_GAPS_S.into_iter().map(taken).sum();
    let rounds = ((dropped / a_round).ceil() - 1.0).max(0.0);
    let mut left = dropped - rounds * a_round;
    let mut seconds = herd.spread_seconds + rounds * SYN_GAPS_S.iter().sum::<f64>();
    for gap_s in SYN_GAPS_S {
        if left <= 0.0 {
            break;
        }
        left -= taken(gap_s);
        seconds += gap_s;
    }
    (dropped, seconds)
}

/// Waves: all who were refused come back [`RETRY_AFTER_S`] later. While a wave of `left` is
/// answered, which takes `left / served` s, tokens for `1 + left / served` s are there (a bucket
/// holds a second's worth), so that `left + served` becomes `1 - limit / served` of it each time.
fn retry_after(all: f64, served_per_second: f64, herd: &Herd) -> f64 {
    let (limit, pause_s) = (herd.accepts_per_second, f64::from(RETRY_AFTER_S));
    let left = (all - limit * herd.spread_seconds).max(0.0);
    if left == 0.0 || limit >= served_per_second {
        return herd.spread_seconds + left / served_per_second;
    }
    // A wave that takes longer than the pause has no end: the shards are busy all the time.
    let wave = left.min(served_per_second * pause_s);
    let endless_s = (left - wave) / limit;
    let shrinks = -(-limit / served_per_second).ln_1p();
    let waves = ((wave / served_per_second).ln_1p() / shrinks).ceil();
    herd.spread_seconds + endless_s + (waves - 1.0).max(0.0) * pause_s
}
