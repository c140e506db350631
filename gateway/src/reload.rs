//! Swapping the running configuration.
//!
//! Owns: the order of a reload (read, check, build, swap) and the shards that leave once they are
//! empty. A reload that fails changes nothing, and none touches a connected socket.

use crate::config::{Config, ListenConfig};
use crate::directory::{Lookout, Picture};
use crate::leaving::Leaving;
use crate::report::ReloadReport;
use crate::server::Loader;
use crate::snapshot::{Circumstances, Loaded, Snapshot, configured_shards};
use crate::tls::{self, Certificates};
use affinity::{Shard, ShardId, ShardState, Topology};
use arc_swap::ArcSwap;
use proto::token::{ApiKeys, Claims};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use tracing::{error, info, warn};

/// Reloads, one at a time.
pub(crate) struct Reloader {
    pub(crate) loader: Loader,
    pub(crate) state: Arc<ArcSwap<Snapshot>>,
    pub(crate) lookout: Arc<Lookout>,
    /// One for each listener.
    pub(crate) listeners: Vec<RunningListener>,
    /// What cannot be changed without a restart is compared with this.
    pub(crate) started: Loaded,
    /// Held for a whole reload, while files are read too.
    pub(crate) reloading: Mutex<()>,
    /// Held while the running configuration is swapped, which waits for nothing.
    pub(crate) swapping: Mutex<Outside>,
}

/// A listener that a reload may give other certificates.
pub(crate) struct RunningListener {
    /// As configured at the start.
    pub(crate) address: String,
    /// `None` for plain HTTP.
    pub(crate) certificates: Option<Arc<Certificates>>,
}

/// What the running configuration owes to the directory.
#[derive(Default)]
pub(crate) struct Outside {
    /// As it was built.
    now: Circumstances,
    leaving: Leaving,
    /// Shards that were removed before our start have been looked for.
    adopted: bool,
}

impl Reloader {
    /// Reads the configuration again. `why` says who asked, for the log.
    pub(crate) fn reload(&self, why: &'static str) -> Result<ReloadReport, String> {
        let result = self.attempt();
        match &result {
            Ok(report) => {
                metrics::counter!("anteroom_reloads_total").increment(1);
                metrics::gauge!("anteroom_reload_last_ok").set(1.0);
                info!(why, "configuration reloaded: {report}");
            }
            Err(cause) => {
                metrics::counter!("anteroom_reload_failures_total").increment(1);
                metrics::gauge!("anteroom_reload_last_ok").set(0.0);
                error!(why, "reload refused, everything stays as it was: {cause}");
            }
        }
        result
    }

    fn attempt(&self) -> Result<ReloadReport, String> {
        let _one_at_a_time = self
            .reloading
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut loaded = (self.loader)()?;
        loaded.config.check()?;
        let needs_restart = restart_list(&self.started, &loaded);
        // Two readings of one name would be two rooms, and the shards keep theirs.
        loaded.rooms = self.started.rooms;
        let entries = self.read_certificates(&loaded.config)?;

        let mut outside = self.swapping.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state.load_full();
        let leaving = removed_shards(&before, &loaded.config);
        let generation = next_generation(&before, &loaded, &leaving);
        let after = Snapshot::build(&loaded, generation, &leaving, &outside.now)?;

        // From here on nothing can fail.
        for (listener, entries) in self.listeners.iter().zip(entries) {
            if let (Some(certificates), Some(entries)) = (&listener.certificates, entries) {
                certificates.replace(entries);
            }
        }
        self.swap(after);
        self.lookout.look_at_once();
        self.refresh(&mut outside);
        let after = self.state.load_full();
        let mut report = ReloadReport::compare(&before.topology, &after.topology);
        report.generation_after = after.topology.generation();
        report.live_rooms = self.lookout.picture().rooms();
        report.shards_leaving = leaving_ids(&after);
        report.needs_restart = needs_restart;
        Ok(report)
    }

    /// Drops the shards that have left and places idle rooms on the shards that are alive. Called
    /// several times a second; changes nothing most of the time, and leaves it to the next time if a
    /// reload is at it.
    pub(crate) fn prune(&self) {
        let mut outside = match self.swapping.try_lock() {
            Ok(outside) => outside,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.refresh(&mut outside);
    }

    fn refresh(&self, outside: &mut Outside) {
        let before = self.state.load_full();
        let picture = self.lookout.picture();
        show_shards(&before.topology, &picture);
        let mut still = still_leaving(&before, &mut outside.leaving, &picture);
        if !outside.adopted && picture.view().is_some() {
            outside.adopted = true;
            let foreign = self.lookout.foreign(&before.topology);
            still.extend(
                foreign
                    .into_iter()
                    .filter(|s| picture.lease(&s.id).is_some()),
            );
        }
        let now = Circumstances {
            dead: self.lookout.dead(),
            closed: picture.closed().clone(),
            foreign: self.lookout.foreign(&before.topology),
        };
        let left = still.len() != leaving_ids(&before).len();
        if !left && now == outside.now {
            return;
        }
        log_deaths(&outside.now.dead, &now.dead);
        let generation = before.topology.generation() + u64::from(left);
        match Snapshot::build(&before.loaded, generation, &still, &now) {
            Ok(after) => {
                outside.now = now;
                self.swap(after);
            }
            // It was built from the same parts before.
            Err(cause) => error!("topology not refreshed: {cause}"),
        }
    }

    fn swap(&self, after: Snapshot) {
        self.lookout.set_topology(&after.topology);
        self.state.store(Arc::new(after));
    }

    /// New certificates for the listeners that the configuration still names; the others keep what
    /// they have.
    fn read_certificates(&self, config: &Config) -> Result<Vec<Option<Vec<tls::Entry>>>, String> {
        let entries = self.listeners.iter().enumerate().map(|(index, listener)| {
            let same = |address: &str| address == listener.address;
            // Port 0 may be there more than once: the first is the first, and so on.
            let before = self.listeners.iter().take(index);
            let nth = before.filter(|other| same(&other.address)).count();
            let mut named = config.listen.iter().filter(|listen| same(&listen.address));
            match (&listener.certificates, named.nth(nth)) {
                (Some(_), Some(listen)) => tls::load_listener(listen),
                _ => Ok(None),
            }
        });
        entries.collect()
    }
}

/// Sets the gauges of the list of shards.
fn show_shards(topology: &Topology, picture: &Picture) {
    let (mut serving, mut draining, mut dead) = (0, 0, 0);
    for shard in topology.shards() {
        let is_active = shard.state == ShardState::Active && picture.drain(&shard.id).is_none();
        match picture.lease(&shard.id) {
            None => dead += 1,
            Some(_) if is_active => serving += 1,
            Some(_) => draining += 1,
        }
    }
    for (state, count) in [("serving", serving), ("draining", draining), ("dead", dead)] {
        metrics::gauge!("anteroom_gateway_shards", "state" => state).set(f64::from(count));
    }
    // A few changes a day: exact.
    metrics::gauge!("anteroom_gateway_topology_generation").set(topology.generation() as f64);
}

/// Shards that the configuration does not name and that may have live rooms.
fn still_leaving(snapshot: &Snapshot, leaving: &mut Leaving, picture: &Picture) -> Vec<Shard> {
    let is_leaving = |id: &ShardId| {
        let upstream = snapshot.upstreams.get(id);
        upstream.is_some_and(|upstream| upstream.leaving)
    };
    leaving.retain(is_leaving);
    let shards = snapshot.topology.shards().iter();
    let stays = |shard: &&Shard| is_leaving(&shard.id) && leaving.stays(&shard.id, picture);
    shards.filter(stays).cloned().collect()
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
fn restart_list(started: &Loaded, now: &Loaded) -> Vec<String> {
    let sockets = |config: &Config| -> Vec<(String, bool)> {
        let listen = config.listen.iter();
        listen
            .map(|ListenConfig { address, tls }| (address.clone(), tls.is_some()))
            .collect()
    };
    let (old, new) = (&started.config, &now.config);
    let changes = [
        ("gateway.listen", sockets(old) != sockets(new)),
        ("gateway.sni", old.sni != new.sni),
        ("gateway.internal", old.internal != new.internal),
        ("gateway.threads", old.threads != new.threads),
        (
            "gateway.shutdown_grace_s",
            old.shutdown_grace_s != new.shutdown_grace_s,
        ),
        ("rooms.case", started.rooms != now.rooms),
        (
            "keys (in use here; shards read them at their start)",
            !same_keys(&started.keys, &now.keys),
        ),
    ];
    let changed = changes.into_iter().filter(|(_, changed)| *changed);
    changed.map(|(field, _)| field.to_owned()).collect()
}

/// Secrets cannot be looked at, but what they sign can.
fn same_keys(one: &ApiKeys, other: &ApiKeys) -> bool {
    let signed = |keys: &ApiKeys, name: &str| {
        let claims = Claims {
            iss: name.to_owned(),
            ..Claims::default()
        };
        keys.mint(&claims).ok()
    };
    one.names().eq(other.names())
        && one
            .names()
            .all(|name| signed(one, name) == signed(other, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn keys(pairs: &[(&str, &str)]) -> ApiKeys {
        let pairs = pairs
            .iter()
            .map(|(name, secret)| ((*name).to_owned(), (*secret).to_owned()));
        ApiKeys::new(pairs.collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn keys_are_the_same_if_names_and_secrets_are() {
        let one = keys(&[("a", "1"), ("b", "2")]);
        assert!(same_keys(&one, &keys(&[("b", "2"), ("a", "1")])));
        assert!(!same_keys(&one, &keys(&[("a", "1"), ("b", "3")])));
        assert!(!same_keys(&one, &keys(&[("a", "1")])));
        assert!(!same_keys(&one, &keys(&[("a", "1"), ("c", "2")])));
    }
}
