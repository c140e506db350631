//! Doors for the fuzz targets into parsers that are private. No stable interface.

use crate::handshake::Answer;
use crate::sdp;
use std::collections::BTreeMap;

/// The status and the text that a client makes of an answer to its handshake that arrives in these
/// pieces; `None`: more is needed; `Err`: it is no answer.
pub fn upgrade_answer(pieces: &[&[u8]]) -> Result<Option<(u16, String)>, String> {
    let mut bytes = Vec::new();
    let mut pieces = pieces.iter();
    loop {
        if let Some(mut answer) = Answer::parse(&bytes)? {
            let mut body = std::mem::take(&mut answer.rest);
            body.extend(pieces.copied().flatten());
            return Ok(Some((answer.status, answer.text(&body))));
        }
        match pieces.next() {
            Some(piece) => bytes.extend_from_slice(piece),
            None => return Ok(None),
        }
    }
}

/// Sections of a description and how many sources each has.
pub fn sections(sdp: &str) -> Vec<(String, usize)> {
    let sections = sdp::read(sdp).into_iter();
    sections
        .map(|section| (section.mid, section.sources.len()))
        .collect()
}

/// The description with this name for what is sent in this section.
pub fn with_name(sdp: &str, mid: &str, stream: &str, track: &str) -> String {
    let name = (stream.to_owned(), track.to_owned());
    sdp::with_names(sdp, &BTreeMap::from([(mid.to_owned(), name)]))
}

/// What a client takes for the fingerprint of a server.
pub fn fingerprint(sdp: &str) -> &str {
    sdp::fingerprint(sdp)
}
