//! The thread of those who send: their cameras must not wait until a crowd has read its packets.

use crate::crew::runtime;
use anyhow::Context as _;
use std::future::Future;
use std::thread;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A thread with a runtime of its own, until it is dropped.
pub(crate) struct Studio {
    handle: Handle,
    _stop_on_drop: DropGuard,
}

impl Studio {
    pub(crate) fn open() -> anyhow::Result<Self> {
        let runtime = runtime()?;
        let handle = runtime.handle().clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        thread::Builder::new()
            .name("cameras".to_owned())
            .spawn(move || runtime.block_on(stopped.cancelled()))
            .context("start the cameras' thread")?;
        Ok(Self {
            handle,
            _stop_on_drop: stop.drop_guard(),
        })
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.handle.spawn(task)
    }
}
