//! What goes on beside the requests: the look at the directory, the search for rooms that are live twice, the door of our own one for other
//! processes, and the triggers of a reload.

use crate::directory::{EmbeddedDirectory, LOOK_EVERY, Lookout};
use crate::edge::shut_down;
use crate::ghosts::Ghosts;
use crate::reload::Reloader;
use crate::watch::FileWatch;
use affinity::directory::{Reply, Request};
use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use proto::context::ClusterKey;
use proto::rpc::DirectoryService;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tonic::transport::server::TcpIncoming;
use tracing::{error, warn};

/// A shard that vanished without a word holds its connection for this long, and the next.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Background {
    pub(crate) lookout: Arc<Lookout>,
    pub(crate) embedded: Option<Arc<EmbeddedDirectory>>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) ghosts: Ghosts,
    pub(crate) cluster: ClusterKey,
    pub(crate) watch: Option<PathBuf>,
    /// Taken when the service starts.
    pub(crate) internal: Mutex<Option<TcpListener>>,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let directory = self.serve_directory(shutdown.clone());
        let work = async {
            tokio::select! {
                _ = async {
                    tokio::join!(
                        self.look(),
                        self.ghosts.run(),
                        self.reload_on_signal(),
                        self.reload_on_change(),
                    )
                } => {}
                () = shut_down(&mut shutdown) => {}
            }
        };
        tokio::join!(work, directory);
    }
}

impl Background {
    async fn look(&self) {
        let mut clock = tokio::time::interval(LOOK_EVERY);
        clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            clock.tick().await;
            self.lookout.look().await;
            self.reloader.prune();
            self.lookout.announce().await;
            self.lookout.tell();
        }
    }

    async fn reload_on_signal(&self) {
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(cause) => return error!("SIGHUP does not reload: {cause}"),
        };
        while hangups.recv().await.is_some() {
            self.reload("SIGHUP").await;
        }
    }

    async fn reload_on_change(&self) {
        let Some(path) = &self.watch else {
            return;
        };
        let mut watch = match FileWatch::new(path) {
            Ok(watch) => watch,
            Err(cause) => {
                let path = path.display();
                return warn!("changes of {path} are not noticed, SIGHUP is: {cause}");
            }
        };
        loop {
            watch.changed().await;
            self.reload("file changed").await;
        }
    }

    /// Reading files may block, which the other tasks must not notice.
    async fn reload(&self, why: &'static str) {
        let reloader = Arc::clone(&self.reloader);
        let task = tokio::task::spawn_blocking(move || {
            // Both outcomes are logged and counted where they happen.
            let _ = reloader.reload(why);
        });
        if let Err(cause) = task.await {
            error!("reload ended early: {cause}");
        }
    }

    /// Serves until the order to stop, and then until the last connection is closed.
    async fn serve_directory(&self, mut shutdown: ShutdownWatch) {
        let taken = self
            .internal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (Some(listener), Some(directory)) = (taken, self.embedded.clone()) else {
            return;
        };
        let service =
            DirectoryService::<Request, Reply>::new(self.cluster.clone(), move |request| {
                let outcome = directory.handle_from_outside(request);
                async move {
                    match outcome {
                        Ok(reply) => reply,
                        // Whoever asks learns it from the end of the connection.
                        Err(_) => std::future::pending().await,
                    }
                }
            });
        let served = async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            tonic::transport::Server::builder()
                .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
                .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
                .add_service(service)
                .serve_with_incoming_shutdown(incoming, shut_down(&mut shutdown))
                .await
                .map_err(std::io::Error::other)
        };
        if let Err(cause) = served.await {
            error!(
                "the internal listener failed, shards in other processes lose their leases: {cause}"
            );
        }
    }
}
