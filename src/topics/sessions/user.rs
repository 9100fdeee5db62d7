//! ▢ Whose a session is: for its quota, and for who may ask for it.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Longest name of a user, in bytes: as long as the ids of tasks' sessions.
const USER_ID_BYTES_MAX: usize = 128;

/// The name of a user: 1 to 128 of `A-Z a-z 0-9 . _ : -`, so that it stands in a query as it
/// is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UserId(Arc<str>);

/// The text is not the name of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadUserId;

impl UserId {
    /// The user that `text` names.
    ///
    /// # Errors
    /// [`BadUserId`] for an empty or overlong text, or one with another character.
    pub fn parse(text: &str) -> Result<Self, BadUserId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let length = 1..=USER_ID_BYTES_MAX;
        if length.contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(BadUserId)
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BadUserId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "user_id must be 1 to {USER_ID_BYTES_MAX} of A-Z a-z 0-9 . _ : -")
    }
}

impl std::error::Error for BadUserId {}

/// Who has a quota.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum UserKey {
    /// Somebody with a name, which has to be told again.
    Named(UserId),
    /// Whoever comes from there.
    From(IpAddr),
}

impl UserKey {
    /// A client without a name. Whoever has an address of IPv6 has the network of 64 bits
    /// around it, and is one user.
    pub fn from_address(address: IpAddr) -> Self {
        Self::From(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            address => address,
        })
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&UserId> {
        match self {
            Self::Named(name) => Some(name),
            Self::From(_) => None,
        }
    }

    /// Whether who calls itself `claimed` may have what is this user's.
    pub fn admits(&self, claimed: Option<&UserId>) -> bool {
        self.name().is_none_or(|name| Some(name) == claimed)
    }
}

/// By which its home is found: no name is taken for an address.
impl fmt::Display for UserKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(out, "user {}", name.as_str()),
            Self::From(address) => write!(out, "from {address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_is_none() {
        for good in ["a", "A-z_0.9:", &"x".repeat(128)] {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a&b", "ä", "a\n", "a%20", &"x".repeat(129)] {
            assert_eq!(UserId::parse(bad), Err(BadUserId), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_a_user() {
        let key = |text: &str| UserKey::from_address(text.parse().unwrap());
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
        assert_ne!(key("10.0.0.2"), key("10.0.0.1"));
        assert_eq!(key("2001:db8:1:2:3::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:3::1"), key("2001:db8:1:2::1"));
        let named = UserKey::Named(UserId::parse("10.0.0.1").unwrap());
        assert_ne!(named.to_string(), key("10.0.0.1").to_string());
    }

    #[test]
    fn only_a_name_has_to_be_told_again() {
        let (anna, bert) = (UserId::parse("anna").unwrap(), UserId::parse("bert").unwrap());
        let hers = UserKey::Named(anna.clone());
        assert!(hers.admits(Some(&anna)) && !hers.admits(Some(&bert)) && !hers.admits(None));
        let anybodys = UserKey::from_address("::1".parse().unwrap());
        assert!(anybodys.admits(None) && anybodys.admits(Some(&bert)));
    }
}
