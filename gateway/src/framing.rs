//! Where a request's body ends must have one answer (RFC 9112 sections 5 and 6).
//!
//! Two readers of one connection that disagree about it see different requests: that is request
//! smuggling. What two readers could understand differently is refused here, before any of them
//! reads it. Pure: a complete head in, a verdict out.

/// Refuses a head whose framing could be read in two ways.
///
/// # Errors
/// The reason, for the client.
pub(crate) fn check(head: &[u8]) -> Result<(), &'static str> {
    let mut lines = Lines(head);
    let request_line = lines
        .by_ref()
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    if has_control(request_line) {
        return Err("the request line contains a control character");
    }
    let mut framing = Framing::default();
    for line in lines.take_while(|line| !line.is_empty()) {
        framing.field(line)?;
    }
    framing.verdict(request_line.ends_with(b"HTTP/1.0"))
}

/// What the fields say about the body.
#[derive(Default)]
struct Framing {
    lengths: usize,
    codings: usize,
}

impl Framing {
    fn field(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if line
            .first()
            .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
        {
            return Err("a header field is folded over two lines");
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or("a header field has no colon")?);
        if name.is_empty() || !name.iter().all(is_token) || has_control(value) {
            return Err("a header field is malformed");
        }
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
                return Err("content-length is no number");
            }
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err("transfer-encoding is not chunked");
            }
        }
        Ok(())
    }

    fn verdict(&self, http_1_0: bool) -> Result<(), &'static str> {
        match (self.lengths, self.codings) {
            (0 | 1, 0) => Ok(()),
            (0, 1) if !http_1_0 => Ok(()),
            (0, 1) => Err("HTTP/1.0 has no transfer-encoding"),
            (_, 0) => Err("content-length is given more than once"),
            (0, _) => Err("transfer-encoding is given more than once"),
            _ => Err("both content-length and transfer-encoding are given"),
        }
    }
}

/// RFC 9110 section 5.6.2. A reader that bears more may take `transfer-encoding\r` for the field.
fn is_token(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte)
}

/// Tabs are allowed in values; a bare carriage return or a NUL ends a line for some readers.
fn has_control(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|byte| byte.is_ascii_control() && *byte != b'\t')
}

/// The lines of a head, without their ends.
pub(crate) struct Lines<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    fn with(fields: &str) -> Result<(), &'static str> {
        check(format!("POST /r/a/api/token HTTP/1.1\r\nhost: a\r\n{fields}\r\n").as_bytes())
    }

    #[test]
    fn a_body_with_one_length_is_taken() {
        assert_eq!(with(""), Ok(()));
        assert_eq!(with("content-length: 3\r\n"), Ok(()));
        assert_eq!(with("Transfer-Encoding: Chunked\r\n"), Ok(()));
        assert_eq!(check(b"\r\nGET / HTTP/1.1\nhost: a\n\n"), Ok(()));
        assert_eq!(with("x: a\tb\r\n"), Ok(()));
    }

    #[test]
    fn a_body_that_could_end_in_two_places_is_refused() {
        let ambiguous = [
            "content-length: 3\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: chunked\r\nContent-Length: 3\r\n",
            "content-length: 3\r\ncontent-length: 3\r\n",
            "content-length: 3, 3\r\n",
            "content-length: +3\r\n",
            "content-length:\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: xchunked\r\n",
            "transfer-encoding : chunked\r\n",
            "transfer-encoding\r: chunked\r\n",
            "transfer-encoding\0: chunked\r\n",
            "transfer encoding: chunked\r\n",
            "x: y\r\n transfer-encoding: chunked\r\n",
            "x: y\rtransfer-encoding: chunked\r\n",
            "x: \0\r\n",
            "no colon\r\n",
            ": no name\r\n",
        ];
        for fields in ambiguous {
            assert!(with(fields).is_err(), "{fields:?}");
        }
        let old = b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(check(old), Err("HTTP/1.0 has no transfer-encoding"));
    }
}
