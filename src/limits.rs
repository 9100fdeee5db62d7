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
