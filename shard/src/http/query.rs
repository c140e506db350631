//! The query of a request, decoded once.

use super::refusal::Refusal;
use percent_encoding::percent_decode_str;

/// Parameters that are looked at; a query with more is refused.
const PARAMETERS_MAX: usize = 64;

/// Decoded parameters. Tokens are among them: no `Debug`.
#[derive(Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `application/x-www-form-urlencoded` pairs. A name that appears twice is refused: the
    /// gateway and we might each believe another one.
    pub(crate) fn parse(raw: &str) -> Result<Self, Refusal> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(Refusal::bad_request(format!(
                    "query parameter '{name}' twice"
                )));
            }
            if pairs.len() >= PARAMETERS_MAX {
                return Err(Refusal::bad_request("too many query parameters"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// The value of `name`, `None` if it is absent or empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        (!value.is_empty()).then_some(value.as_str())
    }

    /// `1` and `true` are true, all else that is there is false.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value == "1" || value == "true")
    }

    /// An owned value, empty if absent.
    pub(crate) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    /// A number, 0 if absent or none.
    pub(crate) fn number(&self, name: &str) -> i32 {
        self.get(name)
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }
}

fn decode(raw: &str) -> Result<String, Refusal> {
    let spaced = raw.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(Refusal::bad_request("the query is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once() {
        let query = Query::parse("a=%2541+b&flag=1&empty=&n=17").unwrap();
        assert_eq!(query.get("a"), Some("%41 b"));
        assert_eq!(query.flag("flag"), Some(true));
        assert_eq!(query.flag("other"), None);
        assert_eq!(query.get("empty"), None);
        assert_eq!(query.number("n"), 17);
    }

    #[test]
    fn a_repeated_parameter_is_refused() {
        assert!(Query::parse("access_token=a&access%5Ftoken=b").is_err());
        assert!(Query::parse("a=%ff").is_err());
    }
}
