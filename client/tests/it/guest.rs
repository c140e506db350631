//! A client with a microphone and a camera, and what it saw.

use crate::world::{PATIENCE, World};
use client::{
    Client, Codec, ConnectOptions, CountedPacket, DataKind, EndReason, Kind, Layer, LayerSpec,
    PeerMode, ReceivedPacket, RemoteId, RemoteTrack, RtpOut, SessionEvent, TrackHandle, TrackSpec,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(20);

/// What a client saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) tracks: BTreeMap<RemoteId, RemoteTrack>,
    pub(crate) packets: BTreeMap<RemoteId, Vec<ReceivedPacket>>,
    pub(crate) headers: BTreeMap<RemoteId, Vec<CountedPacket>>,
    pub(crate) sending: Vec<TrackHandle>,
    pub(crate) asked: Vec<(u32, u32)>,
    pub(crate) open: Vec<DataKind>,
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) muted: bool,
    pub(crate) left: Vec<String>,
    pub(crate) unsubscribed: usize,
    /// Attempts that each resume took.
    pub(crate) resumed: Vec<u32>,
    pub(crate) connected: usize,
    pub(crate) ended: Option<EndReason>,
}

pub(crate) struct Guest {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    pub(crate) seen: Seen,
    pub(crate) microphone: Option<TrackHandle>,
    pub(crate) camera: Option<TrackHandle>,
    /// Said again and again: the channel on which others receive may open later than ours.
    pub(crate) chant: Option<&'static [u8]>,
    frame: u32,
}

impl Guest {
    pub(crate) async fn join(world: &World, name: &'static str, mode: PeerMode) -> Self {
        Self::join_with(name, world.options("standup", name, mode)).await
    }

    pub(crate) async fn join_with(name: &'static str, options: ConnectOptions) -> Self {
        let client = Client::connect(options).await.unwrap();
        Self {
            name,
            client,
            seen: Seen::default(),
            microphone: None,
            camera: None,
            chant: None,
            frame: 0,
        }
    }

    pub(crate) async fn publish(&mut self) {
        let layers = [(320, 180), (640, 360), (1280, 720)];
        let layers = Layer::ALL.into_iter().zip(layers);
        let layers = layers.map(|(layer, (width, height))| LayerSpec {
            layer,
            width,
            height,
            bitrate_bps: width * 1000,
        });
        let camera = TrackSpec::camera(Codec::Vp8, layers.collect::<Vec<_>>());
        self.microphone = Some(self.client.publish(TrackSpec::microphone()).await.unwrap());
        self.camera = Some(self.client.publish(camera).await.unwrap());
    }

    /// The signalling connection breaks, as far as the client can tell.
    pub(crate) async fn cut(&mut self) {
        let cut = self.client.call(|session, _, now| {
            session.handle_signal_end("it was cut".to_owned(), now);
        });
        cut.await.unwrap();
    }

    pub(crate) async fn say(&mut self, text: &'static str) {
        let sent = self.client.call(move |session, _, now| {
            session.send_message(DataKind::Reliable, text.into(), &[], now)
        });
        sent.await.unwrap().unwrap();
    }

    /// It was told this once, in this order.
    pub(crate) fn was_told(&self, by: &str, texts: &[&str]) -> bool {
        let by_them = self.seen.messages.iter().filter(|(who, _)| who == by);
        let told: Vec<&[u8]> = by_them.map(|(_, text)| text.as_slice()).collect();
        told == texts.iter().map(|text| text.as_bytes()).collect::<Vec<_>>()
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.seen.sending.len() == 2
    }

    /// Packets of another one's tracks of this kind.
    pub(crate) fn heard(&self, of: &str, kind: Kind) -> usize {
        let tracks = self.seen.tracks.values();
        let theirs = tracks.filter(|track| track.identity == of && track.kind == kind);
        let packets = theirs.map(|track| {
            self.seen.packets.get(&track.id).map_or(0, Vec::len)
                + self.seen.headers.get(&track.id).map_or(0, Vec::len)
        });
        packets.sum()
    }

    /// Sends one packet of sound, and one frame of each layer.
    async fn play(&mut self) {
        self.frame += 1;
        let (frame, microphone, camera) = (self.frame, self.microphone, self.camera);
        let chant = self.chant;
        let played = self.client.call(move |session, _, now| {
            if let Some(text) = chant {
                let _ = session.send_message(DataKind::Reliable, text.to_vec(), &[], now);
            }
            // Before the track is negotiated nothing is taken.
            if let Some(track) = microphone {
                let _ = session.write(track, Layer::High, sound(frame), now);
            }
            if let Some(track) = camera {
                for layer in Layer::ALL {
                    let _ = session.write(track, layer, picture(frame, layer), now);
                }
            }
        });
        // The client may have ended.
        let _ = played.await;
    }

    /// What it has seen so far, for whoever waits in vain.
    fn story(&self) -> String {
        let seen = &self.seen;
        let tracks = seen.tracks.values().map(|track| {
            let count = seen.packets.get(&track.id).map_or(0, Vec::len);
            let counted = seen.headers.get(&track.id).map_or(0, Vec::len);
            format!(
                "{} {:?} {}: {}",
                track.identity,
                track.kind,
                track.mid,
                count + counted
            )
        });
        format!(
            "{} hears {:?}, sends {:?} of {:?}, connected {} times, resumed {:?}, was asked for sections \
             {:?}, ended: {:?}",
            self.name,
            tracks.collect::<Vec<_>>(),
            seen.sending,
            [self.microphone, self.camera],
            seen.connected,
            seen.resumed,
            seen.asked,
            seen.ended
        )
    }

    fn look(&mut self) {
        while let Some(event) = self.client.events().and_then(|queue| queue.try_recv().ok()) {
            self.note(event);
        }
    }

    fn note(&mut self, event: SessionEvent) {
        let seen = &mut self.seen;
        match event {
            SessionEvent::Connected(_) => seen.connected += 1,
            SessionEvent::Subscribed(track) => {
                seen.tracks.insert(track.id, track);
            }
            SessionEvent::Unsubscribed { id, .. } => {
                seen.unsubscribed += 1;
                seen.tracks.remove(&id);
            }
            SessionEvent::Rtp(packet) => {
                seen.packets.entry(packet.track).or_default().push(packet);
            }
            SessionEvent::Header(packet) => {
                seen.headers.entry(packet.track).or_default().push(packet);
            }
            SessionEvent::Sending(track) => seen.sending.push(track),
            SessionEvent::SectionsAsked { audio, video } => seen.asked.push((audio, video)),
            SessionEvent::DataOpen(kind) => seen.open.push(kind),
            SessionEvent::Data { packet, .. } => {
                if let Some(client::lk::data_packet::Value::User(user)) = packet.value {
                    seen.messages
                        .push((packet.participant_identity, user.payload));
                }
            }
            SessionEvent::Participant(info) => {
                seen.muted = info.tracks.iter().any(|track| track.muted);
            }
            SessionEvent::ParticipantLeft { identity, .. } => seen.left.push(identity),
            SessionEvent::PublishRefused { cause, .. } => panic!("{}: {cause}", self.name),
            SessionEvent::Resumed { attempts } => seen.resumed.push(attempts),
            SessionEvent::Ended(reason) => seen.ended = Some(reason),
            _ => {}
        }
    }
}

fn sound(frame: u32) -> RtpOut {
    RtpOut {
        payload: [b"opus".as_slice(), &frame.to_be_bytes()].concat().into(),
        timestamp: frame * 960,
        marker: frame == 1,
        audio_level: Some(20),
    }
}

/// A VP8 descriptor with picture id and TL0PICIDX (RFC 7741 section 4.2), a frame header that says
/// whether it is a key frame, then the layer's name.
fn picture(frame: u32, layer: Layer) -> RtpOut {
    let key = frame % 10 == 1;
    let [_, _, high, low] = frame.to_be_bytes();
    let head = [0x90, 0xe0, high | 0x80, low, low, 0, u8::from(!key)];
    let mut payload = head.to_vec();
    payload.extend_from_slice(layer.name().as_bytes());
    RtpOut {
        payload: payload.into(),
        timestamp: frame * 1800,
        marker: true,
        audio_level: None,
    }
}

/// Both hear and see the other one.
pub(crate) fn both_hear(guests: &[&mut Guest; 2]) -> bool {
    let [ann, bob] = guests;
    let hears = |one: &Guest, other: &Guest| {
        one.heard(other.name, Kind::Audio) > 10 && one.heard(other.name, Kind::Video) > 10
    };
    hears(ann, bob) && hears(bob, ann)
}

/// Lets all play and look until `done`, or fails saying what was waited for.
pub(crate) async fn until<const N: usize>(
    what: &str,
    mut guests: [&mut Guest; N],
    done: impl Fn(&[&mut Guest; N]) -> bool,
) {
    let start = Instant::now();
    loop {
        for guest in &mut guests {
            guest.play().await;
            guest.look();
        }
        if done(&guests) {
            return;
        }
        if start.elapsed() > PATIENCE {
            let stories = guests.each_ref().map(|guest| guest.story());
            panic!("waited in vain until {what}:\n{}", stories.join("\n"));
        }
        tokio::time::sleep(STEP).await;
    }
}
