//! What a token allows its holder.
//!
//! Owns: the grants and their forms for clients and nodes. Must not: decide about anything else.

use livekit_protocol as lk;
use lk::TrackSource;
use proto::media::MediaPermission;
use proto::token::{Claims, VideoGrant};

/// The grants of one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a grant of its own")]
pub(super) struct Permission {
    pub(super) publish: bool,
    pub(super) subscribe: bool,
    pub(super) publish_data: bool,
    pub(super) update_metadata: bool,
    pub(super) hidden: bool,
    pub(super) recorder: bool,
    pub(super) agent: bool,
    /// `None`: every source.
    sources: Option<Vec<TrackSource>>,
}

impl Permission {
    pub(super) fn from_grant(grant: &VideoGrant) -> Self {
        let sources = (!grant.can_publish_sources.is_empty()).then(|| {
            let names = grant.can_publish_sources.iter();
            names.filter_map(|name| source_by_name(name)).collect()
        });
        Self {
            publish: grant.may_publish(),
            subscribe: grant.may_subscribe(),
            publish_data: grant.may_publish_data(),
            update_metadata: grant.can_update_own_metadata.unwrap_or(false),
            hidden: grant.hidden,
            recorder: grant.recorder,
            agent: grant.agent,
            sources,
        }
    }

    /// May send a track of this source.
    pub(super) fn may_publish(&self, source: TrackSource) -> bool {
        self.publish
            && self
                .sources
                .as_ref()
                .is_none_or(|sources| sources.contains(&source))
    }

    /// The part that a node enforces.
    pub(super) fn media(&self) -> MediaPermission {
        MediaPermission {
            publish: self.publish,
            subscribe: self.subscribe,
            publish_data: self.publish_data,
        }
    }

    /// As clients see it.
    #[expect(deprecated, reason = "older clients read the old fields")]
    pub(super) fn to_wire(&self) -> lk::ParticipantPermission {
        let sources = self.sources.iter().flatten();
        lk::ParticipantPermission {
            can_subscribe: self.subscribe,
            can_publish: self.publish,
            can_publish_data: self.publish_data,
            can_publish_sources: sources.map(|source| i32::from(*source)).collect(),
            hidden: self.hidden,
            recorder: self.recorder,
            can_update_metadata: self.update_metadata,
            agent: self.agent,
            can_subscribe_metrics: false,
            can_manage_agent_session: false,
        }
    }
}

/// The participant kind that a token names.
pub(super) fn kind(claims: &Claims) -> lk::participant_info::Kind {
    use lk::participant_info::Kind;
    match claims.kind.to_ascii_lowercase().as_str() {
        "ingress" => Kind::Ingress,
        "egress" => Kind::Egress,
        "sip" => Kind::Sip,
        "agent" => Kind::Agent,
        _ if claims.video.agent => Kind::Agent,
        _ => Kind::Standard,
    }
}

/// Whether somebody with these claims may open a room and keeps it open. Hidden participants,
/// recorders and agents do neither: a room is for the others.
pub fn opens_room(claims: &Claims) -> bool {
    use lk::participant_info::Kind;
    let grant = &claims.video;
    let serves = matches!(kind(claims), Kind::Agent | Kind::Egress);
    !grant.hidden && !grant.recorder && !grant.agent && !serves
}

/// An unknown name allows nothing.
fn source_by_name(name: &str) -> Option<TrackSource> {
    match name.to_ascii_lowercase().as_str() {
        "camera" => Some(TrackSource::Camera),
        "microphone" => Some(TrackSource::Microphone),
        "screen_share" => Some(TrackSource::ScreenShare),
        "screen_share_audio" => Some(TrackSource::ScreenShareAudio),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_unknown_sources_allows_no_source_and_an_empty_list_allows_all() {
        let mut grant = VideoGrant::default();
        assert!(Permission::from_grant(&grant).may_publish(TrackSource::Unknown));
        grant.can_publish_sources = vec!["hologram".into()];
        assert!(!Permission::from_grant(&grant).may_publish(TrackSource::Camera));
        grant.can_publish_sources = vec!["CAMERA".into()];
        assert!(Permission::from_grant(&grant).may_publish(TrackSource::Camera));
        assert!(!Permission::from_grant(&grant).may_publish(TrackSource::Unknown));
        grant.can_publish = Some(false);
        assert!(!Permission::from_grant(&grant).may_publish(TrackSource::Camera));
    }
}
