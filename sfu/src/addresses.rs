//! Which addresses of the machine carry media, and which ones clients are told.
//!
//! Each address gets a socket of its own instead of one wildcard socket, so that an answer leaves
//! from the address it was asked at: ICE drops answers from elsewhere.

use crate::engine::{LocalCandidate, Transport};
use crate::node::NodeError;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// Addresses used if none is configured. A machine with more (container hosts) would put hundreds of
/// candidates into every answer, and clients try them one by one; the rest is left out with a warning.
const ADDRESSES_MAX: usize = 16;

/// The machine's addresses that media can use: up, not link-local, loopback included.
pub(crate) fn of_this_machine() -> Result<Vec<IpAddr>, NodeError> {
    let interfaces = if_addrs::get_if_addrs().map_err(NodeError::Interfaces)?;
    // "Up" means running: the bridge of a stopped container has no carrier and is left out.
    let up = interfaces
        .into_iter()
        .filter(if_addrs::Interface::is_oper_up);
    let mut usable: Vec<IpAddr> = Vec::new();
    for ip in up.map(|interface| interface.ip()) {
        if is_usable(ip) && !usable.contains(&ip) && can_be_bound(ip) {
            usable.push(ip);
        }
    }
    // Stable candidates from start to start; clients prefer none by its place.
    usable.sort_by_key(|ip| (ip.is_loopback(), *ip));
    Ok(usable)
}

/// The addresses to bind: those configured, or all of `machine`.
pub(crate) fn to_bind(configured: &[IpAddr], machine: &[IpAddr]) -> Result<Vec<IpAddr>, NodeError> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    if configured.is_empty() {
        addresses.extend_from_slice(machine);
        if addresses.len() > ADDRESSES_MAX {
            tracing::warn!(
                addresses = addresses.len(),
                used = ADDRESSES_MAX,
                "this machine has many addresses: name those for media in node.bind"
            );
            addresses.truncate(ADDRESSES_MAX);
            keep_loopback(&mut addresses, machine);
        }
    }
    for ip in configured {
        let wanted = |candidate: &&IpAddr| {
            *candidate == ip || (ip.is_unspecified() && candidate.is_ipv4() == ip.is_ipv4())
        };
        let mut found: Vec<IpAddr> = machine.iter().filter(wanted).copied().collect();
        if found.is_empty() && !ip.is_unspecified() {
            // Not listed, but the operator says so: binding it gives the verdict.
            found.push(*ip);
        }
        addresses.extend(found);
    }
    let mut unique = Vec::new();
    for ip in addresses {
        if !unique.contains(&ip) {
            unique.push(ip);
        }
    }
    if unique.is_empty() {
        return Err(NodeError::NoAddress);
    }
    Ok(unique)
}

/// Loopback sorts last and must survive the cut: the browser beside us depends on it.
fn keep_loopback(addresses: &mut [IpAddr], machine: &[IpAddr]) {
    let loopback = machine.iter().find(|ip| ip.is_loopback() && ip.is_ipv4());
    if let (Some(last), Some(loopback)) = (addresses.last_mut(), loopback) {
        *last = *loopback;
    }
}

/// What clients are told: every base itself, and the public addresses on top of the base of their
/// family that is no loopback (or the first, if there is only loopback).
pub(crate) fn candidates(
    proto: Transport,
    bases: &[SocketAddr],
    public: &[IpAddr],
) -> Result<Vec<LocalCandidate>, NodeError> {
    let own = |base: &SocketAddr| LocalCandidate {
        proto,
        address: *base,
        base: *base,
    };
    let mut candidates: Vec<LocalCandidate> = bases.iter().map(own).collect();
    for ip in public {
        let base = forwarded_to(bases, *ip).ok_or(NodeError::PublicAddress(*ip))?;
        let address = SocketAddr::new(*ip, base.port());
        if candidates.iter().all(|known| known.address != address) {
            candidates.push(LocalCandidate {
                proto,
                address,
                base,
            });
        }
    }
    Ok(candidates)
}

/// What clients are told where ports are mapped: `told` and nothing else, each on top of the same
/// base as a public address would be.
pub(crate) fn advertised(
    proto: Transport,
    bases: &[SocketAddr],
    told: &[SocketAddr],
) -> Result<Vec<LocalCandidate>, NodeError> {
    let candidate = |address: &SocketAddr| {
        let base = forwarded_to(bases, address.ip()).ok_or(NodeError::Advertise(*address))?;
        Ok(LocalCandidate {
            proto,
            address: *address,
            base,
        })
    };
    told.iter().map(candidate).collect()
}

/// The socket that somebody in front forwards to from `ip`: of its family, and no loopback if there
/// is another.
fn forwarded_to(bases: &[SocketAddr], ip: IpAddr) -> Option<SocketAddr> {
    let same_family = || bases.iter().filter(|base| base.is_ipv4() == ip.is_ipv4());
    same_family()
        .find(|base| !base.ip().is_loopback())
        .or_else(|| same_family().next())
        .copied()
}

fn is_usable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        // Needs a zone id, which a candidate cannot carry.
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !link_local && !ip.is_unspecified() && !ip.is_multicast()
}

/// An address is listed before it works (IPv6 duplicate detection), or while it is being removed.
fn can_be_bound(ip: IpAddr) -> bool {
    match UdpSocket::bind(SocketAddr::new(ip, 0)) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%ip, %error, "an address of this machine is not usable, going without it");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn sockets(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn this_machine_has_loopback_and_nothing_link_local() {
        let machine = of_this_machine().unwrap();
        assert!(
            machine.contains(&"127.0.0.1".parse().unwrap()),
            "{machine:?}"
        );
        assert!(machine.iter().all(|ip| is_usable(*ip)), "{machine:?}");
    }

    #[test]
    fn link_local_addresses_are_left_out() {
        for unusable in ips(&["fe80::1", "169.254.1.1", "0.0.0.0", "::", "224.0.0.1"]) {
            assert!(!is_usable(unusable), "{unusable}");
        }
        for usable in ips(&["127.0.0.1", "::1", "10.0.0.1", "fd00::1", "2001:db8::1"]) {
            assert!(is_usable(usable), "{usable}");
        }
    }

    #[test]
    fn nothing_configured_means_everything() {
        let machine = ips(&["192.0.2.2", "fd00::2", "127.0.0.1", "::1"]);
        assert_eq!(to_bind(&[], &machine).unwrap(), machine);
        assert!(matches!(to_bind(&[], &[]), Err(NodeError::NoAddress)));
    }

    #[test]
    fn a_wildcard_means_its_family_and_nothing_twice() {
        let machine = ips(&["192.0.2.2", "fd00::2", "127.0.0.1", "::1"]);
        let bound = |configured: &[&str]| to_bind(&ips(configured), &machine).unwrap();
        assert_eq!(bound(&["0.0.0.0"]), ips(&["192.0.2.2", "127.0.0.1"]));
        assert_eq!(bound(&["::1", "::"]), ips(&["::1", "fd00::2"]));
        assert_eq!(bound(&["198.51.100.9"]), ips(&["198.51.100.9"]));
    }

    #[test]
    fn a_machine_with_very_many_addresses_keeps_loopback() {
        let mut machine: Vec<IpAddr> = (0..40).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        machine.extend(ips(&["127.0.0.1", "::1"]));
        let bound = to_bind(&[], &machine).unwrap();
        assert_eq!(bound.len(), ADDRESSES_MAX);
        assert_eq!(bound.last(), Some(&"127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_public_address_is_told_besides_the_base_of_its_family() {
        let bases = sockets(&["127.0.0.1:7882", "10.0.0.5:7882", "[::1]:7882"]);
        let told = candidates(Transport::Udp, &bases, &ips(&["192.0.2.7", "10.0.0.5"])).unwrap();
        let pairs: Vec<(String, String)> = told
            .iter()
            .map(|candidate| (candidate.address.to_string(), candidate.base.to_string()))
            .collect();
        let same = |text: &str| (text.to_owned(), text.to_owned());
        assert_eq!(
            pairs,
            [
                same("127.0.0.1:7882"),
                same("10.0.0.5:7882"),
                same("[::1]:7882"),
                ("192.0.2.7:7882".to_owned(), "10.0.0.5:7882".to_owned()),
            ]
        );
    }

    #[test]
    fn advertised_addresses_are_told_instead_of_the_bases() {
        let bases = sockets(&["127.0.0.1:7882", "10.0.0.5:7882", "[::1]:7882"]);
        let told = sockets(&["192.0.2.7:40000", "[2001:db8::7]:40001"]);
        let candidates = advertised(Transport::Udp, &bases, &told).unwrap();
        let pairs: Vec<(SocketAddr, SocketAddr)> = candidates
            .iter()
            .map(|candidate| (candidate.address, candidate.base))
            .collect();
        assert_eq!(pairs, [(told[0], bases[1]), (told[1], bases[2])]);
        let refused = advertised(Transport::Udp, &bases[..2], &told);
        assert!(matches!(refused, Err(NodeError::Advertise(at)) if at == told[1]));
    }

    #[test]
    fn a_public_address_of_a_family_without_a_base_is_refused() {
        let bases = sockets(&["127.0.0.1:7882"]);
        let refused = candidates(Transport::Udp, &bases, &ips(&["2001:db8::7"]));
        assert!(matches!(refused, Err(NodeError::PublicAddress(_))));
    }
}
