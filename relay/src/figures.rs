//! What the relay counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters since the start, and what there is now. Datagrams are the user's, whatever they were cut
/// into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Peers that are up now.
    pub connections: u64,
    /// Times that a peer came up.
    pub connected: u64,
    /// Datagrams handed to the network.
    pub datagrams_out: u64,
    /// Datagrams delivered.
    pub datagrams_in: u64,
    /// Datagrams that a newer one pushed out of a full queue, that waited when their peer went down, or
    /// that fitted no more when their turn came.
    pub datagrams_dropped: u64,
    /// Datagrams that went in two pieces.
    pub datagrams_split: u64,
    /// Pieces received whose other half did not come in time.
    pub halves_dropped: u64,
    /// Datagrams from peers that cannot be read.
    pub malformed: u64,
    /// Messages handed to the network.
    pub messages_out: u64,
    /// Messages delivered.
    pub messages_in: u64,
    /// Connections closed because too many messages waited.
    pub overflows: u64,
    /// Connections refused: wrong secret, unknown node, nonsense, or too many at once.
    pub refused: u64,
    /// Longest round trip to a peer now.
    pub rtt_max: Duration,
    /// Smallest path MTU to a peer now, bytes of UDP payload; 0 without peers.
    pub mtu_min: u16,
}

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// The counters of [`Figures`], for many tasks.
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter),* }

        impl Counters {
            /// All of them now; what is no counter is left out.
            pub(crate) fn read(&self) -> Figures {
                Figures { $($name: self.$name.get(),)* ..Figures::default() }
            }
        }
    };
}

counters!(
    connected,
    datagrams_out,
    datagrams_in,
    datagrams_dropped,
    datagrams_split,
    halves_dropped,
    malformed,
    messages_out,
    messages_in,
    overflows,
    refused,
);

/// Counts up.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
