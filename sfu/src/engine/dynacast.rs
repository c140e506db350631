//! Which layers of a track anybody wants, so that its publisher need not send the others (dynacast).
//!
//! More is told at once, less only after a while: a window that is made small and large again costs no key
//! frame.

use super::layers;
use super::{Engine, TrackKey};
use proto::media::{Kind, NodeEvent, Quality};
use std::time::{Duration, Instant};

/// Less is told only if it was so for this long.
const LESS_AFTER: Duration = Duration::from_secs(5);

/// What was told of one track. `None` as a quality: nobody wants the track.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    told: Option<Option<Quality>>,
    less_since: Option<Instant>,
}

impl Told {
    /// What is to be told, now that this is the best layer that anybody wants.
    pub(super) fn handle_wanted(
        &mut self,
        wanted: Option<Quality>,
        now: Instant,
    ) -> Option<Option<Quality>> {
        // A publisher that was told nothing sends all.
        let told = self.told.unwrap_or(Some(Quality::High));
        if wanted >= told {
            self.less_since = None;
            return (self.told != Some(wanted)).then(|| *self.told.insert(wanted));
        }
        let since = *self.less_since.get_or_insert(now);
        if now.saturating_duration_since(since) < LESS_AFTER {
            return None;
        }
        self.less_since = None;
        Some(*self.told.insert(wanted))
    }
}

impl Engine {
    /// Tells the shard which layers of a track are wanted, if that changed.
    pub(super) fn say_wanted(&mut self, key: TrackKey, now: Instant) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        if track.kind == Kind::Audio || track.mid.is_none() {
            return;
        }
        let wanted = track.subscriptions.iter().filter_map(|key| {
            let subscription = self.subscriptions.get(*key)?;
            let open = subscription.permitted && subscription.settings.enabled;
            open.then(|| layers::wanted(&subscription.settings, &track.layers))
        });
        let wanted = wanted.max().max(track.exports.best());
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        if let Some(quality) = track.told.handle_wanted(wanted, now) {
            self.outbox.events.push_back(NodeEvent::LayersWanted {
                participant: track.owner_sid.clone(),
                track: track.sid.clone(),
                quality,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Quality::{High, Low, Medium};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn more_is_told_at_once_and_less_after_a_while() {
        let start = Instant::now();
        let mut told = Told::default();
        let mut at = |wanted, seconds| told.handle_wanted(wanted, start + seconds * SECOND);
        assert_eq!(at(Some(Low), 0), None);
        assert_eq!(at(Some(Low), 4), None);
        assert_eq!(at(Some(Low), 5), Some(Some(Low)));
        assert_eq!(at(Some(Medium), 5), Some(Some(Medium)));
        assert_eq!(at(Some(Medium), 20), None, "told once");
        assert_eq!(at(None, 21), None);
        assert_eq!(at(Some(Medium), 22), None, "somebody looks again");
        assert_eq!(at(None, 25), None);
        assert_eq!(at(None, 30), Some(None));
        assert_eq!(at(Some(High), 30), Some(Some(High)));
    }

    #[test]
    fn the_first_word_is_said_even_if_all_is_wanted() {
        let mut told = Told::default();
        let now = Instant::now();
        assert_eq!(told.handle_wanted(Some(High), now), Some(Some(High)));
        assert_eq!(told.handle_wanted(Some(High), now), None);
    }
}
