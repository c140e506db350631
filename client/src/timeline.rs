//! When the steps of a join were done.

use std::time::{Duration, Instant};

/// The moments of a join. A step that has not happened, or does not happen in this mode, is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// The client was asked to join.
    pub started: Instant,
    /// The TCP connection (and TLS session) is there.
    pub dialled: Option<Instant>,
    /// The WebSocket's handshake is done.
    pub http: Option<Instant>,
    /// The `JoinResponse` came.
    pub joined: Option<Instant>,
    /// The first answer was taken, or, with two connections, given.
    pub answered: Option<Instant>,
    /// ICE found a pair of addresses that works.
    pub ice_connected: Option<Instant>,
    /// DTLS is done: media can flow.
    pub dtls_connected: Option<Instant>,
    /// The first RTP packet of another participant came.
    pub first_packet: Option<Instant>,
    /// The first video packet with a marker came: the end of a frame. Whether it can be decoded is
    /// not looked at.
    pub first_frame: Option<Instant>,
}

impl Timeline {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            dialled: None,
            http: None,
            joined: None,
            answered: None,
            ice_connected: None,
            dtls_connected: None,
            first_packet: None,
            first_frame: None,
        }
    }

    /// How long after the start `moment` was.
    pub fn since_start(&self, moment: Option<Instant>) -> Option<Duration> {
        Some(moment?.saturating_duration_since(self.started))
    }

    /// Notes a moment, once.
    pub(crate) fn mark(moment: &mut Option<Instant>, now: Instant) {
        moment.get_or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_noted_once_and_told_from_the_start() {
        let start = Instant::now();
        let mut timeline = Timeline::new(start);
        assert_eq!(timeline.since_start(timeline.joined), None);
        let later = start + Duration::from_millis(7);
        Timeline::mark(&mut timeline.joined, later);
        Timeline::mark(&mut timeline.joined, later + Duration::from_secs(1));
        let took = timeline.since_start(timeline.joined);
        assert_eq!(took, Some(Duration::from_millis(7)));
    }
}
