//! ▢ Every bound that is not a setting: value, unit, and why it is that.

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
