//! Outputs as lines of text.

use super::super::{Output, SessionId};
use livekit_protocol as lk;
use lk::signal_response::Message;
use proto::id::{ParticipantSid, TrackSid};
use proto::media::NodeCommand;
use std::collections::BTreeMap;

/// Names for random ids.
#[derive(Clone, Default)]
pub(super) struct Names {
    sessions: BTreeMap<SessionId, String>,
    participants: BTreeMap<String, String>,
    tracks: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn session(&mut self, session: SessionId, identity: &str) {
        self.sessions.insert(session, identity.into());
    }

    /// The newest track with this cid.
    pub(super) fn track(&self, cid: &str) -> TrackSid {
        let mut tracks = self.tracks.iter();
        TrackSid::new(tracks.find(|(_, name)| *name == cid).unwrap().0)
    }

    /// Takes names out of what clients are told.
    pub(super) fn learn(&mut self, output: &Output) {
        let Output::Signal { message, .. } = output else {
            return;
        };
        match message {
            Message::Join(join) => {
                let info = join.participant.as_ref().unwrap();
                let mut name = info.identity.clone();
                while self.participants.values().any(|known| *known == name) {
                    name.push('\'');
                }
                self.participants.insert(info.sid.clone(), name);
            }
            Message::TrackPublished(published) => {
                let sid = &published.track.as_ref().unwrap().sid;
                self.learn_track(sid, &published.cid);
            }
            _ => {}
        }
    }

    /// What the owner calls a track.
    pub(super) fn learn_track(&mut self, sid: &str, cid: &str) {
        let mut name = cid.to_owned();
        let taken = |name: &String| {
            let mut tracks = self.tracks.iter();
            tracks.any(|(known, other)| other == name && known != sid)
        };
        while taken(&name) {
            name.push('\'');
        }
        self.tracks.insert(sid.to_owned(), name);
    }

    pub(super) fn line(&self, output: &Output) -> String {
        match output {
            Output::Signal { session, message } => {
                format!("{} < {}", self.sessions[session], self.message(message))
            }
            Output::Close { session, reason } => format!("{} x {reason}", self.sessions[session]),
            Output::JoinRefused { session, refusal } => {
                format!("{} refused: {refusal:?}", self.sessions[session])
            }
            Output::OfferRefused { session, reason } => {
                format!("{} no offer: {reason}", self.sessions[session])
            }
            Output::Node { member, command } => {
                let worker = match member.worker {
                    0 => String::new(),
                    worker => format!("/{worker}"),
                };
                format!("{}{worker} < {}", member.node, self.command(command))
            }
            Output::RoomClosed { room } => format!("room {} closed", room.as_str()),
            Output::MintRefreshToken { session, .. } => {
                format!("mint for {}", self.sessions[session])
            }
            Output::RoomExported { state, .. } => {
                let sids = state.participants.iter().map(|p| self.who(p.sid.as_str()));
                let mut sids: Vec<_> = sids.collect();
                sids.sort();
                format!("exported [{}]", sids.join(","))
            }
            Output::MoveFailed { why, .. } => format!("move failed: {why:?}"),
            Output::Moved { late, .. } => format!("moved, {} late", late.len()),
            Output::Pull { participant, .. } => format!("pull {}", self.who(participant.as_str())),
            Output::Pulled {
                participant,
                media,
                data,
                ..
            } => format!(
                "pulled {} {:?} +{}",
                self.who(participant.as_str()),
                media.as_ref().map(|media| media.last_data_sequence),
                data.len()
            ),
            Output::HungUp { participant, .. } => {
                format!("hung up {}", self.who(participant.as_str()))
            }
            Output::RoomOptions { room, options } => format!(
                "room {} keeps {:?} {}s {}s {}",
                room.as_str(),
                options.metadata,
                options.empty_timeout_s,
                options.departure_timeout_s,
                options.max_participants
            ),
        }
    }

    fn who(&self, sid: &str) -> String {
        self.participants.get(sid).cloned().unwrap_or(sid.into())
    }

    fn what(&self, sid: &str) -> String {
        self.tracks.get(sid).cloned().unwrap_or(sid.into())
    }

    fn people(&self, infos: &[lk::ParticipantInfo]) -> String {
        let lines: Vec<String> = infos.iter().map(|info| self.person(info)).collect();
        lines.join(" ")
    }

    fn person(&self, info: &lk::ParticipantInfo) -> String {
        let state = info.state().as_str_name().to_lowercase();
        let tracks = info.tracks.iter().map(|track| {
            let muted = if track.muted { " muted" } else { "" };
            format!("{}{muted}", self.what(&track.sid))
        });
        let mut tracks: Vec<String> = tracks.collect();
        tracks.sort();
        let why = match info.disconnect_reason() {
            lk::DisconnectReason::UnknownReason => String::new(),
            reason => format!(" {}", reason.as_str_name()),
        };
        format!("{}:{state}[{}]{why}", self.who(&info.sid), tracks.join(","))
    }

    fn message(&self, message: &Message) -> String {
        let mids = |mids: &std::collections::HashMap<String, String>| {
            let mids: BTreeMap<_, _> = mids.iter().map(|(m, t)| (m, self.what(t))).collect();
            format!("{mids:?}").replace('"', "")
        };
        match message {
            Message::Join(join) => format!("join [{}]", self.people(&join.other_participants)),
            Message::Answer(d) => format!("answer {} {}", d.id, mids(&d.mid_to_track_id)),
            Message::Offer(d) => format!("offer {} {}", d.id, mids(&d.mid_to_track_id)),
            Message::Update(update) => format!("update {}", self.people(&update.participants)),
            Message::TrackPublished(p) => format!("published {}", p.cid),
            Message::TrackSubscribed(t) => format!("has subscriber {}", self.what(&t.track_sid)),
            Message::Leave(leave) => format!(
                "leave {} {}",
                leave.action().as_str_name(),
                leave.reason().as_str_name()
            ),
            Message::SpeakersChanged(changed) => {
                let speakers = changed.speakers.iter();
                let lines: Vec<String> = speakers
                    .map(|s| format!("{}:{}{}", self.who(&s.sid), s.level, flag(s.active)))
                    .collect();
                format!("speakers {}", lines.join(" "))
            }
            Message::StreamStateUpdate(update) => {
                let states = update.stream_states.iter();
                let lines: Vec<String> = states
                    .map(|it| format!("{} {}", self.what(&it.track_sid), it.state().as_str_name()))
                    .collect();
                format!("stream {}", lines.join(" "))
            }
            Message::SubscribedQualityUpdate(update) => {
                let codec = &update.subscribed_codecs[0];
                let on = codec.qualities.iter().filter(|it| it.enabled);
                let on: Vec<&str> = on.map(|it| it.quality().as_str_name()).collect();
                let track = self.what(&update.track_sid);
                format!("wanted {track} {} {}", codec.codec, on.join("+"))
            }
            Message::ConnectionQuality(update) => {
                let ratings = update.updates.iter();
                let lines: Vec<String> = ratings
                    .map(|it| {
                        format!(
                            "{} {}",
                            self.who(&it.participant_sid),
                            it.quality().as_str_name()
                        )
                    })
                    .collect();
                format!("connection {}", lines.join(", "))
            }
            Message::RoomUpdate(update) => {
                let room = update.room.as_ref().unwrap();
                format!("room {}/{}", room.num_participants, room.num_publishers)
            }
            Message::Pong(at) => format!("pong {at}"),
            Message::PongResp(pong) => {
                format!("pong {} {}", pong.last_ping_timestamp, pong.timestamp)
            }
            Message::Reconnect(reconnect) => format!("reconnect {}", reconnect.last_message_seq),
            Message::SubscriptionResponse(response) => format!(
                "no subscription {} {}",
                self.what(&response.track_sid),
                response.err().as_str_name()
            ),
            Message::SubscriptionPermissionUpdate(update) => format!(
                "may subscribe {} of {}: {}",
                self.what(&update.track_sid),
                self.who(&update.participant_sid),
                update.allowed
            ),
            Message::RequestResponse(response) => format!(
                "response {} {}",
                response.request_id,
                response.reason().as_str_name()
            ),
            Message::MediaSectionsRequirement(wanted) => {
                format!("sections {} {}", wanted.num_audios, wanted.num_videos)
            }
            other => format!("{other:?}"),
        }
    }

    fn command(&self, command: &NodeCommand) -> String {
        let who = |sid: &ParticipantSid| self.who(sid.as_str());
        let what = |sid: &TrackSid| self.what(sid.as_str());
        match command {
            NodeCommand::AddParticipant(new) => {
                format!("add {} {:?}", who(&new.participant), new.mode)
            }
            NodeCommand::RemoveParticipant { participant } => {
                format!("remove {}", who(participant))
            }
            NodeCommand::Offer {
                participant,
                offer_id,
                resume,
                ..
            } => {
                let resume = resume.as_ref().map(|channels| {
                    let channels = channels.iter();
                    let channels: Vec<_> =
                        channels.map(|c| format!("{}={}", c.label, c.id)).collect();
                    format!(" resume [{}]", channels.join(","))
                });
                format!(
                    "offer {} {offer_id}{}",
                    who(participant),
                    resume.unwrap_or_default()
                )
            }
            NodeCommand::Answer {
                participant,
                offer_id,
                ..
            } => format!("answer {} {offer_id}", who(participant)),
            NodeCommand::Candidate {
                participant,
                target,
                candidate,
            } => format!("candidate {} {target:?} {candidate}", who(participant)),
            NodeCommand::PrepareResume { participant } => format!("prepare {}", who(participant)),
            NodeCommand::Publish(track) => {
                let muted = if track.muted { " muted" } else { "" };
                format!(
                    "publish {} {}{muted}",
                    who(&track.participant),
                    what(&track.track)
                )
            }
            NodeCommand::Import(import) => {
                format!("import {} from {}", what(&import.track.track), import.from)
            }
            NodeCommand::SetMembers { members, .. } => {
                let members = members.iter().map(ToString::to_string);
                format!("others [{}]", members.collect::<Vec<_>>().join(","))
            }
            NodeCommand::SetPeers(peers) => {
                let peers = peers.iter().map(|peer| peer.node.to_string());
                format!("peers [{}]", peers.collect::<Vec<_>>().join(","))
            }
            NodeCommand::Unpublish { track } => format!("unpublish {}", what(track)),
            NodeCommand::SetMuted { track, muted } => format!("muted {} {muted}", what(track)),
            NodeCommand::Subscribe {
                participant, track, ..
            } => format!("subscribe {} {}", who(participant), what(track)),
            NodeCommand::Unsubscribe { participant, track } => {
                format!("unsubscribe {} {}", who(participant), what(track))
            }
            NodeCommand::SetTrackSettings {
                participant,
                track,
                settings: s,
            } => format!(
                "settings {} {} {}{:?} {}x{}",
                who(participant),
                what(track),
                if s.enabled { "" } else { "off " },
                s.max_quality,
                s.width,
                s.height
            ),
            NodeCommand::SetPermission { participant, .. } => {
                format!("permission {}", who(participant))
            }
            NodeCommand::Owned { for_ms, .. } => format!("owned {for_ms}"),
            NodeCommand::Export { .. } => "export".into(),
            NodeCommand::Detach { participant } => format!("detach {}", who(participant)),
            NodeCommand::Adopt { participant, media } => format!(
                "adopt {} {}",
                who(&participant.participant),
                media.last_data_sequence
            ),
            NodeCommand::Deliver { data, .. } => {
                let data = data.iter();
                let data: Vec<_> = data
                    .map(|d| format!("{}:{}", who(&d.from), d.sequence))
                    .collect();
                format!("deliver [{}]", data.join(","))
            }
        }
    }
}

fn flag(active: bool) -> &'static str {
    if active { "" } else { " silent" }
}
