//! VP9 of encoders that leave layers out, and of such as mix what the modes keep apart.

use payload::vp9::{Descriptor, Selector};
use payload::{Layers, Verdict};

/// A frame in one packet.
#[derive(Clone, Copy)]
struct Odd {
    picture: u8,
    spatial: u8,
    /// P_DIFF; 0: not predicted from other pictures.
    back: u8,
    inter_layer: bool,
    serves_upper: bool,
    flexible: bool,
    /// SS with so many layers; 0: none.
    structure: u8,
    marker: bool,
}

const FRAME: Odd = Odd {
    picture: 0,
    spatial: 0,
    back: 0,
    inter_layer: false,
    serves_upper: true,
    flexible: false,
    structure: 0,
    marker: false,
};

fn take(selector: &mut Selector, odd: Odd) -> Option<bool> {
    let mut first = 0xac;
    first |= u8::from(odd.back > 0) << 6 | u8::from(odd.flexible) << 4;
    first |= u8::from(odd.structure > 0) << 1 | u8::from(!odd.serves_upper);
    let layer = odd.spatial << 1 | u8::from(odd.inter_layer);
    let mut bytes = vec![first, odd.picture, layer];
    if !odd.flexible {
        bytes.push(odd.picture);
    } else if odd.back > 0 {
        bytes.push(odd.back << 1);
    }
    if odd.structure > 0 {
        bytes.push((odd.structure - 1) << 5);
    }
    let descriptor = Descriptor::parse(&bytes).unwrap();
    let verdict: Verdict = selector.take(&descriptor, odd.marker);
    verdict.passage().map(|passage| passage.marker)
}

fn targeting(spatial: u8) -> Selector {
    let mut selector = Selector::default();
    aim(&mut selector, spatial);
    selector
}

fn aim(selector: &mut Selector, spatial: u8) {
    selector.set_target(Layers {
        spatial,
        temporal: 7,
    });
}

/// The frames of a key picture of three layers.
fn key(selector: &mut Selector) -> Vec<Option<bool>> {
    let layer = |spatial: u8| Odd {
        spatial,
        inter_layer: spatial > 0,
        serves_upper: spatial < 2,
        structure: if spatial == 0 { 3 } else { 0 },
        marker: spatial == 2,
        ..FRAME
    };
    (0..3).map(|it| take(selector, layer(it))).collect()
}

#[test]
fn before_a_key_picture_nothing_is_sent() {
    let mut selector = targeting(7);
    let delta = Odd { back: 1, ..FRAME };
    assert_eq!(take(&mut selector, delta), None);
    assert_eq!(selector.spatial(), None);
    assert!(selector.needs_keyframe());
    let next = Odd {
        picture: 1,
        marker: true,
        ..FRAME
    };
    assert_eq!(take(&mut selector, next), Some(true));
    assert!(!selector.needs_keyframe());
}

#[test]
fn a_layer_is_not_entered_over_one_that_was_left_out() {
    let mut selector = targeting(0);
    assert_eq!(key(&mut selector), [Some(true), None, None]);
    aim(&mut selector, 2);
    let next = Odd {
        picture: 1,
        back: 1,
        ..FRAME
    };
    assert_eq!(take(&mut selector, next), Some(true));
    let middle = Odd {
        spatial: 1,
        inter_layer: true,
        ..next
    };
    assert_eq!(take(&mut selector, middle), None);
    let upper = Odd {
        spatial: 2,
        back: 0,
        ..middle
    };
    assert_eq!(take(&mut selector, upper), None);
    let entered = Odd { back: 0, ..middle };
    let again = Odd { picture: 2, ..next };
    assert_eq!(take(&mut selector, again), Some(true));
    let entered = Odd {
        picture: 2,
        ..entered
    };
    assert_eq!(take(&mut selector, entered), Some(true));
    assert_eq!(selector.spatial(), Some(1));
}

#[test]
fn what_was_lost_of_a_layer_that_was_not_sent_counts_as_left_out() {
    let mut selector = targeting(0);
    key(&mut selector);
    // The upper layer of picture 1 is lost on its way in.
    let base = Odd {
        picture: 1,
        back: 1,
        flexible: true,
        ..FRAME
    };
    take(&mut selector, base);
    aim(&mut selector, 1);
    take(&mut selector, Odd { picture: 2, ..base });
    let upper = Odd {
        picture: 2,
        spatial: 1,
        back: 0,
        inter_layer: true,
        ..base
    };
    assert_eq!(take(&mut selector, upper), Some(true));
    take(&mut selector, Odd { picture: 3, ..base });
    let over_the_loss = Odd {
        picture: 3,
        back: 2,
        ..upper
    };
    assert_eq!(take(&mut selector, over_the_loss), None);
}

#[test]
fn a_highest_layer_out_of_reach_is_given_up_for_those_below() {
    let mut selector = targeting(2);
    assert_eq!(key(&mut selector), [Some(false), Some(false), Some(true)]);
    let base = Odd {
        picture: 1,
        back: 1,
        flexible: true,
        ..FRAME
    };
    take(&mut selector, base);
    let beyond_memory = Odd {
        spatial: 2,
        back: 100,
        ..base
    };
    assert_eq!(take(&mut selector, beyond_memory), None);
    let next = Odd { picture: 2, ..base };
    assert_eq!(take(&mut selector, next), Some(true));
    assert!(selector.needs_keyframe());
}

#[test]
fn an_encoder_that_gives_up_a_layer_is_followed() {
    let mut selector = targeting(7);
    key(&mut selector);
    let base = Odd {
        picture: 1,
        back: 1,
        structure: 2,
        ..FRAME
    };
    assert_eq!(take(&mut selector, base), Some(false));
    let upper = Odd {
        spatial: 1,
        inter_layer: true,
        structure: 0,
        marker: true,
        ..base
    };
    assert_eq!(take(&mut selector, upper), Some(true));
    assert_eq!(selector.spatial(), Some(1));
    assert!(!selector.needs_keyframe());
}

#[test]
fn where_the_only_usable_layer_goes_away_a_key_picture_is_asked_for() {
    let mut selector = targeting(2);
    key(&mut selector);
    for picture in 1..=4 {
        assert!(!selector.needs_keyframe(), "before picture {picture}");
        let alone = Odd {
            picture,
            back: 1,
            serves_upper: false,
            marker: true,
            ..FRAME
        };
        assert_eq!(take(&mut selector, alone), None);
    }
    assert!(selector.needs_keyframe());
    key(&mut selector);
}
