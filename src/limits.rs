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
/// Pieces of one gathered write operation; more are written in several. The kernel takes up
/// to 1024 (UIO_MAXIOV). 1 KiB of iovecs for each gathered write under way.
pub const WRITE_PIECES_MAX: usize = 64;
/// Headers and iovecs of gathered writes that are kept for the next ones: 280 KiB a shard.
pub const SPARE_MESSAGES: usize = 256;
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

/// Entries that a worker takes from a stream at once (those of the speech gateway: COUNT 5).
pub const WORKER_STREAM_ENTRIES: usize = 5;

/// Time between two heartbeats of a worker, in milliseconds, and how long one is believed,
/// in seconds (the workers of the speech gateway).
pub const WORKER_HEARTBEAT_MS: u64 = 15_000;
/// See [`WORKER_HEARTBEAT_MS`].
pub const WORKER_HEARTBEAT_TTL_S: u64 = 30;

/// How long a result stays in the cache list of its session, in seconds (the workers of
/// the speech gateway; clients that reconnect rely on it).
pub const RESULT_CACHE_TTL_S: u64 = 60;

const _: () = assert!(WORKER_ANSWER_TIMEOUT_MS >= 2 * WORKER_POP_WAIT_MS);
const _: () = assert!(WORKER_BACKOFF_MIN_MS < WORKER_BACKOFF_MAX_MS);
const _: () = assert!(WORKER_HEARTBEAT_MS < 1_000 * WORKER_HEARTBEAT_TTL_S);

// ---- admin ----

/// Connections to the admin port at once. Past it new ones wait in the backlog of the
/// listener until a place is free, at most [`ADMIN_REQUEST_DEADLINE_MS`].
pub const ADMIN_CONNECTIONS: usize = 64;

/// Time that a connection to the admin port has for its next request, counted from its
/// accept or from the last byte written to it, in milliseconds.
pub const ADMIN_REQUEST_DEADLINE_MS: u64 = 10_000;

/// Bytes of one request to the admin port, but for the body of one that publishes.
pub const ADMIN_REQUEST_BYTES: usize = 16 << 10;

/// Bodies that the admin port holds at once, together: eight of the largest with the default
/// `limits.message_bytes`. Past it 503.
pub const ADMIN_BODY_BYTES: usize = 128 << 20;

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
/// A link's write buffer is given back when it is empty and larger than this.
pub const LINK_BUFFER_KEPT_BYTES: usize = 2 * LINK_WRITE_BYTES;
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
/// Bytes of published messages that a shard takes in one turn. A quarter of what a connection
/// may have unsent by default: who reads is not taken for slow because much came at once.
pub const EMBEDDED_TURN_BYTES: usize = 64 * 1024;
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
/// Memory of the outboxes that a shard keeps for the next connections that have something to
/// send: a thousand with the largest buffers, or tens of thousands for one shared message.
pub const SPARE_OUTBOXES_BYTES: usize = 4 << 20;
/// A shared piece below this is copied into the outbox of its receiver, unless it is alone there:
/// eight pieces of 500 bytes cost a fifth more shared than copied, of 1000 bytes as much
/// (docs/measurements.md).
pub const COPIED_PIECE_BYTES: usize = 1024;
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

// --- tasks, raw dialect

/// Largest payload of one result that is read; past it the result is dropped as malformed.
/// As base64 or JSON it is what the largest client message (16 MiB by default) becomes
/// with room to spare.
pub const RAW_RESULT_BYTES: usize = 32 << 20;
/// Bytes that a shard keeps for clients that are behind or away, over all sessions. Each session has
/// its own bound below this.
pub const RAW_KEPT_SHARD_BYTES: u64 = 64 << 20;
/// What a kept frame costs beside its payload: its place in the queue, its allocation.
pub const RAW_KEPT_FRAME_BYTES: usize = 64;
/// Outboxes (`outbox_bytes`) that a session keeps for a client that is behind or away: with
/// the default of 256 KiB it is 4 MiB, all that one turn can bring from Redis.
pub const RAW_KEPT_OUTBOXES: usize = 16;
/// Longest header of a frame from server to client (RFC 6455 section 5.2).
pub const FRAME_HEADER_BYTES_MAX: usize = 10;

const _: () = assert!(RAW_RESULT_BYTES < REPLY_BYTES);
// --- Streams

/// A consumer of a group that has asked for work within this time lives. As long as a
/// worker's heartbeat (EX 30); readers block for one second at a time.
pub const STREAM_READER_PAUSE_MS: u64 = 30_000;
/// Consumers of one group that are looked at for signs of life. Each may cost one look-up,
/// so at most about a millisecond of the server.
pub const STREAM_CONSUMERS_MAX: usize = 1_024;
/// Thousands of keys that one look for heartbeats goes through, before Redis 7.2: about two
/// milliseconds of the server. Where there are more keys, no heartbeat is not taken for no
/// worker.
pub const HEARTBEAT_KEYS_THOUSANDS: usize = 10;

// --- Admission by backlog

/// How often the depth of a queue is read, by one shard for the whole process. LLEN is
/// constant time; a tick is as fine as shards look at the clock.
pub const QUEUE_READ_MS: u64 = TICK_MS;
/// How much earlier than that a reading may come, or a tick a millisecond early would wait
/// for the next one.
pub const QUEUE_READ_SLACK_MS: u64 = 50;
/// Without a reading for this long the depth is unknown: eight in a row are missing. An
/// fsync or a fork of Redis takes less, and it is under what a client waits for a page.
pub const QUEUE_STALE_MS: u64 = 8 * QUEUE_READ_MS;
/// How long a new connection is a newcomer: upgrade, start, its ack and the first chunks
/// are three round trips, and around the world that is 900 ms.
pub const NEWCOMER_MS: u64 = 1_000;
/// Longest `Retry-After` of a full queue: half of the time for which a session that lost
/// its connection waits for a new one, and the most that an estimate is good for.
pub const QUEUE_RETRY_MAX_S: u32 = 30;
/// Readings up to this age weigh fully in the rate at which a queue drains. With a few
/// tasks a second, that is a few dozen of them.
pub const QUEUE_DRAIN_MEMORY_MS: u64 = 10_000;
/// Keys of the workers' heartbeats (systems, section 1).
pub const WORKER_HEARTBEATS: &str = "worker:*:heartbeat";

const _: () = assert!(QUEUE_READ_SLACK_MS < QUEUE_READ_MS && NEWCOMER_MS > QUEUE_READ_MS);
/// Period of the upkeep of streams: trimming, and a look for tasks of dead workers.
pub const UPKEEP_MS: u64 = 1_000;
/// Entries of dead workers that are queued again in one round. Past it the next round comes
/// at the next tick, so up to 512 a second.
pub const REQUEUE_ENTRIES: usize = 128;
/// Payload after which such a round ends; one task may be larger. It is copied inside the
/// server, which does nothing else meanwhile: a few milliseconds.
pub const REQUEUE_BYTES: usize = 8 * 1024 * 1024;
/// Times that one task is queued again. A task that has cost five workers is taken for the
/// reason.
pub const REQUEUES_MAX: u32 = 5;
/// Groups of one stream past which nothing is trimmed: it is some other program's then.
pub const STREAM_GROUPS_MAX: usize = 64;

// --- What Redis refuses

/// Time before a refusal of the same kind is logged again.
pub const COMPLAINT_PAUSE_MS: u64 = 60_000;
/// Kinds of refusals that are told apart.
pub const COMPLAINT_KINDS: usize = 16;
/// Time for the canary of a link to come back once Redis has published it, before it is sent
/// again. Redis writes it beside the answer; only something in between can hold it up.
pub const CANARY_ANSWER_MS: u64 = 5_000;
/// Pause before a refused canary is sent again: a permission that is given is noticed by
/// then, and three commands a second cost nothing.
pub const CANARY_RETRY_MS: u64 = 1_000;
/// Reasons for being away that are remembered, each to be logged once until Redis is back.
pub const DOWN_REASONS_MAX: usize = 8;
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

// --- Reload

/// How long the shards may take to put new settings in force: they look on their next tick,
/// and one that stood still for longer is reported.
pub const RELOAD_MS: u64 = 20 * TICK_MS;

// --- topics

/// Longest name of a topic, in bytes. It stands in every message of the topic, in its channel,
/// and in the tables of the shards that want it.
pub const TOPIC_BYTES_MAX: usize = 256;
/// Topics that nobody wants any more and whose channel is not given up yet, because the broker
/// is away and owes an answer: past it one more is given up at once. ~400 bytes each; somebody
/// who comes back for such a topic may be told of a gap that was none.
pub const TOPICS_FORSAKEN_MAX: u64 = 65_536;
/// Topics of one `subscribe` or `unsubscribe` that are read, whatever a route allows; the
/// rest is counted and refused with the request. 24 bytes each while the request is handled.
pub const TOPICS_PER_REQUEST: usize = 65_536;
/// Longest period of conflation, in milliseconds.
pub const TOPICS_CONFLATE_MS_MAX: u32 = 60_000;
/// Tick of the wheel of batches, in milliseconds: how late a batch may come.
pub const TOPICS_FLUSH_TICK_MS: u64 = 10;
/// Slots of that wheel: a round of 10.24 s. 4 KiB a route and shard.
pub const TOPICS_FLUSH_SLOTS: usize = 1024;
/// How long a batch waits that a connection refused although most of what was unsent had
/// been written: the batch itself is larger than the bound, and goes when nothing is unsent.
pub const TOPICS_FLUSH_RETRY_MS: u64 = 100;
/// Values that a batch has room for once it was sent; what was more is given back.
pub const TOPICS_BATCH_KEPT: usize = 32;
/// How long a `subscribe` waits for the broker, in milliseconds; past it the topics without
/// an answer are given up with `broker_unavailable`. Twice the silence after which a link to
/// Redis is given up.
pub const TOPICS_ANSWER_MS: u64 = 10_000;
/// Characters of a client's own text that an error message repeats.
pub const TOPICS_ECHO_CHARS: usize = 64;

const _: () = assert!(TOPICS_CONFLATE_MS_MAX as u64 >= TOPICS_FLUSH_TICK_MS);

// --- sessions of topics (REST)

/// Bytes of the body of one request. 256 topics of the greatest length, which are the default
/// of a connection; past it 413. Its memory counts among the partial messages (`held_bytes`).
pub const SESSION_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all sessions of topics at home on one shard: names of topics and what is around
/// them. Those that wait are bounded by number too (`sessions_max`), those in use by the
/// connections. Past it 503 `memory`. Room for half a million sessions of three topics.
pub const SESSIONS_BYTES_PER_SHARD: usize = 256 << 20;
/// What a session costs beside its topics: its places in the tables of its home and of the
/// shard that has its WebSocket.
pub const SESSION_BYTES: usize = 256;
/// What a topic of a session costs beside its name.
pub const SESSION_TOPIC_BYTES: usize = 48;
/// Ticks of the wheel of waiting sessions: a round of 128 s, above the default `session_ttl`.
pub const SESSION_WHEEL_SLOTS: usize = 512;
/// Characters of a message about a body that is not what it should be: it may repeat a part
/// of it.
pub const SESSION_COMPLAINT_CHARS: usize = 200;
/// For so long a browser need not ask again whether a page may ask.
pub const PREFLIGHT_S: u32 = 600;

// --- doctor

/// Pings of Redis whose median is told: a tenth of a second where one takes a millisecond.
pub const DOCTOR_PINGS: usize = 100;
