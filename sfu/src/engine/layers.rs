//! Which simulcast layer a subscriber shall get. A policy without state.

use proto::media::{LayerSize, Quality, TrackSettings};

/// A layer by its RID. LiveKit names them `q`, `h`, `f`; encoders that come by WHIP number them, the
/// best first, or name them in full. A stream without RID is the only one.
pub(super) fn quality_of_rid(rid: Option<&str>) -> Quality {
    match rid {
        Some("q" | "2" | "low") => Quality::Low,
        Some("h" | "1" | "mid" | "medium") => Quality::Medium,
        _ => Quality::High,
    }
}

/// The layer that these settings ask for, whether or not it is being sent.
pub(super) fn wanted(settings: &TrackSettings, announced: &[LayerSize]) -> Quality {
    settings.max_quality.min(covering(settings, announced))
}

/// The smallest announced layer that is at least as large as asked.
fn covering(settings: &TrackSettings, announced: &[LayerSize]) -> Quality {
    if settings.width == 0 && settings.height == 0 {
        return Quality::High;
    }
    announced
        .iter()
        .filter(|layer| layer.width >= settings.width && layer.height >= settings.height)
        .min_by_key(|layer| {
            (
                u64::from(layer.width) * u64::from(layer.height),
                layer.quality,
            )
        })
        .map_or(Quality::High, |layer| layer.quality)
}

/// The best of the layers being sent: the highest up to `wanted`, else the lowest above it.
pub(super) fn choose(
    wanted: Quality,
    live: impl Iterator<Item = Quality> + Clone,
) -> Option<Quality> {
    live.clone()
        .filter(|quality| *quality <= wanted)
        .max()
        .or_else(|| live.min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(quality: Quality, width: u32, height: u32) -> LayerSize {
        LayerSize {
            quality,
            width,
            height,
        }
    }

    fn simulcast() -> Vec<LayerSize> {
        vec![
            layer(Quality::Low, 320, 180),
            layer(Quality::Medium, 640, 360),
            layer(Quality::High, 1280, 720),
        ]
    }

    fn size(width: u32, height: u32) -> TrackSettings {
        TrackSettings {
            width,
            height,
            ..TrackSettings::default()
        }
    }

    #[test]
    fn the_smallest_layer_that_covers_the_wish_is_wanted() {
        assert_eq!(wanted(&size(0, 0), &simulcast()), Quality::High);
        assert_eq!(wanted(&size(300, 170), &simulcast()), Quality::Low);
        assert_eq!(wanted(&size(321, 180), &simulcast()), Quality::Medium);
        assert_eq!(wanted(&size(4000, 3000), &simulcast()), Quality::High);
        assert_eq!(wanted(&size(300, 170), &[]), Quality::High);
    }

    #[test]
    fn the_quality_limit_wins_over_the_size() {
        let settings = TrackSettings {
            max_quality: Quality::Low,
            ..size(1280, 720)
        };
        assert_eq!(wanted(&settings, &simulcast()), Quality::Low);
    }

    #[test]
    fn what_is_not_sent_is_replaced_by_the_nearest_lower_then_higher_layer() {
        use Quality::{High, Low, Medium};
        assert_eq!(choose(High, [Low, Medium].into_iter()), Some(Medium));
        assert_eq!(choose(Low, [Medium, High].into_iter()), Some(Medium));
        assert_eq!(choose(Low, std::iter::empty()), None);
    }
}
