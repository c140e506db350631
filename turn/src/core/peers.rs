//! Where clients may have their packets relayed to. A relay that takes any address is a door into the
//! network behind it: to the machine's own services, its neighbours, the cloud's metadata.

use super::range::IpRange;
use super::wrapped;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

/// The peers that are allowed; everybody else is denied.
#[derive(Clone, Debug, Default)]
pub struct PeerPolicy {
    own: HashSet<SocketAddr>,
    ranges: Vec<IpRange>,
}

impl PeerPolicy {
    /// Allows `own`, the node's media addresses, to the port; and all ports of `ranges`.
    pub fn new(own: impl IntoIterator<Item = SocketAddr>, ranges: Vec<IpRange>) -> Self {
        let own = own.into_iter().collect();
        Self { own, ranges }
    }

    /// Whether packets may go to and come from this address.
    pub fn allows(&self, peer: SocketAddr) -> bool {
        peer.port() != 0 && (self.own.contains(&peer) || self.is_in_ranges(peer.ip()))
    }

    /// Whether a permission for this IP makes sense: permissions know no ports (RFC 8656 section 9).
    /// With an address of the node it lets nothing pass but what [`PeerPolicy::allows`].
    pub fn permits(&self, ip: IpAddr) -> bool {
        self.own.iter().any(|own| own.ip() == ip) || self.is_in_ranges(ip)
    }

    /// The address itself and whatever is wrapped in it must be let in.
    fn is_in_ranges(&self, ip: IpAddr) -> bool {
        let lets_in = |ip: IpAddr| self.ranges.iter().any(|range| range.lets_in(ip));
        lets_in(ip) && wrapped::inner(ip).into_iter().all(lets_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Everything but what is special.
    fn wide() -> PeerPolicy {
        let ranges = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        PeerPolicy::new([], ranges)
    }

    /// One per line: what it is, and how it is written.
    const FORBIDDEN: &str = "
        unspecified         0.0.0.0
        this network        0.1.2.3
        private             10.0.0.1
        private             10.255.255.255
        carrier NAT         100.64.0.1
        carrier NAT         100.127.255.255
        loopback            127.0.0.1
        loopback            127.255.255.254
        link-local          169.254.0.1
        metadata            169.254.169.254
        private             172.16.0.1
        private             172.31.255.255
        protocols           192.0.0.1
        documentation       192.0.2.1
        6to4 relay          192.88.99.1
        private             192.168.0.1
        private             192.168.255.255
        benchmark           198.18.0.1
        benchmark           198.19.255.255
        documentation       198.51.100.1
        documentation       203.0.113.1
        multicast           224.0.0.1
        multicast           239.255.255.255
        reserved            240.0.0.1
        broadcast           255.255.255.255
        unspecified         ::
        loopback            ::1
        mapped              ::ffff:127.0.0.1
        mapped              ::ffff:169.254.169.254
        mapped              ::ffff:10.0.0.1
        mapped              ::ffff:0.0.0.0
        mapped in hex       ::ffff:a9fe:a9fe
        translated          ::ffff:0:127.0.0.1
        translated          ::ffff:0:192.168.1.1
        compatible          ::127.0.0.1
        compatible          ::169.254.169.254
        compatible          ::8.8.8.8
        NAT64               64:ff9b::127.0.0.1
        NAT64               64:ff9b::169.254.169.254
        NAT64               64:ff9b::a00:1
        NAT64 local         64:ff9b:1::7f00:1
        NAT64 local         64:ff9b:1:ffff::8.8.8.8
        discard             100::1
        dummy               100:0:0:1::1
        6to4 of private     2002:a00:1::1
        6to4 of loopback    2002:7f00:1::
        6to4 of metadata    2002:a9fe:a9fe::1
        6to4 of broadcast   2002:ffff:ffff::1
        Teredo server       2001:0:7f00:1::f7f7:f7f7
        Teredo client       2001:0:808:808::80ff:fffe
        Teredo metadata     2001:0:808:808:0:0:5601:5601
        ISATAP loopback     2600::5efe:127.0.0.1
        ISATAP private      2600::200:5efe:10.0.0.1
        benchmark           2001:2::1
        ORCHID              2001:10::1
        ORCHIDv2            2001:20::1
        documentation       2001:db8::1
        documentation       3fff:fff::1
        SRv6                5f00::1
        unique local        fc00::1
        unique local        fd00:ec2::254
        link-local          fe80::1
        link-local ISATAP   fe80::5efe:8.8.8.8
        site-local          fec0::1
        multicast           ff02::1
        multicast           ff0e::1
    ";

    fn forbidden() -> impl Iterator<Item = IpAddr> {
        let lines = FORBIDDEN
            .lines()
            .filter_map(|line| line.split_whitespace().last());
        lines.map(|text| text.parse().unwrap())
    }

    #[test]
    fn no_writing_of_a_special_address_gets_through_a_wide_range() {
        let policy = wide();
        assert!(forbidden().count() > 60);
        for ip in forbidden() {
            assert!(!policy.permits(ip), "{ip}");
            assert!(!policy.allows(SocketAddr::new(ip, 80)), "{ip}");
        }
    }

    #[test]
    fn the_internet_gets_through_a_wide_range_and_nothing_without_one() {
        let none = PeerPolicy::default();
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "2600::1",
            "2a00:1450::1",
            "64:ff9b::8.8.8.8",
            "2002:808:808::1",
            "::ffff:8.8.8.8",
            "2001:0:808:808::f7f7:f7f7",
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert!(wide().permits(ip), "{ip}");
            assert!(!none.permits(ip), "{ip}");
        }
    }

    #[test]
    fn the_nodes_media_port_is_allowed_and_no_other_port_beside_it() {
        let own: SocketAddr = "127.0.0.1:7882".parse().unwrap();
        let policy = PeerPolicy::new([own], Vec::new());
        assert!(policy.permits(own.ip()) && policy.allows(own));
        assert!(!policy.allows("127.0.0.1:22".parse().unwrap()));
        assert!(!policy.allows("[::ffff:127.0.0.1]:7882".parse().unwrap()));
        assert!(!policy.permits("127.0.0.2".parse().unwrap()));
    }

    #[test]
    fn a_configured_private_range_is_opened_and_nothing_around_it() {
        let policy = PeerPolicy::new([], vec!["10.1.0.0/16".parse().unwrap()]);
        assert!(policy.allows("10.1.2.3:5000".parse().unwrap()));
        assert!(!policy.allows("10.1.2.3:0".parse().unwrap()));
        assert!(!policy.allows("10.2.0.1:5000".parse().unwrap()));
        assert!(!policy.allows("[::ffff:10.1.2.3]:5000".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn whatever_wraps_a_special_address_is_denied(index in 0usize..25, form in 0u8..6, rest: u64) {
            let Some(IpAddr::V4(ip)) = forbidden().nth(index) else {
                return Err(TestCaseError::fail("the table begins with IPv4"));
            };
            let v4 = u128::from(u32::from(ip));
            let rest = u128::from(rest);
            let bits = match form {
                0 => 0xffff << 32 | v4,
                1 => 0xffff << 48 | v4,
                2 => 0x64_ff9b << 96 | v4,
                3 => 0x2002 << 112 | v4 << 80 | rest,
                4 => 0x2001_0000 << 96 | v4 << 64 | rest,
                _ => 0x2600 << 112 | 0x5efe << 32 | v4,
            };
            prop_assert!(!wide().permits(IpAddr::V6(bits.into())));
        }
    }
}
