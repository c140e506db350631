//! Decides what the media sections of a client's offer are used for. A policy without transports.

use super::sdp::{Direction, OfferedSection, SectionKind};
use super::sdp_patch::Patch;
use super::transport::{Role, Section};
use super::{SubscriptionKey, TrackKey};
use proto::media::Kind;
use std::collections::BTreeMap;
use str0m::media::Mid;

/// What an offer leads to.
pub(super) struct Plan {
    /// The sections after the answer.
    pub(super) sections: Vec<Section>,
    /// Sections whose old stream must go first: they get another track.
    pub(super) renewed: Vec<Mid>,
}

/// What the plan must know about the participant.
#[derive(Default)]
pub(super) struct Situation<'a> {
    /// The sections before the offer.
    pub(super) before: &'a [Section],
    /// Its announced tracks.
    pub(super) tracks: Vec<(String, TrackKey)>,
    /// Its subscriptions, in their order.
    pub(super) subscriptions: Vec<(SubscriptionKey, Kind)>,
}

/// Carries over what the sections did before, and gives waiting subscriptions the free ones.
pub(super) fn plan(offered: &[OfferedSection], situation: &Situation<'_>) -> Plan {
    let mut sections: Vec<Section> = Vec::with_capacity(offered.len());
    for section in offered {
        let before = situation
            .before
            .iter()
            .find(|before| before.mid == section.mid);
        sections.push(Section {
            mid: section.mid.clone(),
            kind: section.kind,
            direction: section.direction,
            cid: section.cid.clone(),
            payload_types: section.payload_types.clone(),
            role: role(section, before, situation),
            stale: false,
            used: before.is_some_and(|before| before.used),
        });
    }
    forget_repeated(&mut sections);
    let mut renewed = Vec::new();
    for (subscription, kind) in &situation.subscriptions {
        let bound = |section: &Section| section.role == Role::Sends(*subscription);
        if sections.iter().any(bound) {
            continue;
        }
        let free = sections
            .iter_mut()
            .find(|section| is_free(section) && section.kind == SectionKind::Media(*kind));
        if let Some(section) = free {
            if section.used {
                renewed.push(section.mid());
            }
            section.role = Role::Sends(*subscription);
            section.used = true;
        }
    }
    Plan { sections, renewed }
}

fn role(section: &OfferedSection, before: Option<&Section>, situation: &Situation<'_>) -> Role {
    if section.direction.sends() {
        return track_of(section.cid.as_deref(), &situation.tracks);
    }
    match before.map(|before| before.role) {
        Some(Role::Sends(key)) if section.direction.receives() => {
            let alive = situation
                .subscriptions
                .iter()
                .any(|(known, kind)| *known == key && section.kind == SectionKind::Media(*kind));
            if alive { Role::Sends(key) } else { Role::Idle }
        }
        _ => Role::Idle,
    }
}

fn track_of(cid: Option<&str>, tracks: &[(String, TrackKey)]) -> Role {
    let Some(cid) = cid else {
        return Role::Idle;
    };
    tracks
        .iter()
        .find(|(known, _)| known == cid)
        .map_or(Role::Idle, |(_, key)| Role::Carries(*key))
}

/// A hostile offer may name one track in two sections: the first counts.
fn forget_repeated(sections: &mut [Section]) {
    let mut seen: Vec<Role> = Vec::new();
    for section in sections {
        if section.role == Role::Idle {
            continue;
        }
        if seen.contains(&section.role) {
            section.role = Role::Idle;
        } else {
            seen.push(section.role);
        }
    }
}

/// True if a track may be forwarded in this section.
pub(super) fn is_free(section: &Section) -> bool {
    section.role == Role::Idle && section.direction == Direction::RecvOnly
}

/// How many sections of each kind are missing, given how many subscriptions wait.
pub(super) fn shortage(sections: &[Section], waiting: &[Kind]) -> (u32, u32) {
    let missing = |kind: Kind| {
        let wanted = waiting.iter().filter(|waits| **waits == kind).count();
        let free = sections
            .iter()
            .filter(|section| is_free(section) && section.kind == SectionKind::Media(kind))
            .count();
        u32::try_from(wanted.saturating_sub(free)).unwrap_or(u32::MAX)
    };
    (missing(Kind::Audio), missing(Kind::Video))
}

/// What the answer shall say. `names` gives stream and track id of a forwarded track.
pub(super) fn patches(
    sections: &[Section],
    names: impl Fn(SubscriptionKey) -> Option<(String, String)>,
) -> BTreeMap<String, Patch> {
    sections
        .iter()
        .filter(|section| section.kind != SectionKind::Other)
        .map(|section| {
            let patch = match section.role {
                Role::Sends(key) => names(key).map_or(Patch::Idle, |(stream, track)| {
                    Patch::Sends { stream, track }
                }),
                _ if section.direction.sends() => Patch::Receives {
                    payload_types: section.payload_types.clone(),
                },
                _ => Patch::Idle,
            };
            (section.mid.clone(), patch)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::arena::Arena;
    use super::super::arena::cast_for_tests;
    use super::*;

    fn keys<T>(count: usize) -> Vec<super::super::arena::Key<T>> {
        let mut arena = Arena::new();
        (0..count)
            .map(|_| cast_for_tests(arena.insert(())))
            .collect()
    }

    fn offered(mid: &str, kind: Kind, direction: Direction, cid: Option<&str>) -> OfferedSection {
        OfferedSection {
            mid: mid.into(),
            kind: SectionKind::Media(kind),
            direction,
            cid: cid.map(str::to_owned),
            payload_types: vec![],
        }
    }

    fn roles(plan: &Plan) -> Vec<Role> {
        plan.sections.iter().map(|section| section.role).collect()
    }

    #[test]
    fn tracks_match_by_cid_and_subscriptions_take_free_sections_of_their_kind() {
        let track = keys::<super::super::room::Track>(1)[0];
        let subs = keys(3);
        let offer = [
            offered("0", Kind::Audio, Direction::SendOnly, Some("mic")),
            offered("1", Kind::Audio, Direction::RecvOnly, None),
            offered("2", Kind::Video, Direction::RecvOnly, None),
            offered("3", Kind::Video, Direction::SendOnly, Some("unknown")),
        ];
        let situation = Situation {
            before: &[],
            tracks: vec![("mic".into(), track)],
            subscriptions: vec![
                (subs[0], Kind::Video),
                (subs[1], Kind::Video),
                (subs[2], Kind::Audio),
            ],
        };
        let plan = plan(&offer, &situation);
        assert_eq!(
            roles(&plan),
            [
                Role::Carries(track),
                Role::Sends(subs[2]),
                Role::Sends(subs[0]),
                Role::Idle
            ]
        );
        assert!(plan.renewed.is_empty());
        assert_eq!(shortage(&plan.sections, &[Kind::Video]), (0, 1));
    }

    #[test]
    fn a_section_that_gets_another_track_is_renewed_and_others_are_kept() {
        let subs = keys(3);
        let offer = [
            offered("a", Kind::Video, Direction::RecvOnly, None),
            offered("b", Kind::Video, Direction::RecvOnly, None),
        ];
        let first = plan(
            &offer,
            &Situation {
                before: &[],
                tracks: vec![],
                subscriptions: vec![(subs[0], Kind::Video), (subs[1], Kind::Video)],
            },
        );
        let second = plan(
            &offer,
            &Situation {
                before: &first.sections,
                tracks: vec![],
                subscriptions: vec![(subs[1], Kind::Video), (subs[2], Kind::Video)],
            },
        );
        assert_eq!(roles(&second), [Role::Sends(subs[2]), Role::Sends(subs[1])]);
        assert_eq!(second.renewed, [Mid::from("a")]);
    }

    #[test]
    fn a_section_that_stopped_receiving_loses_its_track() {
        let subs = keys(1);
        let situation = |before| Situation {
            before,
            tracks: vec![],
            subscriptions: vec![(subs[0], Kind::Audio)],
        };
        let first = plan(
            &[offered("a", Kind::Audio, Direction::RecvOnly, None)],
            &situation(&[]),
        );
        let second = plan(
            &[offered("a", Kind::Audio, Direction::Inactive, None)],
            &situation(&first.sections),
        );
        assert_eq!(roles(&second), [Role::Idle]);
        assert_eq!(shortage(&second.sections, &[Kind::Audio]), (1, 0));
    }

    #[test]
    fn one_cid_in_two_sections_counts_once() {
        let track = keys::<super::super::room::Track>(1)[0];
        let plan = plan(
            &[
                offered("a", Kind::Audio, Direction::SendOnly, Some("mic")),
                offered("b", Kind::Audio, Direction::SendOnly, Some("mic")),
            ],
            &Situation {
                before: &[],
                tracks: vec![("mic".into(), track)],
                subscriptions: vec![],
            },
        );
        assert_eq!(roles(&plan), [Role::Carries(track), Role::Idle]);
    }
}
