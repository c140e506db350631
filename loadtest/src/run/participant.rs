//! The life of one participant: joins, obeys, comes back when its connection is lost, leaves.

use super::desk::{Desk, kind_of};
use super::member::{Coming, Gone, Member};
use super::orders::{Order, Wishes};
use crate::media::Codec;
use crate::phases::Join;
use crate::random::Random;
use client::{Client, ConnectError, ConnectOptions, EndReason, Fidelity, Sections};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Times between attempts to come back, as SDKs have them: doubled from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(3);
/// Who is not back by then stays away.
const BACK_WITHIN: Duration = Duration::from_secs(60);
/// Sections of the first offer at most: a room of this size and larger asks for more.
const SECTIONS_MAX: u32 = 8;

/// Who it is.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) room: Arc<str>,
    pub(super) identity: Arc<str>,
    pub(super) publishes: bool,
    /// Number in the run.
    pub(super) number: usize,
}

/// How a connection ended.
enum Parting {
    /// As it was wanted: no more of it.
    Done,
    /// It shall come back.
    Lost(Instant),
}

pub(super) struct Participant {
    desk: Arc<Desk>,
    ticket: Ticket,
    token: String,
    orders: mpsc::Receiver<Order>,
    wishes: Wishes,
    random: Random,
}

impl Participant {
    pub(super) fn new(
        desk: Arc<Desk>,
        ticket: Ticket,
        token: String,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let seed = desk.common.settings.plan.seed.rotate_left(32) ^ ticket.number as u64;
        Self {
            desk,
            ticket,
            token,
            orders,
            wishes: Wishes::default(),
            random: Random::new(seed),
        }
    }

    /// From the first join to the end.
    pub(super) async fn live(mut self) {
        let begun = Instant::now();
        let mut parting = match self.connect(Coming::First).await {
            None => return,
            Some(Ok((client, gone))) => self.attend(client, gone).await,
            Some(Err(error)) => {
                let (now, ns) = (Instant::now(), self.desk.ns(begun));
                if !self.desk.is_over(now) {
                    self.desk
                        .collector()
                        .handle_join(&Join::begin(ns), false, ns);
                    self.desk.note_refusal(&self.ticket.identity, &error, now);
                }
                return;
            }
        };
        while let Parting::Lost(since) = parting {
            parting = self.come_back(since).await;
        }
    }

    /// Tries until it is back, or no more.
    async fn come_back(&mut self, since: Instant) -> Parting {
        let mut pause = Duration::ZERO;
        while since.elapsed() < BACK_WITHIN {
            if !self.wait(pause).await {
                return Parting::Done;
            }
            match self.connect(Coming::Again(since)).await {
                None => return Parting::Done,
                Some(Ok((client, gone))) => return self.attend(client, gone).await,
                Some(Err(error)) => {
                    let example = format!("{}: {error}", self.ticket.identity);
                    let kind = format!("reconnect failed: {}", kind_of(&error));
                    self.desk.note_error(&kind, &example, Instant::now());
                }
            }
            pause = (pause * 2).clamp(RETRY_FIRST, RETRY_LAST);
        }
        let example = format!(
            "{}: not back in {} s",
            self.ticket.identity,
            BACK_WITHIN.as_secs()
        );
        self.desk
            .note_error("gave up coming back", &example, Instant::now());
        Parting::Done
    }

    /// A pause with some chance in it: not all come at once. False: it shall leave.
    async fn wait(&mut self, pause: Duration) -> bool {
        let spread = u32::try_from(self.random.below(500)).unwrap_or(0);
        let until = Instant::now() + pause + pause * spread / 1000;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until.into()) => return true,
                order = self.orders.recv() => match order {
                    Some(Order::Vanish) | None => return false,
                    Some(order) => {
                        self.wishes.note(&order);
                    }
                }
            }
        }
    }

    /// One attempt to join; `None`: it shall leave.
    async fn connect(
        &mut self,
        coming: Coming,
    ) -> Option<Result<(Client<Member>, oneshot::Receiver<Gone>), ConnectError>> {
        let options = self.options();
        let (member, gone) = Member::new(
            Arc::clone(&self.desk),
            Arc::clone(&self.ticket.identity),
            coming,
            self.ticket.publishes,
            self.wishes.clone(),
            self.random.next(),
        );
        let mut joining = std::pin::pin!(Client::connect_with(options, member));
        loop {
            tokio::select! {
                joined = &mut joining => {
                    let joined = joined.map(|client| (client, gone));
                    return Some(joined);
                }
                order = self.orders.recv() => match order {
                    Some(Order::Vanish) | None => return None,
                    Some(order) => {
                        // It comes too late for this member, unless it lasts.
                        self.wishes.note(&order);
                    }
                }
            }
        }
    }

    fn options(&self) -> ConnectOptions {
        let settings = &self.desk.common.settings;
        let mut options = ConnectOptions::new(settings.url.clone(), self.token.clone());
        options.headers = settings.headers.of(&self.ticket.room);
        let plan = &settings.plan;
        let senders = match plan.profile {
            crate::plan::Profile::Webinar => plan.publishers,
            _ => plan.people.saturating_sub(1),
        };
        let sections = u32::try_from(senders)
            .unwrap_or(SECTIONS_MAX)
            .clamp(1, SECTIONS_MAX);
        let session = &mut options.session;
        session.mode = settings.mode();
        session.receive = Sections {
            audio: sections,
            video: sections,
        };
        session.fidelity = if settings.is_full(self.ticket.number) {
            Fidelity::Full
        } else {
            Fidelity::Counting
        };
        session.video_codecs = vec![super::sending::codec_out(settings.codec)];
        if settings.browsers > 0 && settings.codec != Codec::Vp8 {
            // What the web client sends.
            session.video_codecs.push(client::Codec::Vp8);
        }
        session.seed = self.ticket.number as u64;
        session.resume_attempts = client::RESUME_ATTEMPTS;
        options
    }

    /// While it is there.
    async fn attend(
        &mut self,
        client: Client<Member>,
        mut gone: oneshot::Receiver<Gone>,
    ) -> Parting {
        // Orders may have come while it joined.
        self.apply_wishes(&client).await;
        loop {
            let order = tokio::select! {
                ended = &mut gone => return self.lost(ended.ok(), Instant::now()),
                order = self.orders.recv() => order,
            };
            match order {
                None => {
                    client.close().await;
                    return Parting::Done;
                }
                Some(Order::Cut) => {
                    // It resumes by itself; if it cannot, it is gone, and joins again.
                    let _ = client
                        .call(|session, member, now| member.cut(session, now))
                        .await;
                }
                Some(Order::Vanish) => {
                    let _ = client.call(|session, _, _| session.vanish()).await;
                    // Its sockets stay open until the run ends.
                    while self.orders.recv().await.is_some() {}
                    client.close().await;
                    return Parting::Done;
                }
                Some(order) => {
                    self.wishes.note(&order);
                    let obey = move |session: &mut client::Session, member: &mut Member, now| {
                        member.obey(&order, session, now);
                    };
                    let _ = client.call(obey).await;
                }
            }
        }
    }

    async fn apply_wishes(&self, client: &Client<Member>) {
        let wishes = self.wishes.clone();
        let _ = client
            .call(move |session, member, now| member.catch_up(&wishes, session, now))
            .await;
    }

    fn lost(&self, gone: Option<Gone>, now: Instant) -> Parting {
        let Some(Gone { reason, lost }) = gone else {
            self.desk
                .note_loss(&self.ticket.identity, "its task ended without a word", now);
            return Parting::Lost(now);
        };
        if matches!(reason, EndReason::Left | EndReason::Vanished) {
            // Its own doing.
            return Parting::Done;
        }
        match lost {
            // The loss has been told of.
            Some(since) => {
                let example = format!("{}: {reason}", self.ticket.identity);
                self.desk.note_error("session not resumed", &example, now);
                Parting::Lost(since)
            }
            None => {
                self.desk
                    .note_loss(&self.ticket.identity, &reason.to_string(), now);
                Parting::Lost(now)
            }
        }
    }
}
