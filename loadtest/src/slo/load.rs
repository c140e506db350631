//! From text to [`Slo`], with mistakes that say where and what instead.

use super::Slo;
use std::fmt;
use std::path::{Path, PathBuf};

/// Names that are this close are offered as "did you mean".
const SIMILARITY_MIN: f64 = 0.75;

/// A mistake in a file of objectives.
#[derive(Debug, PartialEq, Eq)]
pub struct SloError {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1, where known.
    pub place: Option<(u64, u64)>,
    /// Cause and fix.
    pub message: String,
}

impl fmt::Display for SloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for SloError {}

impl Slo {
    /// Objectives from the text of a file; `path` is only named in errors.
    pub fn parse(path: &Path, text: &str) -> Result<Self, SloError> {
        let mistake = |place, message| SloError {
            path: path.to_owned(),
            place,
            message,
        };
        let slo: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet();
            let place = error.location().map(|place| (place.line(), place.column()));
            mistake(place, explain(error))
        })?;
        if slo == Self::default() {
            let message = "no objective in it: add one, as `loss_max: 0.1%`";
            return Err(mistake(None, message.to_owned()));
        }
        Ok(slo)
    }
}

fn explain(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_key(field, expected),
        other => without_place(&other.to_string()),
    }
}

fn unknown_key(field: &str, expected: &[&str]) -> String {
    let similarity = |candidate: &str| strsim::jaro_winkler(field, candidate);
    let best = expected
        .iter()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .filter(|candidate| similarity(candidate) >= SIMILARITY_MIN);
    match best {
        Some(candidate) => format!("unknown objective '{field}': did you mean '{candidate}'?"),
        None => format!(
            "unknown objective '{field}': known are {}",
            expected.join(", ")
        ),
    }
}

/// The parser's text repeats the place; we print it in front.
fn without_place(text: &str) -> String {
    let first_line = text.lines().next().unwrap_or(text);
    match first_line.rsplit_once(" at line ") {
        Some((cause, _)) => cause.to_owned(),
        None => first_line.to_owned(),
    }
}
