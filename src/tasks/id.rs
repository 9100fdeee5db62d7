//! ▢ The name of a session.

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::cores::Directory;
use super::ticket::RouteTag;

/// Longest session id, in bytes (contract, tasks route).
const SESSION_ID_BYTES_MAX: usize = 128;

/// A session id: 1 to 128 of `A-Z a-z 0-9 . _ : -`.
///
/// None of these has to be escaped in JSON, in a channel's name or in a key. They do
/// include `.` and `..`: an id is a name on the wire and never a path.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SessionId(Arc<str>);

/// What all tasks routes of one shard know together: on which of them each session that is
/// open here is, and the directory of the ids that are at home here.
///
/// Workers tell results by the id alone, in the names of channels and of caches. So an id
/// is open on one route at a time: two routes never hear each other's results.
#[derive(Clone, Default, Debug)]
pub struct OpenIds(Rc<RefCell<Ids>>);

#[derive(Default, Debug)]
struct Ids {
    open: HashMap<SessionId, RouteTag>,
    directory: Directory,
}

impl OpenIds {
    /// Whether a session of this id is open on this shard.
    pub fn has(&self, id: &str) -> bool {
        self.0.borrow().open.contains_key(id)
    }

    /// Whether a route other than `route` has a session of this id.
    pub fn is_elsewhere(&self, id: &str, route: RouteTag) -> bool {
        self.0.borrow().open.get(id).is_some_and(|&open| open != route)
    }

    /// A session was opened.
    pub fn insert(&self, id: SessionId, route: RouteTag) {
        self.0.borrow_mut().open.insert(id, route);
    }

    /// It has ended.
    pub fn remove(&self, id: &SessionId) {
        self.0.borrow_mut().open.remove(id);
    }

    /// The books of this home, for as long as one look takes.
    pub(super) fn directory(&self) -> RefMut<'_, Directory> {
        RefMut::map(self.0.borrow_mut(), |ids| &mut ids.directory)
    }
}

/// The text is not a session id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSessionId;

impl SessionId {
    /// The id that `text` spells.
    ///
    /// # Errors
    /// [`BadSessionId`] for an empty or overlong text, or one with another character.
    pub fn parse(text: &str) -> Result<Self, BadSessionId> {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._:-".contains(byte);
        let length = 1..=SESSION_ID_BYTES_MAX;
        if length.contains(&text.len()) && text.as_bytes().iter().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(BadSessionId)
        }
    }

    /// A new id for a client that gave none: a random UUID (version 4).
    pub fn random() -> Self {
        let mut buffer = uuid::Uuid::encode_buffer();
        Self((&*uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer)).into())
    }

    /// The id as the client spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel on which workers publish this session's results.
    pub fn channel(&self) -> Arc<str> {
        format!("{CHANNEL_PREFIX}{self}").into()
    }

    /// The list in which workers keep this session's results for a while.
    pub fn cache_key(&self) -> String {
        format!("{CACHE_PREFIX}{self}")
    }
}

/// The session id inside the name of a result channel; `None` for any other channel.
pub fn of_channel(channel: &str) -> Option<&str> {
    channel.strip_prefix(CHANNEL_PREFIX)
}

// Both are part of the workers' protocol (systems, Redis contract) and not configurable.
const CHANNEL_PREFIX: &str = "asr_result_";
const CACHE_PREFIX: &str = "asr:results:";

/// So that a table of ids is asked with a text that may not be one.
impl std::borrow::Borrow<str> for SessionId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_its_alphabet_up_to_its_length() {
        for good in ["a", "A-z_0.9:", "..", &"x".repeat(128)] {
            assert_eq!(SessionId::parse(good).map(|id| id.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "a b", "a/b", "../../x", "ä", "a\0", "a\n", "\"", &"x".repeat(129)] {
            assert_eq!(SessionId::parse(bad), Err(BadSessionId), "{bad:?}");
        }
    }

    #[test]
    fn a_random_id_is_an_id() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(id.as_str()), Ok(id.clone()));
        assert_ne!(id, SessionId::random());
        assert_eq!(of_channel(&id.channel()), Some(id.as_str()));
    }
}
