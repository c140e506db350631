//! Participants over the `webrtc` crate: another implementation of WebRTC than ours, which only watches.
//! What our own clients measure, it must see too.
//!
//! Owns: the thread that they share, their joins and their ends. The peer connection is [`peer`], what
//! comes over it [`tracks`].

mod peer;
mod tracks;

use super::desk::{Common, Desk, add};
use crate::collect::Collector;
use crate::witness::{Witness, WitnessKind};
use client::lk::{self, signal_request, signal_response::Message};
use client::{ConnectOptions, ServerUrl, Signalling};
use peer::{Peer, PeerNews};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracks::Tracks;

/// From the request to the first picture. Later, a join has failed.
const JOIN_WITHIN: Duration = Duration::from_secs(20);
/// Between two pings where the server does not say: LiveKit says 10 s.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Starts their thread; it ends with the plan, or soon after `stop`.
pub(super) fn start(
    common: Arc<Common>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<Collector>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let thread = std::thread::Builder::new().name("load-webrtc".to_owned());
    thread.spawn(move || {
        let desk = Arc::new(Desk::new(common));
        runtime.block_on(run(&desk, &stop));
        runtime.shutdown_background();
        desk.take()
    })
}

async fn run(desk: &Arc<Desk>, stop: &CancellationToken) {
    let settings = &desk.common.settings;
    let mut all = JoinSet::new();
    let end = desk.common.clock.at(settings.plan.duration);
    // When their rooms are full, there is something to see.
    let begin = desk.common.clock.at(settings.plan.ramp());
    tokio::select! {
        () = tokio::time::sleep_until(begin.into()) => {}
        () = stop.cancelled() => return,
    }
    let leave = stop.child_token();
    for number in 0..settings.webrtc {
        let (room, identity) = settings.place_of(number, "webrtc");
        let watcher = Watcher::new(Arc::clone(desk), room, identity, leave.clone());
        all.spawn(watcher.live());
    }
    tokio::select! {
        () = tokio::time::sleep_until(end.into()) => {}
        () = stop.cancelled() => {}
    }
    leave.cancel();
    while all.join_next().await.is_some() {}
}

/// One of them.
struct Watcher {
    desk: Arc<Desk>,
    witness: Witness,
    started: Instant,
    arrived: bool,
    leave: CancellationToken,
}

/// Why it ended, if it should not have.
type Lost = String;

impl Watcher {
    fn new(desk: Arc<Desk>, room: String, identity: String, leave: CancellationToken) -> Self {
        let started = Instant::now();
        Self {
            desk,
            witness: Witness::new(WitnessKind::Webrtc, room, identity),
            started,
            arrived: false,
            leave,
        }
    }

    async fn live(mut self) {
        let mut tracks = Tracks::new(Arc::clone(&self.desk), &self.witness.name);
        let ended = self.attend(&mut tracks).await;
        let now = Instant::now();
        for stream in tracks.end().await {
            self.witness.handle_stream(&stream);
        }
        if let Err(cause) = ended {
            self.fail(&cause, now);
        }
        self.desk.collector().handle_witness(self.witness);
    }

    async fn attend(&mut self, tracks: &mut Tracks) -> Result<(), Lost> {
        let options = self.options()?;
        let url = ServerUrl::parse(&options.url).map_err(|error| error.to_string())?;
        let plan = &self.desk.common.settings.plan;
        let sections = u32::try_from(plan.people + 1).unwrap_or(u32::MAX);
        let mut peer = Peer::new(&url, sections).await?;
        let offer = peer.offer(0, 0).await?;
        let signalling = Signalling::connect(&options, offer).await;
        let mut signalling = signalling.map_err(|error| error.to_string())?;
        let ended = self.listen(&mut peer, &mut signalling, tracks).await;
        peer.close().await;
        signalling.close().await;
        ended
    }

    fn options(&self) -> Result<ConnectOptions, Lost> {
        let settings = &self.desk.common.settings;
        let token = settings.token(&self.witness.room, &self.witness.name, false);
        let token = token.map_err(|error| error.to_string())?;
        let mut options = ConnectOptions::new(settings.url.clone(), token);
        options.headers = settings.headers.of(&self.witness.room);
        Ok(options)
    }

    /// Until it shall leave.
    async fn listen(
        &mut self,
        peer: &mut Peer,
        signalling: &mut Signalling,
        tracks: &mut Tracks,
    ) -> Result<(), Lost> {
        let mut pings = tokio::time::interval(PING_EVERY);
        let late = tokio::time::sleep_until((self.started + JOIN_WITHIN).into());
        let mut late = std::pin::pin!(late);
        loop {
            tokio::select! {
                message = signalling.next() => {
                    let Some(message) = message?.message else { continue };
                    self.handle_message(message, peer, signalling).await?;
                }
                news = peer.next() => match news {
                    PeerNews::Track(track) => tracks.add(track),
                    PeerNews::Failed => return Err("its peer connection failed".to_owned()),
                },
                first = tracks.first_frame() => self.handle_first_frame(first),
                _ = pings.tick() => {
                    let ping = lk::Ping::default();
                    signalling.send(signal_request::Message::PingReq(ping)).await?;
                }
                () = &mut late, if !self.arrived => return Err("no picture in time".to_owned()),
                () = self.leave.cancelled() => {
                    let goodbye = lk::LeaveRequest::default();
                    return signalling.send(signal_request::Message::Leave(goodbye)).await;
                }
            }
        }
    }

    async fn handle_message(
        &mut self,
        message: Message,
        peer: &mut Peer,
        signalling: &mut Signalling,
    ) -> Result<(), Lost> {
        match message {
            Message::Join(_) => {
                let now = Instant::now();
                self.witness.joined_ms = Some(self.ms_since_start(now));
            }
            Message::Answer(answer) => {
                peer.handle_answer(answer.sdp).await?;
                if let Some((audio, video)) = peer.take_wanted() {
                    let offer = peer.offer(audio, video).await?;
                    signalling
                        .send(signal_request::Message::Offer(offer))
                        .await?;
                }
            }
            Message::Trickle(trickle) => peer.handle_candidate(&trickle.candidate_init).await,
            Message::MediaSectionsRequirement(wanted)
                if peer.want(wanted.num_audios, wanted.num_videos) =>
            {
                let offer = peer.offer(wanted.num_audios, wanted.num_videos).await?;
                signalling
                    .send(signal_request::Message::Offer(offer))
                    .await?;
            }
            Message::Leave(leave) => {
                return Err(format!(
                    "the server ended it: {}",
                    leave.reason().as_str_name()
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// Its times stand with the witnesses, not among the joins: how fast this implementation connects is
    /// no figure of the server's.
    fn handle_first_frame(&mut self, first: Instant) {
        if !std::mem::replace(&mut self.arrived, true) {
            self.witness.first_frame_ms = Some(self.ms_since_start(first));
            add(&self.desk.common.counters.joined, 1);
        }
    }

    fn fail(&mut self, cause: &str, now: Instant) {
        self.witness.error = Some(cause.to_owned());
        let example = format!("{}: {cause}", self.witness.name);
        self.desk
            .note_error("participant over the webrtc crate failed", &example, now);
    }

    fn ms_since_start(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.started).as_secs_f64() * 1000.0
    }
}
