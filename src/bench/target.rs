//! ▢ Where the server is, and the addresses to come from.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A WebSocket server, at one address or several alike, and one of its paths.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Target {
    /// With the Host header of each: as it was given. Never none.
    hosts: Vec<(String, SocketAddr)>,
    /// Path and query of the route.
    pub path: String,
}

/// Most addresses of one server.
const HOSTS_MAX: usize = 1_024;

impl Target {
    /// Host header and address for the `nth` connection; they are taken in turn.
    pub fn nth(&self, nth: usize) -> (&str, SocketAddr) {
        let (host, address) = &self.hosts[nth % self.hosts.len()];
        (host, *address)
    }

    /// Another path of the same server.
    #[must_use]
    pub fn with_path(&self, path: String) -> Self {
        Self { path, ..self.clone() }
    }

    /// How many addresses it has.
    pub fn addresses(&self) -> usize {
        self.hosts.len()
    }
}

impl FromStr for Target {
    type Err = String;

    /// Reads `ws://HOST:PORT/PATH`, or `ws://HOST:PORT,HOST:PORT/PATH` of a server with several.
    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("ws://").ok_or("it must begin with ws://")?;
        let (hosts, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if hosts.split(',').count() > HOSTS_MAX {
            return Err(format!("more than {HOSTS_MAX} addresses"));
        }
        let hosts: Result<_, String> = hosts.split(',').map(host).collect();
        Ok(Self { hosts: hosts?, path: path.to_owned() })
    }
}

fn host(host: &str) -> Result<(String, SocketAddr), String> {
    let with_port = match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        _ => format!("{host}:80"),
    };
    let mut found = with_port.to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let address = found.next().ok_or_else(|| format!("{host} has no address"))?;
    Ok((host.to_owned(), address))
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<&str> = self.hosts.iter().map(|(host, _)| host.as_str()).collect();
        write!(out, "ws://{}{}", hosts.join(","), self.path)
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
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(
            (target.nth(5), target.path.as_str()),
            (("127.0.0.1:8080", local(8080)), "/ws/topics?x=1")
        );
        let plain: Target = "ws://127.0.0.1".parse().unwrap();
        assert_eq!(plain.nth(0), ("127.0.0.1", local(80)));
        let several: Target = "ws://127.0.0.1:8001,127.0.0.1:8002/a".parse().unwrap();
        assert_eq!([0, 1, 2].map(|nth| several.nth(nth).1), [8001, 8002, 8001].map(local));
        assert_eq!(several.to_string().parse::<Target>(), Ok(several));
        for bad in ["", "http://127.0.0.1/", "ws://", "ws://:x/", "ws://127.0.0.1,/"] {
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
