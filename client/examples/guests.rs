//! Participants who hear, see and write to each other, and say what happens to them, one line each:
//! `NAME joined|resuming|resumed ATTEMPTS|lost TRACK|left NAME|gap MILLISECONDS KIND|data NAME NUMBER|
//! ended REASON`. They stay until the standard input ends.
//!
//! ```sh
//! guests ws://127.0.0.1:7880/r/standup standup ann bob
//! ```
//!
//! API key and secret are those of `anteroom up`, or `LIVEKIT_API_KEY` and `LIVEKIT_API_SECRET`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot begin has failed; it talks by its output"
)]

use client::{
    AccessToken, Agent, Client, Codec, ConnectOptions, DataKind, Layer, LayerSpec, RESUME_ATTEMPTS,
    RemoteId, RemoteTrack, RtpOut, Session, SessionEvent, TrackHandle, TrackSpec,
};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two packets of sound and two pictures.
const STEP: Duration = Duration::from_millis(20);
/// A pause in what arrives that is worth a line.
const GAP: Duration = Duration::from_millis(200);
/// Between two reliable messages.
const PAUSE: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, room, names @ ..] = arguments.as_slice() else {
        eprintln!("usage: guests URL ROOM NAME...");
        return;
    };
    let mut guests = Vec::new();
    for (seed, name) in (1..).zip(names) {
        guests.push(join(url, room, name, seed).await);
    }
    let mut line = String::new();
    let ended = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut line));
    let _ = ended.await;
    for guest in guests {
        guest.close().await;
    }
}

async fn join(url: &str, room: &str, name: &str, seed: u64) -> Client<Guest> {
    let variable = |name, otherwise: &str| std::env::var(name).unwrap_or(otherwise.to_owned());
    let key = variable("LIVEKIT_API_KEY", "devkey");
    let secret = variable("LIVEKIT_API_SECRET", "secret");
    let token = AccessToken::new(room, name).sign(&key, &secret);
    let mut options = ConnectOptions::new(url, token.unwrap());
    options.session.seed = seed;
    options.session.resume_attempts = RESUME_ATTEMPTS;
    let guest = Guest::new(name);
    let client = Client::connect_with(options, guest).await;
    let client = client.unwrap_or_else(|error| panic!("{name}: {error}"));
    let published = client.call(|session, guest: &mut Guest, now| guest.publish(session, now));
    published.await.unwrap();
    println!("{name} joined");
    client
}

struct Guest {
    name: String,
    tracks: Vec<(TrackHandle, Vec<Layer>)>,
    heard: BTreeMap<RemoteId, (RemoteTrack, Instant)>,
    due: Option<Instant>,
    frame: u32,
    talks: bool,
    said: u32,
    next_word: Option<Instant>,
}

impl Guest {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tracks: Vec::new(),
            heard: BTreeMap::new(),
            due: None,
            frame: 0,
            talks: false,
            said: 0,
            next_word: None,
        }
    }

    fn publish(&mut self, session: &mut Session, now: Instant) {
        let sizes = [(320, 180), (640, 360), (1280, 720)];
        let layers = Layer::ALL.into_iter().zip(sizes);
        let layers = layers.map(|(layer, (width, height))| LayerSpec {
            layer,
            width,
            height,
            bitrate_bps: width * 1000,
        });
        let camera = TrackSpec::camera(Codec::Vp8, layers.collect::<Vec<_>>());
        let camera = session.publish(camera, now);
        let microphone = session.publish(TrackSpec::microphone(), now);
        self.tracks = vec![
            (camera, Layer::ALL.to_vec()),
            (microphone, vec![Layer::High]),
        ];
        self.due = Some(now);
    }

    fn tell(&self, what: std::fmt::Arguments<'_>) {
        println!("{} {what}", self.name);
    }

    fn note(&mut self, track: RemoteId, at: Instant) {
        let Some((info, last)) = self.heard.get_mut(&track) else {
            return;
        };
        let gap = at.saturating_duration_since(*last);
        *last = at;
        if gap >= GAP {
            let kind = info.kind;
            self.tell(format_args!("gap {} {kind:?}", gap.as_millis()));
        }
    }

    fn talk(&mut self, session: &mut Session, now: Instant) {
        if self.talks && self.next_word.is_none_or(|at| at <= now) {
            let text = self.said.to_string().into_bytes();
            // While the channel is away nothing is said.
            if session.send_message(DataKind::Reliable, text, &[], now) == Ok(()) {
                self.said += 1;
            }
            self.next_word = Some(now + PAUSE);
        }
    }
}

impl Agent for Guest {
    fn handle_event(&mut self, event: SessionEvent, _session: &mut Session, now: Instant) {
        match event {
            SessionEvent::Subscribed(track) => {
                self.tell(format_args!("sees {} {:?}", track.identity, track.kind));
                self.heard.insert(track.id, (track, now));
            }
            SessionEvent::Unsubscribed { id, sid } => {
                self.heard.remove(&id);
                self.tell(format_args!("lost {sid}"));
            }
            SessionEvent::Rtp(packet) => self.note(packet.track, packet.at),
            SessionEvent::DataOpen(DataKind::Reliable) => self.talks = true,
            SessionEvent::Data { packet, .. } => {
                if let Some(client::lk::data_packet::Value::User(user)) = packet.value {
                    let text = String::from_utf8_lossy(&user.payload).into_owned();
                    self.tell(format_args!("data {} {text}", packet.participant_identity));
                }
            }
            SessionEvent::ParticipantLeft { identity, .. } => {
                self.tell(format_args!("left {identity}"));
            }
            SessionEvent::Resuming(reason) => self.tell(format_args!("resuming {reason}")),
            SessionEvent::Resumed { attempts } => self.tell(format_args!("resumed {attempts}")),
            SessionEvent::Ended(reason) => self.tell(format_args!("ended {reason}")),
            _ => {}
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, session: &mut Session, now: Instant) {
        self.due = Some(now + STEP);
        self.frame += 1;
        let key = self.frame % 10 == 1;
        for (track, layers) in &self.tracks {
            for layer in layers {
                // A VP8 descriptor with a picture id, then the first byte of a frame (RFC 7741).
                let [.., high, low] = self.frame.to_be_bytes();
                let head = [0x90, 0xe0, high | 0x80, low, low, 0, u8::from(!key)];
                let packet = RtpOut {
                    payload: head.as_slice().into(),
                    timestamp: self.frame.wrapping_mul(960),
                    marker: true,
                    audio_level: Some(20),
                };
                // While media is away nothing is taken.
                let _ = session.write(*track, *layer, packet, now);
            }
        }
        self.talk(session, now);
    }
}
