//! The engine: a request in, its script run, a reply out.
//!
//! Owns: the time limit of a call, and what follows from a failure. Must not: send a request twice
//! once it may have been carried out.

use crate::config::RedisConfig;
use crate::connect::Plan;
use crate::connector::{Connector, Current};
use crate::decode::{self, Subject};
use crate::encode;
use crate::error::StartError;
use crate::link::{self, Stage};
use crate::probe::{self, ServerInfo};
use crate::script::{self, Prepared, Scripts};
use affinity::directory::{
    Directory, DirectoryFuture, DirectoryIncarnation, DirectoryLimits, DirectoryUnreachable, Epoch,
    HOLD_MS, Reply, Request,
};
use redis::{Cmd, Value};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A connection without an answer for this long is worth no more waiting: a renewal is due every second.
const SILENCE: Duration = Duration::from_millis(800);

/// A directory that lives in Redis, shared by all gateways and shards that name it.
pub struct RedisDirectory {
    connector: Connector,
    scripts: Scripts,
    prefix: String,
    keys: Vec<String>,
    replicas: u32,
    replicas_timeout: Duration,
    call_timeout: Duration,
    connect_timeout: Duration,
    rules: Rules,
}

/// What every engine is made with. All programs on one Redis must have the same.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Bounds of the data.
    pub limits: DirectoryLimits,
    /// How long shards may go on without a lease, milliseconds; 0: not at all.
    pub hold_ms: u64,
    /// What a directory life that this program begins is called, and above which its epochs are;
    /// `None`: a random number, and the wall clock in milliseconds. For tests.
    pub birth: Option<(DirectoryIncarnation, Epoch)>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limits: DirectoryLimits::default(),
            hold_ms: HOLD_MS,
            birth: None,
        }
    }
}

impl RedisDirectory {
    /// Prepares; the first request connects.
    pub fn new(config: &RedisConfig) -> Result<Self, StartError> {
        Self::with_rules(config, Rules::default())
    }

    /// As [`Self::new`], by other rules than usual.
    pub fn with_rules(config: &RedisConfig, rules: Rules) -> Result<Self, StartError> {
        Ok(Self {
            connector: Connector::new(Plan::new(config)?),
            scripts: Scripts::new(),
            prefix: config.prefix.clone(),
            keys: script::keys(&config.prefix),
            replicas: config.replicas,
            replicas_timeout: Duration::from_millis(config.replicas_timeout_ms),
            call_timeout: Duration::from_millis(config.call_timeout_ms),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            rules,
        })
    }

    /// Connects and checks that the server can serve, see [`Self::probe`].
    pub async fn connect(config: &RedisConfig) -> Result<Self, StartError> {
        let directory = Self::new(config)?;
        directory.probe().await?;
        Ok(directory)
    }

    /// Whether the server there can be the directory: it is a master, new enough, evicts nothing of
    /// ours, and lets us do what is needed. Changes nothing there.
    pub async fn probe(&self) -> Result<ServerInfo, StartError> {
        let current = self.connector.current().await?;
        let limit = self.call_timeout.max(self.connect_timeout);
        let checking = probe::check(&current, &self.prefix, self.replicas);
        let outcome = match tokio::time::timeout(limit, checking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(silence(&current, limit)),
        };
        if let Err(problem) = &outcome {
            // The next probe looks again, at what has been changed since.
            self.connector.discard(&current, problem);
        }
        outcome
    }

    async fn answer(&self, request: Request) -> Result<Reply, StartError> {
        if let Request::Announce { topology, .. } = &request
            && topology.is_empty()
        {
            let reason = "no shards: name at least one".to_owned();
            return Ok(Reply::Refused { reason });
        }
        let ends = tokio::time::Instant::now() + self.call_timeout;
        let Ok(current) = tokio::time::timeout_at(ends, self.connector.current()).await else {
            return Err(self.connector.problem(self.call_timeout));
        };
        let current = current?;
        let unanswered = Unanswered {
            connector: &self.connector,
            current: &current,
            since: tokio::time::Instant::now(),
        };
        let outcome = match tokio::time::timeout_at(ends, self.run(&current, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(silence(&current, self.call_timeout)),
        };
        std::mem::forget(unanswered);
        match &outcome {
            Ok(_) => self.connector.succeeded(),
            Err(problem) if lacks_replicas(problem) => self.connector.doubt(&current),
            Err(problem) if may_be_mended(problem) => self.connector.discard(&current, problem),
            Err(_) => {}
        }
        outcome
    }

    async fn run(&self, current: &Current, request: Request) -> Result<Reply, StartError> {
        let Some(prepared) = self.scripts.for_request(&request) else {
            return Err(refused(current, "no script for this request".to_owned()));
        };
        let subject = Subject::of(&request, self.rules.limits);
        let must_replicate = self.replicas > 0 && script::needs_replicas(&request);
        let arguments = self.arguments(current, request);
        let mut answer = self.evaluate(current, prepared, &arguments).await?;
        if must_replicate {
            answer = self.confirm(current, answer).await?;
        }
        decode::reply(answer, &subject).map_err(|error| refused(current, error.to_string()))
    }

    async fn evaluate(
        &self,
        current: &Current,
        prepared: &Prepared,
        arguments: &[String],
    ) -> Result<Value, StartError> {
        let known = self.command("EVALSHA", &prepared.hash, arguments);
        match current.link.try_run(&known).await {
            Ok(answer) => Ok(answer),
            // Not run, so this is not a second time.
            Err(error) if link::is_no_script(&error) => {
                let whole = self.command("EVAL", &prepared.text, arguments);
                current.link.run(&whole, Stage::Later).await
            }
            Err(error) => Err(link::explain(current.link.address(), Stage::Later, &error)),
        }
    }

    /// The answer, if enough replicas have what was written.
    async fn confirm(&self, current: &Current, answer: Value) -> Result<Value, StartError> {
        let (link, timeout) = (&current.link, self.replicas_timeout);
        let have = current.writes.confirm(link, self.replicas, timeout).await?;
        if have < u64::from(self.replicas) {
            return Err(StartError::Replicas {
                address: link.address().to_owned(),
                have,
                want: self.replicas,
            });
        }
        self.connector.confirmed();
        Ok(answer)
    }

    fn command(&self, name: &str, script: &str, arguments: &[String]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        command.arg(&self.keys).arg(arguments);
        command
    }

    /// What all scripts get, then what this request has.
    fn arguments(&self, current: &Current, request: Request) -> Vec<String> {
        let (directory, floor) = self.rules.birth.unwrap_or_else(birth);
        let mut all = vec![
            current.facts.run_id.clone(),
            directory.0.to_string(),
            floor.0.to_string(),
            self.rules.hold_ms.to_string(),
            self.rules.limits.bindings_max.to_string(),
            self.rules.limits.shards_max.to_string(),
        ];
        all.extend(encode::arguments(request));
        all
    }
}

/// A directory life that may begin now. Epochs above the clock in milliseconds are above those of
/// former lives, whose data may be gone: nobody claims a thousand rooms a second for long. If the
/// clock is wrong, what the shards remember is above them.
fn birth() -> (DirectoryIncarnation, Epoch) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let floor = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
    (DirectoryIncarnation(rand::random()), Epoch(floor))
}

/// A request on its way. Callers have time limits of their own, which may be shorter than ours: if one
/// gives up after so long, the connection is given up too.
struct Unanswered<'a> {
    connector: &'a Connector,
    current: &'a Current,
    since: tokio::time::Instant,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let waited = self.since.elapsed();
        if waited >= SILENCE {
            let problem = silence(self.current, waited);
            self.connector.discard(self.current, &problem);
        }
    }
}

fn silence(current: &Current, limit: Duration) -> StartError {
    StartError::Timeout {
        address: current.link.address().to_owned(),
        ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
    }
}

fn refused(current: &Current, cause: String) -> StartError {
    StartError::Refused {
        address: current.link.address().to_owned(),
        cause,
    }
}

/// Whether the server may be a master that was left behind. `NOREPLICAS`: `min-replicas-to-write`.
fn lacks_replicas(problem: &StartError) -> bool {
    match problem {
        StartError::Replicas { .. } => true,
        StartError::Refused { cause, .. } => cause.contains("NOREPLICAS"),
        _ => false,
    }
}

/// Whether another connection may do better. One that is sound is kept.
fn may_be_mended(problem: &StartError) -> bool {
    match problem {
        StartError::Refused { cause, .. } => {
            ["LOADING", "MASTERDOWN", "MOVED", "ASK", "CLUSTERDOWN"]
                .iter()
                .any(|code| cause.contains(code))
        }
        _ => true,
    }
}

impl Directory for RedisDirectory {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        Box::pin(async move {
            self.answer(request)
                .await
                .map_err(|problem| DirectoryUnreachable(problem.to_string()))
        })
    }
}

impl fmt::Debug for RedisDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDirectory")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
