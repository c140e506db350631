//! The little that signalling must know of a client's offer.
//!
//! Owns: finding the media sections, and on which of them the client sends. Must not: judge the SDP; the node does.

/// A media section of an offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Offered<'a> {
    pub(super) mid: &'a str,
    /// The client's name for the track that it sends there.
    pub(super) cid: Option<&'a str>,
    pub(super) sends: bool,
}

/// The sections of an offer (RFC 8866) that have a mid.
pub(super) fn offered(sdp: &str) -> Vec<Offered<'_>> {
    let mut all = Vec::new();
    let mut section = Section::default();
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            all.extend(section.offered());
            section = Section {
                rejected: media.split(' ').nth(1) == Some("0"),
                ..Section::default()
            };
        } else if let Some(attribute) = line.strip_prefix("a=") {
            section.read(attribute);
        }
    }
    all.extend(section.offered());
    all
}

#[derive(Default)]
struct Section<'a> {
    mid: Option<&'a str>,
    cid: Option<&'a str>,
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
                } else if let Some(msid) = attribute.strip_prefix("msid:") {
                    self.cid = msid.split(' ').nth(1);
                }
            }
        }
    }

    fn offered(&self) -> Option<Offered<'a>> {
        let rejected = self.rejected && !self.bundle_only;
        Some(Offered {
            mid: self.mid?,
            cid: self.cid,
            sends: !self.silent && !rejected,
        })
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
            m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=bundle-only\r\na=mid:3\r\na=msid:s cam\r\na=sendonly\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=inactive\r\na=mid:4\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:5\r\n";
        let offered_here = offered(sdp);
        let sending = offered_here.iter().filter(|section| section.sends);
        let sending: Vec<_> = sending.map(|section| (section.mid, section.cid)).collect();
        assert_eq!(sending, [("0", None), ("3", Some("cam")), ("5", None)]);
        assert_eq!(offered_here.len(), 6);
        assert_eq!(offered("garbage"), []);
    }
}
