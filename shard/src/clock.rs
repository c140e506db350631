//! The wall clock, read in one place: tokens and signed statements are dated by it. Everything that
//! measures time uses `Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_s() -> u64 {
    since_epoch().as_secs()
}

/// Milliseconds since the Unix epoch, as the signalling messages carry them.
pub(crate) fn unix_ms_signed() -> i64 {
    i64::try_from(unix_ms()).unwrap_or(i64::MAX)
}
