//! ▢ Every bound that is not a setting: value, unit, and why it is that.

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
