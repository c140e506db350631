//! What every long-running command shares: the runtime, signals, and an orderly end.

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The process's tokio runtime for everything but Pingora's services and the media threads.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("anteroom")
        .build()
        .context("start the async runtime")
}

/// Cancels `shutdown` at the first SIGTERM or SIGINT; the second ends the process at once.
pub(crate) fn watch_signals(shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("watch SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("watch SIGINT")?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("shutting down; a second signal ends the process at once");
        shutdown.cancel();
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
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
