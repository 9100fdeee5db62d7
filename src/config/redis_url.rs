//! The address of a Redis server, which may hold a password that must not be shown.

use std::fmt;
use std::str::FromStr;

use redis::IntoConnectionInfo;

/// A checked `redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]`.
///
/// `Display` and `Debug` mask the password; only [`RedisUrl::expose`] gives it away.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    whole: String,
    masked: String,
}

impl RedisUrl {
    /// The URL with its password. For the connection alone: never log it.
    pub fn expose(&self) -> &str {
        &self.whole
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    /// The error says what a URL has to be, and quotes nothing of `text`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut url = redis::parse_redis_url(text)
            .filter(|url| !url.cannot_be_a_base())
            .ok_or("must be redis://[USER:PASSWORD@]HOST[:PORT][/DB]")?;
        if url.scheme() != "redis" {
            return Err(
                "must begin with redis:// (neither TLS nor a Unix socket is supported)".into()
            );
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "must end after the database: a query or fragment has no meaning here".into()
            );
        }
        // The link takes the URL apart the same way, so that it can't fail there.
        text.into_connection_info().map_err(|_| {
            "must name a host, a port up to 65535 and a database number, any of \
             `% : / @ ?` in the password percent-encoded"
        })?;
        if url.password().is_some() {
            let _ = url.set_password(Some("***"));
        } else if !url.username().is_empty() {
            // More often a password that lacks its colon. The link does not take it either.
            return Err("must have a password after the user: redis://USER:PASSWORD@HOST, or \
                        redis://:PASSWORD@HOST for the default user"
                .into());
        }
        Ok(Self { whole: text.to_owned(), masked: url.to_string() })
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({})", self.masked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_password_for_the_connection_alone() {
        let url: RedisUrl = "redis://app:s3cret@db.example:6380/2".parse().unwrap();
        assert_eq!(url.expose(), "redis://app:s3cret@db.example:6380/2");
        assert_eq!(url.to_string(), "redis://app:***@db.example:6380/2");
        assert_eq!(format!("{url:?}"), "RedisUrl(redis://app:***@db.example:6380/2)");
    }

    #[test]
    fn says_what_a_url_must_be_without_quoting_it() {
        for text in [
            "",
            "localhost:6379",
            "rediss://:s3cret@h",
            "unix:///s3cret",
            "redis://:s3cret",
            "redis://s3cret@db",
            "redis://:s3cret@",
            "redis:s3cret",
            "redis://:s3cret@h:99999",
            "redis://:s3cret@h/db",
            "redis://h?pass=s3cret",
            "redis://h#s3cret",
        ] {
            let error = text.parse::<RedisUrl>().expect_err(text);
            assert!(!error.contains("s3cret"), "{text}: {error}");
        }
    }
}
