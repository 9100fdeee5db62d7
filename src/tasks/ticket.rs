//! ▢ What a broker's ticket says: which route, which session, which of its commands.
//!
//! The answer finds its session without a table of what is under way, and one that comes
//! after the session's end finds a slot whose generation has moved on.

use crate::broker::Ticket;

const ROUTE_BITS: u32 = 6;
const SLOT_BITS: u32 = 20;
const GENERATION_BITS: u32 = 18;
const PURPOSE_BITS: u32 = 20;
const _: () = assert!(ROUTE_BITS + SLOT_BITS + GENERATION_BITS + PURPOSE_BITS == 64);

/// Sessions that one route can have on one shard: 1,048,576.
pub const SESSIONS_MAX: u32 = 1 << SLOT_BITS;
/// Chunks that one session can have: 1,048,575. One every 95 ms is more than a day.
pub const CHUNKS_MAX: u32 = mask(PURPOSE_BITS);
/// Generations of a slot. A ticket would have to outlive 262,144 sessions in one slot to
/// be taken for another's.
pub const GENERATION_MASK: u32 = mask(GENERATION_BITS);

/// Number of a tasks route, 0 to 63; unique among the routes that share a broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteTag(u8);

impl RouteTag {
    /// Tasks routes that can share a broker.
    pub const COUNT: usize = 1 << ROUTE_BITS;

    /// The tag of route number `index`; `None` from [`RouteTag::COUNT`] on.
    pub fn new(index: usize) -> Option<Self> {
        (index < Self::COUNT).then_some(Self(index as u8))
    }

    /// Number of the route whose `ticket` it is.
    pub fn index_of(ticket: Ticket) -> usize {
        (ticket.0 >> (64 - ROUTE_BITS)) as usize
    }

    /// Whether `ticket` is one of this route's.
    pub fn owns(self, ticket: Ticket) -> bool {
        ticket.0 >> (64 - ROUTE_BITS) == u64::from(self.0)
    }
}

/// One session of one route, now or in the past.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionKey {
    /// Index into the route's table, below [`SESSIONS_MAX`].
    pub slot: u32,
    /// How often the slot had been freed, modulo 2^18.
    pub generation: u32,
}

/// What a session wants an answer to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Its cache is being read.
    Fetch,
    /// Its chunk with this ordinal (below [`CHUNKS_MAX`]) is being pushed.
    Push(u32),
}

/// The ticket for one command of a session.
pub fn issue(route: RouteTag, session: SessionKey, purpose: Purpose) -> Ticket {
    debug_assert!(session.slot < SESSIONS_MAX && session.generation <= GENERATION_MASK);
    let purpose = match purpose {
        Purpose::Fetch => 0,
        Purpose::Push(ordinal) => {
            debug_assert!(ordinal < CHUNKS_MAX);
            ordinal + 1
        }
    };
    let mut bits = u64::from(route.0);
    bits = bits << SLOT_BITS | u64::from(session.slot);
    bits = bits << GENERATION_BITS | u64::from(session.generation);
    bits = bits << PURPOSE_BITS | u64::from(purpose);
    Ticket(bits)
}

/// What [`issue`] put in, without the route.
pub fn read(ticket: Ticket) -> (SessionKey, Purpose) {
    let field = |shift: u32, bits: u32| (ticket.0 >> shift) as u32 & mask(bits);
    let session = SessionKey {
        slot: field(PURPOSE_BITS + GENERATION_BITS, SLOT_BITS),
        generation: field(PURPOSE_BITS, GENERATION_BITS),
    };
    let purpose = match field(0, PURPOSE_BITS) {
        0 => Purpose::Fetch,
        above => Purpose::Push(above - 1),
    };
    (session, purpose)
}

const fn mask(bits: u32) -> u32 {
    (1 << bits) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reads_back_what_was_issued(
            route in 0..RouteTag::COUNT,
            slot in 0..SESSIONS_MAX,
            generation in 0..=GENERATION_MASK,
            ordinal in prop::option::of(0..CHUNKS_MAX),
        ) {
            let tag = RouteTag::new(route).unwrap();
            let session = SessionKey { slot, generation };
            let purpose = ordinal.map_or(Purpose::Fetch, Purpose::Push);
            let ticket = issue(tag, session, purpose);
            prop_assert_eq!(read(ticket), (session, purpose));
            prop_assert_eq!(RouteTag::index_of(ticket), route);
            for other in 0..RouteTag::COUNT {
                prop_assert_eq!(RouteTag::new(other).unwrap().owns(ticket), other == route);
            }
        }
    }

    #[test]
    fn there_are_no_more_routes_than_tags() {
        assert_eq!(RouteTag::new(RouteTag::COUNT), None);
    }
}
