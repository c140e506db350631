//! What the server counts.

/// Counters since the start, and what there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Allocations now.
    pub allocations: u64,
    /// Allocations made.
    pub allocated: u64,
    /// Requests without valid credentials that were answered with a challenge or refused. The first
    /// request of every client is one.
    pub unauthorized: u64,
    /// Requests not looked at, because their source or an allocation sent too many.
    pub limited: u64,
    /// Allocations refused because the participant, its address or the server has too many, or
    /// because no port was free.
    pub over_quota: u64,
    /// Permissions, channels and datagrams to or from peers that are not allowed.
    pub denied: u64,
    /// Datagrams dropped because an allocation was over its bandwidth.
    pub over_bandwidth: u64,
    /// Messages that are no STUN or TURN, or that nobody has an allocation for.
    pub stray: u64,
    /// Datagrams that the kernel or a slow stream did not take.
    pub dropped: u64,
    /// Bytes relayed to peers, without headers.
    pub bytes_to_peers: u64,
    /// Bytes relayed to clients, without headers.
    pub bytes_to_clients: u64,
    /// TCP and TLS connections now.
    pub connections: u64,
}
