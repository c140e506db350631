//! Swapping the running configuration.
//!
//! Owns: the order of a reload (read, check, build, swap) and the shards that leave once they are
//! empty. A reload that fails changes nothing, and none touches a connected socket.

use crate::config::{Config, ListenConfig};
use crate::directory::EmbeddedDirectory;
use crate::report::ReloadReport;
use crate::server::Loader;
use crate::snapshot::{Loaded, Snapshot, configured_shards};
use crate::tls::{self, Certificates};
use affinity::{Shard, ShardId};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{error, info, warn};

/// Reloads, one at a time.
pub(crate) struct Reloader {
    pub(crate) loader: Loader,
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) directory: Arc<EmbeddedDirectory>,
    /// One for each listener; `None` for plain HTTP.
    pub(crate) certificates: Vec<Option<Arc<Certificates>>>,
    /// What cannot be changed without a restart is compared with this.
    pub(crate) started: Config,
    pub(crate) busy: Mutex<Dead>,
}

/// The shards that get no idle rooms at the moment because they are dead.
#[derive(Default)]
pub(crate) struct Dead(BTreeSet<ShardId>);

impl Reloader {
    /// Reads the configuration again. `why` says who asked, for the log.
    pub(crate) fn reload(&self, why: &'static str) -> Result<ReloadReport, String> {
        let result = self.attempt();
        match &result {
            Ok(report) => {
                metrics::counter!("anteroom_reloads_total").increment(1);
                info!(why, "configuration reloaded: {report}");
            }
            Err(cause) => {
                metrics::counter!("anteroom_reload_failures_total").increment(1);
                error!(why, "reload refused, everything stays as it was: {cause}");
            }
        }
        result
    }

    fn attempt(&self) -> Result<ReloadReport, String> {
        let mut dead = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = (self.loader)()?;
        loaded.config.check()?;
        let entries = self.read_certificates(&loaded.config)?;
        let before = self.state.load_full();
        let leaving = removed_shards(&before, &loaded.config);
        let generation = next_generation(&before, &loaded, &leaving);
        let after = Snapshot::build(&loaded, generation, &leaving, &dead.0)?;

        // From here on nothing can fail.
        for (certificates, entries) in self.certificates.iter().zip(entries) {
            if let (Some(certificates), Some(entries)) = (certificates, entries) {
                certificates.replace(entries);
            }
        }
        self.swap(after);
        self.refresh(&mut dead);
        let after = self.state.load_full();
        let mut report = ReloadReport::compare(&before.topology, &after.topology);
        report.generation_after = after.topology.generation();
        report.live_rooms = self.directory.bindings().len();
        report.shards_leaving = leaving_ids(&after);
        report.needs_restart = restart_list(&self.started, &loaded.config);
        Ok(report)
    }

    /// Drops the shards that have left and places idle rooms on the shards that are alive. Called
    /// several times a second; changes nothing most of the time.
    pub(crate) fn prune(&self) {
        let mut dead = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        self.refresh(&mut dead);
    }

    fn refresh(&self, dead: &mut Dead) {
        let before = self.state.load_full();
        let still: Vec<Shard> = self.still_leaving(&before);
        let now_dead = self.directory.dead_shards();
        let left = still.len() != leaving_ids(&before).len();
        if !left && now_dead == dead.0 {
            return;
        }
        log_deaths(&dead.0, &now_dead);
        let generation = before.topology.generation() + u64::from(left);
        match Snapshot::build(&before.loaded, generation, &still, &now_dead) {
            Ok(after) => {
                dead.0 = now_dead;
                self.swap(after);
            }
            // It was built from the same parts before.
            Err(cause) => error!("topology not refreshed: {cause}"),
        }
    }

    fn swap(&self, after: Snapshot) {
        self.directory.set_topology(&after.topology);
        self.state.store(Arc::new(after));
    }

    fn still_leaving(&self, snapshot: &Snapshot) -> Vec<Shard> {
        let leaving = leaving_ids(snapshot);
        if leaving.is_empty() {
            return Vec::new();
        }
        let owners: BTreeSet<ShardId> = self
            .directory
            .bindings()
            .into_iter()
            .map(|b| b.shard)
            .collect();
        let shards = snapshot.topology.shards().iter();
        let stays = |shard: &&Shard| {
            leaving.iter().any(|id| id == shard.id.as_str()) && owners.contains(&shard.id)
        };
        shards.filter(stays).cloned().collect()
    }

    fn read_certificates(&self, config: &Config) -> Result<Vec<Option<Vec<tls::Entry>>>, String> {
        let entries = self
            .certificates
            .iter()
            .enumerate()
            .map(|(index, running)| {
                let listen = running.as_ref().and_then(|_| config.listen.get(index));
                listen
                    .and_then(|listen| listen.tls.as_ref())
                    .map(tls::load)
                    .transpose()
            });
        entries.collect()
    }
}

/// Shards of the running topology that the new configuration does not name.
fn removed_shards(before: &Snapshot, config: &Config) -> Vec<Shard> {
    let named: BTreeSet<&str> = config
        .shards
        .iter()
        .map(|shard| shard.id.as_str())
        .collect();
    let shards = before.topology.shards().iter();
    shards
        .filter(|shard| !named.contains(shard.id.as_str()))
        .cloned()
        .collect()
}

fn next_generation(before: &Snapshot, loaded: &Loaded, leaving: &[Shard]) -> u64 {
    let mut old: Vec<Shard> = configured_shards(before.config());
    let mut new: Vec<Shard> = configured_shards(&loaded.config);
    old.sort_by(|a, b| a.id.cmp(&b.id));
    new.sort_by(|a, b| a.id.cmp(&b.id));
    let same = old == new && leaving.len() == leaving_ids(before).len();
    before.topology.generation() + u64::from(!same)
}

fn leaving_ids(snapshot: &Snapshot) -> Vec<String> {
    let leaving = snapshot
        .upstreams
        .iter()
        .filter(|(_, upstream)| upstream.leaving);
    leaving.map(|(id, _)| id.as_str().to_owned()).collect()
}

fn log_deaths(before: &BTreeSet<ShardId>, after: &BTreeSet<ShardId>) {
    for shard in after.difference(before) {
        warn!(%shard, "shard has no lease: idle rooms are placed on the others");
    }
    for shard in before.difference(after) {
        info!(%shard, "shard has a lease: it gets idle rooms again");
    }
}

/// Settings of `now` that take effect only after a restart.
fn restart_list(started: &Config, now: &Config) -> Vec<String> {
    let sockets = |config: &Config| -> Vec<(String, bool)> {
        let listen = config.listen.iter();
        listen
            .map(|ListenConfig { address, tls }| (address.clone(), tls.is_some()))
            .collect()
    };
    let changes = [
        ("listen", sockets(started) != sockets(now)),
        ("internal", started.internal != now.internal),
        ("directory", started.directory != now.directory),
        ("threads", started.threads != now.threads),
        (
            "shutdown_grace_s",
            started.shutdown_grace_s != now.shutdown_grace_s,
        ),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    changed
        .map(|(field, _)| format!("gateway.{field}"))
        .collect()
}
