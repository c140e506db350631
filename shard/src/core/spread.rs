//! How a room grows beyond one worker. A policy without state.
//!
//! A room begins on one worker and stays there until that is full; whoever comes then is put on another
//! one. Nobody moves. Each member beyond the first costs one more copy of what is seen there, so members
//! are filled one after the other.

use proto::id::Member;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a room takes another worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SpreadConfig {
    /// A worker with so many participants of a room gets no more of them, as long as there are others.
    /// 0: rooms stay on one worker.
    pub participants: usize,
    /// The same for tracks that are forwarded, counted for each receiver.
    pub subscriptions: usize,
}

impl Default for SpreadConfig {
    fn default() -> Self {
        Self {
            participants: 100,
            subscriptions: 1_000,
        }
    }
}

/// What a room has on one member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) participants: usize,
    pub(super) subscriptions: usize,
}

impl Load {
    fn is_full(&self, config: &SpreadConfig) -> bool {
        self.participants >= config.participants || self.subscriptions >= config.subscriptions
    }
}

/// The member for one who comes: one in use that is not full, else a `fresh` one, else the one with the
/// fewest. `in_use` is in an order that does not change; `None` only if there is none at all.
pub(super) fn choose<'a>(
    config: &SpreadConfig,
    in_use: impl Iterator<Item = (&'a Member, Load)> + Clone,
    fresh: impl FnOnce() -> Option<Member>,
) -> Option<Member> {
    let stays = config.participants == 0;
    let mut open = in_use.clone();
    if let Some((member, _)) = open.find(|(_, load)| stays || !load.is_full(config)) {
        return Some(member.clone());
    }
    fresh().or_else(|| {
        let fewest = in_use.min_by_key(|(_, load)| (load.participants, load.subscriptions));
        fewest.map(|(member, _)| member.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::id::NodeId;

    const CONFIG: SpreadConfig = SpreadConfig {
        participants: 10,
        subscriptions: 50,
    };

    fn member(worker: u16) -> Member {
        Member::new(NodeId::new("n1"), worker)
    }

    fn chosen(config: SpreadConfig, in_use: &[(usize, usize)], fresh: Option<u16>) -> Option<u16> {
        let in_use = in_use
            .iter()
            .zip(0..)
            .map(|((participants, subs), worker)| {
                let load = Load {
                    participants: *participants,
                    subscriptions: *subs,
                };
                (member(worker), load)
            });
        let in_use: Vec<_> = in_use.collect();
        let borrowed = in_use.iter().map(|(member, load)| (member, *load));
        choose(&config, borrowed, || fresh.map(member)).map(|member| member.worker)
    }

    #[test]
    fn members_are_filled_one_after_the_other() {
        assert_eq!(chosen(CONFIG, &[], Some(7)), Some(7));
        assert_eq!(chosen(CONFIG, &[(9, 49)], Some(7)), Some(0));
        assert_eq!(chosen(CONFIG, &[(10, 0)], Some(7)), Some(7));
        assert_eq!(chosen(CONFIG, &[(1, 50)], Some(7)), Some(7));
        assert_eq!(chosen(CONFIG, &[(10, 0), (3, 3)], Some(7)), Some(1));
    }

    #[test]
    fn when_all_are_full_the_emptiest_takes_one_more() {
        assert_eq!(chosen(CONFIG, &[(12, 0), (11, 9), (13, 0)], None), Some(1));
        assert_eq!(chosen(CONFIG, &[], None), None);
    }

    #[test]
    fn a_room_stays_on_one_worker_if_it_shall() {
        let stays = SpreadConfig {
            participants: 0,
            ..CONFIG
        };
        assert_eq!(chosen(stays, &[(500, 9_000)], Some(7)), Some(0));
        assert_eq!(chosen(stays, &[], Some(7)), Some(7));
    }
}
