//! The rules of canonical names, as functions over text.
//!
//! Owns: percent-decoding once, NFC, case folding, and which characters are refused. Must not:
//! repair what is ambiguous.

use super::{ROOM_BYTES_MAX, ROOM_SEGMENT_BYTES_MAX, RoomCase, RoomKeyError};
use std::borrow::Cow;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Decoded input longer than this many times the limit is refused unread: NFC can shorten a name
/// (a Hangul syllable from nine bytes to three), never by more.
const SHRINK_MAX: usize = 4;

/// Folding and normalising alternate until nothing changes: two rounds are enough for every
/// assigned character, a name that needs more than this is refused.
const FOLD_ROUNDS_MAX: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// Token and body names.
    Claim,
    /// Path, query and header names.
    Strict,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Plus {
    Literal,
    Space,
}

/// Decodes exactly once. A `%` without two hex digits is an error, not a percent sign: other
/// programs on the path would disagree about it.
pub(super) fn percent_decode(raw: &[u8], plus: Plus) -> Result<Cow<'_, [u8]>, RoomKeyError> {
    // Three raw bytes make at least one decoded byte.
    let raw_max = 3 * SHRINK_MAX * ROOM_SEGMENT_BYTES_MAX;
    if raw.len() > raw_max {
        return Err(RoomKeyError::TooLong {
            bytes: raw.len(),
            max: ROOM_SEGMENT_BYTES_MAX,
        });
    }
    let special = |byte: &u8| *byte == b'%' || (*byte == b'+' && plus == Plus::Space);
    if !raw.iter().any(special) {
        return Ok(Cow::Borrowed(raw));
    }
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => {}
            _ => return Err(RoomKeyError::BadEscape),
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    if plus == Plus::Literal {
        return Ok(percent_encoding::percent_decode(raw).into());
    }
    let spaced: Vec<u8> = raw
        .iter()
        .map(|byte| if *byte == b'+' { b' ' } else { *byte })
        .collect();
    Ok(Cow::Owned(
        percent_encoding::percent_decode(&spaced).collect(),
    ))
}

/// The canonical form of decoded text, or why there is none.
pub(super) fn canonical(
    name: &str,
    case: RoomCase,
    rules: Rules,
) -> Result<Cow<'_, str>, RoomKeyError> {
    let max = match rules {
        Rules::Claim => ROOM_BYTES_MAX,
        Rules::Strict => ROOM_SEGMENT_BYTES_MAX,
    };
    if name.is_empty() {
        return Err(RoomKeyError::Empty);
    }
    if name.len() > SHRINK_MAX * max {
        return Err(RoomKeyError::TooLong {
            bytes: name.len(),
            max,
        });
    }
    let name = normalise(name, case)?;
    if name.len() > max {
        return Err(RoomKeyError::TooLong {
            bytes: name.len(),
            max,
        });
    }
    // The checks see the final form, so a canonical name passes them again.
    name.chars().try_for_each(check_hidden)?;
    if rules == Rules::Strict {
        check_strict(&name)?;
    }
    Ok(name)
}

fn normalise(name: &str, case: RoomCase) -> Result<Cow<'_, str>, RoomKeyError> {
    if name.is_ascii() {
        let folds = case == RoomCase::Fold && name.bytes().any(|byte| byte.is_ascii_uppercase());
        return Ok(if folds {
            name.to_ascii_lowercase().into()
        } else {
            name.into()
        });
    }
    let mut name: Cow<'_, str> = if is_nfc(name) {
        name.into()
    } else {
        name.nfc().collect()
    };
    if case == RoomCase::Sensitive {
        return Ok(name);
    }
    for _ in 0..FOLD_ROUNDS_MAX {
        let folded: String = name
            .chars()
            .flat_map(char::to_uppercase)
            .flat_map(char::to_lowercase)
            .nfc()
            .collect();
        if folded == name {
            return Ok(name);
        }
        name = folded.into();
    }
    Err(RoomKeyError::Forbidden {
        what: "a character without a stable lower case",
    })
}

/// What no name may contain: characters that nobody sees.
fn check_hidden(c: char) -> Result<(), RoomKeyError> {
    if (' '..='~').contains(&c) {
        return Ok(());
    }
    let what = match c.general_category() {
        GeneralCategory::Control => "a control character",
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => "a line break",
        GeneralCategory::Format => "an invisible character (bidi mark, zero-width or similar)",
        _ => return Ok(()),
    };
    Err(RoomKeyError::Forbidden { what })
}

fn check_strict(name: &str) -> Result<(), RoomKeyError> {
    if name == "." || name == ".." {
        return Err(RoomKeyError::Dots);
    }
    if name.starts_with(char::is_whitespace) || name.ends_with(char::is_whitespace) {
        return Err(RoomKeyError::EdgeSpace);
    }
    name.chars().try_for_each(check_strict_char)
}

fn check_strict_char(c: char) -> Result<(), RoomKeyError> {
    let what = match c {
        '%' => return Err(RoomKeyError::DoubleEncoded),
        '/' => "`/`",
        '\\' => "`\\`",
        '?' => "`?`",
        '#' => "`#`",
        ' '..='~' => return Ok(()),
        '\u{FE00}'..='\u{FE0F}' | '\u{E0100}'..='\u{E01EF}' | '\u{180B}'..='\u{180F}' => {
            "a variation selector"
        }
        // Visible by category, empty on the screen: joiner, Hangul and Khmer fillers, Braille blank.
        '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{2800}'
        | '\u{3164}' | '\u{FFA0}' => "an invisible character (filler)",
        _ => match c.general_category() {
            GeneralCategory::Unassigned => "an unassigned code point",
            GeneralCategory::PrivateUse => "a private-use character",
            GeneralCategory::SpaceSeparator => "a space other than U+0020",
            _ => return Ok(()),
        },
    };
    Err(RoomKeyError::Forbidden { what })
}
