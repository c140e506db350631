//! Which ICE session a request is about: entity tags and `If-Match` (RFC 9725 section 4.3, RFC 9110
//! section 13.1.1).

use super::{Credentials, Fragment};
use thiserror::Error;

/// The strong entity tag of an ICE session: the server's fragment name, which is random for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

/// What is done with a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It belongs to the ICE session that there is.
    Trickle,
    /// It begins a new one.
    Restart(Credentials),
}

/// Why a fragment is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unmet {
    #[error("If-Match is missing: send the session's ETag, or * to restart ICE")]
    Missing,
    #[error("If-Match names another ICE session than the present one: use the newest ETag")]
    Stale,
    #[error("an ICE restart needs both a=ice-ufrag and a=ice-pwd")]
    Incomplete,
}

impl Tag {
    pub(super) fn new(ufrag: &str) -> Self {
        Self(format!("\"{ufrag}\""))
    }

    /// As in the header.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn is_matched_by(&self, if_match: &str) -> bool {
        // Tags of ours contain no comma. A weak one never matches.
        if_match
            .split(',')
            .any(|tag| matches!(tag.trim(), "*") || tag.trim() == self.0)
    }
}

/// Judges a fragment for the ICE session `tag`, in which the client has the credentials `known`.
pub(super) fn judge(
    if_match: Option<&str>,
    tag: &Tag,
    known: &Credentials,
    fragment: &Fragment,
) -> Result<Verdict, Unmet> {
    let if_match = if_match.ok_or(Unmet::Missing)?;
    if !tag.is_matched_by(if_match) {
        return Err(Unmet::Stale);
    }
    let same_ufrag = fragment.ufrag.as_ref().is_none_or(|u| *u == known.ufrag);
    let same_password = fragment
        .password
        .as_ref()
        .is_none_or(|p| *p == known.password);
    if same_ufrag && same_password {
        return Ok(Verdict::Trickle);
    }
    match (&fragment.ufrag, &fragment.password) {
        (Some(ufrag), Some(password)) => Ok(Verdict::Restart(Credentials {
            ufrag: ufrag.clone(),
            password: password.clone(),
        })),
        _ => Err(Unmet::Incomplete),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(ufrag: &str) -> Credentials {
        Credentials {
            ufrag: ufrag.into(),
            password: format!("password of {ufrag}"),
        }
    }

    fn fragment(ufrag: &str) -> Fragment {
        Fragment {
            ufrag: Some(ufrag.into()),
            password: Some(format!("password of {ufrag}")),
            candidates: 0,
        }
    }

    #[test]
    fn a_fragment_is_judged_by_its_tag_and_its_credentials() {
        let (tag, known) = (Tag::new("srv1"), credentials("old1"));
        let judge = |if_match, fragment: &Fragment| judge(if_match, &tag, &known, fragment);
        let bare = Fragment::default();
        let (same, new) = (fragment("old1"), fragment("new1"));
        let restart = Verdict::Restart(credentials("new1"));
        for (if_match, fragment, expected) in [
            (None, &same, Err(Unmet::Missing)),
            (Some("\"srv0\""), &same, Err(Unmet::Stale)),
            (Some("W/\"srv1\""), &same, Err(Unmet::Stale)),
            (Some("\"srv0\""), &new, Err(Unmet::Stale)),
            (Some("\"srv1\""), &same, Ok(Verdict::Trickle)),
            (Some("\"srv1\""), &bare, Ok(Verdict::Trickle)),
            (Some("\"a\", \"srv1\""), &same, Ok(Verdict::Trickle)),
            (Some("*"), &same, Ok(Verdict::Trickle)),
            (Some("*"), &new, Ok(restart.clone())),
            (Some("\"srv1\""), &new, Ok(restart)),
        ] {
            assert_eq!(judge(if_match, fragment), expected, "{if_match:?}");
        }
        let half = Fragment {
            password: None,
            ..new
        };
        assert_eq!(judge(Some("*"), &half), Err(Unmet::Incomplete));
    }
}
