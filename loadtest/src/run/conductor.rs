//! Conducts a run: starts the workers, tells how it goes, samples CPU and metrics, ends it in time.

use super::cause::Cause;
use super::clock::Clock;
use super::desk::Common;
use super::fetch::{DEFAULT_METRICS, Fetcher};
use super::{Ended, Run, Stop, browser, host, webrtc, worker};
use crate::collect::{Collector, Generator};
use crate::generator::CpuUse;
use crate::progress::{Counters, Progress};
use crate::report::RunInfo;
use crate::scrape::Servers;
use crate::slo::Slo;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// Time from look to look.
const TICK: Duration = Duration::from_millis(250);
/// Looks between two samples: one a second.
const SAMPLE_EVERY: u32 = 4;
/// With nobody connected for so long, all of them lost, the server is gone.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// Metrics that are asked for and not yet told. A server answers in 2 s or counts as failed.
const SCRAPES_MAX: usize = 64;

/// Runs it from here to its end, in a runtime of its own.
pub(super) fn conduct(run: Run, slo: &Slo, stop: Stop, progress: Progress) -> io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ended = runtime.block_on(async {
        let targets = targets(&run.settings).await;
        Conductor::new(run, targets, stop, progress)
            .conduct(slo)
            .await
    });
    runtime.shutdown_background();
    ended
}

struct Conductor {
    run: Run,
    common: Arc<Common>,
    stop: Stop,
    /// Ends the workers: `stop`, or a cause of our own.
    end: Stop,
    progress: Progress,
    generator: Generator,
    servers: Arc<Mutex<Servers>>,
    targets: Vec<String>,
    fetcher: Fetcher,
    scrapes: JoinSet<()>,
    alone_since: Option<Instant>,
}

impl Conductor {
    fn new(run: Run, targets: Vec<String>, stop: Stop, progress: Progress) -> Self {
        let common = Common {
            clock: Clock::new(Instant::now(), run.settings.plan.duration),
            settings: Arc::clone(&run.settings),
            media: Arc::clone(&run.media),
            counters: Counters::default(),
            fatal: OnceLock::new(),
            last_loss: Mutex::default(),
        };
        Self {
            common: Arc::new(common),
            run,
            end: stop.child_token(),
            stop,
            progress,
            generator: Generator {
                cores: host::cores(),
                cpu: CpuUse::default(),
                ..Generator::default()
            },
            servers: Arc::default(),
            targets,
            fetcher: Fetcher::new(),
            scrapes: JoinSet::new(),
            alone_since: None,
        }
    }

    /// To the end, and to the report.
    async fn conduct(mut self, slo: &Slo) -> io::Result<Ended> {
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let workers = self.start()?;
        self.watch(&workers).await;
        let mut collector = Collector::default();
        for worker in workers {
            match worker.join() {
                Ok(seen) => collector.merge(seen),
                Err(_) => collector.handle_error("a worker failed", "its thread panicked", 0),
            }
        }
        self.progress.finish();
        Ok(self.end(collector, began, slo))
    }

    /// All threads of participants.
    fn start(&mut self) -> io::Result<Vec<JoinHandle<Collector>>> {
        let steps = std::mem::take(&mut self.run.steps);
        let mut workers = Vec::new();
        let shares = worker::deal(steps, self.common.settings.workers);
        for (number, tasks) in shares.into_iter().enumerate() {
            let common = Arc::clone(&self.common);
            workers.push(worker::start(common, tasks, number, self.end.clone())?);
        }
        if self.common.settings.webrtc > 0 {
            workers.push(webrtc::start(Arc::clone(&self.common), self.end.clone())?);
        }
        if let Some(program) = self.run.browser.take() {
            workers.push(browser::start(
                Arc::clone(&self.common),
                program,
                self.end.clone(),
            )?);
        }
        Ok(workers)
    }

    fn end(self, collector: Collector, began: Duration, slo: &Slo) -> Ended {
        let cause = self.common.fatal.get().cloned();
        let duration = self.common.clock.lasted(Instant::now());
        let settings = &self.common.settings;
        let info = RunInfo {
            tool: settings.tool.clone(),
            profile: settings.plan.profile.name().to_owned(),
            url: settings.url.clone(),
            started_unix_s: began.as_secs(),
            duration_s: duration.as_secs_f64(),
            interrupted: self.stop.is_cancelled(),
            broken: cause.as_ref().map(ToString::to_string),
            rooms: settings.plan.rooms as u64,
            people: settings.plan.people as u64,
            seed: settings.plan.seed,
            settings: settings.rows(self.run.notes()),
            machine: host::machine(),
        };
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let report = collector.report(info, &servers, &self.generator, Some(slo));
        Ended { report, cause }
    }

    /// Until all workers have ended.
    async fn watch(&mut self, workers: &[JoinHandle<Collector>]) {
        let mut looks = 0_u32;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        while workers.iter().any(|worker| !worker.is_finished()) {
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.end.cancelled(), if !self.common.clock.is_over(Instant::now()) => {
                    self.common.clock.drop_curtain(Instant::now());
                }
            }
            let now = Instant::now();
            if looks.is_multiple_of(SAMPLE_EVERY) && !self.common.clock.is_over(now) {
                self.sample(now);
            }
            looks = looks.wrapping_add(1);
            self.look(now);
            let (step, since) = (self.step(now), self.common.clock.since(now));
            // A line that cannot be written is no reason to end.
            let _ = self
                .progress
                .handle_counters(step, &self.common.counters, since);
        }
    }

    fn step(&self, now: Instant) -> &'static str {
        let clock = &self.common.clock;
        if clock.is_over(now) {
            "leaving"
        } else if clock.since(now) < self.common.settings.plan.ramp() {
            "joining"
        } else {
            "measuring"
        }
    }

    fn sample(&mut self, now: Instant) {
        let ns = self.common.clock.ns(now);
        if let Some(seconds) = host::own_cpu_seconds() {
            self.generator.cpu.handle_sample(seconds, ns);
        }
        while self.scrapes.try_join_next().is_some() {}
        for target in &self.targets {
            if self.scrapes.len() < SCRAPES_MAX {
                let (target, servers) = (target.clone(), Arc::clone(&self.servers));
                let (fetcher, clock) = (self.fetcher.clone(), self.common.clock.clone());
                self.scrapes.spawn(scrape(fetcher, target, servers, clock));
            }
        }
    }

    /// Ends the run if it makes no sense any more.
    fn look(&mut self, now: Instant) {
        let counters = &self.common.counters;
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let all_lost = get(&counters.joined) > 0 && get(&counters.connected) == 0;
        let last_loss = self.common.last_loss.lock();
        let last_loss = last_loss.unwrap_or_else(PoisonError::into_inner);
        if all_lost && !last_loss.is_empty() {
            let since = *self.alone_since.get_or_insert(now);
            if now.duration_since(since) > GONE_AFTER {
                // The first cause is as good as any.
                let _ = self.common.fatal.set(Cause::ServerGone(last_loss.clone()));
            }
        } else {
            self.alone_since = None;
        }
        drop(last_loss);
        if self.common.fatal.get().is_some() {
            self.end.cancel();
        }
    }
}

async fn scrape(fetcher: Fetcher, target: String, servers: Arc<Mutex<Servers>>, clock: Clock) {
    let answer = fetcher.get(&target).await;
    let mut servers = servers.lock().unwrap_or_else(PoisonError::into_inner);
    match answer {
        Ok(body) => {
            // That it cannot be read is counted there.
            let _ = servers.handle_scrape(&target, &body, clock.ns(Instant::now()));
        }
        Err(cause) => servers.handle_failure(&target, &cause),
    }
}

/// Where metrics are: as given, or where `anteroom up` has them if that answers.
async fn targets(settings: &super::RunSettings) -> Vec<String> {
    if !settings.metrics.is_empty() {
        return settings.metrics.clone();
    }
    let local = client::ServerUrl::parse(&settings.url).is_ok_and(|url| {
        let address = url.host().parse::<std::net::IpAddr>();
        url.host() == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    if local && Fetcher::new().get(DEFAULT_METRICS).await.is_ok() {
        return vec![DEFAULT_METRICS.to_owned()];
    }
    Vec::new()
}
