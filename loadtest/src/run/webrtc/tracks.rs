//! What comes over a peer connection of the `webrtc` crate: a task and a count for each track.

use super::super::desk::{Desk, add};
use crate::media::Codec;
use crate::receive::{Packet, StreamStats, StreamSummary};
use crate::stamp::Stamp;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

/// First frames that wait to be told. Only the first of all is of interest.
const FIRSTS_MAX: usize = 4;

/// All tracks of one connection.
pub(super) struct Tracks {
    desk: Arc<Desk>,
    receiver: String,
    tasks: JoinSet<StreamSummary>,
    firsts: (mpsc::Sender<Instant>, mpsc::Receiver<Instant>),
    end: CancellationToken,
}

impl Tracks {
    pub(super) fn new(desk: Arc<Desk>, receiver: &str) -> Self {
        Self {
            desk,
            receiver: receiver.to_owned(),
            tasks: JoinSet::new(),
            firsts: mpsc::channel(FIRSTS_MAX),
            end: CancellationToken::new(),
        }
    }

    /// Counts what comes on this track from now on.
    pub(super) fn add(&mut self, track: Arc<dyn TrackRemote>) {
        let desk = Arc::clone(&self.desk);
        let receiver = self.receiver.clone();
        let first = self.firsts.0.clone();
        self.tasks
            .spawn(count(desk, track, receiver, first, self.end.clone()));
    }

    /// When the first picture of all is there.
    pub(super) async fn first_frame(&mut self) -> Instant {
        match self.firsts.1.recv().await {
            Some(first) => first,
            // We hold a sender ourselves.
            None => std::future::pending().await,
        }
    }

    /// All of them end now; gives what each was like.
    pub(super) async fn end(mut self) -> Vec<StreamSummary> {
        self.end.cancel();
        let mut all = Vec::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.extend(ended);
        }
        all
    }
}

async fn count(
    desk: Arc<Desk>,
    track: Arc<dyn TrackRemote>,
    receiver: String,
    first: mpsc::Sender<Instant>,
    end: CancellationToken,
) -> StreamSummary {
    let video = track.kind().await == RtpCodecKind::Video;
    let codec = if video {
        desk.common.settings.codec
    } else {
        Codec::Opus
    };
    let what = if video { "picture" } else { "sound" };
    let name = format!("{what} of {} at {receiver}", track.track_id().await);
    let mut stats = StreamStats::new(codec, name);
    loop {
        let event = tokio::select! {
            event = track.poll() => event,
            () = end.cancelled() => None,
        };
        let packet = match event {
            None | Some(TrackRemoteEvent::OnEnded) => break,
            Some(TrackRemoteEvent::OnRtpPacket(packet)) => packet,
            Some(_) => continue,
        };
        let now = Instant::now();
        if desk.is_over(now) {
            continue;
        }
        let before = stats.first_frame_ns().is_some();
        let packet_in = Packet {
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            bytes: packet.payload.len(),
            stamp: Stamp::find(codec, &packet.payload),
        };
        stats.handle_packet(&packet_in, &mut desk.collector().timeline, desk.ns(now));
        add(&desk.common.counters.packets_received, 1);
        add(
            &desk.common.counters.bytes_received,
            packet.payload.len() as u64,
        );
        if !before && stats.first_frame_ns().is_some() {
            // Others may have been earlier: then nobody reads it.
            let _ = first.try_send(now);
        }
    }
    desk.collector()
        .handle_stream_end(stats, desk.ns(Instant::now()))
}
