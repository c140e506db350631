//! What every long-running command shares: the runtime, signals, and an orderly end.

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The process's tokio runtime for everything but Pingora's services and the media threads.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("anteroom")
        .build()
        .context("start the async runtime")
}

/// The signals that end a process: SIGTERM and SIGINT.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// From now on they do not end the process by themselves.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("watch SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("watch SIGINT")?,
        })
    }

    /// Waits for the next of either.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// The next one cancels `shutdown`, the one after it ends the process at once.
    pub(crate) async fn shut_down(mut self, shutdown: CancellationToken) {
        self.next().await;
        tracing::info!("shutting down; another signal ends the process at once");
        shutdown.cancel();
        self.next().await;
        std::process::exit(130);
    }
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT; the second ends the process at once.
pub(crate) fn watch_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    tokio::spawn(EndSignals::watch()?.shut_down(shutdown));
    Ok(())
}

/// SIGHUP means reload; roles without anything to reload must not die of it.
pub(crate) fn ignore_hangup(role: &'static str) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("watch SIGHUP")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: a {role} has nothing to reload; restart it to apply changes");
        }
    });
    Ok(())
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_now_s() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
