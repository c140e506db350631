//! How much one client, one address and all of them can make the server hold.

use std::time::Duration;

/// Allocations of one participant: a browser makes one for each of its addresses and each URL, and
/// keeps those of an earlier try for a while.
pub(crate) const ALLOCATIONS_PER_USER: u32 = 12;
/// Allocations from one IPv4 address or IPv6 network of 64 bits. A company behind one address is the
/// typical user of TURN.
pub(crate) const ALLOCATIONS_PER_IP: u32 = 300;
/// Allocations of the server. Each has a socket and a port.
pub(crate) const ALLOCATIONS: u32 = 1_000;
/// Thousand bits a second of one allocation, each way.
pub(crate) const ALLOCATION_KBPS: u32 = 20_000;
/// Longest lifetime that is given, and the one that is given to who asks for less or nothing
/// (RFC 8656 section 7.2). Never longer than the credentials.
pub(crate) const LIFETIME_MAX: Duration = Duration::from_secs(3_600);
/// See [`LIFETIME_MAX`].
pub(crate) const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);
/// How long a permission holds (RFC 8656 section 9).
pub(crate) const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// How long a channel holds (RFC 8656 section 12).
pub(crate) const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Permissions of one allocation: IPs. A node has at most some dozens. One more is refused (508).
pub(crate) const PERMISSIONS_MAX: usize = 64;
/// Channels of one allocation. One more is refused (508).
pub(crate) const CHANNELS_MAX: usize = 64;
/// Requests a second on an allocation, and at once. More are dropped, and the client asks again.
pub(crate) const REQUESTS_RATE: u32 = 50;
/// See [`REQUESTS_RATE`].
pub(crate) const REQUESTS_BURST: u32 = 200;
/// Outputs that wait for the driver. It takes them after each input; one input makes two at most, a
/// sweep one for each allocation. What does not fit is dropped, as a datagram would be.
pub(crate) const OUTPUTS_MAX: usize = 4_096;

/// Those that are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// See [`ALLOCATIONS`].
    pub allocations: u32,
    /// See [`ALLOCATIONS_PER_USER`].
    pub allocations_per_user: u32,
    /// See [`ALLOCATIONS_PER_IP`].
    pub allocations_per_ip: u32,
    /// See [`ALLOCATION_KBPS`].
    pub allocation_kbps: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations: ALLOCATIONS,
            allocations_per_user: ALLOCATIONS_PER_USER,
            allocations_per_ip: ALLOCATIONS_PER_IP,
            allocation_kbps: ALLOCATION_KBPS,
        }
    }
}
