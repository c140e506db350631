//! The spatial layers inside one source: which are being sent, and what each costs a receiver.
//!
//! Scalable codecs (VP9, AV1) carry all resolutions in one stream, where simulcast has a source for
//! each. LiveKit's clients name both alike: the lowest layer is the lowest quality.

use super::meter::Meter;
use payload::{Layers, Packet};
use proto::media::Quality;
use std::time::{Duration, Instant};

/// As many as there are qualities. Higher layers count as the highest.
const LAYERS: [Quality; 3] = [Quality::Low, Quality::Medium, Quality::High];

/// A layer with those below that it needs.
#[derive(Clone, Copy, Debug)]
struct Layer {
    /// When it was sent last.
    last: Instant,
    /// What its receivers get: in K-SVC that is not what lies below.
    meter: Meter,
}

/// The layers of one source. Empty if it has only one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spatial {
    layers: [Option<Layer>; LAYERS.len()],
}

/// A layer that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) quality: Quality,
    /// What its receivers get.
    pub(super) layers: Layers,
    /// Bits per second, once that is known.
    pub(super) rate: Option<u64>,
}

impl Spatial {
    /// A packet has come. True: it is the first to show a layer.
    pub(super) fn note(&mut self, packet: &Packet, bytes: usize, now: Instant) -> bool {
        let standing = packet.standing();
        if standing.layers < 2 && self.is_empty() {
            return false;
        }
        let mut grown = false;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            if layer.is_none() && index < usize::from(standing.layers) {
                *layer = Some(Layer {
                    last: now,
                    meter: Meter::new(now),
                });
                grown = true;
            }
            let Some(layer) = layer else {
                continue;
            };
            // All above the highest quality belong to it.
            let highest = index + 1 == LAYERS.len();
            let own = usize::from(standing.layer);
            if own == index || (highest && own > index) {
                layer.last = now;
            }
            let needed = standing.needed_by >> index;
            if (if highest { needed } else { needed & 1 }) != 0 {
                layer.meter.add(bytes);
            }
        }
        grown
    }

    /// Time passes; call it a few times a second.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        for layer in self.layers.iter_mut().flatten() {
            layer.meter.handle_timeout(now);
        }
    }

    /// The layers with a packet in the last `silent`, all of them if none has one.
    pub(super) fn rungs(&self, silent: Duration, now: Instant) -> impl Iterator<Item = Rung> {
        let young = move |layer: &Layer| now.saturating_duration_since(layer.last) < silent;
        let any = self.layers.iter().flatten().any(young);
        let all = self.layers.into_iter().zip(LAYERS).enumerate();
        all.filter_map(move |(index, (layer, quality))| {
            let layer = layer.filter(|layer| !any || young(layer))?;
            let spatial = match quality {
                Quality::High => Layers::ALL.spatial,
                Quality::Low | Quality::Medium => u8::try_from(index).ok()?,
            };
            Some(Rung {
                quality,
                layers: Layers {
                    spatial,
                    ..Layers::ALL
                },
                rate: layer.meter.rate(),
            })
        })
    }

    /// The source has one layer, as far as known.
    pub(super) fn is_empty(&self) -> bool {
        self.layers.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use payload::{Codec, Reader};

    const WINDOW: Duration = Duration::from_millis(500);
    const SILENT: Duration = Duration::from_millis(1200);

    /// A VP9 packet: I, L, B, E, a long picture id, then SID and TL0PICIDX.
    fn packet(first: u8, spatial: u8) -> Packet {
        let payload = [0xac | first, 0x80, 0x01, spatial << 1, 0x00, 0x00];
        Reader::new(Codec::Vp9).read(&payload, None)
    }

    /// With Z: upper layers do not need it.
    const ALONE: u8 = 0x01;

    fn rates(spatial: &Spatial, now: Instant) -> Vec<(Quality, Option<u64>)> {
        let rungs = spatial.rungs(SILENT, now);
        rungs.map(|rung| (rung.quality, rung.rate)).collect()
    }

    #[test]
    fn a_source_with_one_layer_has_none_of_its_own() {
        let now = Instant::now();
        let mut spatial = Spatial::default();
        assert!(!spatial.note(&packet(0, 0), 100, now));
        assert!(!spatial.note(&Packet::Opaque, 100, now));
        assert!(spatial.is_empty());
        assert_eq!(rates(&spatial, now), []);
    }

    #[test]
    fn a_layer_costs_what_its_receivers_get() {
        let start = Instant::now();
        let mut spatial = Spatial::default();
        assert!(spatial.note(&packet(0, 2), 0, start));
        for (first, layer, bytes) in [
            // A key picture, whose layers build on each other.
            (0, 0, 1_000),
            (0, 1, 2_000),
            (0, 2, 3_000),
            // Then each stands alone.
            (ALONE, 0, 1_000),
            (ALONE, 1, 2_000),
            (ALONE, 2, 3_000),
        ] {
            assert!(!spatial.note(&packet(first, layer), bytes, start));
        }
        spatial.handle_timeout(start + WINDOW);
        let expected = [
            (Quality::Low, Some(32_000)),
            (Quality::Medium, Some(80_000)),
            (Quality::High, Some(144_000)),
        ];
        assert_eq!(rates(&spatial, start), expected);
    }

    #[test]
    fn a_layer_that_is_not_sent_is_not_chosen_and_a_pause_changes_nothing() {
        let start = Instant::now();
        let mut spatial = Spatial::default();
        spatial.note(&packet(0, 2), 0, start);
        let later = start + SILENT;
        spatial.note(&packet(0, 0), 0, later);
        spatial.note(&packet(0, 1), 0, later);
        let qualities = |now| -> Vec<Quality> {
            let rungs = spatial.rungs(SILENT, now);
            rungs.map(|rung| rung.quality).collect()
        };
        assert_eq!(qualities(later), [Quality::Low, Quality::Medium]);
        assert_eq!(qualities(later + SILENT).len(), 3);
    }

    #[test]
    fn the_highest_quality_is_all_there_is() {
        let start = Instant::now();
        let mut spatial = Spatial::default();
        spatial.note(&packet(0, 3), 1_000, start);
        let later = start + SILENT;
        spatial.note(&packet(0, 3), 1_000, later);
        let rungs: Vec<Rung> = spatial.rungs(SILENT, later).collect();
        assert_eq!(rungs.len(), 1);
        assert_eq!(
            (rungs[0].quality, rungs[0].layers),
            (Quality::High, Layers::ALL)
        );
    }
}
