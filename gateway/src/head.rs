//! Limits on a request head while it arrives, before any parser sees it.
//!
//! Pure: bytes in, verdict out. It finds the end of the head and counts; it does not interpret.

/// What an HTTP/2 client sends first (RFC 9113 section 3.4).
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The method, the version and the spaces of a request line.
const REQUEST_LINE_EXTRA: usize = 64;
/// Empty lines before a request line; RFC 9112 section 2.2 asks to bear at least one.
const LEADING_LINES_MAX: usize = 4;

/// Limits of one head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Bytes of the request target.
    pub(crate) target_bytes: usize,
    /// Bytes of the header fields.
    pub(crate) header_bytes: usize,
    /// Number of header fields.
    pub(crate) fields: usize,
}

/// The verdict on the bytes so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The head is not complete yet.
    More,
    /// The head is complete and within its limits.
    Complete,
    /// The client speaks HTTP/2.
    Http2,
    /// Over a limit: status and reason.
    Refused(u16, &'static str),
}

/// Reads a growing buffer, each byte once.
#[derive(Debug, Default)]
pub(crate) struct HeadScanner {
    scanned: usize,
    line_start: usize,
    leading_lines: usize,
    request_line_end: Option<usize>,
    fields: usize,
}

impl HeadScanner {
    /// Looks at `buffer`, which starts with what earlier calls saw.
    pub(crate) fn scan(&mut self, buffer: &[u8], limits: &HeadLimits) -> Verdict {
        if buffer.starts_with(H2_PREFACE) {
            return Verdict::Http2;
        }
        // The preface looks like a complete head before its last line has come.
        if buffer.len() < H2_PREFACE.len() && H2_PREFACE.starts_with(buffer) {
            return Verdict::More;
        }
        while let Some(offset) = find_line_feed(buffer.get(self.scanned..).unwrap_or_default()) {
            let end = self.scanned + offset;
            let line = buffer.get(self.line_start..end).unwrap_or_default();
            let empty = line.is_empty() || line == b"\r";
            self.scanned = end + 1;
            self.line_start = end + 1;
            if let Some(verdict) = self.line(empty, end, limits) {
                return verdict;
            }
        }
        self.scanned = buffer.len();
        self.check(buffer.len(), limits).unwrap_or(Verdict::More)
    }

    fn line(&mut self, empty: bool, end: usize, limits: &HeadLimits) -> Option<Verdict> {
        if let Some(over) = self.check(end, limits) {
            return Some(over);
        }
        match (self.request_line_end, empty) {
            (None, true) => {
                self.leading_lines += 1;
                let over = self.leading_lines > LEADING_LINES_MAX;
                over.then_some(Verdict::Refused(400, "the request starts with empty lines"))
            }
            (None, false) => {
                self.request_line_end = Some(end + 1);
                None
            }
            (Some(_), true) => Some(Verdict::Complete),
            (Some(_), false) => {
                self.fields += 1;
                let over = self.fields > limits.fields;
                over.then_some(Verdict::Refused(431, "too many header fields"))
            }
        }
    }

    fn check(&self, length: usize, limits: &HeadLimits) -> Option<Verdict> {
        match self.request_line_end {
            None => (length > limits.target_bytes + REQUEST_LINE_EXTRA)
                .then_some(Verdict::Refused(414, "the request target is too long")),
            Some(end) => (length.saturating_sub(end) > limits.header_bytes)
                .then_some(Verdict::Refused(431, "the request header is too large")),
        }
    }
}

fn find_line_feed(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: HeadLimits = HeadLimits {
        target_bytes: 100,
        header_bytes: 200,
        fields: 4,
    };

    /// The verdict after the last of `pieces`, or the first that ends the head.
    fn scan(pieces: &[&[u8]]) -> Verdict {
        let mut scanner = HeadScanner::default();
        let mut buffer = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(piece);
            match scanner.scan(&buffer, &LIMITS) {
                Verdict::More => {}
                verdict => return verdict,
            }
        }
        Verdict::More
    }

    #[test]
    fn a_head_is_complete_at_its_empty_line_however_it_is_cut() {
        let head = b"GET /rtc HTTP/1.1\r\nhost: a\r\n\r\nbody";
        assert_eq!(scan(&[head]), Verdict::Complete);
        let bytes: Vec<&[u8]> = head.chunks(1).collect();
        assert_eq!(scan(&bytes), Verdict::Complete);
        assert_eq!(scan(&[b"GET / HTTP/1.1\nhost: a\n\n"]), Verdict::Complete);
        assert_eq!(scan(&[b"\r\nGET / HTTP/1.1\r\n\r\n"]), Verdict::Complete);
        assert_eq!(scan(&[b"GET / HTTP/1.1\r\nhost: a\r\n"]), Verdict::More);
    }

    #[test]
    fn the_http2_preface_is_known_however_it_is_cut() {
        assert_eq!(scan(&[H2_PREFACE]), Verdict::Http2);
        let bytes: Vec<&[u8]> = H2_PREFACE.chunks(1).collect();
        assert_eq!(scan(&bytes), Verdict::Http2);
        assert_eq!(scan(&[b"PRI * HTTP/2.0\r\n\r\n"]), Verdict::More);
        assert_eq!(
            scan(&[b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"]),
            Verdict::Complete
        );
    }

    #[test]
    fn each_limit_ends_the_head_before_it_is_complete() {
        let target = format!("GET /{}", "x".repeat(200));
        assert!(matches!(
            scan(&[target.as_bytes()]),
            Verdict::Refused(414, _)
        ));
        let large = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(300));
        assert!(matches!(
            scan(&[large.as_bytes()]),
            Verdict::Refused(431, _)
        ));
        let many = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(5));
        assert!(matches!(scan(&[many.as_bytes()]), Verdict::Refused(431, _)));
        assert!(matches!(
            scan(&[&b"\r\n".repeat(5)]),
            Verdict::Refused(400, _)
        ));
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_does_not_change_the_verdict(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), any::<u8>()], 0..600),
            cut in 1_usize..50,
        ) {
            let pieces: Vec<&[u8]> = bytes.chunks(cut).collect();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            let (coarse, fine) = (scan(&pieces), scan(&single));
            prop_assert_eq!(matches!(coarse, Verdict::Complete), matches!(fine, Verdict::Complete));
        }
    }
}
