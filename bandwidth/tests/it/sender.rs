//! A server's way of sending: the best layer that fits, each frame at once, audio always.

use crate::random::Random;
use bandwidth::{Bitrate, Estimator, Why};
use std::time::Instant;

/// Kilobits per second.
pub(crate) const LAYERS: [f64; 3] = [150.0, 500.0, 1700.0];
pub(crate) const AUDIO: f64 = 40.0;
/// Of the estimate, for what is sent.
const SHARE: f64 = 0.9;
/// Microseconds.
const FRAME: f64 = 40_000.0;
const AUDIO_FRAME: f64 = 20_000.0;
/// A layer is entered at a key frame, so many times as large as the others.
const KEY_FRAME: f64 = 5.0;
const PACKET: f64 = 1200.0;
const OVERHEAD: usize = 28;

pub(crate) struct Sender {
    pub(crate) layer: Option<usize>,
    pub(crate) media: bool,
    next_frame: f64,
    next_audio: f64,
    random: Random,
}

impl Sender {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            layer: None,
            media: true,
            next_frame: 0.0,
            next_audio: 7_000.0,
            random: Random::new(seed),
        }
    }

    /// What it would send, with what it keeps free and a little for the noise of measuring.
    pub(crate) fn wanted() -> Bitrate {
        Bitrate::from_kbps(((LAYERS[2] + AUDIO) / SHARE * 1.15) as u64)
    }

    fn choose(estimate: Option<Bitrate>) -> Option<usize> {
        let Some(estimate) = estimate else {
            return Some(0);
        };
        let room = estimate.as_u64() as f64 / 1000.0 * SHARE - AUDIO;
        LAYERS.iter().rposition(|layer| *layer <= room)
    }

    /// Sends what is due. `send` takes sequence number and bytes.
    pub(crate) fn poll(
        &mut self,
        estimator: &mut Estimator,
        now: f64,
        instant: Instant,
        mut send: impl FnMut(u16, usize, Why),
    ) {
        let mut leave = |estimator: &mut Estimator, bytes: usize, why| {
            send(estimator.handle_sent(bytes, why, instant), bytes, why);
        };
        if now >= self.next_audio {
            self.next_audio += AUDIO_FRAME;
            leave(
                estimator,
                (AUDIO * AUDIO_FRAME / 8000.0) as usize,
                Why::Media,
            );
        }
        if now >= self.next_frame {
            self.next_frame += FRAME;
            let layer = Self::choose(estimator.estimate());
            let is_key = layer > self.layer;
            self.layer = layer;
            if let Some(layer) = layer.filter(|_| self.media) {
                let mut bytes = LAYERS[layer] * FRAME / 8000.0 * self.random.between(0.8, 1.2);
                bytes *= if is_key { KEY_FRAME } else { 1.0 };
                let packets = (bytes / PACKET).ceil();
                for _ in 0..packets as usize {
                    leave(estimator, (bytes / packets) as usize, Why::Media);
                }
            }
        }
        while let Some(bytes) = estimator.poll_probe(instant) {
            leave(estimator, bytes + OVERHEAD, Why::Probe);
        }
    }
}
