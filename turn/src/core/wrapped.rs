//! IPv4 addresses inside of IPv6 addresses. A rule about IPv4 that looks at the outside only can be
//! got round with any of these.

use std::net::{IpAddr, Ipv4Addr};

/// Most IPv4 addresses in one IPv6 address: Teredo has two, and its last bits may look like ISATAP.
const INNER_MAX: usize = 3;

/// The IPv4 addresses that `ip` may stand for; empty for most.
///
/// Read are: mapped (`::ffff:a.b.c.d`), translated (`::ffff:0:a.b.c.d`, RFC 2765), compatible
/// (`::a.b.c.d`, RFC 4291 section 2.5.5.1), NAT64 (`64:ff9b::/96`, RFC 6052), 6to4 (`2002::/16`,
/// RFC 3056), Teredo (`2001::/32`, RFC 4380: its server and, inverted, the client), and ISATAP
/// (`...:0:5efe:a.b.c.d`, RFC 5214). NAT64 with a prefix of its own cannot be told from others.
pub(crate) fn inner(ip: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(ip) = ip else {
        return Vec::new();
    };
    let mut found = Vec::with_capacity(INNER_MAX);
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let last = || v4(g, h);
    match [a, b, c, d, e, f] {
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] => found.push(last()),
        // `::` and `::1` have a meaning of their own.
        [0, 0, 0, 0, 0, 0] if (g, h) > (0, 1) => found.push(last()),
        [0x64, 0xff9b, 0, 0, 0, 0] => found.push(last()),
        [0x2002, high, low, ..] => found.push(v4(high, low)),
        [0x2001, 0, high, low, ..] => {
            found.push(v4(high, low));
            found.push(v4(!g, !h));
        }
        _ => {}
    }
    // The bit tells whether the IPv4 address is meant to be unique in the world.
    if [e & !0x0200, f] == [0, 0x5efe] {
        found.push(last());
    }
    found.into_iter().map(IpAddr::V4).collect()
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(text: &str) -> Vec<String> {
        let found = inner(text.parse().unwrap());
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_wrapping_is_opened() {
        for text in [
            "::ffff:192.0.2.1",
            "::ffff:0:192.0.2.1",
            "::192.0.2.1",
            "64:ff9b::192.0.2.1",
            "2002:c000:0201::1",
            "2001:db8::5efe:192.0.2.1",
            "2001:db8::200:5efe:192.0.2.1",
            "fe80::5efe:192.0.2.1",
        ] {
            assert_eq!(inside(text), ["192.0.2.1"], "{text}");
        }
        let teredo = "2001:0:c633:6401::3fff:fdfe";
        assert_eq!(inside(teredo), ["198.51.100.1", "192.0.2.1"]);
    }

    #[test]
    fn plain_addresses_have_nothing_inside() {
        for text in [
            "192.0.2.1",
            "2001:db8::1",
            "2a00:1450::1",
            "fd00::1",
            "::",
            "::1",
        ] {
            assert!(inside(text).is_empty(), "{text}");
        }
    }
}
