//! The little that signalling must know of a client's offer.
//!
//! Owns: finding the media sections on which the client sends. Must not: judge the SDP; the node does.

use std::collections::BTreeSet;

/// Mids of the sections of an offer (RFC 8866) on which the client sends.
pub(super) fn sending_mids(sdp: &str) -> BTreeSet<&str> {
    let mut mids = BTreeSet::new();
    let mut section = Section::default();
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            mids.extend(section.sending_mid());
            section = Section {
                rejected: media.split(' ').nth(1) == Some("0"),
                ..Section::default()
            };
        } else if let Some(attribute) = line.strip_prefix("a=") {
            section.read(attribute);
        }
    }
    mids.extend(section.sending_mid());
    mids
}

#[derive(Default)]
struct Section<'a> {
    mid: Option<&'a str>,
    rejected: bool,
    bundle_only: bool,
    silent: bool,
}

impl<'a> Section<'a> {
    fn read(&mut self, attribute: &'a str) {
        match attribute {
            "recvonly" | "inactive" => self.silent = true,
            // Port 0 is no rejection here (RFC 9143 section 6).
            "bundle-only" => self.bundle_only = true,
            _ => {
                if let Some(mid) = attribute.strip_prefix("mid:") {
                    self.mid = Some(mid.trim());
                }
            }
        }
    }

    fn sending_mid(&self) -> Option<&'a str> {
        let rejected = self.rejected && !self.bundle_only;
        self.mid.filter(|_| !self.silent && !rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_sends_unless_it_is_silent_or_rejected() {
        let sdp = "v=0\r\na=group:BUNDLE 0 1\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendrecv\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=recvonly\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\na=sendonly\r\n\
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\na=mid:3\r\na=sendonly\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=inactive\r\na=mid:4\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:5\r\n";
        assert_eq!(sending_mids(sdp), BTreeSet::from(["0", "3", "5"]));
        assert_eq!(sending_mids("garbage"), BTreeSet::new());
    }
}
