//! A client's only offer: what it publishes, and the form in which the node takes it.
//!
//! Owns: tracks and layers out of media sections, and the few lines that must be different for a server
//! that forwards. Must not: judge the rest of the SDP; the node does.

use super::{Credentials, Flow, MEDIA, fragment, value_of};
use livekit_protocol::{
    AddTrackRequest, AudioTrackFeature, TrackSource, TrackType, VideoLayer, VideoQuality,
};
use std::collections::BTreeSet;
use thiserror::Error;

/// Media sections in one offer: a participant may not have more tracks anyway. Beyond: refused.
const SECTIONS_MAX: usize = 32;
/// Longest name of a track, bytes. A longer one is replaced.
const NAME_BYTES_MAX: usize = 128;
/// Names of simulcast layers, the lowest first, by who uses them: LiveKit; encoders such as OBS, which
/// number them from the best down; people. A node knows all of these (`layers.rs`).
const LAYER_NAMES: [[&str; 3]; 4] = [
    ["q", "h", "f"],
    ["2", "1", "0"],
    ["low", "mid", "high"],
    ["low", "medium", "high"],
];

/// An offer that can be handed to a node.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    pub(crate) sdp: String,
    /// What the client sends, as it would have announced it over a WebSocket.
    pub(crate) tracks: Vec<AddTrackRequest>,
    pub(super) credentials: Credentials,
}

/// Why an offer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum OfferProblem {
    #[error("the body is no SDP: it must begin with 'v=0'")]
    NoSdp,
    #[error("the offer has more than {SECTIONS_MAX} media sections: use fewer")]
    TooManySections,
    #[error("the offer has no a=ice-ufrag or no a=ice-pwd: send a WebRTC offer")]
    NoIce,
    #[error(
        "the offer sends neither audio nor video: make a section sendonly; to watch, post to .../whep"
    )]
    SendsNothing,
    #[error(
        "the offer receives neither audio nor video: make a section recvonly; to publish, post to .../whip"
    )]
    ReceivesNothing,
}

impl OfferProblem {
    /// It is readable, but of no use (RFC 9110 section 15.5.21).
    pub(crate) fn is_understood(self) -> bool {
        self != Self::NoSdp
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Audio,
    Video,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Both,
    Send,
    Receive,
    Neither,
}

/// One media section of the offer.
struct Section<'a> {
    lines: Vec<&'a str>,
    kind: Kind,
    direction: Direction,
}

impl Offer {
    /// Reads the offer of a client that wants to send or to receive.
    pub(crate) fn parse(flow: Flow, text: &str) -> Result<Self, OfferProblem> {
        if !text.starts_with("v=0") {
            return Err(OfferProblem::NoSdp);
        }
        let (session, sections) = split(text);
        if sections.len() > SECTIONS_MAX {
            return Err(OfferProblem::TooManySections);
        }
        let credentials = fragment::credentials(text).ok_or(OfferProblem::NoIce)?;
        let mut writer = Writer::new(flow);
        session.iter().for_each(|line| writer.push(line));
        for section in &sections {
            writer.write(section);
        }
        match flow {
            Flow::Publish if writer.tracks.is_empty() => Err(OfferProblem::SendsNothing),
            Flow::Watch if writer.receiving == 0 => Err(OfferProblem::ReceivesNothing),
            Flow::Publish | Flow::Watch => Ok(Self {
                sdp: writer.sdp,
                tracks: writer.tracks,
                credentials,
            }),
        }
    }

    /// The same for a new ICE session.
    pub(super) fn restarted(&self, credentials: Credentials) -> Self {
        let mut sdp = String::with_capacity(self.sdp.len());
        for line in self.sdp.lines() {
            if value_of(line, "ice-ufrag").is_some() {
                sdp += &format!("a=ice-ufrag:{}", credentials.ufrag);
            } else if value_of(line, "ice-pwd").is_some() {
                sdp += &format!("a=ice-pwd:{}", credentials.password);
            } else {
                sdp += line;
            }
            sdp += "\r\n";
        }
        Self {
            sdp,
            tracks: Vec::new(),
            credentials,
        }
    }
}

/// The lines before the first media section, and the sections.
fn split(text: &str) -> (Vec<&str>, Vec<Section<'_>>) {
    let mut session = Vec::new();
    let mut sections: Vec<Section<'_>> = Vec::new();
    // The node strips candidates too: it is ICE-lite.
    let is_kept = |line: &&str| !line.is_empty() && value_of(line, "candidate").is_none();
    for line in text.lines().map(str::trim_end).filter(is_kept) {
        if line.starts_with(MEDIA) {
            sections.push(Section::begin(line));
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            session.push(line);
        }
    }
    for section in &mut sections {
        section.direction = section.read_direction();
    }
    (session, sections)
}

impl<'a> Section<'a> {
    fn begin(line: &'a str) -> Self {
        let kind = match line.strip_prefix(MEDIA).and_then(|m| m.split(' ').next()) {
            Some("audio") => Kind::Audio,
            Some("video") => Kind::Video,
            _ => Kind::Other,
        };
        Self {
            lines: vec![line],
            kind,
            direction: Direction::Neither,
        }
    }

    fn read_direction(&self) -> Direction {
        let port = self.lines.first().and_then(|line| line.split(' ').nth(1));
        if port == Some("0") && !self.lines.contains(&"a=bundle-only") {
            return Direction::Neither;
        }
        let said = self.lines.iter().find_map(|line| match *line {
            "a=sendrecv" => Some(Direction::Both),
            "a=sendonly" => Some(Direction::Send),
            "a=recvonly" => Some(Direction::Receive),
            "a=inactive" => Some(Direction::Neither),
            _ => None,
        });
        said.unwrap_or(Direction::Both)
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        self.lines.iter().find_map(|line| value_of(line, name))
    }

    /// The client's id of its track.
    fn track_id(&self) -> Option<&'a str> {
        self.attribute("msid")?.split_whitespace().nth(1)
    }

    /// Its simulcast layers, if all have names that a node knows.
    fn layers(&self) -> Vec<VideoQuality> {
        let Some(sent) = self.attribute("simulcast").and_then(sent_rids) else {
            return Vec::new();
        };
        let qualities = [VideoQuality::Low, VideoQuality::Medium, VideoQuality::High];
        let quality_in = |names: &[&str; 3], rid: &str| {
            let at = names.iter().position(|name| *name == rid)?;
            qualities.get(at).copied()
        };
        let known = LAYER_NAMES.iter().find_map(|names| {
            let all: Option<Vec<_>> = sent.iter().map(|rid| quality_in(names, rid)).collect();
            all
        });
        known.unwrap_or_default()
    }

    fn audio_features(&self) -> Vec<i32> {
        let mut formats = self.lines.iter().filter_map(|line| value_of(line, "fmtp"));
        let is_stereo =
            formats.any(|format| format.split([';', ' ']).any(|part| part == "stereo=1"));
        Vec::from_iter(is_stereo.then_some(AudioTrackFeature::TfStereo.into()))
    }
}

/// The RIDs of `a=simulcast:send q;h;f recv ...`. `~` says that a layer is paused, `,` gives a choice.
fn sent_rids(simulcast: &str) -> Option<Vec<&str>> {
    let mut words = simulcast.split_whitespace();
    let layers = std::iter::from_fn(|| Some((words.next()?, words.next()?)));
    let (_, sent) = { layers }.find(|(direction, _)| *direction == "send")?;
    let first = |layer: &'_ str| -> usize { layer.find(',').unwrap_or(layer.len()) };
    let name = |layer| str::get(layer, ..first(layer)).map(|rid| rid.trim_start_matches('~'));
    sent.split(';').map(name).collect()
}

/// Writes the offer for the node, and notes what it means.
struct Writer {
    flow: Flow,
    sdp: String,
    tracks: Vec<AddTrackRequest>,
    names: BTreeSet<String>,
    receiving: usize,
}

impl Writer {
    fn new(flow: Flow) -> Self {
        Self {
            flow,
            sdp: String::new(),
            tracks: Vec::new(),
            names: BTreeSet::new(),
            receiving: 0,
        }
    }

    fn push(&mut self, line: &str) {
        self.sdp.push_str(line);
        self.sdp.push_str("\r\n");
    }

    fn write(&mut self, section: &Section<'_>) {
        use Direction::{Both, Receive, Send};
        match (self.flow, section.direction) {
            _ if section.kind == Kind::Other => section.lines.iter().for_each(|l| self.push(l)),
            (Flow::Publish, Both | Send) => self.write_sent(section),
            (Flow::Watch, Both | Receive) => {
                self.receiving += 1;
                self.write_lines(section, &["msid", "ssrc", "ssrc-group"], "a=recvonly");
            }
            _ => section.lines.iter().for_each(|line| self.push(line)),
        }
    }

    fn write_sent(&mut self, section: &Section<'_>) {
        let name = self.name(section);
        let layers = section.layers();
        let unknown_layers: &[&str] = if layers.is_empty() {
            &["msid", "simulcast", "rid"]
        } else {
            &["msid"]
        };
        self.write_lines(section, unknown_layers, "a=sendonly");
        self.push(&format!("a=msid:- {name}"));
        let track = self.announce(section, name, &layers);
        self.tracks.push(track);
    }

    /// Without some attributes, and with another direction.
    fn write_lines(&mut self, section: &Section<'_>, without: &[&str], direction: &str) {
        let is_direction = |line: &str| matches!(line, "a=sendrecv" | "a=sendonly" | "a=recvonly");
        for line in &section.lines {
            let is_left_out = without.iter().any(|name| value_of(line, name).is_some());
            if !is_left_out && !is_direction(line) {
                self.push(line);
            }
        }
        self.push(direction);
    }

    /// A name for the track that no other one has: the client's own, if it is one.
    fn name(&mut self, section: &Section<'_>) -> String {
        let own = section.track_id().filter(|id| id.len() <= NAME_BYTES_MAX);
        let own = own.map(str::to_owned).into_iter();
        let made_up = (self.tracks.len()..).map(|number| format!("anteroom-track-{number}"));
        let mut names = own.chain(made_up);
        let name = names.find(|name| !self.names.contains(name));
        let name = name.unwrap_or_default();
        self.names.insert(name.clone());
        name
    }

    /// What the client would have said in `AddTrack`. A second track of a kind is taken for that of a
    /// shared screen.
    fn announce(
        &self,
        section: &Section<'_>,
        cid: String,
        layers: &[VideoQuality],
    ) -> AddTrackRequest {
        let (kind, first, second) = match section.kind {
            Kind::Audio => (
                TrackType::Audio,
                TrackSource::Microphone,
                TrackSource::ScreenShareAudio,
            ),
            Kind::Video | Kind::Other => (
                TrackType::Video,
                TrackSource::Camera,
                TrackSource::ScreenShare,
            ),
        };
        let before = self.tracks.iter().filter(|track| track.r#type() == kind);
        let source = match before.count() {
            0 => first,
            1 => second,
            _ => TrackSource::Unknown,
        };
        let layer = |quality: &VideoQuality| VideoLayer {
            quality: (*quality).into(),
            ..VideoLayer::default()
        };
        AddTrackRequest {
            cid,
            r#type: kind.into(),
            source: source.into(),
            audio_features: section.audio_features(),
            layers: layers.iter().map(layer).collect(),
            ..AddTrackRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n\
        a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:passive\r\n";

    fn offer(sections: &str) -> String {
        format!("{SESSION}{sections}")
    }

    fn publish(sections: &str) -> Offer {
        Offer::parse(Flow::Publish, &offer(sections)).unwrap()
    }

    #[test]
    fn what_an_encoder_sends_is_announced_and_named() {
        let offer = publish(
            "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=sendonly\r\na=msid:FFmpeg audio\r\n\
             a=fmtp:111 minptime=10;stereo=1\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 106\r\na=mid:1\r\na=sendonly\r\n\
             a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n",
        );
        let told: Vec<_> = offer
            .tracks
            .iter()
            .map(|track| (track.cid.as_str(), track.r#type(), track.source()))
            .collect();
        assert_eq!(
            told,
            [
                ("audio", TrackType::Audio, TrackSource::Microphone),
                ("anteroom-track-1", TrackType::Video, TrackSource::Camera),
            ]
        );
        assert_eq!(
            offer.tracks[0].audio_features,
            [i32::from(AudioTrackFeature::TfStereo)]
        );
        assert_eq!(
            offer.sdp,
            format!(
                "{SESSION}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
                 a=fmtp:111 minptime=10;stereo=1\r\na=sendonly\r\na=msid:- audio\r\n\
                 m=video 9 UDP/TLS/RTP/SAVPF 106\r\na=mid:1\r\na=sendonly\r\na=msid:- anteroom-track-1\r\n"
            )
        );
    }

    #[test]
    fn a_section_both_ways_becomes_one_way_and_the_rest_stays() {
        let both = "m=audio 9 X 111\r\na=mid:0\r\na=sendrecv\r\nm=video 9 X 96\r\na=mid:1\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:2\r\n";
        let sent = publish(both);
        assert!(!sent.sdp.contains("sendrecv"));
        assert_eq!(sent.sdp.matches("a=sendonly").count(), 2);
        assert!(sent.sdp.ends_with("webrtc-datachannel\r\na=mid:2\r\n"));
        let watched = Offer::parse(Flow::Watch, &offer(both)).unwrap();
        assert_eq!(watched.sdp.matches("a=recvonly").count(), 2);
        assert!(watched.tracks.is_empty());
    }

    #[test]
    fn layers_are_announced_by_names_that_nodes_know_and_left_out_otherwise() {
        let simulcast = |layers: &str| {
            publish(&format!(
                "m=video 9 X 96\r\na=mid:0\r\na=sendonly\r\na=msid:s t\r\na=rid:a send\r\n\
                 a=simulcast:send {layers}\r\n"
            ))
        };
        let qualities = |offer: &Offer| -> Vec<VideoQuality> {
            let layers = offer.tracks[0].layers.iter();
            layers.map(VideoLayer::quality).collect()
        };
        use VideoQuality::{High, Low, Medium};
        for (layers, expected) in [
            ("q;h;f", vec![Low, Medium, High]),
            ("f;~h", vec![High, Medium]),
            ("0;1;2 recv x", vec![High, Medium, Low]),
            ("low,x;high", vec![Low, High]),
        ] {
            let offer = simulcast(layers);
            assert_eq!(qualities(&offer), expected, "{layers}");
            assert!(offer.sdp.contains("a=simulcast:"));
        }
        for unknown in ["l;m;h", "q;x", ""] {
            let offer = simulcast(unknown);
            assert!(qualities(&offer).is_empty(), "{unknown}");
            assert!(!offer.sdp.contains("a=simulcast") && !offer.sdp.contains("a=rid"));
        }
    }

    #[test]
    fn a_second_track_of_a_kind_is_a_screen_and_names_are_never_given_twice() {
        let named = ["same", "anteroom-track-2", "same"];
        let section = |name| format!("m=video 9 X 96\r\na=msid:s {name}\r\n");
        let sections: String = named.into_iter().map(section).collect();
        let offer = publish(&sections);
        let sources: Vec<_> = offer.tracks.iter().map(|track| track.source()).collect();
        use TrackSource::{Camera, ScreenShare, Unknown};
        assert_eq!(sources, [Camera, ScreenShare, Unknown]);
        let names: BTreeSet<_> = offer.tracks.iter().map(|track| &track.cid).collect();
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn a_restart_changes_the_credentials_and_nothing_else() {
        let first = publish("m=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:abcd\r\n");
        let new = Credentials {
            ufrag: "wxyz".into(),
            password: "p".repeat(22),
        };
        let second = first.restarted(new.clone());
        assert!(!second.sdp.contains("abcd") && second.sdp.contains("a=ice-ufrag:wxyz"));
        assert_eq!(second.sdp.lines().count(), first.sdp.lines().count());
        assert_eq!(second.credentials, new);
    }

    #[test]
    fn an_offer_of_no_use_is_refused_with_what_to_do() {
        let refused = |flow, text: &str| Offer::parse(flow, text).unwrap_err();
        assert_eq!(refused(Flow::Publish, "hello"), OfferProblem::NoSdp);
        assert_eq!(refused(Flow::Publish, "v=0\r\n"), OfferProblem::NoIce);
        let receiving = offer("m=audio 9 X 111\r\na=mid:0\r\na=recvonly\r\n");
        assert_eq!(
            refused(Flow::Publish, &receiving),
            OfferProblem::SendsNothing
        );
        let rejected = offer("m=audio 0 X 111\r\na=mid:0\r\n");
        assert_eq!(
            refused(Flow::Publish, &rejected),
            OfferProblem::SendsNothing
        );
        assert_eq!(
            refused(Flow::Watch, &rejected),
            OfferProblem::ReceivesNothing
        );
        let bundled = offer("m=audio 0 X 111\r\na=mid:0\r\na=bundle-only\r\n");
        assert!(Offer::parse(Flow::Watch, &bundled).is_ok());
        let many = offer(&"m=audio 9 X 111\r\n".repeat(SECTIONS_MAX + 1));
        assert_eq!(refused(Flow::Watch, &many), OfferProblem::TooManySections);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(
            text in "(m=audio 9 X 1\r\n|m=video|a=mid:|a=msid:|a=simulcast:send |;|,|~|\\PC|\r\n| ){0,80}",
            publish in any::<bool>(),
        ) {
            let flow = if publish { Flow::Publish } else { Flow::Watch };
            if let Ok(offer) = Offer::parse(flow, &offer(&text)) {
                prop_assert!(offer.tracks.len() <= SECTIONS_MAX);
                let _ = offer.restarted(offer.credentials.clone());
            }
        }
    }
}
