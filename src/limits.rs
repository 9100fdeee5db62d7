//! ▢ Every bound that is not a setting: value, unit, and why it is that.

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
