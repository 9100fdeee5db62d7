//! Bounds that two settings set each other.

use super::error::Problem;
use super::resolve::EffectiveValue;
use super::route::TasksRoute;
use super::{Config, value};

/// Most memory that the receive buffers of one shard may take.
const POOL_BYTES_MAX: u64 = 1 << 30;

/// Checks settings against each other; those that were refused alone are left out.
pub(super) fn together(config: &Config, values: &[EffectiveValue], problems: &mut Vec<Problem>) {
    let mut checks = Checks { values, problems };
    let Config { limits, timing, ring, .. } = config;
    checks.require(
        timing.idle_ms > timing.ping_ms,
        "heartbeat.idle",
        "heartbeat.ping",
        "must be more than",
        "or each connection would be closed before its ping could be answered",
    );
    checks.require(
        limits.held_bytes >= limits.message_bytes,
        "limits.held_bytes",
        "limits.message_bytes",
        "must be no less than",
        "or the longest message could never be complete",
    );
    checks.require(
        (ring.receive_buffers as u64).saturating_mul(ring.receive_buffer_bytes as u64)
            <= POOL_BYTES_MAX,
        "ring.receive_buffers",
        "ring.receive_buffer_bytes",
        &format!("takes more than {} a shard with", value::show_bytes(POOL_BYTES_MAX)),
        "and every shard has its own pool",
    );
    let clash = config.admin.is_some_and(|admin| {
        let listen = config.listen;
        let overlap = admin.ip() == listen.ip()
            || admin.ip().is_unspecified()
            || listen.ip().is_unspecified();
        admin.port() != 0 && admin.port() == listen.port() && overlap
    });
    checks.require(
        !clash,
        "admin",
        "listen",
        "must not share the port of",
        "or only one of the two could be bound",
    );
    if config.cores.is_empty() && checks.value("cores").is_some() {
        problems.push(Problem::Value {
            option: "cores".into(),
            value: None,
            limit: "must name at least one core, and none could be found".into(),
            fix: "name the cores, for example --cores 0-3".into(),
        });
    }
}

/// Checks the settings of one tasks route, whose keys begin with `prefix`, against each other.
pub(super) fn tasks(
    route: &TasksRoute,
    prefix: &str,
    values: &[EffectiveValue],
    problems: &mut Vec<Problem>,
) {
    let mut checks = Checks { values, problems };
    checks.require(
        route.queue_low < route.queue_high,
        &format!("{prefix}queue_low"),
        &format!("{prefix}queue_high"),
        "must be less than",
        "or admission would open and close with every task",
    );
}

struct Checks<'a> {
    values: &'a [EffectiveValue],
    problems: &'a mut Vec<Problem>,
}

impl Checks<'_> {
    fn value(&self, key: &str) -> Option<&EffectiveValue> {
        self.values.iter().find(|value| value.key == key)
    }

    /// `first` has to stand in the `relation` to `second`.
    fn require(&mut self, holds: bool, first: &str, second: &str, relation: &str, why: &str) {
        let (Some(a), Some(b)) = (self.value(first), self.value(second)) else { return };
        if holds {
            return;
        }
        let (option, other) = (a.source.option(first), b.source.option(second));
        let limit = format!("{relation} {other} = {}, {why}", b.value);
        let problem = Problem::Value {
            option,
            value: Some(a.value.clone()),
            limit,
            fix: format!("change {first} or {second}"),
        };
        self.problems.push(problem);
    }
}
