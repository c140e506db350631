//! The two query parameters that routing reads, and the refusal of ambiguous ones.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// What a query names. A parameter given twice is refused: the shard might read the other one.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Params<'a> {
    /// Raw value of `room`.
    pub(super) room: Option<&'a str>,
    /// Decoded value of `access_token`.
    pub(super) token: Option<Cow<'a, str>>,
}

/// Reads `query`; on failure says which parameter is there twice.
pub(super) fn parse(query: &str) -> Result<Params<'_>, &'static str> {
    let mut params = Params::default();
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match form_decode(name).as_ref() {
            "room" if params.room.replace(value).is_some() => return Err("room"),
            "access_token" if params.token.replace(form_decode(value)).is_some() => {
                return Err("access_token");
            }
            _ => {}
        }
    }
    Ok(params)
}

/// Decodes once, by the rules of `application/x-www-form-urlencoded`.
fn form_decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    Cow::Owned(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_parameters_are_found_among_others() {
        let params = parse("sdk=js&room=a%20b&access_token=x.y.z&join_request=AA").unwrap();
        assert_eq!(params.room, Some("a%20b"));
        assert_eq!(params.token.as_deref(), Some("x.y.z"));
        assert_eq!(parse("").unwrap(), Params::default());
    }

    #[test]
    fn a_parameter_given_twice_is_refused_even_if_one_is_disguised() {
        assert_eq!(parse("room=a&room=b"), Err("room"));
        assert_eq!(
            parse("access_token=a&x=1&access_token=a"),
            Err("access_token")
        );
        assert_eq!(
            parse("access_token=a&acc%65ss_token=b"),
            Err("access_token")
        );
    }
}
