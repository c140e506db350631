//! Two participants on one way: the first is connected and speaks, the second one listens.

use super::carrier::Way;
use super::media::{Connect, Listen, Mark, PACKETS, Speak};
use super::party::Party;
use super::tls::Trust;
use crate::core::report::Finding;
use crate::core::verdict::media::{self, Heard};
use client::ConnectOptions;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What the packets take that are waited for, and as long again.
const LISTENING: Duration = Duration::from_millis(2 * 20 * PACKETS as u64);
/// The speaker is ended by the listener; this is for the case that nobody does.
const SPEAKING_MAX: Duration = Duration::from_secs(120);

/// How two participants meet.
pub(super) struct Pair<'a> {
    pub(super) way: &'a Way,
    pub(super) within: Duration,
    pub(super) trust: Result<Trust, String>,
}

/// What came of the first one.
pub(super) struct First {
    pub(super) dtls: (Finding, Duration),
    pub(super) data: (Finding, Duration),
    pub(super) party: Option<Party>,
}

impl Pair<'_> {
    /// Connects the first one.
    pub(super) async fn first(&self, options: &ConnectOptions) -> First {
        let by = format!("{} {}", self.way.hop.title(), self.way.subject());
        let began = Instant::now();
        let joined = Party::join(options, self.way, &self.trust, self.within).await;
        let mut party = match joined {
            Ok(party) => party,
            Err(cause) => return First::broken(&by, cause, began),
        };
        let mut connect = Connect::default();
        let until = Instant::now() + self.within;
        if let Err(cause) = self.settle(&mut party, &mut connect, until).await {
            party.leave().await;
            return First::broken(&by, cause, began);
        }
        let dtls = (media::dtls(&by, &Ok(())), began.elapsed());
        let began = Instant::now();
        connect.with_data = true;
        let until = began + self.within;
        let outcome = self.settle(&mut party, &mut connect, until).await;
        First {
            dtls,
            data: (media::data(&outcome), began.elapsed()),
            party: Some(party),
        }
    }

    async fn settle(
        &self,
        party: &mut Party,
        connect: &mut Connect,
        until: Instant,
    ) -> Result<(), String> {
        match party.drive(connect, until).await? {
            true => Ok(()),
            false => Err(format!("not within {} s", self.within.as_secs_f32())),
        }
    }

    /// The first one speaks, a second one listens.
    pub(super) async fn media(
        &self,
        speaker: Party,
        listener: &ConnectOptions,
        rtt: Duration,
    ) -> Finding {
        let mark = Mark {
            run: rand::random(),
            began: Instant::now(),
        };
        let speaking = speak(speaker, mark);
        let heard = self.listen(listener, mark).await;
        let (party, refused) = stop(speaking).await;
        if let Some(party) = party {
            party.leave().await;
        }
        let outcome = match (heard, refused) {
            (Ok(heard), Some(cause)) if heard.received == 0 => {
                Err(format!("the first participant may not publish: {cause}"))
            }
            (heard, _) => heard,
        };
        media::media(&outcome, rtt)
    }

    async fn listen(&self, options: &ConnectOptions, mark: Mark) -> Result<Heard, String> {
        let joined = Party::join(options, self.way, &self.trust, self.within).await;
        let mut party = joined.map_err(|cause| format!("the second participant: {cause}"))?;
        let mut connect = Connect::default();
        let until = Instant::now() + self.within;
        let settled = self.settle(&mut party, &mut connect, until).await;
        let mut listen = Listen::new(mark);
        let outcome = match settled {
            Ok(()) => {
                let until = Instant::now() + self.within + LISTENING;
                party.drive(&mut listen, until).await.map(drop)
            }
            Err(cause) => Err(cause),
        };
        party.leave().await;
        outcome.map_err(|cause| format!("the second participant: {cause}"))?;
        Ok(listen.heard())
    }
}

impl First {
    fn broken(by: &str, cause: String, began: Instant) -> Self {
        let because = "DTLS is broken";
        Self {
            dtls: (media::dtls(by, &Err(cause)), began.elapsed()),
            data: (Finding::skipped(because), Duration::ZERO),
            party: None,
        }
    }
}

type Speaking = (
    tokio::sync::oneshot::Sender<()>,
    JoinHandle<(Party, Option<String>)>,
);

/// In a task of its own: it must go on while the other one joins.
fn speak(mut party: Party, mark: Mark) -> Speaking {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut task = Speak::new(mark);
        let until = mark.began + SPEAKING_MAX;
        let ended = tokio::select! {
            ended = party.drive(&mut task, until) => ended.err(),
            _ = stopped => None,
        };
        (party, task.refused.or(ended))
    });
    (stop, task)
}

/// Ends it, and gives it back; `None`: it panicked.
async fn stop((stop, task): Speaking) -> (Option<Party>, Option<String>) {
    // It may have ended by itself.
    let _ = stop.send(());
    match task.await {
        Ok((party, refused)) => (Some(party), refused),
        Err(_) => (None, None),
    }
}
