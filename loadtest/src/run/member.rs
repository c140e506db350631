//! Who lives in a participant's client: sends at the pace, counts what comes, notes the join.
//!
//! One member for one connection: who comes back is a new member.

use super::desk::{Desk, add};
use super::orders::{Order, Wishes};
use super::receiving::Receiving;
use super::sending::Sending;
use crate::media::Layer;
use crate::phases::{Join, Phase};
use crate::plan::Kind;
use client::{Agent, Connection, EndReason, Session, SessionEvent, Timeline, lk};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// From the request to the first frame. Later, a join has failed.
const JOIN_WITHIN: Duration = Duration::from_secs(15);

/// Why this connection was made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coming {
    /// It is the participant's first.
    First,
    /// The one before was lost then.
    Again(Instant),
}

/// How a connection ended.
#[derive(Debug)]
pub(super) struct Gone {
    pub(super) reason: EndReason,
    /// It was being resumed since then.
    pub(super) lost: Option<Instant>,
}

/// What completes a join: somebody who is alone has nobody to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    Connection,
    Packet,
    Frame,
}

pub(super) struct Member {
    desk: Arc<Desk>,
    identity: Arc<str>,
    coming: Coming,
    publishes: bool,
    wishes: Wishes,
    goal: Goal,
    /// The join or the return has been told of.
    arrived: bool,
    /// When it is told as failed.
    due: Option<Instant>,
    connected: bool,
    /// The signalling connection is lost since then, and is being made again.
    lost: Option<Instant>,
    first_frame: Option<Instant>,
    sending: Sending,
    receiving: Receiving,
    gone: Option<oneshot::Sender<Gone>>,
}

impl Member {
    /// `gone` is told why the connection ended.
    pub(super) fn new(
        desk: Arc<Desk>,
        identity: Arc<str>,
        coming: Coming,
        publishes: bool,
        wishes: Wishes,
        seed: u64,
    ) -> (Self, oneshot::Receiver<Gone>) {
        let (gone, ended) = oneshot::channel();
        let member = Self {
            receiving: Receiving::new(Arc::clone(&identity)),
            desk,
            identity,
            coming,
            publishes,
            wishes,
            goal: Goal::Connection,
            arrived: false,
            due: None,
            connected: false,
            lost: None,
            first_frame: None,
            sending: Sending::new(seed),
            gone: Some(gone),
        };
        (member, ended)
    }

    /// Does what lasts: mutes, looks at somebody.
    pub(super) fn obey(&mut self, order: &Order, session: &mut Session, now: Instant) {
        self.wishes.note(order);
        match order {
            Order::Mute(kind, muted) => {
                self.sending.mute(*kind, *muted, &self.desk, session, now);
            }
            Order::Focus(on) => self.receiving.focus(on, session),
            Order::Cut | Order::Vanish => {}
        }
    }

    /// Wants what it was told while it joined.
    pub(super) fn catch_up(&mut self, wishes: &Wishes, session: &mut Session, now: Instant) {
        for (kind, muted) in [
            (Kind::Audio, wishes.audio_muted),
            (Kind::Video, wishes.video_muted),
        ] {
            if self.wishes.is_muted(kind) != muted {
                self.obey(&Order::Mute(kind, muted), session, now);
            }
        }
        if let Some(on) = wishes
            .focus
            .clone()
            .filter(|_| self.wishes.focus != wishes.focus)
        {
            self.obey(&Order::Focus(on), session, now);
        }
    }

    fn handle_joined(&mut self, join: &lk::JoinResponse, session: &mut Session, now: Instant) {
        let others = join.other_participants.iter();
        let tracks = others
            .flat_map(|other| &other.tracks)
            .filter(|track| !track.muted);
        self.goal = tracks.fold(Goal::Connection, |goal, track| {
            match (goal, track.r#type()) {
                (_, lk::TrackType::Video) | (Goal::Frame, _) => Goal::Frame,
                (goal, lk::TrackType::Data) => goal,
                (_, lk::TrackType::Audio) => Goal::Packet,
            }
        });
        self.due = Some(session.timeline().started + JOIN_WITHIN);
        if self.publishes {
            self.sending.begin(&self.desk, &self.wishes, session, now);
        }
    }

    /// The plan cuts its signalling connection: that it is lost is no error.
    pub(super) fn cut(&mut self, session: &mut Session, now: Instant) {
        self.lost = Some(now);
        session.handle_signal_end("the plan cut it".to_owned(), now);
    }

    fn handle_resuming(&mut self, reason: &EndReason, now: Instant) {
        if self.lost.is_none() {
            self.lost = Some(now);
            self.desk
                .note_loss(&self.identity, &reason.to_string(), now);
        }
        self.set_connected(false);
    }

    fn handle_resumed(&mut self, now: Instant) {
        self.set_connected(true);
        if let Some(lost) = self.lost.take() {
            self.note_reconnect(lost, now);
        }
    }

    fn note_reconnect(&self, lost: Instant, now: Instant) {
        if !self.desk.is_over(now) {
            let took = now.saturating_duration_since(lost);
            self.desk
                .collector()
                .handle_reconnect(took, self.desk.ns(now));
        }
    }

    fn set_connected(&mut self, is: bool) {
        if std::mem::replace(&mut self.connected, is) != is {
            self.desk.note_connected(is);
        }
    }

    fn handle_connected(&mut self, connection: Connection, session: &Session, now: Instant) {
        // With two connections the first one that can carry media counts.
        self.set_connected(true);
        tracing::trace!(identity = %self.identity, ?connection, "connected");
        self.look_at_join(session, now);
    }

    /// Tells of the join once its goal is reached.
    fn look_at_join(&mut self, session: &Session, now: Instant) {
        let timeline = session.timeline();
        let reached = timeline.dtls_connected.is_some()
            && match self.goal {
                Goal::Connection => true,
                Goal::Packet => timeline.first_packet.is_some(),
                Goal::Frame => self.first_frame.is_some(),
            };
        if self.arrived || !reached {
            return;
        }
        self.arrived = true;
        self.due = None;
        if self.desk.is_over(now) {
            return;
        }
        match self.coming {
            Coming::First => {
                let join = self.join(timeline);
                let ns = self.desk.ns(now);
                self.desk.collector().handle_join(&join, true, ns);
                add(&self.desk.common.counters.joined, 1);
            }
            Coming::Again(lost) => self.note_reconnect(lost, now),
        }
    }

    fn join(&self, timeline: &Timeline) -> Join {
        let ns = |moment: Instant| self.desk.common.clock.ns(moment);
        let mut join = Join::begin(ns(timeline.started));
        let first_packet = timeline
            .first_packet
            .filter(|_| self.goal != Goal::Connection);
        let first_frame = self.first_frame.filter(|_| self.goal == Goal::Frame);
        let moments = [
            (Phase::Http, timeline.http),
            (Phase::Websocket, timeline.joined),
            (Phase::Ice, timeline.ice_connected),
            (Phase::Dtls, timeline.dtls_connected),
            (Phase::FirstPacket, first_packet),
            (Phase::FirstFrame, first_frame),
        ];
        for (phase, moment) in moments {
            if let Some(moment) = moment {
                join.reach(phase, ns(moment));
            }
        }
        join
    }

    /// It has taken too long, or ended before it was there.
    fn fail(&mut self, why: &str, now: Instant) {
        if std::mem::replace(&mut self.arrived, true) || self.desk.is_over(now) {
            return;
        }
        self.due = None;
        let example = format!("{}: {why}", self.identity);
        match self.coming {
            Coming::First => {
                let ns = self.desk.ns(now);
                self.desk
                    .collector()
                    .handle_join(&Join::begin(ns), false, ns);
                add(&self.desk.common.counters.join_failures, 1);
                self.desk.note_error("join without media", &example, now);
            }
            Coming::Again(_) => self
                .desk
                .note_error("reconnect without media", &example, now),
        }
    }

    fn handle_end(&mut self, reason: EndReason, now: Instant) {
        self.receiving.end(&self.desk, now);
        self.set_connected(false);
        let own = matches!(reason, EndReason::Left | EndReason::Vanished);
        if own {
            self.arrived = true;
        } else {
            self.fail(&reason.to_string(), now);
        }
        if let Some(gone) = self.gone.take() {
            // Whoever asked may have left already.
            let _ = gone.send(Gone {
                reason,
                lost: self.lost,
            });
        }
    }

    fn watched_as(&self, identity: &str) -> Layer {
        match &self.wishes.focus {
            None => self.desk.common.settings.watch,
            Some(on) if **on == *identity => Layer::High,
            Some(_) => Layer::Low,
        }
    }
}

impl Agent for Member {
    fn handle_event(&mut self, event: SessionEvent, session: &mut Session, now: Instant) {
        let shown = match event {
            SessionEvent::Rtp(packet) => self.receiving.handle_packet(&packet, &self.desk, session),
            SessionEvent::Header(packet) => self.receiving.handle_header(&packet, &self.desk),
            other => return self.handle_news(other, session, now),
        };
        if shown {
            self.first_frame.get_or_insert(now);
        }
        if !self.arrived {
            self.look_at_join(session, now);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let next = [self.sending.poll_timeout(&self.desk), self.due];
        next.into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, session: &mut Session, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            if !self.receiving.expects_picture() {
                // Whom it saw in the room has left or muted since: nothing more can come.
                self.goal = Goal::Connection;
                self.look_at_join(session, now);
            }
            self.fail("no media in time", now);
        }
        if self.desk.is_over(now) {
            // Nothing is due any more; the task hears soon that it shall leave.
            self.sending = Sending::new(0);
        } else {
            self.sending.send(&self.desk, session, now);
        }
    }
}

impl Member {
    /// Everything that is no packet.
    fn handle_news(&mut self, event: SessionEvent, session: &mut Session, now: Instant) {
        match event {
            SessionEvent::Joined(join) => self.handle_joined(&join, session, now),
            SessionEvent::Connected(connection) => self.handle_connected(connection, session, now),
            SessionEvent::Subscribed(track) => {
                let layer = self.watched_as(&track.identity);
                self.receiving
                    .handle_track(track, layer, &self.desk, session);
            }
            SessionEvent::Unsubscribed { id, .. } => {
                self.receiving.handle_track_end(id, &self.desk, now);
            }
            SessionEvent::Participant(info) => self.receiving.handle_tracks(&info.tracks),
            SessionEvent::TrackPublished { track, info } => {
                self.sending.handle_named(track, info.muted, session);
            }
            SessionEvent::Sending(track) => self.sending.handle_sending(track, &self.desk, now),
            SessionEvent::KeyframeRequest { track, .. } => self.sending.handle_key_request(track),
            SessionEvent::PublishRefused { cause, .. } => {
                let example = format!("{}: {cause}", self.identity);
                self.desk.note_error("track refused", &example, now);
            }
            SessionEvent::Resuming(reason) => self.handle_resuming(&reason, now),
            SessionEvent::Resumed { .. } => self.handle_resumed(now),
            SessionEvent::Ended(reason) => {
                let unsent = session.counters().unsent_datagrams;
                self.desk.collector().handle_unsent(unsent);
                self.handle_end(reason, now);
            }
            _ => {}
        }
    }
}

impl Drop for Member {
    /// A client that does not end in time is aborted: what it has counted counts all the same.
    fn drop(&mut self) {
        self.handle_end(EndReason::Left, Instant::now());
    }
}
