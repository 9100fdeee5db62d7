//! ▢ Every bound that is not a setting: value, unit, and why it is that.

/// Period of the shard's one coarse clock: every deadline is kept to within this.
pub const TICK_MS: u64 = 250;

// --- ring

/// Submissions that may gather before they must be handed to the kernel. 64 bytes each:
/// 128 KiB a shard.
pub const SUBMISSION_ENTRIES: u32 = 2048;
/// Completions that the kernel may leave before we look: 16 bytes each, 256 KiB a shard.
/// More than that in one turn is kept aside by the kernel, not lost.
pub const COMPLETION_ENTRIES: u32 = 16_384;
const _: () = assert!(COMPLETION_ENTRIES >= 4 * SUBMISSION_ENTRIES);
/// Tries at handing a full submission queue to the kernel before the ring is given up.
pub const SUBMIT_ATTEMPTS_MAX: usize = 100;
/// Slots of the ring's own table of descriptors, which the kernel caps at this.
pub const REGISTERED_SOCKETS_MAX: u32 = 1 << 20;
/// How long a shard waits in its ring before it goes to sleep in its executor. What other
/// threads have for it may have to wait as long.
pub const RING_WAIT_US: u64 = 250;
/// Bytes of one write operation; a longer buffer is written in several. The field in the
/// submission is 32 bits wide.
pub const WRITE_BYTES_MAX: usize = 1 << 30;
// ── ws: handshake, frames, messages ─────────────────────────────────────────────────

/// Bytes of a request head, its empty line included; past it 431. Browsers stay below
/// 2 KiB, cookies of a proxy rarely reach 4; it is what nginx takes. Its memory is the
/// receive buffer of the handshake, so 8 KiB × handshakes.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request; past it 431. 2 KiB of stack while the head is parsed.
pub const HEAD_FIELDS_MAX: usize = 64;

/// Seconds in `Retry-After` of a 503: long enough that a refused crowd does not come
/// back as one, short enough that a client behind a limit is not kept out for long.
pub const RETRY_AFTER_S: u32 = 5;

/// Bytes that the first piece of a partial message reserves at most beyond what has
/// arrived. From there on the buffer doubles, so a peer that announces a long message
/// and sends nothing of it costs this much and not the announced length.
pub const PARTIAL_RESERVE_BYTES: usize = 1024;
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
// Tasks.

/// Tick of the wheel of session deadlines, in milliseconds. Deadlines are seconds and are
/// looked at every 250 ms; a finer wheel would walk more slots for nothing.
pub const TASKS_TICK_MS: u64 = 250;

/// Slots of that wheel: a round of 128 s, above the default deadlines of 60 s. 2 KiB a
/// route and shard.
pub const TASKS_WHEEL_SLOTS: usize = 512;

/// How long past its finish deadline a session waits for the last read of the cache,
/// in milliseconds. A broker that is away must not keep a client waiting.
pub const TASKS_FINAL_LOOK_MS: u64 = 5_000;

/// Chunk indexes that a final result names as missing (contract, tasks route).
pub const TASKS_MISSING_MAX: usize = 100;

/// Characters of a client's own text that an error message repeats.
pub const TASKS_ECHO_CHARS: usize = 128;
// --- The broker ---

/// Longest line of a Redis reply: simple strings, numbers, lengths, error texts. Redis
/// itself caps a client's inline line at 64 KiB.
pub const REPLY_LINE_BYTES: usize = 64 * 1024;
/// Largest reply that is put together in memory: a cached list of results, or one
/// published value. Eight times the largest client message (16 MiB); a link holds at most
/// one such reply at a time, and gives the room back.
pub const REPLY_BYTES: usize = 128 * 1024 * 1024;
/// Elements of one list in a reply: a session's cached results. One million of them cost
/// 56 MB while the reply is handled.
pub const REPLY_ELEMENTS: usize = 1 << 20;
/// Nesting of one reply. What a link asks for nests once, HELLO's answer twice.
pub const REPLY_DEPTH: usize = 8;
/// A link's read buffer is given back when it is empty and larger than this.
pub const REPLY_BUFFER_KEPT_BYTES: usize = 64 * 1024;
/// Channels of one SUBSCRIBE. With names of 140 bytes, a command of 40 KB: a pause of
/// well under a millisecond for the server, which carries out one command at a time.
pub const SUBSCRIBE_BATCH: usize = 256;
/// Channels whose SUBSCRIBE is on its way; more wait, with all that stands behind them.
/// Each confirmation is ~200 bytes, so these fill 1 MB of the server's output buffer,
/// which Redis cuts off at 8 MB a minute or 32 MB at once for a subscriber.
pub const SUBSCRIBE_WINDOW: usize = 4096;
/// A link stops adding commands to one write past this; the rest is for the next. One
/// command may be larger.
pub const LINK_WRITE_BYTES: usize = 1024 * 1024;
/// What a held or unanswered command costs beside its key and value: its place in the
/// queue, and its frame.
pub const COMMAND_OVERHEAD_BYTES: usize = 128;
/// Requests in the embedded broker's lane, from all shards and workers together. A place
/// is ~100 bytes: 400 KB.
pub const EMBEDDED_REQUESTS: usize = 4096;
/// Requests that the embedded broker carries out before it tells those concerned.
pub const EMBEDDED_BATCH: usize = 256;
/// Events in the embedded broker's lane to one shard. A place is ~64 bytes: 256 KB.
pub const EMBEDDED_EVENTS: usize = 4096;
/// Bytes of published messages that one shard has yet to read; past it they are dropped
/// and counted, and the shard is told to read its caches again.
pub const EMBEDDED_UNREAD_BYTES: usize = 32 * 1024 * 1024;
/// Commands that one port holds while the lane is full; past it a `Subscribe` fails with
/// `Full`. Pushes and fetches are bounded in bytes.
pub const EMBEDDED_HELD_COMMANDS: usize = 1 << 20;
/// How long the embedded broker waits before it tries a full lane again.
pub const EMBEDDED_RETRY_MS: u64 = 1;
/// Bytes in all lists of the embedded broker; past it pushes fail with `Full`.
pub const EMBEDDED_LIST_BYTES: usize = 1024 * 1024 * 1024;
/// Expired lists that the embedded broker frees in one step.
pub const EMBEDDED_EXPIRE_STEP: usize = 64;

const _: () = assert!(SUBSCRIBE_BATCH <= SUBSCRIBE_WINDOW);
const _: () = assert!(REPLY_LINE_BYTES < REPLY_BYTES && REPLY_BUFFER_KEPT_BYTES < REPLY_BYTES);

// --- shard

/// Ticks between two occasions for the allocator to give memory back to the system.
pub const PURGE_TICKS: u32 = 4;
/// More than the largest block that shares a page of the allocator (mimalloc: 512 KiB).
pub const PURGE_BLOCK_BYTES: usize = 2 << 20;
/// Slots of the connection wheel: 64 s of ticks, so that heartbeats are hung once.
pub const CONNECTION_WHEEL_SLOTS: usize = 256;
/// Outboxes kept for the next connection that has something to send. With their buffers
/// at most 4 MiB a shard.
pub const SPARE_OUTBOXES: usize = 1024;
/// An outbox whose buffer has grown past this is not kept.
pub const SPARE_OUTBOX_BYTES: usize = 4 << 10;
/// Connections that may wait in a listener's queue; the kernel caps it at
/// `net.core.somaxconn`.
pub const LISTEN_BACKLOG: i32 = 65_535;
/// For resolving and reaching the broker, an attempt.
pub const DIAL_TIMEOUT_MS: u64 = 5_000;
/// A shard that has not looked at its clock for this long stood still, and takes no client
/// for silent on that account. Ticks wake it four times as often.
pub const STALL_MS: u64 = 4 * TICK_MS;
/// Ticks that the last sockets may take to be joined when a shard ends.
pub const END_TICKS_MAX: usize = 8;
/// How long a port that is in use is tried again before that is an error, and how often.
pub const BIND_PATIENCE_MS: u64 = 2_000;
/// See [`BIND_PATIENCE_MS`].
pub const BIND_RETRY_MS: u64 = 50;

// --- sessions among the cores

/// How long a client waits for a session that another core has, before it is told `busy`.
/// The owner gives it up as soon as the broker has answered its pushes.
pub const TASKS_CLAIM_MS: u64 = 5_000;
/// Claims of one route and shard under way; past it `busy`. Each costs ~200 bytes and, on
/// the way of its answer, one place in the queue to a peer.
pub const TASKS_CLAIMS: usize = 65_536;
/// Bytes of messages that clients of one shard said while they wait for a claim; past it
/// `busy`. What a client can say is bounded by the one read that was under way.
pub const TASKS_HELD_BYTES: u64 = 64 << 20;
/// Sessions that left one route and shard within a chunk's deadline and whose results are
/// sent after them. ~200 bytes each.
pub const TASKS_FORWARDS: usize = 65_536;

// --- router

/// Messages that wait for a full lane to one peer, past which claims are refused and
/// results dropped. Answers and releases wait in any case: there are no more of them than
/// claims under way and sessions.
pub const ROUTER_WAITING: usize = 16_384;

/// Places of all lanes of one kind that lead to one shard, shared out among its peers. A
/// place is ~64 bytes: 256 KiB a kind and shard, allocated at the start.
pub const ROUTER_PLACES: usize = 4096;
/// Places of one lane at least, however many peers there are: a turn's worth of one peer.
/// 64 shards need 64 × 63 × 2 × 64 places, 32 MiB.
pub const ROUTER_LANE_PLACES_MIN: usize = 64;
/// Messages that a shard takes out of its lanes of one kind in one turn; the rest is for the
/// next, so that its own sockets are not kept waiting.
pub const ROUTER_BATCH: usize = 1024;
