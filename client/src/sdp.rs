//! What the server's descriptions say about the media it sends: which section, which sources.
//!
//! Reads text line by line; str0m reads the same text for everything else. Must not: fail. What is
//! not understood is left out.

use std::collections::BTreeMap;

/// Sections that are looked at. A room of hundreds of tracks needs as many; beyond: ignored.
pub(crate) const SECTIONS_MAX: usize = 2000;
/// Sources of one section. Simulcast towards a client needs two; beyond: ignored.
const SOURCES_MAX: usize = 16;

/// A media section of a description of the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RemoteSection {
    pub(crate) mid: String,
    pub(crate) video: bool,
    /// The server sends on it.
    pub(crate) sends: bool,
    /// Participant and more, from `a=msid` (RFC 8830).
    pub(crate) stream: String,
    pub(crate) track: String,
    /// Source, and whether it repeats another one (RTX, RFC 4588).
    pub(crate) sources: Vec<(u32, bool)>,
}

/// Reads the audio and video sections of a description (RFC 8866).
pub(crate) fn read(sdp: &str) -> Vec<RemoteSection> {
    let mut sections = Vec::new();
    let mut current: Option<RemoteSection> = None;
    for line in sdp.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            sections.extend(current.take());
            if sections.len() >= SECTIONS_MAX {
                return sections;
            }
            current = start(media);
        } else if let Some(section) = &mut current
            && let Some(attribute) = line.strip_prefix("a=")
        {
            section.take(attribute);
        }
    }
    sections.extend(current);
    sections
}

/// The fingerprint of the server's certificate (RFC 8122 section 5); the first one holds, because all
/// media share a connection.
pub(crate) fn fingerprint(sdp: &str) -> &str {
    let mut lines = sdp.lines();
    let found = lines.find_map(|line| line.strip_prefix("a=fingerprint:"));
    found.unwrap_or_default().trim_end()
}

/// Names what we send in these sections, by stream and track (`a=msid`, RFC 8830): a connection that
/// took the place of another one has made up names of its own.
pub(crate) fn with_names(sdp: &str, names: &BTreeMap<String, (String, String)>) -> String {
    let mut out = String::with_capacity(sdp.len());
    for section in sections(sdp) {
        let mut lines = section.lines();
        let mid = lines.find_map(|line| line.strip_prefix("a=mid:"));
        let named = mid.and_then(|mid| names.get(mid.trim_end()));
        for line in section.lines() {
            match named {
                Some((stream, track)) => out.push_str(&renamed(line, stream, track)),
                None => out.push_str(line),
            }
            out.push_str("\r\n");
        }
    }
    out
}

fn renamed(line: &str, stream: &str, track: &str) -> String {
    if line.starts_with("a=msid:") {
        return format!("a=msid:{stream} {track}");
    }
    match line.split_once(" msid:") {
        Some((source, _)) if source.starts_with("a=ssrc:") => {
            format!("{source} msid:{stream} {track}")
        }
        _ => line.to_owned(),
    }
}

/// What is said of the session, then each section.
fn sections(sdp: &str) -> Vec<&str> {
    let mut sections = Vec::new();
    let mut rest = sdp;
    while let Some(at) = rest.get(1..).and_then(|tail| tail.find("\nm=")) {
        // Behind the end of the line: one byte that was left out, and the end itself.
        let (section, tail) = rest.split_at_checked(at + 2).unwrap_or((rest, ""));
        sections.push(section);
        rest = tail;
    }
    sections.push(rest);
    sections
}

fn start(media: &str) -> Option<RemoteSection> {
    let mut words = media.split(' ');
    let video = match words.next()? {
        "audio" => false,
        "video" => true,
        _ => return None,
    };
    Some(RemoteSection {
        video,
        ..RemoteSection::default()
    })
}

impl RemoteSection {
    fn take(&mut self, attribute: &str) {
        match attribute.split_once(':').unwrap_or((attribute, "")) {
            ("mid", mid) => mid.clone_into(&mut self.mid),
            ("sendonly" | "sendrecv", "") => self.sends = true,
            ("msid", names) => {
                let (stream, track) = names.split_once(' ').unwrap_or((names, ""));
                stream.clone_into(&mut self.stream);
                track.clone_into(&mut self.track);
            }
            ("ssrc", source) => {
                let number = source.split(' ').next().unwrap_or_default();
                self.add_source(number, false);
            }
            // RFC 5576 section 4.2: the first is the source, the second repeats it.
            ("ssrc-group", group) => {
                if let Some(pair) = group.strip_prefix("FID ") {
                    for repeated in pair.split(' ').skip(1) {
                        self.add_source(repeated, true);
                    }
                }
            }
            _ => {}
        }
    }

    fn add_source(&mut self, number: &str, repeats: bool) {
        let Ok(ssrc) = number.parse::<u32>() else {
            return;
        };
        let known_sources = self.sources.len();
        match self.sources.iter_mut().find(|(known, _)| *known == ssrc) {
            Some((_, known)) => *known |= repeats,
            None if known_sources < SOURCES_MAX => self.sources.push((ssrc, repeats)),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\na=group:BUNDLE 0 1 2 3\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=sendrecv\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=inactive\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:2\r\na=sendonly\r\na=msid:PA_a|TR_b TR_b\r\n\
        a=ssrc-group:FID 7 8\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:y z\r\na=ssrc:8 cname:x\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:3\r\na=recvonly\r\na=ssrc:9\r\na=ssrc:no\r\n";

    #[test]
    fn sections_say_what_is_sent_and_by_which_sources() {
        let sections = read(ANSWER);
        let mids: Vec<&str> = sections
            .iter()
            .map(|section| section.mid.as_str())
            .collect();
        assert_eq!(mids, ["1", "2", "3"]);
        let sends: Vec<bool> = sections.iter().map(|section| section.sends).collect();
        assert_eq!(sends, [false, true, false]);
        assert!(sections[1].video && !sections[2].video);
        assert_eq!(sections[1].stream, "PA_a|TR_b");
        assert_eq!(sections[1].track, "TR_b");
        assert_eq!(sections[1].sources, [(8, true), (7, false)]);
        assert_eq!(sections[2].sources, [(9, false)]);
    }

    #[test]
    fn what_is_no_description_has_no_sections() {
        for text in ["", "hello", "a=mid:1", "m=", "m=text 9 X\r\na=mid:0"] {
            assert_eq!(read(text), [], "{text}");
        }
    }

    #[test]
    fn a_description_shows_its_certificate_and_takes_other_names() {
        let sdp = "v=0\r\na=fingerprint:sha-256 AB:CD\r\nm=audio 9 X 1\r\na=mid:1\r\n\
            a=msid:x y\r\na=ssrc:7 cname:x\r\na=ssrc:7 msid:x y\r\nm=video 9 X 1\r\na=mid:2\r\n\
            a=msid:v w\r\n";
        assert_eq!(fingerprint(sdp), "sha-256 AB:CD");
        assert_eq!(fingerprint("v=0\r\n"), "");
        let names = BTreeMap::from([("1".to_owned(), ("s".to_owned(), "t".to_owned()))]);
        let renamed = with_names(sdp, &names);
        assert_eq!(
            renamed,
            sdp.replace("msid:x y", "msid:s t"),
            "only the first section"
        );
        assert_eq!(with_names("m=audio\r\n", &names), "m=audio\r\n");
    }

    #[test]
    fn endless_descriptions_are_cut() {
        let many = "m=audio 9 X 1\r\n".repeat(SECTIONS_MAX + 5);
        assert_eq!(read(&many).len(), SECTIONS_MAX);
        let sources: String = (0..100).map(|n| format!("a=ssrc:{n}\r\n")).collect();
        let sections = read(&format!("m=video 9 X 1\r\n{sources}"));
        assert_eq!(sections[0].sources.len(), SOURCES_MAX);
    }
}
