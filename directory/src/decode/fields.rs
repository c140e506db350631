//! The parts of an answer, one after the other.

use super::Malformed;
use redis::Value;
use std::str::FromStr;
use std::vec::IntoIter;

/// What is left of a list.
pub(super) struct Fields(IntoIter<Value>);

impl Fields {
    pub(super) fn of(answer: Value) -> Result<Self, Malformed> {
        match answer {
            Value::Array(parts) => Ok(Self(parts.into_iter())),
            _ => Err(Malformed),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    fn next(&mut self) -> Result<Value, Malformed> {
        self.0.next().ok_or(Malformed)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        text(self.next()?)
    }

    /// Nothing, or a text.
    pub(super) fn optional_text(&mut self) -> Result<Option<String>, Malformed> {
        match self.next()? {
            Value::Nil => Ok(None),
            value => text(value).map(Some),
        }
    }

    pub(super) fn number<T: FromStr>(&mut self) -> Result<T, Malformed> {
        super::number(&self.text()?)
    }

    pub(super) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.text()?.as_str() {
            "0" => Ok(false),
            "1" => Ok(true),
            _ => Err(Malformed),
        }
    }

    pub(super) fn list(&mut self) -> Result<Vec<Value>, Malformed> {
        match self.next()? {
            Value::Array(parts) => Ok(parts),
            _ => Err(Malformed),
        }
    }
}

pub(super) fn text(value: Value) -> Result<String, Malformed> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Malformed),
        _ => Err(Malformed),
    }
}

/// A hash as `HGETALL` gives it: name, value, name, value.
pub(super) fn pairs(
    values: Vec<Value>,
) -> Result<impl Iterator<Item = (String, String)>, Malformed> {
    if !values.len().is_multiple_of(2) {
        return Err(Malformed);
    }
    let texts: Vec<String> = values.into_iter().map(text).collect::<Result<_, _>>()?;
    let (names, contents): (Vec<_>, Vec<_>) = texts
        .into_iter()
        .enumerate()
        .partition(|(index, _)| index % 2 == 0);
    let plain = |part: Vec<(usize, String)>| part.into_iter().map(|(_, text)| text);
    Ok(plain(names).zip(plain(contents)))
}
