//! Why a run cannot begin, and why one ended before its time.

use crate::media::make::MediaError;
use crate::plan::PlanError;
use std::fmt;

/// Why a run cannot begin: one line, with its cure.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// No such plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No media.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] client::UrlError),
    /// No token can be made.
    #[error(transparent)]
    Token(#[from] client::TokenError),
    /// The system allows too few open files.
    #[error(
        "this run needs {needed} open files, and the limit is {limit}: run `ulimit -n {needed}` \
         first, or use fewer participants"
    )]
    OpenFiles {
        /// What the plan needs.
        needed: u64,
        /// What there is.
        limit: u64,
    },
    /// A setting is out of range, or does not go with another one.
    #[error("{0}")]
    Setting(String),
}

/// Why a run ended before its time: one line, with its cure where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Nobody could ever join: the URL, the keys or the certificate are wrong, or nothing runs there.
    NeverJoined(String),
    /// All connections were lost, and none came back.
    ServerGone(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverJoined(cause) => write!(f, "nobody could join: {cause}"),
            Self::ServerGone(cause) => write!(f, "the server is gone: {cause}"),
        }
    }
}
