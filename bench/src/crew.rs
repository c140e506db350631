//! Connections that are opened first and then work at the same time, on one thread or several.

use crate::talk::{self, Clock};
use crate::tally::Tally;
use anyhow::{Context as _, anyhow};
use clap::Args;
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Barrier;
use std::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// How many at once.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Shape {
    /// Connections at the same time.
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) tally: Tally,
    pub(crate) seconds: f64,
    /// CPU of this process, as a share of one processor.
    pub(crate) own_cpu: f64,
    pub(crate) threads: usize,
}

impl Measured {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "done": self.tally.done,
            "errors": self.tally.errors,
            "first_error": self.tally.first_error,
            "seconds": self.seconds,
            "own_cpu": self.own_cpu,
            "threads": self.threads,
        })
    }
}

/// Opens all connections, says so, waits for the word, and lets all of them run.
pub(crate) fn measure<C, O, R>(
    shape: Shape,
    open: impl Fn(usize) -> O + Sync,
    run: impl Fn(C) -> R + Sync,
) -> anyhow::Result<Measured>
where
    C: Send + 'static,
    O: Future<Output = Result<C, String>> + Send + 'static,
    R: Future<Output = Tally> + Send + 'static,
{
    let threads = shape.threads.max(1);
    let (opened, go) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let work = |thread: usize| -> anyhow::Result<Tally> {
        let runtime = runtime()?;
        let mine = (thread..shape.connections).step_by(threads);
        let connections = runtime.block_on(open_all(mine.map(&open)));
        opened.wait();
        go.wait();
        // Not before: the others would wait for us for ever.
        let connections = connections?;
        Ok(runtime.block_on(run_all(connections.into_iter().map(&run))))
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let work = &work;
                scope.spawn(move || work(thread))
            })
            .collect();
        opened.wait();
        let cue = talk::cue("ready");
        let clock = Clock::start();
        go.wait();
        let mut tally = Tally::default();
        for worker in workers {
            let done = worker.join().map_err(|_| anyhow!("a thread panicked"))?;
            tally.add(done?);
        }
        cue?;
        let (seconds, own_cpu) = clock.stop();
        Ok(Measured {
            tally,
            seconds,
            own_cpu,
            threads,
        })
    })
}

/// A runtime for the calling thread.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("start the async runtime")
}

async fn open_all<C, O>(opening: impl Iterator<Item = O>) -> anyhow::Result<Vec<C>>
where
    C: Send + 'static,
    O: Future<Output = Result<C, String>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for one in opening {
        tasks.spawn(one);
    }
    let mut connections = Vec::new();
    while let Some(opened) = tasks.join_next().await {
        connections.push(opened?.map_err(|error| anyhow!("opening a connection: {error}"))?);
    }
    Ok(connections)
}

async fn run_all<R>(running: impl Iterator<Item = R>) -> Tally
where
    R: Future<Output = Tally> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for one in running {
        tasks.spawn(one);
    }
    let mut all = Tally::default();
    while let Some(tally) = tasks.join_next().await {
        match tally {
            Ok(tally) => all.add(tally),
            Err(error) => {
                all.count::<()>(Err(format!("a connection's task: {error}")));
            }
        }
    }
    all
}
