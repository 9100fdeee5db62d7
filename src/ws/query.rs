//! ▢ One value of a request's query string (`a=1&session=x%3A1`).

use std::borrow::Cow;

/// The first value of `name` in `query`, percent-decoded; `+` stays, for ids and tokens may
/// have one. What is not UTF-8 becomes U+FFFD, which no id has.
pub fn query_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    if !value.contains('%') {
        return Some(Cow::Borrowed(value));
    }
    let decoded = percent_decoded(value.as_bytes());
    Some(Cow::Owned(String::from_utf8_lossy(&decoded).into_owned()))
}

/// The bytes that `text` stands for. A `%` without two digits behind it stands for itself.
pub fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match (byte, after) {
            (b'%', [high, low, after @ ..]) => digit(*high).zip(digit(*low)).map(|d| (d, after)),
            _ => None,
        };
        match escaped {
            Some(((high, low), after)) => {
                decoded.push(high << 4 | low);
                rest = after;
            }
            None => {
                decoded.push(byte);
                rest = after;
            }
        }
    }
    decoded
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_the_first_value_of_a_name() {
        for (query, expected) in [
            ("session=a", Some("a")),
            ("x=1&session=a:b&session=c", Some("a:b")),
            ("session=a%3Ab%2e", Some("a:b.")),
            ("session=a+b%", Some("a+b%")),
            ("session=%zz%4", Some("%zz%4")),
            ("session=%ff", Some("\u{fffd}")),
            ("session", Some("")),
            ("session==", Some("=")),
            ("sessions=a&&xsession=b", None),
            ("", None),
        ] {
            assert_eq!(query_value(query, "session").as_deref(), expected, "{query}");
        }
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(text in any::<String>()) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let query = format!("a=b&c={encoded}");
            prop_assert_eq!(query_value(&query, "c").unwrap(), text);
        }

        #[test]
        fn nothing_panics(query in any::<String>()) {
            let _ = query_value(&query, "session");
        }
    }
}
