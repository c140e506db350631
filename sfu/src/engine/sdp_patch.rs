//! Edits the text of a description where str0m has no API: which sections carry what.
//!
//! str0m answers every receiving section `sendonly` with a random `a=msid`. LiveKit's clients find
//! the participant in the msid's stream id, so a bound section must say `PA_x|TR_y TR_y` and an
//! unbound one must be `inactive`. Knows nothing about transports.

use super::sdp::sections_of;
use std::collections::BTreeMap;

/// What one section of the answer shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Patch {
    /// Keep the section as str0m wrote it, with the payload types in the client's order.
    Receives {
        /// The client's order of preference.
        payload_types: Vec<String>,
    },
    /// Carries a forwarded track.
    Sends {
        /// `PA_x|TR_y`.
        stream: String,
        /// `TR_y`.
        track: String,
    },
    /// Carries nothing.
    Idle,
}

/// Applies patches by mid; sections without one stay as they are. `credentials` (ufrag, password)
/// replace the transport's own in the text.
pub(super) fn patch(
    description: &str,
    patches: &BTreeMap<String, Patch>,
    credentials: Option<(&str, &str)>,
) -> String {
    let mut out = String::with_capacity(description.len() + 64 * patches.len());
    let first = description
        .find("\r\nm=")
        .map_or(description.len(), |before| before + 2);
    let (session, _) = description
        .split_at_checked(first)
        .unwrap_or((description, ""));
    for line in session.lines() {
        push(&mut out, &renamed(line, credentials));
    }
    for section in sections_of(description) {
        let mid = section
            .lines()
            .find_map(|line| line.strip_prefix("a=mid:"))
            .unwrap_or_default();
        let wanted = patches.get(mid);
        for line in section.lines() {
            if let Some(line) = patched(line, wanted) {
                push(&mut out, &renamed(&line, credentials));
            }
        }
    }
    out
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

fn renamed(line: &str, credentials: Option<(&str, &str)>) -> String {
    match credentials {
        Some((ufrag, _)) if line.starts_with("a=ice-ufrag:") => format!("a=ice-ufrag:{ufrag}"),
        Some((_, password)) if line.starts_with("a=ice-pwd:") => format!("a=ice-pwd:{password}"),
        Some((ufrag, _)) if line.starts_with("a=candidate:") => with_ufrag(line, ufrag),
        _ => line.to_owned(),
    }
}

/// A candidate may name the ufrag it belongs to.
fn with_ufrag(line: &str, ufrag: &str) -> String {
    match line.split_once(" ufrag ") {
        Some((before, after)) => {
            let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
            format!("{before} ufrag {ufrag} {rest}")
                .trim_end()
                .to_owned()
        }
        None => line.to_owned(),
    }
}

/// The line as the patch wants it, `None` to leave it out.
fn patched(line: &str, patch: Option<&Patch>) -> Option<String> {
    match patch {
        None => Some(line.to_owned()),
        Some(Patch::Receives { payload_types }) => Some(if line.starts_with("m=") {
            reordered(line, payload_types)
        } else {
            line.to_owned()
        }),
        Some(Patch::Idle) => idle(line).map(str::to_owned),
        Some(Patch::Sends { stream, track }) => Some(sending(line, stream, track)),
    }
}

fn idle(line: &str) -> Option<&str> {
    match line {
        "a=sendonly" | "a=sendrecv" | "a=recvonly" => Some("a=inactive"),
        _ if line.starts_with("a=msid:") || line.starts_with("a=ssrc") => None,
        _ => Some(line),
    }
}

fn sending(line: &str, stream: &str, track: &str) -> String {
    if line.starts_with("a=msid:") {
        return format!("a=msid:{stream} {track}");
    }
    if let Some(source) = line.strip_prefix("a=ssrc:")
        && let Some((ssrc, attribute)) = source.split_once(' ')
        && attribute.starts_with("msid:")
    {
        return format!("a=ssrc:{ssrc} msid:{stream} {track}");
    }
    line.to_owned()
}

/// Puts the payload types of an `m=` line into the client's order: the first is what it will send.
fn reordered(line: &str, wanted: &[String]) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let Some((head, answered)) = words.split_at_checked(3) else {
        return line.to_owned();
    };
    let preferred = wanted
        .iter()
        .map(String::as_str)
        .filter(|pt| answered.contains(pt));
    let others = answered
        .iter()
        .copied()
        .filter(|pt| !wanted.iter().any(|known| known == pt));
    let ordered: Vec<&str> = head
        .iter()
        .copied()
        .chain(preferred)
        .chain(others)
        .collect();
    ordered.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\na=group:BUNDLE 0 1 2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 108\r\na=ice-ufrag:old\r\na=ice-pwd:oldpw\r\na=mid:0\r\na=recvonly\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=sendonly\r\na=msid:r1 r2\r\n\
        a=ssrc:7 cname:c\r\na=ssrc:7 msid:r1 r2\r\na=ssrc-group:FID 7 8\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\na=sendonly\r\na=msid:r3 r4\r\na=ssrc:9 msid:r3 r4\r\n";

    fn patches() -> BTreeMap<String, Patch> {
        BTreeMap::from([
            (
                "0".to_owned(),
                Patch::Receives {
                    payload_types: ["108", "45", "96", "97"].map(str::to_owned).to_vec(),
                },
            ),
            (
                "1".to_owned(),
                Patch::Sends {
                    stream: "PA_a|TR_b".to_owned(),
                    track: "TR_b".to_owned(),
                },
            ),
            ("2".to_owned(), Patch::Idle),
        ])
    }

    #[test]
    fn a_bound_section_names_participant_and_track() {
        let out = patch(ANSWER, &patches(), None);
        assert!(out.contains("a=mid:1\r\na=sendonly\r\na=msid:PA_a|TR_b TR_b\r\n"));
        assert!(out.contains("a=ssrc:7 cname:c\r\na=ssrc:7 msid:PA_a|TR_b TR_b\r\n"));
        assert!(out.contains("a=ssrc-group:FID 7 8\r\n"));
    }

    #[test]
    fn an_idle_section_is_inactive_and_names_no_source() {
        let out = patch(ANSWER, &patches(), None);
        assert!(out.ends_with("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\na=inactive\r\n"));
    }

    #[test]
    fn the_clients_order_of_codecs_is_kept() {
        let out = patch(ANSWER, &patches(), None);
        assert!(out.contains("m=video 9 UDP/TLS/RTP/SAVPF 108 96 97\r\n"));
    }

    #[test]
    fn other_credentials_replace_those_in_the_text() {
        let out = patch(ANSWER, &patches(), Some(("new", "newpw")));
        assert!(out.contains("a=ice-ufrag:new\r\na=ice-pwd:newpw\r\n"));
        assert!(!out.contains("old"));
    }

    #[test]
    fn without_patches_the_text_stays() {
        assert_eq!(patch(ANSWER, &BTreeMap::new(), None), ANSWER);
        assert_eq!(patch("", &patches(), None), "");
    }
}
