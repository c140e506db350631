//! Decides what the media sections of a client's offer are used for. A policy without transports.

use super::sdp::{Direction, MAX_SECTIONS, OfferedSection, SectionKind};
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
    /// Its announced tracks, oldest first.
    pub(super) tracks: Vec<Announced>,
    /// Its subscriptions, in their order.
    pub(super) subscriptions: Vec<(SubscriptionKey, Kind)>,
}

/// A track that the client has announced.
pub(super) struct Announced {
    pub(super) cid: String,
    pub(super) key: TrackKey,
    pub(super) kind: Kind,
    /// The codec it shall be sent with; empty: the first of the offer.
    pub(super) codec: String,
}

/// Carries over what the sections did before, and gives waiting subscriptions the free ones.
///
/// A section where the client still shows a track that is gone is answered `inactive` first and
/// given to another track by a later offer: clients tell their application of a new track only where
/// there was none.
pub(super) fn plan(offered: &[OfferedSection], situation: &Situation<'_>) -> Plan {
    let mut sections: Vec<Section> = Vec::with_capacity(offered.len());
    let mut still_shown: Vec<&str> = Vec::new();
    for section in offered {
        let before = situation
            .before
            .iter()
            .find(|before| before.mid == section.mid);
        let role = role(section, before, offered, situation);
        if before.is_some_and(|before| shows_gone(before, role)) {
            still_shown.push(&section.mid);
        }
        sections.push(Section {
            mid: section.mid.clone(),
            kind: section.kind,
            direction: section.direction,
            cid: section.cid.clone(),
            payload_types: section.payload_types.clone(),
            role,
            stale: false,
            used: before.is_some_and(|before| before.used),
        });
    }
    forget_repeated(&mut sections);
    take_unnamed(&mut sections, &situation.tracks);
    prefer_codecs(&mut sections, offered, &situation.tracks);
    let mut renewed = Vec::new();
    for (subscription, kind) in &situation.subscriptions {
        let bound = |section: &Section| section.role == Role::Sends(*subscription);
        if sections.iter().any(bound) {
            continue;
        }
        let free = sections.iter_mut().find(|section| {
            is_free(section, *kind) && !still_shown.contains(&section.mid.as_str())
        });
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

fn role(
    section: &OfferedSection,
    before: Option<&Section>,
    offered: &[OfferedSection],
    situation: &Situation<'_>,
) -> Role {
    if section.direction.sends() {
        let named = situation.tracks.iter().find(|track| names(section, track));
        let kept = situation.tracks.iter().find(|track| {
            let carried = before.is_some_and(|before| before.role == Role::Carries(track.key));
            carried && !offered.iter().any(|other| names(other, track))
        });
        return named
            .or(kept)
            .map_or(Role::Idle, |track| Role::Carries(track.key));
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

/// True if the client was told of a track in this section that it no longer carries.
fn shows_gone(before: &Section, role: Role) -> bool {
    before.stale || (matches!(before.role, Role::Sends(_)) && before.role != role)
}

/// True if the client sends this track in this section, by its own words.
fn names(section: &OfferedSection, track: &Announced) -> bool {
    section.direction.sends()
        && section.kind == SectionKind::Media(track.kind)
        && section.cid.as_deref() == Some(track.cid.as_str())
}

/// Gives tracks that no section names to sections that name nobody's. A browser makes up a new track
/// id if the track's own is still in use by an older sender, as when a track is published again;
/// LiveKit's server then takes the first announced track of the kind, and so do we.
fn take_unnamed(sections: &mut [Section], tracks: &[Announced]) {
    for track in tracks {
        let role = Role::Carries(track.key);
        if sections.iter().any(|section| section.role == role) {
            continue;
        }
        let unnamed = sections.iter_mut().find(|section| {
            section.role == Role::Idle
                && section.direction.sends()
                && section.kind == SectionKind::Media(track.kind)
                && section.cid.is_some()
        });
        if let Some(section) = unnamed {
            section.role = role;
        }
    }
}

/// Puts the payload types of the codec that a track was announced with in front.
fn prefer_codecs(sections: &mut [Section], offered: &[OfferedSection], tracks: &[Announced]) {
    for (section, offered) in sections.iter_mut().zip(offered) {
        let track = tracks
            .iter()
            .find(|track| section.role == Role::Carries(track.key));
        let Some(track) = track.filter(|track| !track.codec.is_empty()) else {
            continue;
        };
        let is_wanted = |payload_type: &String| {
            let codec = offered.codecs.get(payload_type);
            codec.is_some_and(|codec| codec.eq_ignore_ascii_case(&track.codec))
        };
        // Stable: within a codec the client's order stands.
        section
            .payload_types
            .sort_by_key(|payload_type| !is_wanted(payload_type));
    }
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

/// True if a track of this kind may be forwarded in this section, now or after the next offer.
pub(super) fn is_free(section: &Section, kind: Kind) -> bool {
    section.role == Role::Idle
        && section.direction == Direction::RecvOnly
        && section.kind == SectionKind::Media(kind)
}

/// How many sections of each kind (audio, video) the client must add, given how many subscriptions
/// wait. Never more than fit below [`MAX_SECTIONS`]: an offer with more would be refused for good.
pub(super) fn shortage(sections: &[Section], waiting: &[Kind]) -> (u32, u32) {
    let missing = |kind: Kind| {
        let wanted = waiting.iter().filter(|waits| **waits == kind).count();
        let free = sections.iter().filter(|section| is_free(section, kind));
        wanted.saturating_sub(free.count())
    };
    let room = MAX_SECTIONS.saturating_sub(sections.len());
    let audio = missing(Kind::Audio).min(room);
    let video = missing(Kind::Video).min(room - audio);
    let count = |sections| u32::try_from(sections).unwrap_or(u32::MAX);
    (count(audio), count(video))
}

/// What to ask the client for: sections to add (audio, video), 0 and 0 for a mere offer. `None` if
/// an offer would change nothing.
pub(super) fn wanted(sections: &[Section], waiting: &[Kind]) -> Option<(u32, u32)> {
    let (audio, video) = shortage(sections, waiting);
    let stale = sections.iter().any(|section| section.stale);
    let finds_place = |kind: &Kind| sections.iter().any(|section| is_free(section, *kind));
    let helps = stale || audio > 0 || video > 0 || waiting.iter().any(finds_place);
    helps.then_some((audio, video))
}

/// Where an offer of ours puts subscriptions that wait for a section.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// In a section that the client knows to be inactive.
    pub(super) reused: Vec<(SubscriptionKey, Mid)>,
    /// In a new section.
    pub(super) added: Vec<SubscriptionKey>,
    /// Nowhere: all sections are taken, or of the other kind.
    pub(super) left: usize,
}

/// Places waiting subscriptions in our own offer. Sections are used again, because they can never be
/// removed and their number is limited ([`MAX_SECTIONS`], one of them for data).
pub(super) fn place(sections: &[Section], waiting: &[(SubscriptionKey, Kind)]) -> Places {
    let mut places = Places::default();
    let mut free: Vec<&Section> = sections.iter().filter(|section| !section.stale).collect();
    let room = MAX_SECTIONS.saturating_sub(sections.len() + 1);
    for (subscription, kind) in waiting {
        if let Some(at) = free.iter().position(|section| is_free(section, *kind)) {
            let section = free.swap_remove(at);
            places.reused.push((*subscription, section.mid()));
        } else if places.added.len() < room {
            places.added.push(*subscription);
        } else {
            places.left += 1;
        }
    }
    places
}

/// Says in short what the sections do, for the log.
pub(super) fn told(sections: &[Section]) -> String {
    let word = |section: &Section| {
        let role = match section.role {
            Role::Idle if section.stale => "gone",
            Role::Idle => "idle",
            Role::Carries(_) => "in",
            Role::Sends(_) => "out",
        };
        format!("{}:{}", section.mid, role)
    };
    sections.iter().map(word).collect::<Vec<_>>().join(" ")
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
            codecs: BTreeMap::new(),
        }
    }

    fn announced(cid: &str, key: TrackKey, kind: Kind) -> Announced {
        Announced {
            cid: cid.into(),
            key,
            kind,
            codec: String::new(),
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
            tracks: vec![announced("mic", track, Kind::Audio)],
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
    fn a_section_is_inactive_once_before_it_gets_another_track_and_is_renewed_then() {
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
        let next = |before: &[Section]| {
            let situation = Situation {
                before,
                tracks: vec![],
                subscriptions: vec![(subs[1], Kind::Video), (subs[2], Kind::Video)],
            };
            plan(&offer, &situation)
        };
        // Unsubscribed with a transport, which marks the section, and without one.
        let mut marked = first.sections.clone();
        marked[0].role = Role::Idle;
        marked[0].stale = true;
        for before in [marked, first.sections] {
            let second = next(&before);
            assert_eq!(roles(&second), [Role::Idle, Role::Sends(subs[1])]);
            assert!(second.renewed.is_empty());
            assert_eq!(wanted(&second.sections, &[Kind::Video]), Some((0, 0)));
            let third = next(&second.sections);
            assert_eq!(roles(&third), [Role::Sends(subs[2]), Role::Sends(subs[1])]);
            assert_eq!(third.renewed, [Mid::from("a")]);
        }
    }

    #[test]
    fn no_more_sections_are_asked_for_than_still_fit() {
        let offer: Vec<OfferedSection> = (0..MAX_SECTIONS - 3)
            .map(|mid| offered(&mid.to_string(), Kind::Audio, Direction::SendOnly, None))
            .collect();
        let mut sections = plan(&offer, &Situation::default()).sections;
        let waiting = [Kind::Audio, Kind::Video, Kind::Video, Kind::Video];
        assert_eq!(wanted(&sections, &waiting), Some((1, 2)));
        for _ in 0..3 {
            sections.push(sections[0].clone());
        }
        assert_eq!(
            wanted(&sections, &waiting),
            None,
            "an offer changes nothing"
        );
        sections[0].stale = true;
        assert_eq!(wanted(&sections, &waiting), Some((0, 0)));
    }

    #[test]
    fn our_own_offer_uses_inactive_sections_of_the_same_kind_before_it_adds_any() {
        let subs = keys(4);
        let offer: Vec<OfferedSection> = (0..MAX_SECTIONS - 2)
            .map(|mid| offered(&format!("m{mid}"), Kind::Audio, Direction::RecvOnly, None))
            .collect();
        let mut sections = plan(&offer, &Situation::default()).sections;
        for section in sections.iter_mut().skip(2) {
            section.role = Role::Sends(subs[3]);
        }
        sections[0].stale = true;
        let waiting = [
            (subs[0], Kind::Video),
            (subs[1], Kind::Audio),
            (subs[2], Kind::Audio),
        ];
        let places = place(&sections, &waiting);
        assert_eq!(places.reused, [(subs[1], Mid::from("m1"))]);
        assert_eq!(places.added, [subs[0]]);
        assert_eq!(places.left, 1);
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
    fn a_track_that_is_published_again_under_a_made_up_id_is_found_and_kept() {
        let tracks = keys::<super::super::room::Track>(2);
        let situation = |before| Situation {
            before,
            tracks: vec![
                announced("cam", tracks[0], Kind::Video),
                announced("screen", tracks[1], Kind::Video),
            ],
            subscriptions: vec![],
        };
        let made_up = [
            offered("a", Kind::Video, Direction::Inactive, Some("cam")),
            offered("b", Kind::Video, Direction::SendOnly, Some("made-up")),
            offered("c", Kind::Audio, Direction::SendOnly, Some("other")),
        ];
        let first = plan(&made_up, &situation(&[]));
        let found = [Role::Idle, Role::Carries(tracks[0]), Role::Idle];
        assert_eq!(roles(&first), found);

        let mut more = made_up.to_vec();
        more.push(offered(
            "d",
            Kind::Video,
            Direction::SendOnly,
            Some("screen"),
        ));
        let second = plan(&more, &situation(&first.sections));
        assert_eq!(
            roles(&second)[1],
            Role::Carries(tracks[0]),
            "it stays where it is"
        );
        assert_eq!(roles(&second)[3], Role::Carries(tracks[1]));

        // A section that names the track counts more than the one it was found in.
        more.push(offered("e", Kind::Video, Direction::SendOnly, Some("cam")));
        let third = plan(&more, &situation(&second.sections));
        assert_eq!(roles(&third)[4], Role::Carries(tracks[0]));
        assert_eq!(roles(&third)[1], Role::Idle);
    }

    #[test]
    fn the_codec_that_a_track_was_announced_with_comes_first() {
        let track = keys::<super::super::room::Track>(1)[0];
        let names = [
            ("96", "VP8"),
            ("97", "rtx"),
            ("103", "H264"),
            ("107", "H264"),
        ];
        let mut offer = offered("a", Kind::Video, Direction::SendOnly, Some("cam"));
        offer.payload_types = names.map(|(pt, _)| pt.to_owned()).to_vec();
        offer.codecs = names
            .map(|(pt, name)| (pt.to_owned(), name.to_owned()))
            .into();
        let order = |codec: &str| {
            let situation = Situation {
                before: &[],
                tracks: vec![Announced {
                    codec: codec.into(),
                    ..announced("cam", track, Kind::Video)
                }],
                subscriptions: vec![],
            };
            plan(std::slice::from_ref(&offer), &situation).sections[0]
                .payload_types
                .clone()
        };
        assert_eq!(order("h264"), ["103", "107", "96", "97"]);
        assert_eq!(
            order("AV1"),
            ["96", "97", "103", "107"],
            "not offered: the client's order"
        );
        assert_eq!(order(""), ["96", "97", "103", "107"]);
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
                tracks: vec![announced("mic", track, Kind::Audio)],
                subscriptions: vec![],
            },
        );
        assert_eq!(roles(&plan), [Role::Carries(track), Role::Idle]);
    }
}
