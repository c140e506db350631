//! Mistakes in a configuration file, each with its place and its fix.

use std::fmt;
use std::path::PathBuf;

/// One mistake.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file.
    pub(crate) path: PathBuf,
    /// Line and column, from 1, where known.
    pub(crate) place: Option<(u64, u64)>,
    /// Cause and fix.
    pub(crate) message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ", line {line}, column {column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for ConfigError {}

/// Names that are this close are offered as "did you mean".
const SIMILARITY_MIN: f64 = 0.75;

/// The text for a key that no type knows.
pub(super) fn unknown_key(field: &str, expected: &[&str]) -> String {
    let similarity = |candidate: &str| strsim::jaro_winkler(field, candidate);
    let best = expected
        .iter()
        .copied()
        .max_by(|a, b| similarity(a).total_cmp(&similarity(b)))
        .filter(|candidate| similarity(candidate) >= SIMILARITY_MIN);
    match best {
        Some(candidate) => format!("unknown key '{field}': did you mean '{candidate}'?"),
        None => format!(
            "unknown key '{field}': known here are {}",
            expected.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::unknown_key;

    #[test]
    fn a_near_miss_is_offered_and_a_far_one_lists_what_there_is() {
        let known = ["id", "url", "weight", "state"];
        assert_eq!(
            unknown_key("wieght", &known),
            "unknown key 'wieght': did you mean 'weight'?"
        );
        let far = unknown_key("colour", &known);
        assert_eq!(
            far,
            "unknown key 'colour': known here are id, url, weight, state"
        );
    }
}
