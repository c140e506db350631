//! A shard's metrics, with its name: several shards may share a process.

use affinity::ShardId;
use metrics::{Counter, Label, SharedString};
use std::sync::Arc;
use std::time::Duration;

/// Counts for one shard. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Figures {
    shard: SharedString,
    /// Looked up once: they count every message.
    signals_in: Counter,
    signals_out: Counter,
}

impl Figures {
    /// Shows all metrics of the shard, most of them 0.
    pub(crate) fn new(shard: &ShardId) -> Self {
        observe::register(crate::catalogue::METRICS, &[("shard", shard.as_str())]);
        let shard = SharedString::from(Arc::<str>::from(shard.as_str()));
        let signals = |direction: &'static str| {
            let name = "anteroom_shard_signal_messages_total";
            metrics::counter!(name, "shard" => shard.clone(), "direction" => direction)
        };
        Self {
            signals_in: signals("in"),
            signals_out: signals("out"),
            shard,
        }
    }

    /// One more.
    pub(crate) fn count(&self, name: &'static str) {
        metrics::counter!(name, "shard" => self.shard.clone()).increment(1);
    }

    /// One more of this kind.
    pub(crate) fn count_as(
        &self,
        name: &'static str,
        label: &'static str,
        value: impl Into<SharedString>,
    ) {
        metrics::counter!(name, self.labels(label, value.into())).increment(1);
    }

    /// A message of a client.
    pub(crate) fn count_signal_in(&self) {
        self.signals_in.increment(1);
    }

    /// A message to a client.
    pub(crate) fn count_signal_out(&self) {
        self.signals_out.increment(1);
    }

    /// So many now.
    pub(crate) fn set(&self, name: &'static str, count: usize) {
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        metrics::gauge!(name, "shard" => self.shard.clone()).set(count);
    }

    /// So long now.
    pub(crate) fn set_seconds(&self, name: &'static str, value: Duration) {
        metrics::gauge!(name, "shard" => self.shard.clone()).set(value.as_secs_f64());
    }

    /// It took so long.
    pub(crate) fn took(&self, name: &'static str, time: Duration) {
        metrics::histogram!(name, "shard" => self.shard.clone()).record(time);
    }

    /// It took so long, for this kind.
    pub(crate) fn took_as(
        &self,
        name: &'static str,
        label: &'static str,
        value: &'static str,
        time: Duration,
    ) {
        metrics::histogram!(name, self.labels(label, value.into())).record(time);
    }

    fn labels(&self, label: &'static str, value: SharedString) -> Vec<Label> {
        vec![
            Label::new("shard", self.shard.clone()),
            Label::new(label, value),
        ]
    }
}
