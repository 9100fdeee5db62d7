//! ▢ Every bound that is not a setting: value, unit, and why it is that.

// ---- worker ----

/// How long a worker waits at an empty queue before it looks whether it should stop, in
/// milliseconds. One second is what the workers of the speech gateway use.
pub const WORKER_POP_WAIT_MS: u64 = 1_000;

/// Threads of one `ringgate worker`, each with a connection of its own: more than any
/// single-threaded Redis can feed, and few enough for its default `maxclients`.
pub const WORKER_CONCURRENCY_MAX: usize = 1_024;

/// Tasks that a worker without delay takes at once: past this the saved round trips no
/// longer show.
pub const WORKER_BATCH_TASKS: usize = 64;

/// Bytes that one such batch should hold at most, judged by the largest task of the batch
/// before: 64 recordings of 16 MiB at once would be 1 GiB a thread.
pub const WORKER_BATCH_BYTES: usize = 4 << 20;

/// First pause before a worker connects to Redis again, in milliseconds; doubles.
pub const WORKER_BACKOFF_MIN_MS: u64 = 50;

/// Longest pause before a worker connects to Redis again, in milliseconds.
pub const WORKER_BACKOFF_MAX_MS: u64 = 2_000;

/// How long a worker waits for its connection to Redis, in milliseconds.
pub const WORKER_CONNECT_TIMEOUT_MS: u64 = 1_000;

/// How long a worker waits for an answer of Redis before it takes the connection for
/// dead, in milliseconds. Well over [`WORKER_POP_WAIT_MS`]: a pop given up too early
/// loses the task that it was about to bring.
pub const WORKER_ANSWER_TIMEOUT_MS: u64 = 5_000;

/// How long a result stays in the cache list of its session, in seconds (the workers of
/// the speech gateway; clients that reconnect rely on it).
pub const RESULT_CACHE_TTL_S: u64 = 60;

const _: () = assert!(WORKER_ANSWER_TIMEOUT_MS >= 2 * WORKER_POP_WAIT_MS);
const _: () = assert!(WORKER_BACKOFF_MIN_MS < WORKER_BACKOFF_MAX_MS);

// ---- admin ----

/// Connections to the admin port at once. Past it new ones wait in the backlog of the
/// listener until a place is free, at most [`ADMIN_REQUEST_DEADLINE_MS`].
pub const ADMIN_CONNECTIONS: usize = 64;

/// Time that a connection to the admin port has for its next request, counted from its
/// accept or from the last byte written to it, in milliseconds.
pub const ADMIN_REQUEST_DEADLINE_MS: u64 = 10_000;

/// Bytes of one request to the admin port: a head without a body.
pub const ADMIN_REQUEST_BYTES: usize = 16 << 10;

/// Time that answers of the admin port have to finish when it stops, in milliseconds.
pub const ADMIN_STOP_MS: u64 = 1_000;
