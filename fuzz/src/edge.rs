//! Request heads: where one ends, and where its body ends, has one answer.

use gateway::fuzzing::{Head, Limits, check_framing, scan_head};

/// The gateway's defaults would need inputs of many kilobytes.
const LIMITS: Limits = (256, 512, 16);
/// More than the scanner lets through.
const FIELDS_MAX: usize = 64;

/// Bytes on a fresh HTTP/1.1 connection; the first says how they are cut.
pub fn request_head(data: &[u8]) {
    let Some((cut, bytes)) = data.split_first() else {
        return;
    };
    let whole = scan_head(&[bytes], LIMITS);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(whole, scan_head(&single, LIMITS), "byte by byte");
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(*cut).max(1)).collect();
    assert_eq!(whole, scan_head(&pieces, LIMITS), "in pieces of {cut}");

    let verdict = check_framing(bytes);
    match whole {
        Head::Complete => {
            // A beginning of the HTTP/2 preface looks like a whole head, and is none yet.
            let Some(head) = head_of(bytes) else {
                return;
            };
            assert_eq!(verdict, check_framing(head), "the body decides");
            if verdict.is_ok() {
                agree(head);
            }
        }
        Head::Refused(status) => assert!(matches!(status, 400 | 414 | 431), "{status}"),
        Head::More | Head::Http2 => {}
    }
}

/// The shortest complete beginning.
fn head_of(bytes: &[u8]) -> Option<&[u8]> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let mut heads = ends.map(|(at, _)| bytes.split_at(at + 1).0);
    heads.find(|head| scan_head(&[head], LIMITS) == Head::Complete)
}

/// Another reader finds the same end, the same fields and one length of the body.
fn agree(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    let read = match request.parse(head) {
        Ok(httparse::Status::Complete(read)) => read,
        Ok(httparse::Status::Partial) => panic!("the other reader waits for more of the head"),
        Err(error @ (httparse::Error::HeaderName | httparse::Error::HeaderValue)) => {
            panic!("a field passed that another reader refuses: {error}")
        }
        // The request line is read by the HTTP library alone.
        Err(_) => return,
    };
    assert_eq!(read, head.len(), "the other reader sees another end");
    let values = |name: &str| -> Vec<&[u8]> {
        let named = request
            .headers
            .iter()
            .filter(|field| field.name.eq_ignore_ascii_case(name));
        named.map(|field| field.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two ends of one body");
    for length in lengths {
        assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit));
    }
    for coding in codings {
        assert!(coding.eq_ignore_ascii_case(b"chunked"));
        assert_eq!(request.version, Some(1), "HTTP/1.0 knows no chunks");
    }
}
