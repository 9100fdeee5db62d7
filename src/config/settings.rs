//! The table of the gateway's settings. Nothing else in the code names a default, a
//! range, a flag or a variable of theirs.

use super::Config;
use super::kind::{Kind, Range};
use super::route::{Route, RouteKind};
use super::setting::{Change, Setting};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Every setting of `serve`, `demo` and `config`, in the order of the documentation.
pub const SETTINGS: &[Setting<Config>] = &[
    restart(
        "listen",
        "listen",
        Kind::Address(|c, v| c.listen = v),
        "0.0.0.0:8080",
        "Address of the public port",
    ),
    restart(
        "admin",
        "admin",
        Kind::OptionalAddress(|c, v| c.admin = v),
        "127.0.0.1:9090",
        "Address of the admin port (health, readiness, metrics)",
    ),
    restart(
        "admin_hosts",
        "admin-hosts",
        Kind::Hosts(|c, v| c.admin_hosts = v),
        "none",
        "Names by which requests may drain and publish over the admin port, beside its address",
    ),
    restart(
        "cores",
        "cores",
        Kind::Cores(|c, v| c.cores = v),
        "all",
        "Cores to run on, one shard each",
    ),
    Setting {
        secret: true,
        ..restart(
            "redis",
            "redis",
            Kind::OptionalRedisUrl(|c, v| c.redis = v),
            "embedded",
            "Redis server that carries the tasks; embedded: a broker and a worker inside",
        )
    },
    reload(
        "log_level",
        "log-level",
        Kind::LogLevel(|c, v| c.log_level = v),
        "info",
        "Least important messages that are logged",
    ),
    restart(
        "echo",
        "echo",
        Kind::OptionalPath(|c, v| {
            c.routes.extend(v.map(|path| Route { path, kind: RouteKind::Echo }));
        }),
        "off",
        "Path of a diagnostic route that echoes every message",
    ),
    reload(
        "origins",
        "origins",
        Kind::Origins(|c, v| c.origins = v),
        "any",
        "Origins that browsers may connect from",
    ),
    reload(
        "limits.connections",
        "connections",
        Kind::Count(
            Range { min: 1, max: 10_000_000, why: "each costs the kernel 3.8 KiB" },
            |c, v| c.limits.connections = v,
        ),
        "100_000",
        "Open connections of the process; past that an upgrade gets 503",
    ),
    reload(
        "limits.handshakes",
        "handshakes",
        Kind::Count(
            Range { min: 1, max: 1_000_000, why: "each may hold a partial request head" },
            |c, v| c.limits.handshakes = v,
        ),
        "16_384",
        "Connections of the process that are still in their HTTP request",
    ),
    reload(
        "limits.accepts_per_second",
        "accepts-per-second",
        Kind::Count(Range { min: 1, max: 1_000_000, why: "no machine upgrades more" }, |c, v| {
            c.limits.accepts_per_second = v
        }),
        "20_000",
        "New connections per second of the process; past that an upgrade gets 503",
    ),
    reload(
        "limits.message_bytes",
        "message-bytes",
        Kind::Bytes(
            Range {
                min: 125,
                max: GIB,
                why: "control frames have up to 125B; a message is held whole",
            },
            |c, v| c.limits.message_bytes = v,
        ),
        "16MiB",
        "Longest message of a client, its fragments together; past that close 1009",
    ),
    reload(
        "limits.outbox_bytes",
        "outbox-bytes",
        Kind::Bytes(
            Range { min: 4 * KIB, max: GIB, why: "times the slow connections it is memory" },
            |c, v| c.limits.outbox_bytes = v,
        ),
        "256KiB",
        "What one connection may have yet to read before its results wait in their sessions",
    ),
    reload(
        "limits.broker_pending_bytes",
        "broker-pending-bytes",
        Kind::Bytes(
            Range { min: MIB, max: TIB, why: "it is memory while the broker is away" },
            |c, v| c.limits.broker_pending_bytes = v,
        ),
        "256MiB",
        "What may wait for the broker, the process over; past that tasks are refused",
    ),
    reload(
        "limits.held_bytes",
        "held-bytes",
        Kind::Bytes(
            Range { min: MIB, max: TIB, why: "it is memory; one message must fit" },
            |c, v| c.limits.held_bytes = v,
        ),
        "1GiB",
        "Messages that have come in part, the process over",
    ),
    reload(
        "heartbeat.ping",
        "ping",
        Kind::Milliseconds(
            Range {
                min: 100,
                max: 3_600_000,
                why: "pings cost a write; proxies forget idle sockets",
            },
            |c, v| c.timing.ping_ms = v,
        ),
        "30s",
        "Time between two pings to a connection",
    ),
    reload(
        "heartbeat.idle",
        "idle",
        Kind::Milliseconds(
            Range { min: 101, max: 86_400_000, why: "longer than a ping; the dead hold memory" },
            |c, v| c.timing.idle_ms = v,
        ),
        "60s",
        "Time without any inbound byte after which a connection is closed (4010)",
    ),
    reload(
        "deadlines.handshake",
        "handshake-deadline",
        Kind::Milliseconds(
            Range { min: 100, max: 600_000, why: "a round trip; the slow hold a place" },
            |c, v| c.timing.handshake_ms = v,
        ),
        "10s",
        "Time for the whole HTTP request of a connection; past that 408",
    ),
    reload(
        "deadlines.close",
        "close-deadline",
        Kind::Milliseconds(
            Range { min: 10, max: 60_000, why: "a round trip; the vanished hold a place" },
            |c, v| c.timing.close_ms = v,
        ),
        "5s",
        "Time for the client's half of a close before the socket is closed",
    ),
    reload(
        "deadlines.unread",
        "unread-deadline",
        Kind::Milliseconds(
            Range { min: 100, max: 3_600_000, why: "a slow line needs some; what waits is held" },
            |c, v| c.timing.unread_ms = v,
        ),
        "10s",
        "Time for a client to read limits.outbox_bytes when as much waits; past that close 4008",
    ),
    reload(
        "deadlines.drain",
        "drain",
        Kind::Milliseconds(
            Range { min: 0, max: 3_600_000, why: "service managers kill what stops slowly" },
            |c, v| c.timing.drain_ms = v,
        ),
        "10s",
        "Time for open tasks after SIGTERM, and over which connections are closed",
    ),
    restart(
        "ring.spin",
        "spin",
        Kind::Microseconds(
            Range { min: 0, max: 1_000, why: "it burns CPU for latency" },
            |c, v| c.ring.spin_us = v,
        ),
        "0us",
        "How long a shard looks for more work before it sleeps",
    ),
    restart(
        "ring.receive_buffers",
        "receive-buffers",
        Kind::Count(Range { min: 8, max: 32_768, why: "buffer ids have 15 bits" }, |c, v| {
            c.ring.receive_buffers = v
        }),
        // Small groups: what is read is answered before it leaves the cache (docs/measurements.md).
        "32",
        "Reads in flight at once, each with a buffer; more wait for the next turn",
    ),
    restart(
        "ring.receive_buffer_bytes",
        "receive-buffer-bytes",
        Kind::Bytes(
            Range { min: KIB, max: MIB, why: "smaller costs system calls, larger costs cache" },
            |c, v| c.ring.receive_buffer_bytes = v,
        ),
        "64KiB",
        "Size of one receive buffer",
    ),
    restart(
        "worker.concurrency",
        "worker-concurrency",
        Kind::Count(Range { min: 1, max: 1_024, why: "each is a thread" }, |c, v| {
            c.worker.concurrency = v
        }),
        "1",
        "Tasks at a time in the built-in worker of the embedded broker",
    ),
];

const fn restart(
    key: &'static str,
    flag: &'static str,
    kind: Kind<Config>,
    default: &'static str,
    help: &'static str,
) -> Setting<Config> {
    let (flag, default) = (Some(flag), Some(default));
    Setting { key, flag, kind, default, help, secret: false, change: Change::Restart }
}

const fn reload(
    key: &'static str,
    flag: &'static str,
    kind: Kind<Config>,
    default: &'static str,
    help: &'static str,
) -> Setting<Config> {
    Setting { change: Change::Reload, ..restart(key, flag, kind, default, help) }
}
