//! Doors for the fuzz targets into parsers that are private. No stable interface.

use crate::framing;
use crate::head::{HeadLimits, HeadScanner, Verdict};

/// The verdict on a request head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Not complete yet.
    More,
    /// Complete and within the limits.
    Complete,
    /// The HTTP/2 preface.
    Http2,
    /// Over a limit: the status.
    Refused(u16),
}

/// The first verdict on a head that arrives in these pieces, under limits for the bytes of target
/// and fields and the number of fields.
pub fn scan_head(pieces: &[&[u8]], (target_bytes, header_bytes, fields): Limits) -> Head {
    let limits = HeadLimits {
        target_bytes,
        header_bytes,
        fields,
    };
    let mut scanner = HeadScanner::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        match scanner.scan(&buffer, &limits) {
            Verdict::More => {}
            Verdict::Complete => return Head::Complete,
            Verdict::Http2 => return Head::Http2,
            Verdict::Refused(status, _) => return Head::Refused(status),
        }
    }
    Head::More
}

/// Bytes of target and fields, and number of fields.
pub type Limits = (usize, usize, usize);

/// Whether a complete head says in one way where its body ends.
///
/// # Errors
/// Why not.
pub fn check_framing(head: &[u8]) -> Result<(), &'static str> {
    framing::check(head)
}
