//! ▢ Where Redis is and who we are there, parsed once from the `redis` option.
//!
//! Must not: show the password in any text.

use std::{fmt, path::PathBuf};

use redis::{ConnectionAddr, IntoConnectionInfo};

/// A Redis server, a database in it, and credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    /// How to reach the server.
    pub address: Address,
    /// Name for AUTH; without one, Redis takes `default`.
    pub user: Option<String>,
    /// Password for AUTH; without one there is no AUTH.
    pub password: Option<String>,
    /// Number of the database. Lists are kept in it; channels are not.
    pub db: u32,
}

/// How to reach a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A host name or address, and a port.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Why a URL is no target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetError {
    /// The URL with its credentials masked.
    pub url: String,
    /// What is wrong with it, and what it should be.
    pub problem: String,
}

impl fmt::Display for TargetError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "redis = \"{}\": {}; use redis://[user:password@]host:port/db or \
             redis+unix:///path?db=0",
            self.url, self.problem
        )
    }
}

impl std::error::Error for TargetError {}

impl Target {
    /// Parses `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path` or
    /// `unix:///path` with `?db=`, `&user=`, `&pass=`.
    ///
    /// # Errors
    /// Says what is wrong, without the credentials.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        let fail = |problem: &str| TargetError { url: masked(url), problem: problem.to_string() };
        let parsed = redis::parse_redis_url(url).ok_or_else(|| fail("not a URL of Redis"))?;
        if matches!(parsed.scheme(), "rediss" | "valkeys") {
            return Err(fail("TLS (rediss://) is not supported"));
        }
        let info = parsed.into_connection_info().map_err(|error| fail(&error.to_string()))?;
        let address = match info.addr() {
            ConnectionAddr::Tcp(host, port) => Address::Tcp { host: host.clone(), port: *port },
            ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
            _ => return Err(fail("this kind of address is not supported")),
        };
        let settings = info.redis_settings();
        let user = settings.username().map(str::to_string);
        let password = settings.password().map(str::to_string);
        if user.is_some() && password.is_none() {
            return Err(fail("a user without a password"));
        }
        let db = u32::try_from(settings.db());
        let db = db.map_err(|_| fail("the number of the database is negative or too large"))?;
        Ok(Self { address, user, password, db })
    }
}

/// The form for logs: never the password.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match (&self.user, &self.password) {
            (Some(user), _) => format!("{user}:***@"),
            (None, Some(_)) => ":***@".to_string(),
            (None, None) => String::new(),
        };
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => {
                write!(out, "redis://{who}[{host}]:{port}/{}", self.db)
            }
            Address::Tcp { host, port } => write!(out, "redis://{who}{host}:{port}/{}", self.db),
            Address::Unix(path) => {
                write!(out, "redis+unix://{who}{}?db={}", path.display(), self.db)
            }
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Target({self})")
    }
}

/// `url` without what may be a secret. It need not be a URL at all, so this cuts rather
/// than parses: all before the last `@`, and the whole query.
fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (who, place) = match rest.rsplit_once('@') {
        Some((_, place)) => ("***@", place),
        None => ("", rest),
    };
    let place = match place.split_once('?') {
        Some((place, _)) => format!("{place}?***"),
        None => place.to_string(),
    };
    let colon = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{colon}{who}{place}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_targets() {
        let target = Target::parse("redis://bob:s3%40cret@cache.example:7000/3").unwrap();
        let address = Address::Tcp { host: "cache.example".into(), port: 7000 };
        assert_eq!(target.address, address);
        assert_eq!((target.user.as_deref(), target.db), (Some("bob"), 3));
        assert_eq!(target.password.as_deref(), Some("s3@cret"));

        let target = Target::parse("redis://[::1]").unwrap();
        assert_eq!(target.to_string(), "redis://[::1]:6379/0");

        for url in
            ["redis+unix:///run/redis.sock?db=2&pass=x", "unix:///run/redis.sock?db=2&pass=x"]
        {
            let target = Target::parse(url).unwrap();
            assert_eq!(target.address, Address::Unix("/run/redis.sock".into()));
            assert_eq!((target.db, target.password.as_deref()), (2, Some("x")));
        }
    }

    #[test]
    fn no_text_shows_a_password() {
        let urls = ["redis://:s3cret@h/0", "redis://u:s3cret@h/0", "unix:///s?pass=s3cret"];
        for url in urls {
            let target = Target::parse(url).unwrap();
            assert!(!format!("{target} {target:?}").contains("s3cret"));
        }
        for url in [
            "redis://u:s3cret@h:x/0",
            "http://u:s3cret@h",
            "rediss://u:s3cret@h",
            "redis://u:s3cret@h/-1",
            "redis://u:s3cret@h/zero",
            "u:s3cret@h",
            "redis://s3cret@h",
            "unix:///s?pass=s3cret&db=x",
        ] {
            let error = Target::parse(url).unwrap_err().to_string();
            assert!(error.starts_with("redis = "), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
