//! The task that carries out what the ownership machine asks for.

use super::{Owner, fresh, sleep_until};
use crate::peers::Peers;
use affinity::directory::{DirectoryUnreachable, Reply, Request};
use affinity::ownership::{Kept, Question, RequestId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long one call to the directory may take; afterwards its outcome is unknown. Short enough for
/// a second try, or for the others' promises, before the deadline.
const CALL_TIMEOUT: Duration = Duration::from_millis(900);
/// How long the last words to the directory may take at shutdown; afterwards the lease just ends.
const RESIGN_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A task that wakes so much later than it meant to was not run: the machine is overloaded, or stood
/// still. A lease ends by the clock all the same.
const LATE: Duration = Duration::from_millis(300);
/// A directory that takes so long for an answer is worth a line: three of these, and a lease ends.
const SLOW: Duration = Duration::from_millis(300);

enum Call {
    Directory(RequestId, Result<Reply, DirectoryUnreachable>),
    Peer(RequestId, Result<Kept, DirectoryUnreachable>),
}

/// The task that talks to the directory, and to the other shards if it cannot.
pub(crate) struct OwnershipDriver {
    owner: Owner,
    peers: Peers,
    calls: JoinSet<Call>,
}

impl OwnershipDriver {
    pub(crate) fn new(owner: Owner, peers: Peers) -> Self {
        Self {
            owner,
            peers,
            calls: JoinSet::new(),
        }
    }

    /// Runs until `resign` is notified, then gives everything back.
    pub(crate) async fn run(mut self, resign: Arc<Notify>) {
        loop {
            let wake = self.step();
            tokio::select! {
                Some(call) = self.calls.join_next() => self.handle_call(call),
                () = self.owner.work.notified() => {}
                () = sleep_until(wake) => {}
                () = resign.notified() => break,
            }
        }
        self.owner.lock().ownership.resign(Instant::now());
        let last_words = tokio::time::timeout(RESIGN_TIMEOUT, self.finish()).await;
        if last_words.is_err() {
            tracing::warn!("the directory did not hear our resignation: the lease ends by itself");
        }
    }

    async fn finish(&mut self) {
        self.step();
        while let Some(call) = self.calls.join_next().await {
            self.handle_call(call);
            self.step();
        }
    }

    fn handle_call(&mut self, call: Result<Call, tokio::task::JoinError>) {
        let Ok(call) = call else {
            return;
        };
        let mut shared = self.owner.lock();
        let now = Instant::now();
        match call {
            Call::Directory(id, reply) => {
                if let Err(error) = &reply {
                    self.owner
                        .figures
                        .count("anteroom_shard_directory_failures_total");
                    tracing::debug!(%error, "directory call failed");
                }
                shared.ownership.handle_reply(id, reply, fresh(), now);
            }
            Call::Peer(id, kept) => {
                let label = match &kept {
                    Ok(Kept::Relayed(_)) => "relayed",
                    Ok(Kept::Promised { .. }) => "promised",
                    Ok(Kept::No) => "refused",
                    Err(_) => "silent",
                };
                self.owner
                    .figures
                    .count_as("anteroom_shard_keeps_total", "answer", label);
                shared.ownership.handle_kept(id, kept, fresh(), now);
            }
        }
    }

    /// One pass: timers, requests out, events out. Returns when to wake at the latest.
    fn step(&mut self) -> Option<Instant> {
        let owner = self.owner.clone();
        let mut shared = owner.lock();
        let now = Instant::now();
        let due = shared.ownership.poll_timeout();
        if let Some((at, _)) = due.filter(|(at, _)| *at <= now) {
            say_if_late(&owner, now.saturating_duration_since(at));
            shared.ownership.handle_timeout(fresh(), now);
        }
        owner.digest(&mut shared, now);
        while let Some((id, request)) = shared.ownership.poll_request(now) {
            self.spawn_call(id, request);
        }
        while let Some(question) = shared.ownership.poll_question(now) {
            self.spawn_question(question);
        }
        owner.digest(&mut shared, now);
        shared.ownership.poll_timeout().map(|(at, _)| at)
    }

    /// Spawned, so that the request leaves now: the lease is counted from this moment.
    fn spawn_call(&mut self, id: RequestId, request: Request) {
        let directory = Arc::clone(&self.owner.directory);
        let figures = self.owner.figures.clone();
        self.calls.spawn(async move {
            let asked = Instant::now();
            let call = tokio::time::timeout(CALL_TIMEOUT, directory.call(request));
            let timed_out = |_| Err(DirectoryUnreachable("no answer in time".to_owned()));
            let reply = call.await.unwrap_or_else(timed_out);
            let took = asked.elapsed();
            if reply.is_ok() {
                figures.took("anteroom_shard_directory_call_seconds", took);
            }
            if took >= SLOW {
                tracing::warn!(took_ms = took.as_millis(), "the directory answers slowly");
            }
            Call::Directory(id, reply)
        });
    }

    fn spawn_question(&mut self, question: Question) {
        let peers = self.peers.clone();
        self.calls.spawn(async move {
            let Question {
                id,
                shard,
                url,
                keep,
            } = question;
            let kept = peers.keep(&shard, &url, keep).await;
            let silent = |error: crate::peers::PeerError| DirectoryUnreachable(error.to_string());
            Call::Peer(id, kept.map_err(silent))
        });
    }
}

fn say_if_late(owner: &Owner, late: Duration) {
    if late < LATE {
        return;
    }
    owner.figures.count("anteroom_shard_late_wakes_total");
    tracing::warn!(
        late_ms = late.as_millis(),
        "woken late: the machine is overloaded or stood still; for more than a second, and leases end"
    );
}
