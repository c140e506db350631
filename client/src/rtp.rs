//! Reads the part of a datagram that is not encrypted.

/// What a datagram is, by its first bytes (RFC 7983 section 7, RFC 5761 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatagramKind {
    /// A connectivity check.
    Stun,
    /// Handshake or data channels.
    Dtls,
    /// Media.
    Rtp,
    /// Reports about media.
    Rtcp,
    /// None of these.
    Unknown,
}

impl DatagramKind {
    /// Looks at the first two bytes.
    pub fn of(datagram: &[u8]) -> Self {
        match datagram {
            [0..=3, ..] => Self::Stun,
            [20..=63, ..] => Self::Dtls,
            [128..=191, 192..=223, ..] => Self::Rtcp,
            [128..=191, _, ..] => Self::Rtp,
            _ => Self::Unknown,
        }
    }
}

/// The fixed part of an RTP header (RFC 3550 section 5.1). SRTP leaves it in clear (RFC 3711 section
/// 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHead {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// For video: the last packet of a frame.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Media time in the codec's clock.
    pub timestamp: u32,
    /// Source.
    pub ssrc: u32,
}

impl RtpHead {
    /// Reads it, if the datagram is long enough and of version 2.
    pub fn parse(datagram: &[u8]) -> Option<Self> {
        let (head, _) = datagram.split_first_chunk::<12>()?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *head;
        if first >> 6 != 2 {
            return None;
        }
        Some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_kind() {
        let kind = |bytes: &[u8]| DatagramKind::of(bytes);
        assert_eq!(kind(&[0, 1]), DatagramKind::Stun);
        assert_eq!(kind(&[3]), DatagramKind::Stun);
        assert_eq!(kind(&[22, 254]), DatagramKind::Dtls);
        assert_eq!(kind(&[63]), DatagramKind::Dtls);
        assert_eq!(kind(&[0x80, 111]), DatagramKind::Rtp);
        assert_eq!(kind(&[0x90, 0x80 | 96]), DatagramKind::Rtp);
        // Sender and receiver reports, feedback.
        for packet_type in [200, 201, 205, 206] {
            assert_eq!(kind(&[0x80, packet_type]), DatagramKind::Rtcp);
        }
        for bytes in [&[][..], &[4], &[16, 0], &[70, 0], &[128], &[200, 0]] {
            assert_eq!(kind(bytes), DatagramKind::Unknown, "{bytes:?}");
        }
    }

    #[test]
    fn a_header_is_read_without_its_extensions() {
        let packet = [
            0x90, 0xe0, 0x12, 0x34, 0, 1, 0, 2, 0xde, 0xad, 0xbe, 0xef, 0xbe, 0xde, 0, 0, 9,
        ];
        let head = RtpHead::parse(&packet).unwrap();
        assert_eq!((head.payload_type, head.marker), (96, true));
        assert_eq!((head.sequence, head.timestamp), (0x1234, 0x0001_0002));
        assert_eq!(head.ssrc, 0xdead_beef);
    }

    #[test]
    fn what_is_short_or_of_another_version_is_no_header() {
        assert_eq!(RtpHead::parse(&[0x80; 11]), None);
        assert_eq!(RtpHead::parse(&[0x40; 12]), None);
        assert_eq!(RtpHead::parse(&[]), None);
    }
}
