//! ICE fragments (RFC 8840): read from clients, written for them.
//!
//! Owns: the syntax and its limits. Must not: decide what a fragment is for; `entity` does.

use super::{Credentials, MEDIA, value_of};
use thiserror::Error;

/// The media type (RFC 8840 section 10.3).
pub(crate) const MEDIA_TYPE: &str = "application/trickle-ice-sdpfrag";
/// Candidates in one fragment. Beyond: refused.
const CANDIDATES_MAX: usize = 64;
/// Lines in one fragment: as many candidates and what surrounds them in as many sections as clients have.
/// Beyond: refused.
const LINES_MAX: usize = 512;
/// Length of a fragment name and of a password, characters (RFC 8839 section 5.4).
const UFRAG_LENGTH: std::ops::RangeInclusive<usize> = 4..=256;
const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 22..=256;

/// What a client says about its side of ICE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fragment {
    pub(crate) ufrag: Option<String>,
    pub(crate) password: Option<String>,
    /// Counted only: the node is ICE-lite and has no use for them.
    pub(crate) candidates: usize,
}

/// Why a fragment is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FragmentProblem {
    #[error("line {0} is neither 'a=...' nor 'm=...': send an ICE fragment (RFC 8840)")]
    Line(usize),
    #[error("the fragment has more than {LINES_MAX} lines: send less at a time")]
    TooManyLines,
    #[error("the fragment has more than {CANDIDATES_MAX} candidates: send less at a time")]
    TooManyCandidates,
    #[error("a=ice-ufrag must have 4 to 256, a=ice-pwd 22 to 256 letters, digits, '+' or '/'")]
    Credentials,
    #[error(
        "the fragment has two different a=ice-ufrag or a=ice-pwd: all sections share one transport"
    )]
    Contradiction,
}

impl Fragment {
    /// Reads a fragment. Attributes that say nothing about ICE credentials are passed over.
    pub(crate) fn parse(text: &str) -> Result<Self, FragmentProblem> {
        let mut fragment = Self::default();
        let lines = text.lines().enumerate();
        for (index, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            if index >= LINES_MAX {
                return Err(FragmentProblem::TooManyLines);
            }
            if !line.starts_with("a=") && !line.starts_with(MEDIA) {
                return Err(FragmentProblem::Line(index + 1));
            }
            fragment.read(line)?;
        }
        Ok(fragment)
    }

    fn read(&mut self, line: &str) -> Result<(), FragmentProblem> {
        if let Some(ufrag) = value_of(line, "ice-ufrag") {
            take(&mut self.ufrag, ufrag, &UFRAG_LENGTH)
        } else if let Some(password) = value_of(line, "ice-pwd") {
            take(&mut self.password, password, &PASSWORD_LENGTH)
        } else if value_of(line, "candidate").is_some() {
            self.candidates += 1;
            if self.candidates > CANDIDATES_MAX {
                return Err(FragmentProblem::TooManyCandidates);
            }
            Ok(())
        } else {
            Ok(())
        }
    }
}

fn take(
    known: &mut Option<String>,
    value: &str,
    length: &std::ops::RangeInclusive<usize>,
) -> Result<(), FragmentProblem> {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if !length.contains(&value.len()) || !value.bytes().all(is_ice_char) {
        return Err(FragmentProblem::Credentials);
    }
    match known {
        Some(known) if known != value => Err(FragmentProblem::Contradiction),
        Some(_) => Ok(()),
        None => {
            *known = Some(value.to_owned());
            Ok(())
        }
    }
}

/// The credentials that a description names first.
pub(super) fn credentials(sdp: &str) -> Option<Credentials> {
    let first = |name| sdp.lines().find_map(|line| value_of(line, name));
    Some(Credentials {
        ufrag: first("ice-ufrag")?.to_owned(),
        password: first("ice-pwd")?.to_owned(),
    })
}

/// What an answer to a restart says about ICE. One section is enough: all share its transport.
pub(super) fn of_answer(sdp: &str) -> String {
    let mut fragment = String::new();
    let mut push = |line: &str| {
        fragment.push_str(line);
        fragment.push_str("\r\n");
    };
    let mut lines = sdp.lines().peekable();
    while let Some(line) = lines.next_if(|line| !line.starts_with(MEDIA)) {
        let is_kept = line == "a=ice-lite"
            || value_of(line, "ice-options").is_some()
            || value_of(line, "group").is_some();
        if is_kept {
            push(line);
        }
    }
    if let Some(media) = lines.next() {
        push(media);
    }
    while let Some(line) = lines.next_if(|line| !line.starts_with(MEDIA)) {
        let wanted = ["mid", "ice-ufrag", "ice-pwd", "candidate"];
        let is_kept = line == "a=end-of-candidates"
            || wanted.iter().any(|name| value_of(line, name).is_some());
        if is_kept {
            push(line);
        }
    }
    fragment
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n\
        m=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw\r\n\
        a=candidate:3471623853 1 udp 2122194687 198.51.100.2 61765 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn a_fragment_is_read() {
        let fragment = Fragment::parse(TRICKLE).unwrap();
        assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
        assert_eq!(
            fragment.password.as_deref(),
            Some("P2uYro0UCOQ4zxjKXaWCBui1")
        );
        assert_eq!(fragment.candidates, 2);
        assert_eq!(Fragment::parse(""), Ok(Fragment::default()));
        let repeated = format!("{TRICKLE}m=video 9 RTP/AVP 0\na=ice-ufrag:EsAw\n");
        assert!(Fragment::parse(&repeated).is_ok());
    }

    #[test]
    fn what_is_no_fragment_is_refused_with_the_cause() {
        use FragmentProblem::{Contradiction, Line, TooManyCandidates, TooManyLines};
        let parse = |text: &str| Fragment::parse(text).unwrap_err();
        assert_eq!(parse("a=mid:0\r\n{\"candidate\":1}"), Line(2));
        assert_eq!(parse("v=0\r\n"), Line(1));
        assert_eq!(parse(&format!("{TRICKLE}a=ice-ufrag:other")), Contradiction);
        for bad in [
            "a=ice-ufrag:abc",
            "a=ice-ufrag:ab cd",
            "a=ice-pwd:short",
            "a=ice-ufrag:\u{e9}\u{e9}\u{e9}",
        ] {
            assert_eq!(parse(bad), FragmentProblem::Credentials, "{bad}");
        }
        let many = "a=candidate:1\n".repeat(CANDIDATES_MAX + 1);
        assert_eq!(parse(&many), TooManyCandidates);
        assert_eq!(parse(&"a=x\n".repeat(LINES_MAX + 1)), TooManyLines);
    }

    #[test]
    fn an_answer_is_told_as_a_fragment() {
        let answer = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
            a=ice-lite\r\na=fingerprint:sha-256 AA\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:0001abc\r\na=ice-pwd:pw\r\n\
            a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 7882 typ host\r\na=end-of-candidates\r\na=recvonly\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:0001abc\r\na=ice-pwd:pw\r\na=mid:1\r\n";
        assert_eq!(
            of_answer(answer),
            "a=group:BUNDLE 0 1\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
             a=ice-ufrag:0001abc\r\na=ice-pwd:pw\r\na=mid:0\r\n\
             a=candidate:1 1 udp 1 192.0.2.1 7882 typ host\r\na=end-of-candidates\r\n"
        );
        assert_eq!(credentials(answer).unwrap().ufrag, "0001abc");
        assert_eq!(of_answer(""), "");
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "(a=|m=|a=ice-ufrag:|a=ice-pwd:|a=candidate:|\\PC|\r\n|\n| ){0,80}") {
            if let Ok(fragment) = Fragment::parse(&text) {
                prop_assert!(fragment.candidates <= CANDIDATES_MAX);
            }
            let _ = of_answer(&text);
        }
    }
}
