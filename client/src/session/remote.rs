//! Which source belongs to which track of which participant. Knows nothing about connections.

use crate::track::{Kind, RemoteId, RemoteTrack};
use livekit_protocol as lk;
use std::collections::{BTreeMap, HashMap};

/// Sources that are remembered. Beyond: their packets are unclaimed.
const SOURCES_MAX: usize = 32_768;

/// A section of a description that carries a track.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) mid: String,
    pub(super) sid: String,
    pub(super) participant_sid: String,
    pub(super) identity: String,
    pub(super) kind: Kind,
    pub(super) source: lk::TrackSource,
    pub(super) sources: Vec<(u32, bool)>,
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) track: RemoteId,
    pub(super) kind: Kind,
    pub(super) repeats: bool,
}

/// What a description changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Added(RemoteTrack),
    Removed { id: RemoteId, sid: String },
}

#[derive(Default)]
pub(super) struct Remotes {
    next: u32,
    by_mid: BTreeMap<String, RemoteTrack>,
    by_ssrc: HashMap<u32, Source>,
}

impl Remotes {
    /// All that a description binds; what it does not name any more is gone.
    pub(super) fn bind(&mut self, bindings: &[Binding]) -> Vec<Change> {
        let mut changes = Vec::new();
        let before = std::mem::take(&mut self.by_mid);
        for (mid, track) in before {
            let same = |binding: &&Binding| binding.mid == mid && binding.sid == track.sid;
            if bindings.iter().any(|binding| same(&binding)) {
                self.by_mid.insert(mid, track);
            } else {
                self.by_ssrc.retain(|_, source| source.track != track.id);
                changes.push(Change::Removed {
                    id: track.id,
                    sid: track.sid,
                });
            }
        }
        for binding in bindings {
            let id = match self.by_mid.get(&binding.mid) {
                Some(known) => known.id,
                None => {
                    let track = self.add(binding);
                    let id = track.id;
                    changes.push(Change::Added(track));
                    id
                }
            };
            for (ssrc, repeats) in &binding.sources {
                self.put_source(*ssrc, id, binding.kind, *repeats);
            }
        }
        changes
    }

    pub(super) fn source(&self, ssrc: u32) -> Option<Source> {
        self.by_ssrc.get(&ssrc).copied()
    }

    /// A source that named its section in a packet (RFC 9143) and not in a description.
    pub(super) fn learn(&mut self, ssrc: u32, mid: &str) -> Option<Source> {
        let track = self.by_mid.get(mid)?;
        let (id, kind) = (track.id, track.kind);
        self.put_source(ssrc, id, kind, false);
        self.source(ssrc)
    }

    fn add(&mut self, binding: &Binding) -> RemoteTrack {
        let track = RemoteTrack {
            id: RemoteId(self.next),
            sid: binding.sid.clone(),
            participant_sid: binding.participant_sid.clone(),
            identity: binding.identity.clone(),
            kind: binding.kind,
            source: binding.source,
            mid: binding.mid.clone(),
        };
        self.next += 1;
        self.by_mid.insert(binding.mid.clone(), track.clone());
        track
    }

    fn put_source(&mut self, ssrc: u32, track: RemoteId, kind: Kind, repeats: bool) {
        if self.by_ssrc.len() < SOURCES_MAX || self.by_ssrc.contains_key(&ssrc) {
            let source = Source {
                track,
                kind,
                repeats,
            };
            self.by_ssrc.insert(ssrc, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(mid: &str, sid: &str, sources: &[(u32, bool)]) -> Binding {
        Binding {
            mid: mid.into(),
            sid: sid.into(),
            participant_sid: "PA_ann".into(),
            identity: "ann".into(),
            kind: Kind::Video,
            source: lk::TrackSource::Camera,
            sources: sources.to_vec(),
        }
    }

    fn added(changes: &[Change]) -> Vec<u32> {
        let id = |change: &Change| match change {
            Change::Added(track) => Some(track.id.0),
            Change::Removed { .. } => None,
        };
        changes.iter().filter_map(id).collect()
    }

    #[test]
    fn a_section_that_keeps_its_track_keeps_its_id() {
        let mut remotes = Remotes::default();
        let first = remotes.bind(&[binding("1", "TR_a", &[(7, false), (8, true)])]);
        assert_eq!(added(&first), [0]);
        assert_eq!(remotes.bind(&[binding("1", "TR_a", &[(7, false)])]), []);
        assert!(!remotes.source(7).unwrap().repeats);
        assert!(remotes.source(8).unwrap().repeats);
    }

    #[test]
    fn a_section_with_another_track_has_another_id_and_forgets_its_sources() {
        let mut remotes = Remotes::default();
        remotes.bind(&[binding("1", "TR_a", &[(7, false)])]);
        let changes = remotes.bind(&[binding("1", "TR_b", &[(9, false)])]);
        let gone = Change::Removed {
            id: RemoteId(0),
            sid: "TR_a".into(),
        };
        assert_eq!(changes.first(), Some(&gone));
        assert_eq!(added(&changes), [1]);
        assert_eq!(remotes.source(7), None);
        assert_eq!(remotes.source(9).unwrap().track, RemoteId(1));
        assert_eq!(remotes.bind(&[]).len(), 1);
        assert_eq!(remotes.source(9), None);
    }

    #[test]
    fn a_source_can_name_its_section_later() {
        let mut remotes = Remotes::default();
        remotes.bind(&[binding("1", "TR_a", &[])]);
        assert_eq!(remotes.source(7), None);
        assert_eq!(remotes.learn(7, "2"), None);
        assert_eq!(remotes.learn(7, "1").unwrap().track, RemoteId(0));
        assert!(remotes.source(7).is_some());
    }
}
