//! Why a gateway could not be made.

use std::io;
use thiserror::Error;

/// Why [`crate::Gateway::bind`] failed. The text names the cause and the fix.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// The configuration contradicts itself or names something that does not exist.
    #[error("{0}")]
    Config(String),
    /// A listen address cannot be taken.
    #[error("cannot listen on {address}: {source}; free the address or change `{field}`")]
    Bind {
        /// As configured.
        address: String,
        /// Where it is configured.
        field: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The configuration points at another gateway's directory, and that one does not share.
    #[error(
        "this gateway cannot use the directory at {address}: {reason}. Run one gateway only and \
         remove `gateway.directory`, or give all programs the same section `directory: {{redis: ...}}`"
    )]
    SecondGateway {
        /// As configured.
        address: String,
        /// In the directory's own words, or why it did not answer.
        reason: String,
    },
}
