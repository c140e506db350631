//! Ranges of IP addresses, `10.0.0.0/8`, and those that no stranger may be led to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use thiserror::Error;

/// Addresses that share their first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct IpRange {
    first: IpAddr,
    bits: u8,
}

/// A text that is no range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{0}' is no range of addresses: write 10.0.0.0/8, 2001:db8::/32 or a single address")]
pub struct IpRangeError(String);

impl IpRange {
    const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Self {
        let first = IpAddr::V4(Ipv4Addr::new(a, b, c, 0));
        Self { first, bits }
    }

    const fn v6(a: u16, b: u16, c: u16, bits: u8) -> Self {
        let first = IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0));
        Self { first, bits }
    }

    /// Whether the address is in it. IPv4 and IPv6 never meet.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.first, ip) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                let differ = u32::from(first) ^ u32::from(ip);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                let differ = u128::from(first) ^ u128::from(ip);
                differ.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// Whether all of it is in `other`.
    fn is_within(&self, other: &Self) -> bool {
        self.bits >= other.bits && other.contains(self.first)
    }

    /// Whether `ip` is in it and may be: a range lets in a special address only if it is a special
    /// range itself, so that `0.0.0.0/0` does not open the cloud's metadata service.
    pub(crate) fn lets_in(&self, ip: IpAddr) -> bool {
        self.contains(ip)
            && SPECIAL
                .iter()
                .filter(|special| special.contains(ip))
                .all(|special| self.is_within(special))
    }
}

impl FromStr for IpRange {
    type Err = IpRangeError;

    fn from_str(text: &str) -> Result<Self, IpRangeError> {
        let wrong = || IpRangeError(text.to_owned());
        let (first, bits) = match text.split_once('/') {
            Some((first, bits)) => (first, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = first.parse().map_err(|_| wrong())?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { first, bits })
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

impl TryFrom<String> for IpRange {
    type Error = IpRangeError;

    fn try_from(text: String) -> Result<Self, IpRangeError> {
        text.parse()
    }
}

impl From<IpRange> for String {
    fn from(range: IpRange) -> Self {
        range.to_string()
    }
}

/// Not for strangers: IANA's special-purpose registries (RFC 6890) with multicast and the reserved
/// rest, and what was special once. Wrapped IPv4 is not here: what is inside counts.
const SPECIAL: [IpRange; 29] = [
    // This host, private, shared (carrier NAT), loopback, link-local with clouds' metadata.
    IpRange::v4(0, 0, 0, 8),
    IpRange::v4(10, 0, 0, 8),
    IpRange::v4(100, 64, 0, 10),
    IpRange::v4(127, 0, 0, 8),
    IpRange::v4(169, 254, 0, 16),
    IpRange::v4(172, 16, 0, 12),
    IpRange::v4(192, 168, 0, 16),
    // Protocol assignments, documentation, 6to4 relays, benchmarks.
    IpRange::v4(192, 0, 0, 24),
    IpRange::v4(192, 0, 2, 24),
    IpRange::v4(192, 88, 99, 24),
    IpRange::v4(198, 18, 0, 15),
    IpRange::v4(198, 51, 100, 24),
    IpRange::v4(203, 0, 113, 24),
    // Multicast; reserved, with the broadcast address.
    IpRange::v4(224, 0, 0, 4),
    IpRange::v4(240, 0, 0, 4),
    // Unspecified, loopback and compatible addresses, whose inside counts as well.
    IpRange::v6(0, 0, 0, 96),
    // NAT64 for local use (RFC 8215), discard (RFC 6666), dummy (RFC 9780).
    IpRange::v6(0x64, 0xff9b, 1, 48),
    IpRange::v6(0x100, 0, 0, 64),
    IpRange {
        first: IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 1, 0, 0, 0, 0)),
        bits: 64,
    },
    // Benchmarks, ORCHID, documentation, SRv6.
    IpRange::v6(0x2001, 2, 0, 48),
    IpRange::v6(0x2001, 0x10, 0, 28),
    IpRange::v6(0x2001, 0x20, 0, 28),
    IpRange::v6(0x2001, 0xdb8, 0, 32),
    IpRange::v6(0x3fff, 0, 0, 20),
    IpRange::v6(0x5f00, 0, 0, 16),
    // Unique local, link-local, site-local, multicast.
    IpRange::v6(0xfc00, 0, 0, 7),
    IpRange::v6(0xfe80, 0, 0, 10),
    IpRange::v6(0xfec0, 0, 0, 10),
    IpRange::v6(0xff00, 0, 0, 8),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "2001:db8::/32", "0.0.0.0/0", "::/0"] {
            assert_eq!(range(text).to_string(), text);
        }
        assert_eq!(range("192.0.2.1").to_string(), "192.0.2.1/32");
        assert_eq!(range("::1").to_string(), "::1/128");
    }

    #[test]
    fn what_is_no_range_is_named() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "a/8", "10.0.0.0/"] {
            let error = text.parse::<IpRange>().unwrap_err().to_string();
            assert!(error.contains(&format!("'{text}'")), "{error}");
        }
    }

    #[test]
    fn a_range_ends_where_its_bits_end() {
        let within = |text: &str, ip: &str| range(text).contains(ip.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.255.255.255"));
        assert!(!within("10.0.0.0/8", "11.0.0.0"));
        assert!(within("2001:db8::/32", "2001:db8:ffff::1"));
        assert!(!within("2001:db8::/32", "2001:db9::"));
        assert!(within("0.0.0.0/0", "255.255.255.255"));
        assert!(!within("0.0.0.0/0", "::1"));
    }

    #[test]
    fn a_wide_range_opens_no_special_one_and_a_narrow_one_does() {
        let lets = |text: &str, ip: &str| range(text).lets_in(ip.parse().unwrap());
        assert!(lets("0.0.0.0/0", "8.8.8.8"));
        assert!(!lets("0.0.0.0/0", "169.254.169.254"));
        assert!(!lets("8.0.0.0/5", "10.0.0.1"));
        assert!(lets("10.1.0.0/16", "10.1.2.3"));
        assert!(lets("fd00::/8", "fd00::1"));
        assert!(!lets("::/0", "fd00::1"));
    }

    proptest! {
        #[test]
        fn the_bits_are_what_counts(first: u32, ip: u32, bits in 0u8..=32) {
            let range = IpRange { first: IpAddr::V4(first.into()), bits };
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            let expected = first & mask == ip & mask;
            prop_assert_eq!(range.contains(IpAddr::V4(ip.into())), expected);
        }
    }
}
