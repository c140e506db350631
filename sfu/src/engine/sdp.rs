//! A light reading of a client's SDP: what the engine must know that str0m does not tell, and the
//! checks that keep input away from code that would panic on it. Changes nothing.

use proto::media::Kind;
use std::collections::BTreeMap;

/// Longest SDP taken, in bytes: 512 media sections of a browser's offer, 2.6 KB each, fit. Longer is
/// refused. The work is bounded by [`MAX_SECTIONS`].
pub(super) const MAX_SDP: usize = 2 * 1024 * 1024;
/// Most media sections. More are refused: every one costs per poll.
pub(super) const MAX_SECTIONS: usize = 512;
/// Most candidates in one SDP. More are refused.
pub(super) const MAX_CANDIDATES: usize = 64;
/// Longest media section id: str0m keeps 16 bytes, so that longer ones could collide.
pub(super) const MAX_MID: usize = 16;

/// Why an SDP is not handed to the transport.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SdpProblem {
    /// Longer than [`MAX_SDP`].
    #[error("the SDP is longer than 2 MiB: use fewer media sections")]
    TooLong,
    /// More than [`MAX_SECTIONS`].
    #[error("the SDP has more than 512 media sections: reuse inactive ones")]
    TooManySections,
    /// More than [`MAX_CANDIDATES`].
    #[error("the SDP has more than 64 candidates: leave some out")]
    TooManyCandidates,
    /// No `a=fingerprint`, `a=ice-ufrag` or `a=ice-pwd`.
    #[error("the SDP has no a={0}: it cannot be secured")]
    Missing(&'static str),
    /// A mid that is missing, repeated, too long or not a token.
    #[error("media section {0} has no usable a=mid: use unique tokens of at most 16 characters")]
    BadMid(usize),
    /// Neither audio, video nor data channels: str0m would leave it out of its answer, and an answer
    /// must have a section for each one offered (RFC 3264 section 6).
    #[error("media section {0} is neither audio, video nor application: leave it out")]
    UnknownKind(usize),
    /// No media section at all.
    #[error("the SDP has no media sections")]
    Empty,
    /// str0m's parser.
    #[error("the SDP does not parse: {0}")]
    Unparsable(String),
}

/// What a media section is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// Audio or video.
    Media(Kind),
    /// Data channels, or something unknown.
    Other,
}

/// `a=` direction as its author means it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(super) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub(super) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// One media section of an offer, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OfferedSection {
    /// `a=mid`.
    pub(super) mid: String,
    /// Audio, video or other.
    pub(super) kind: SectionKind,
    /// The client's direction; `Inactive` if the section is rejected.
    pub(super) direction: Direction,
    /// The track id of `a=msid`: LiveKit's cid.
    pub(super) cid: Option<String>,
    /// Payload types in the client's order of preference.
    pub(super) payload_types: Vec<String>,
    /// Codec names by payload type, from `a=rtpmap`.
    pub(super) codecs: BTreeMap<String, String>,
}

/// Reads and checks an offer.
pub(super) fn read_offer(sdp: &str) -> Result<Vec<OfferedSection>, SdpProblem> {
    check(sdp)?;
    let bundled = bundled_mids(sdp);
    let mut sections: Vec<OfferedSection> = Vec::new();
    for (index, lines) in sections_of(sdp).enumerate() {
        if !is_known_kind(lines) {
            return Err(SdpProblem::UnknownKind(index));
        }
        let section = read_section(lines, &bundled).ok_or(SdpProblem::BadMid(index))?;
        if sections.iter().any(|before| before.mid == section.mid) {
            return Err(SdpProblem::BadMid(index));
        }
        sections.push(section);
    }
    if sections.is_empty() {
        return Err(SdpProblem::Empty);
    }
    Ok(sections)
}

fn is_known_kind(section: &str) -> bool {
    let kind = section
        .strip_prefix("m=")
        .and_then(|rest| rest.split(' ').next());
    matches!(kind, Some("audio" | "video" | "application"))
}

/// The checks that offers and answers share.
pub(super) fn check(sdp: &str) -> Result<(), SdpProblem> {
    if sdp.len() > MAX_SDP {
        return Err(SdpProblem::TooLong);
    }
    if sdp.lines().filter(|line| line.starts_with("m=")).count() > MAX_SECTIONS {
        return Err(SdpProblem::TooManySections);
    }
    let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:"));
    if candidates.count() > MAX_CANDIDATES {
        return Err(SdpProblem::TooManyCandidates);
    }
    for name in ["fingerprint", "ice-ufrag", "ice-pwd"] {
        if attribute(sdp, name).is_none() {
            return Err(SdpProblem::Missing(name));
        }
    }
    Ok(())
}

/// The text without candidates, which an ICE-lite agent has no use for: it sends no checks, and
/// counts those that are never checked as lost.
pub(super) fn without_candidates(sdp: &str) -> String {
    sdp.split_inclusive('\n')
        .filter(|line| !line.starts_with("a=candidate:"))
        .collect()
}

/// The value of the first `a=name:value` in these lines.
fn attribute<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| {
        let value = line.strip_prefix("a=")?.strip_prefix(name)?;
        value.strip_prefix(':').map(str::trim)
    })
}

/// The media sections, each from its `m=` line to before the next one.
pub(super) fn sections_of(sdp: &str) -> impl Iterator<Item = &str> {
    let starts: Vec<usize> = sdp
        .match_indices("m=")
        .map(|(at, _)| at)
        .filter(|at| *at == 0 || sdp.as_bytes().get(at - 1) == Some(&b'\n'))
        .collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([sdp.len()]).collect();
    starts
        .into_iter()
        .zip(ends)
        .filter_map(|(start, end)| sdp.get(start..end))
}

fn bundled_mids(sdp: &str) -> Vec<&str> {
    attribute(sdp, "group")
        .and_then(|group| group.strip_prefix("BUNDLE"))
        .map(|mids| mids.split_whitespace().collect())
        .unwrap_or_default()
}

fn read_section(lines: &str, bundled: &[&str]) -> Option<OfferedSection> {
    let mid = attribute(lines, "mid").filter(|mid| {
        !mid.is_empty() && mid.len() <= MAX_MID && mid.bytes().all(|byte| byte.is_ascii_graphic())
    })?;
    let mut words = lines.lines().next()?.strip_prefix("m=")?.split_whitespace();
    let kind = match words.next()? {
        "audio" => SectionKind::Media(Kind::Audio),
        "video" => SectionKind::Media(Kind::Video),
        _ => SectionKind::Other,
    };
    let port = words.next()?;
    // Port 0 rejects a section, unless it only says that it shares the bundle's port (RFC 8843).
    let rejected = port == "0" && !bundled.contains(&mid);
    let direction = if rejected {
        Direction::Inactive
    } else {
        direction_of(lines)
    };
    Some(OfferedSection {
        mid: mid.to_owned(),
        kind,
        direction,
        cid: cid_of(lines),
        payload_types: words.skip(1).map(str::to_owned).collect(),
        codecs: lines.lines().filter_map(rtpmap).collect(),
    })
}

/// Payload type and codec of an `a=rtpmap:96 VP8/90000`.
fn rtpmap(line: &str) -> Option<(String, String)> {
    let (payload_type, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
    let codec = encoding.split('/').next()?;
    Some((payload_type.to_owned(), codec.trim_end().to_owned()))
}

fn direction_of(lines: &str) -> Direction {
    lines
        .lines()
        .find_map(|line| match line.trim_end() {
            "a=sendrecv" => Some(Direction::SendRecv),
            "a=sendonly" => Some(Direction::SendOnly),
            "a=recvonly" => Some(Direction::RecvOnly),
            "a=inactive" => Some(Direction::Inactive),
            _ => None,
        })
        .unwrap_or(Direction::SendRecv)
}

/// The track id of `a=msid:stream track`, or of the older `a=ssrc:N msid:stream track`.
fn cid_of(lines: &str) -> Option<String> {
    let of_section = attribute(lines, "msid");
    let of_source = || {
        lines.lines().find_map(|line| {
            let (_, value) = line.strip_prefix("a=ssrc:")?.split_once(' ')?;
            value.strip_prefix("msid:")
        })
    };
    let msid = of_section.or_else(of_source)?;
    msid.split_whitespace().nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n\
        a=group:BUNDLE 0 1 2\r\na=fingerprint:sha-256 AA\r\na=ice-ufrag:abcd\r\na=ice-pwd:x\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:0\r\na=sendonly\r\na=msid:- mic-1\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 0\r\na=mid:3\r\na=recvonly\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";

    #[test]
    fn an_offer_is_read_section_by_section() {
        let sections = read_offer(OFFER).unwrap();
        assert_eq!(sections.len(), 4);
        assert_eq!(sections[0].cid.as_deref(), Some("mic-1"));
        assert_eq!(sections[0].payload_types, ["111", "63"]);
        assert!(sections[0].direction.sends() && !sections[0].direction.receives());
        assert_eq!(sections[1].direction, Direction::RecvOnly);
        assert_eq!(sections[2].direction, Direction::Inactive);
        assert_eq!(sections[3].kind, SectionKind::Other);
    }

    #[test]
    fn the_offer_of_a_browser_in_a_full_room_is_read() {
        let lines = "a=rtcp-fb:96 transport-cc\r\n".repeat(95);
        let section = |mid: usize| {
            format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:s{mid}\r\na=recvonly\r\n{lines}")
        };
        let more: String = (0..MAX_SECTIONS - 4).map(section).collect();
        assert!(more.len() > (MAX_SECTIONS - 4) * 2_500);
        let sections = read_offer(&format!("{OFFER}{more}")).unwrap();
        assert_eq!(sections.len(), MAX_SECTIONS);
    }

    #[test]
    fn a_section_that_str0m_would_not_answer_is_refused() {
        let text = OFFER.replace(
            "m=video 0 UDP/TLS/RTP/SAVPF 96",
            "m=text 9 UDP/TLS/RTP/SAVPF 96",
        );
        assert_eq!(read_offer(&text), Err(SdpProblem::UnknownKind(1)));
    }

    #[test]
    fn candidates_are_left_out_and_nothing_else() {
        let with = OFFER.replace(
            "a=mid:0\r\n",
            "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n",
        );
        assert_ne!(with, OFFER);
        assert_eq!(without_candidates(&with), OFFER);
    }

    #[test]
    fn an_old_style_msid_is_found_too() {
        let lines = "m=audio 9 X 1\r\na=mid:0\r\na=ssrc:5 cname:x\r\na=ssrc:5 msid:s t\r\n";
        assert_eq!(cid_of(lines).as_deref(), Some("t"));
    }

    #[test]
    fn what_could_break_the_transport_is_refused() {
        let long = "x".repeat(MAX_SDP + 1);
        assert_eq!(read_offer(&long), Err(SdpProblem::TooLong));
        let bare = OFFER.replace("a=fingerprint", "a=x");
        assert_eq!(read_offer(&bare), Err(SdpProblem::Missing("fingerprint")));
        let twice = OFFER.replace("a=mid:1", "a=mid:0");
        assert_eq!(read_offer(&twice), Err(SdpProblem::BadMid(1)));
        let big = OFFER.replace("a=mid:1", "a=mid:12345678901234567");
        assert_eq!(read_offer(&big), Err(SdpProblem::BadMid(1)));
        let many = format!("{OFFER}{}", "m=audio 9 X 1\r\n".repeat(MAX_SECTIONS));
        assert_eq!(read_offer(&many), Err(SdpProblem::TooManySections));
        let trickle = format!("{OFFER}{}", "a=candidate:1\r\n".repeat(MAX_CANDIDATES + 1));
        assert_eq!(read_offer(&trickle), Err(SdpProblem::TooManyCandidates));
        let none = OFFER.split("m=audio").next().unwrap();
        assert_eq!(read_offer(none), Err(SdpProblem::Empty));
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(sdp in "(m=|a=mid:|a=msid:|a=ssrc:|\\PC|\r\n| ){0,80}") {
            let _ = read_offer(&sdp);
            let sections = sections_of(&sdp).count();
            prop_assert!(sections <= sdp.len());
        }
    }
}
