//! What a participant is told to do, and what of it must be done again when it comes back.

use crate::plan::{Action, Kind};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Orders that wait for one participant. A plan has few at a time; beyond, the newest is dropped: its
/// participant hangs, and will be told of as that.
const ORDERS_MAX: usize = 64;

/// An order while a participant is there. That its channel is closed is the order to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Sends or does not send.
    Mute(Kind, bool),
    /// Looks at this one.
    Focus(Arc<str>),
    /// Its connections are cut; it comes back.
    Cut,
    /// Falls silent for ever.
    Vanish,
}

impl Order {
    /// `None` for what is no order to somebody who is there.
    pub(super) fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Mute(kind) => Some(Self::Mute(*kind, true)),
            Action::Unmute(kind) => Some(Self::Mute(*kind, false)),
            Action::Focus(on) => Some(Self::Focus(Arc::clone(on))),
            Action::CutConnection => Some(Self::Cut),
            Action::Vanish => Some(Self::Vanish),
            Action::Join { .. } | Action::Leave => None,
        }
    }
}

pub(super) fn channel() -> (mpsc::Sender<Order>, mpsc::Receiver<Order>) {
    mpsc::channel(ORDERS_MAX)
}

/// What a participant wants, over all of its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) audio_muted: bool,
    pub(super) video_muted: bool,
    /// Whom it looks at.
    pub(super) focus: Option<Arc<str>>,
}

impl Wishes {
    pub(super) fn is_muted(&self, kind: Kind) -> bool {
        match kind {
            Kind::Audio => self.audio_muted,
            Kind::Video => self.video_muted,
        }
    }

    /// Notes an order. False: it is none that lasts.
    pub(super) fn note(&mut self, order: &Order) -> bool {
        match order {
            Order::Mute(Kind::Audio, muted) => self.audio_muted = *muted,
            Order::Mute(Kind::Video, muted) => self.video_muted = *muted,
            Order::Focus(on) => self.focus = Some(Arc::clone(on)),
            Order::Cut | Order::Vanish => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_remembered_for_the_next_connection() {
        let mut wishes = Wishes::default();
        for action in [
            Action::Mute(Kind::Audio),
            Action::Mute(Kind::Video),
            Action::Unmute(Kind::Video),
            Action::Focus("ann".into()),
        ] {
            assert!(wishes.note(&Order::of(&action).unwrap()));
        }
        assert!(wishes.is_muted(Kind::Audio) && !wishes.is_muted(Kind::Video));
        assert_eq!(wishes.focus.as_deref(), Some("ann"));
        let before = wishes.clone();
        assert!(!wishes.note(&Order::of(&Action::CutConnection).unwrap()));
        assert!(!wishes.note(&Order::of(&Action::Vanish).unwrap()));
        assert_eq!(wishes, before);
        assert_eq!(Order::of(&Action::Leave), None);
    }
}
