//! Congestion control that does not hold media back.

use quinn::congestion::{Controller, ControllerFactory};
use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

/// Bytes on the way to one peer, not yet acknowledged, whatever is lost.
///
/// The nodes of a shard share a network whose capacity the operator provides, and the media that goes
/// over it is adapted by the estimators of the clients at its end: a second controller in between
/// would only add delay. The window is there to stop a node from talking to one that is gone.
///
/// 300 Mbit/s over 200 ms are 7.5 MB; the window is 540 Mbit/s at 250 ms, and more on every shorter
/// way. quinn's pacer lets a quarter more than the window through in a round trip, in bursts of up to
/// 256 packets.
pub(crate) const WINDOW: u64 = 16 * 1024 * 1024;

/// Neither grows nor shrinks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow;

impl Controller for FixedWindow {
    fn on_congestion_event(&mut self, _: Instant, _: Instant, _: bool, _: u64) {}

    fn on_mtu_update(&mut self, _: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(*self)
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

impl ControllerFactory for FixedWindow {
    fn build(self: Arc<Self>, _: Instant, _: u16) -> Box<dyn Controller> {
        Box::new(*self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_leaves_the_window_as_it_is() {
        let now = Instant::now();
        let mut controller = Arc::new(FixedWindow).build(now, 1_200);
        controller.on_congestion_event(now, now, true, 1_000_000);
        assert_eq!(controller.window(), WINDOW);
    }
}
