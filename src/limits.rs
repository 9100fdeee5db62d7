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
