//! ▢ The kinds of lanes.

/// What a lane carries, which decides what a full one means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Lane {
    /// Answers and requests of which each matters to one client. One that finds the lane
    /// full stays with its sender, behind those that found it full before, and is tried
    /// again in every turn, so the order is kept; clients are told `busy` before that
    /// queue grows past its limit.
    Reply,
    /// One message for many. One that finds the lane full is dropped by its sender, who
    /// counts it and tells the subscribers that they lost something.
    FanOut,
}

impl Lane {
    /// How many kinds there are.
    pub const COUNT: usize = 2;
    /// Every kind, in the order of the discriminants, which is the order of service.
    pub const ALL: [Self; Self::COUNT] = [Self::Reply, Self::FanOut];

    /// The metric label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::FanOut => "fan_out",
        }
    }
}
