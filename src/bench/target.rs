//! ▢ Where the server is, and the addresses to come from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A WebSocket server and one of its paths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// For the Host header: as it was given.
    pub host: String,
    /// Path and query of the route.
    pub path: String,
}

impl FromStr for Target {
    type Err = String;

    /// Reads `ws://HOST:PORT/PATH`.
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("ws://").ok_or("it must begin with ws://")?;
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let with_port = match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            _ => format!("{host}:80"),
        };
        let mut found = with_port.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
        let address = found.next().ok_or_else(|| format!("{host} has no address"))?;
        Ok(Self { address, host: host.to_owned(), path: path.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ws://{}{}", self.host, self.path)
    }
}

/// Addresses of this host to connect from, taken in turn: one address has no more than some
/// 28,000 ports towards one server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sources {
    addresses: Vec<IpAddr>,
}

/// Most addresses of one range.
const SOURCES_MAX: u32 = 65_536;

impl Sources {
    /// How many there are; none: whichever the kernel takes.
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// Whether the kernel chooses.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// The same, beginning with another one, so that several processes don't all begin alike.
    #[must_use]
    pub fn beginning_at(&self, nth: usize) -> Self {
        let mut addresses = self.addresses.clone();
        if !addresses.is_empty() {
            addresses.rotate_left(nth % self.addresses.len());
        }
        Self { addresses }
    }

    /// The address of the `nth` connection; `None`: whichever the kernel takes.
    pub fn nth(&self, nth: usize) -> Option<IpAddr> {
        let count = self.addresses.len();
        (count > 0).then(|| self.addresses[nth % count])
    }
}

impl FromStr for Sources {
    type Err = String;

    /// Reads addresses and IPv4 ranges, parted by commas: `127.0.0.0/24,10.0.0.7`. The first
    /// and the last address of a range are left out, as they name the network.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut addresses = Vec::new();
        for part in text.split(',') {
            match part.split_once('/') {
                None => {
                    addresses.push(part.parse().map_err(|_| format!("{part:?} is no address"))?)
                }
                Some((base, bits)) => addresses.extend(range(base, bits)?),
            }
        }
        Ok(Self { addresses })
    }
}

fn range(base: &str, bits: &str) -> Result<impl Iterator<Item = IpAddr>, String> {
    let base: Ipv4Addr = base.parse().map_err(|_| format!("{base:?} is no IPv4 address"))?;
    let bits: u32 = bits.parse().map_err(|_| format!("/{bits} is no prefix length"))?;
    let size = 32u32.checked_sub(bits).and_then(|bits| 1u32.checked_shl(bits));
    let size = size.filter(|size| (4..=SOURCES_MAX).contains(size));
    let size = size.ok_or_else(|| format!("/{bits} is not from /16 to /30"))?;
    let first = u32::from(base) & !(size - 1);
    Ok((1..size - 1).map(move |nth| IpAddr::V4(Ipv4Addr::from(first + nth))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let target: Target = "ws://127.0.0.1:8080/ws/topics?x=1".parse().unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(
            (target.host.as_str(), target.path.as_str()),
            ("127.0.0.1:8080", "/ws/topics?x=1")
        );
        assert_eq!("ws://127.0.0.1".parse::<Target>().unwrap().address.port(), 80);
        for bad in ["", "http://127.0.0.1/", "ws://", "ws://:x/"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sources_are_taken_in_turn() {
        let sources: Sources = "127.0.0.0/30,127.0.1.7".parse().unwrap();
        let nth = |nth| sources.nth(nth).unwrap().to_string();
        assert_eq!(
            [nth(0), nth(1), nth(2), nth(3)],
            ["127.0.0.1", "127.0.0.2", "127.0.1.7", "127.0.0.1"]
        );
        assert_eq!(Sources::default().nth(3), None);
        for bad in ["", "127.0.0.1/8", "127.0.0.1/31", "127.0.0.1/x", "x/24", "::1/64"] {
            assert!(bad.parse::<Sources>().is_err(), "{bad}");
        }
    }
}
