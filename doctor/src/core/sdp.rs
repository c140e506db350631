//! The little that is read of the server's answer: credentials and addresses; and the answer with one
//! address only.

use std::net::{IpAddr, SocketAddr};

/// Addresses that are tried. Beyond: left out, as a node offers 16 a transport at most.
const CANDIDATES_MAX: usize = 64;

/// How a candidate is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// An address of the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
}

/// What ICE needs of the other side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IceSide {
    pub(crate) ufrag: String,
    pub(crate) password: String,
    /// Each once, in the order in which they came.
    pub(crate) candidates: Vec<Candidate>,
}

impl IceSide {
    /// Reads a description; the first credentials hold, because all media share a connection.
    pub(crate) fn read(sdp: &str) -> Self {
        let value = |name: &str| {
            let mut lines = sdp.lines();
            let found = lines.find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().to_owned()
        };
        let mut candidates: Vec<Candidate> = Vec::new();
        for candidate in sdp.lines().filter_map(candidate) {
            if !candidates.contains(&candidate) && candidates.len() < CANDIDATES_MAX {
                candidates.push(candidate);
            }
        }
        Self {
            ufrag: value("a=ice-ufrag:"),
            password: value("a=ice-pwd:"),
            candidates,
        }
    }

    pub(crate) fn addresses(&self, transport: Transport) -> Vec<SocketAddr> {
        let of_it = |candidate: &&Candidate| candidate.transport == transport;
        let found = self.candidates.iter().filter(of_it);
        found.map(|candidate| candidate.address).collect()
    }
}

/// RFC 8839 section 5.1: foundation, component, transport, priority, address, port, `typ`, type.
fn candidate(line: &str) -> Option<Candidate> {
    let mut words = line.strip_prefix("a=candidate:")?.split_ascii_whitespace();
    let transport = match words.nth(2)?.to_ascii_lowercase().as_str() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        _ => return None,
    };
    let ip: IpAddr = words.nth(1)?.parse().ok()?;
    let port = words.next()?.parse().ok()?;
    Some(Candidate {
        transport,
        address: SocketAddr::new(ip, port),
    })
}

/// The description with this address, as if by UDP, in place of all others: what carries the datagrams
/// there is somebody else's business.
pub(crate) fn only(sdp: &str, address: SocketAddr) -> String {
    let line = format!(
        "a=candidate:1 1 udp 2130706431 {} {} typ host\r\n",
        address.ip(),
        address.port()
    );
    let mut out = String::with_capacity(sdp.len());
    let mut placed = false;
    for old in sdp.lines() {
        if old.starts_with("a=candidate:") {
            if !placed {
                out.push_str(&line);
                placed = true;
            }
            continue;
        }
        out.push_str(old);
        out.push_str("\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\nm=audio 9 X 1\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n\
        a=candidate:2 1 TCP 2105458943 192.0.2.1 7882 typ host tcptype passive\r\n\
        a=candidate:3 1 udp 1 2001:db8::1 7882 typ host\r\n\
        a=candidate:4 1 udp 1 name.local 7882 typ host\r\na=mid:0\r\n\
        m=video 9 X 1\r\na=ice-ufrag:abcd\r\n\
        a=candidate:1 1 udp 2130706431 192.0.2.1 7882 typ host\r\n";

    #[test]
    fn credentials_and_addresses_are_read_once() {
        let side = IceSide::read(ANSWER);
        assert_eq!(
            (side.ufrag.as_str(), side.password.as_str()),
            ("abcd", "secret")
        );
        let udp = side.addresses(Transport::Udp);
        let told: Vec<SocketAddr> = ["192.0.2.1:7882", "[2001:db8::1]:7882"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        assert_eq!(udp, told);
        assert_eq!(side.addresses(Transport::Tcp), told[..1]);
        assert_eq!(IceSide::read("hello"), IceSide::default());
    }

    #[test]
    fn one_address_takes_the_place_of_all() {
        let text = only(ANSWER, "198.51.100.1:9".parse().unwrap());
        let side = IceSide::read(&text);
        assert_eq!(side.candidates.len(), 1);
        assert_eq!(
            side.addresses(Transport::Udp),
            ["198.51.100.1:9".parse().unwrap()]
        );
        assert!(text.contains("a=mid:0\r\n") && text.ends_with("a=ice-ufrag:abcd\r\n"));
    }
}
