//! Who gets which layer over a line that may be too thin for all. A policy without state.
//!
//! First everybody gets a picture, the most wanted first, then as good a one as before, then pictures get
//! better, one layer a round. What does not fit at all is paused: a picture less is better than broken
//! speech.

use proto::media::Quality;
use std::cmp::Reverse;

/// What a subscription may get of its track.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limit {
    /// Nothing, for now.
    Nothing,
    /// This layer, or a lower one.
    UpTo(Quality),
    /// Whatever it wants.
    #[default]
    All,
}

/// Each layer's bits per second, if it may be chosen; the lowest first.
pub(super) type Layers = [Option<u64>; 3];

/// A subscription to video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand<K> {
    pub(super) key: K,
    /// Those that are being sent and not better than wanted.
    pub(super) layers: Layers,
    /// What it gets now.
    pub(super) current: Option<Quality>,
    /// The larger, the more wanted.
    pub(super) rank: u64,
    /// It got less not long ago: better is not tried yet.
    pub(super) settling: bool,
    /// It got more just now: the key frame that it began with fills the line for a moment.
    pub(super) fresh: bool,
    /// What it shall get: set by [`allocate`].
    pub(super) given: Option<Quality>,
}

/// What is better than now must fit with so much to spare, in percent, so that it lasts.
const MARGIN: u64 = 120;
/// What is there may stay if so much of it fits, in percent: rates and estimates go up and down.
const STAYS: u64 = 90;
/// The same for a picture that has just got better.
const STAYS_FRESH: u64 = 50;

impl<K> Demand<K> {
    /// Bits per second that a layer counts for.
    fn cost(&self, quality: Quality) -> Option<u64> {
        let rate = self.layers.get(quality as usize).copied().flatten()?;
        let better = self.current.is_none_or(|current| quality > current);
        let percent = match (better, self.fresh) {
            (true, _) => MARGIN,
            (false, false) => STAYS,
            (false, true) => STAYS_FRESH,
        };
        Some(rate * percent / 100)
    }

    /// The next better layer, if it may have one.
    fn next(&self) -> Option<Quality> {
        let above = |quality: &Quality| self.given.is_none_or(|given| *quality > given);
        let held = |quality: &Quality| self.settling && self.current.is_none_or(|it| *quality > it);
        let mut all = [Quality::Low, Quality::Medium, Quality::High].into_iter();
        all.find(|quality| above(quality) && self.cost(*quality).is_some())
            .filter(|quality| !held(quality))
    }

    /// Bits per second of what it gets now.
    pub(super) fn now(&self) -> u64 {
        let rate = self.current.and_then(|it| self.layers.get(it as usize));
        rate.copied().flatten().unwrap_or(0)
    }

    /// The smallest layer.
    pub(super) fn least(&self) -> Option<Quality> {
        let mut all = [Quality::Low, Quality::Medium, Quality::High].into_iter();
        all.find(|quality| self.cost(*quality).is_some())
    }

    /// Bits per second of the best layer that it wants, 0 without one.
    pub(super) fn best(&self) -> u64 {
        self.layers
            .iter()
            .rev()
            .flatten()
            .next()
            .copied()
            .unwrap_or(0)
    }
}

/// Shares `budget` bits per second.
pub(super) fn allocate<K>(mut budget: u64, demands: &mut [Demand<K>]) {
    // Among equals those who have something are first, then those who asked first: the sort is stable.
    demands.sort_by_key(|demand| Reverse((demand.rank, demand.current.is_some())));
    for demand in demands.iter_mut() {
        demand.given = None;
    }
    raise(&mut budget, demands, |demand, _| demand.given.is_none());
    let kept = |demand: &Demand<K>, next| demand.current.is_some_and(|current| next <= current);
    while raise(&mut budget, demands, kept) {}
    while raise(&mut budget, demands, |_, _| true) {}
}

/// Gives everybody one layer more, of those that may have one and for whom it is left; false: nobody.
fn raise<K>(
    budget: &mut u64,
    demands: &mut [Demand<K>],
    may: impl Fn(&Demand<K>, Quality) -> bool,
) -> bool {
    let mut raised = false;
    for demand in demands {
        let Some(next) = demand.next().filter(|next| may(demand, *next)) else {
            continue;
        };
        let before = demand.given.and_then(|given| demand.cost(given));
        let cost = demand.cost(next).unwrap_or(0);
        let more = cost.saturating_sub(before.unwrap_or(0));
        if more <= *budget {
            *budget -= more;
            demand.given = Some(next);
            raised = true;
        }
    }
    raised
}

#[cfg(test)]
mod tests {
    use super::*;
    use Quality::{High, Low, Medium};
    use proptest::prelude::*;

    const CAMERA: Layers = [Some(100), Some(400), Some(1_500)];

    fn demand(key: usize, layers: Layers, current: Option<Quality>, rank: u64) -> Demand<usize> {
        Demand {
            key,
            layers,
            current,
            rank,
            settling: false,
            fresh: false,
            given: None,
        }
    }

    fn given(budget: u64, mut demands: Vec<Demand<usize>>) -> Vec<Option<Quality>> {
        allocate(budget, &mut demands);
        demands.sort_by_key(|demand| demand.key);
        demands.iter().map(|demand| demand.given).collect()
    }

    #[test]
    fn everybody_has_a_picture_before_anybody_has_a_better_one() {
        let three = |budget| {
            let all = (0..3).map(|key| demand(key, CAMERA, Some(Low), 9 - key as u64));
            given(budget, all.collect())
        };
        assert_eq!(three(270), [Some(Low); 3]);
        assert_eq!(three(269), [Some(Low), Some(Low), None]);
        assert_eq!(three(89), [None; 3]);
        assert_eq!(three(270 + 390), [Some(Medium), Some(Low), Some(Low)]);
        assert_eq!(three(9_000), [Some(High); 3]);
    }

    #[test]
    fn the_larger_picture_comes_first_and_is_the_last_to_go() {
        let both = |budget| {
            let small = demand(0, CAMERA, Some(Low), 1);
            let large = demand(1, CAMERA, Some(Low), 2);
            given(budget, vec![small, large])
        };
        assert_eq!(both(150), [None, Some(Low)]);
        assert_eq!(both(600), [Some(Low), Some(Medium)]);
    }

    #[test]
    fn what_is_there_stays_as_long_as_it_fits_about_and_better_needs_some_room() {
        let one = |budget, current| given(budget, vec![demand(0, CAMERA, current, 1)]);
        assert_eq!(one(360, Some(Medium)), [Some(Medium)]);
        assert_eq!(one(359, Some(Medium)), [Some(Low)]);
        assert_eq!(one(479, Some(Low)), [Some(Low)]);
        assert_eq!(one(480, Some(Low)), [Some(Medium)]);
        assert_eq!(one(119, None), [None]);
        assert_eq!(one(120, None), [Some(Low)]);
    }

    #[test]
    fn one_that_has_just_got_better_is_not_taken_back_for_a_moment_s_overload() {
        let mut fresh = demand(0, CAMERA, Some(Medium), 1);
        fresh.fresh = true;
        assert_eq!(given(200, vec![fresh]), [Some(Medium)]);
        assert_eq!(given(199, vec![fresh]), [Some(Low)]);
    }

    #[test]
    fn one_that_settles_gets_nothing_better_but_keeps_what_it_has() {
        let mut settling = demand(0, CAMERA, Some(Low), 1);
        settling.settling = true;
        assert_eq!(given(9_000, vec![settling]), [Some(Low)]);
        settling.current = None;
        assert_eq!(given(9_000, vec![settling]), [None]);
        settling.current = Some(High);
        assert_eq!(given(9_000, vec![settling]), [Some(High)]);
    }

    #[test]
    fn layers_that_are_not_sent_are_passed_over() {
        let layers = [None, Some(400), None];
        assert_eq!(given(480, vec![demand(0, layers, None, 1)]), [Some(Medium)]);
        assert_eq!(given(9, vec![demand(0, [None; 3], None, 1)]), [None]);
        assert_eq!(demand(0, layers, None, 1).best(), 400);
        assert_eq!(demand(0, [None; 3], None, 1).best(), 0);
    }

    fn quality() -> impl Strategy<Value = Option<Quality>> {
        proptest::sample::select(vec![None, Some(Low), Some(Medium), Some(High)])
    }

    fn any_demand() -> impl Strategy<Value = Demand<usize>> {
        let layer = || proptest::option::of(1_u64..2_000);
        let layers = (0_usize..100, layer(), layer(), layer());
        (layers, quality(), 0_u64..4, any::<bool>()).prop_map(
            |((key, low, medium, high), current, rank, settling)| {
                let layers = [low, medium, high];
                // What it gets is among what it may get.
                let current = current.filter(|quality| layers[*quality as usize].is_some());
                let mut demand = demand(key, layers, current, rank);
                demand.settling = settling;
                demand
            },
        )
    }

    proptest! {
        #[test]
        fn no_more_is_given_than_there_is(
            budget in 0_u64..10_000,
            mut demands in proptest::collection::vec(any_demand(), 0..8),
        ) {
            allocate(budget, &mut demands);
            let given = demands.iter().filter_map(|demand| {
                let given = demand.given?;
                Some(demand.layers[given as usize].unwrap() * STAYS / 100)
            });
            prop_assert!(given.sum::<u64>() <= budget);
        }

        #[test]
        fn it_comes_to_rest(
            budget in 0_u64..10_000,
            mut demands in proptest::collection::vec(any_demand(), 0..8),
        ) {
            let mut last = Vec::new();
            for round in 0..20 {
                allocate(budget, &mut demands);
                demands.sort_by_key(|demand| demand.key);
                let given: Vec<_> = demands.iter().map(|demand| demand.given).collect();
                if given == last {
                    return Ok(());
                }
                prop_assert!(round < 19, "{given:?} after {last:?}");
                last = given;
                for demand in &mut demands {
                    demand.current = demand.given;
                }
            }
        }
    }
}
