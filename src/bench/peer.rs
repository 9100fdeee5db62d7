//! ▢ What a fleet knows of each of its connections.

/// What is expected next of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum State {
    #[default]
    Vacant,
    /// An upgrade was asked for.
    Upgrading,
    /// Some other request was made.
    Asking,
    Open,
    /// Open, and without frames.
    Raw,
    /// Its end was told, and its goodbye is on the way.
    Leaving,
    /// Open as the server sees it, with nobody here who answers; the code of the close frame that
    /// came, where one did.
    Mute(Option<Option<u16>>),
    /// Its end was told.
    Over,
}

#[derive(Default)]
pub(super) struct Peer {
    pub state: State,
    pub user: u32,
    pub generation: u32,
    pub is_writing: bool,
    pub is_dirty: bool,
    /// What waits for the write in flight.
    pub gathered: Vec<u8>,
    /// The beginning of a frame or response whose rest has not come.
    pub partial: Vec<u8>,
}
