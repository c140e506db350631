//! The servers' own figures, from snapshots of their `/metrics` over time.
//!
//! Owns: which metrics the report needs, of Anteroom and of a LiveKit server, and their curves. Must
//! not: fetch anything. The text format is [`text`].

pub mod text;

use crate::numbers::{rounded, seconds};
use crate::series::Series;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use text::{Sample, TextError};

/// Servers and shards in a report at most; more are left out.
const TARGETS_MAX: usize = 100;
const SHARDS_MAX: usize = 200;

/// All servers of a run.
#[derive(Clone, Debug, Default)]
pub struct Servers {
    targets: BTreeMap<String, Target>,
    shards: BTreeMap<String, Shard>,
}

#[derive(Clone, Debug, Default)]
struct Target {
    cpu: Series,
    memory: Series,
    packets_in: Series,
    packets_out: Series,
    failures: u64,
    last_failure: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    rooms: Series,
    participants: Series,
}

impl Servers {
    /// Takes a snapshot of one server; `target` is its name or URL.
    pub fn handle_scrape(
        &mut self,
        target: &str,
        body: &str,
        now_ns: u64,
    ) -> Result<(), TextError> {
        let samples = match text::parse(body) {
            Ok(samples) => samples,
            Err(error) => {
                self.handle_failure(target, &error.to_string());
                return Err(error);
            }
        };
        let at_s = rounded(seconds(now_ns));
        if let Some(series) = self.target(target) {
            series.handle_samples(&samples, at_s);
        }
        let rooms = by_shard(
            &samples,
            target,
            &["anteroom_shard_rooms", "livekit_room_total"],
        );
        for (shard, value) in rooms {
            if let Some(shard) = self.shard(&shard) {
                shard.rooms.push(at_s, value);
            }
        }
        let people = ["anteroom_shard_participants", "livekit_participant_total"];
        for (shard, value) in by_shard(&samples, target, &people) {
            if let Some(shard) = self.shard(&shard) {
                shard.participants.push(at_s, value);
            }
        }
        Ok(())
    }

    /// A server did not answer; the text says why.
    pub fn handle_failure(&mut self, target: &str, cause: &str) {
        if let Some(target) = self.target(target) {
            target.failures += 1;
            target.last_failure = Some(cause.chars().take(300).collect());
        }
    }

    /// What a report says of the servers.
    #[must_use]
    pub fn report(&self) -> Vec<ServerReport> {
        let rows = self.targets.iter().map(|(name, target)| ServerReport {
            name: name.clone(),
            cpu_cores: target.cpu.mean_rate(),
            cpu: target.cpu.rates(),
            memory_bytes_max: target.memory.max(),
            memory_bytes: target.memory.points().to_vec(),
            packets_in: target.packets_in.rates(),
            packets_out: target.packets_out.rates(),
            failures: target.failures,
            last_failure: target.last_failure.clone(),
        });
        rows.collect()
    }

    /// What a report says of the shards.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardReport> {
        let rows = self.shards.iter().map(|(name, shard)| ShardReport {
            name: name.clone(),
            rooms_max: shard.rooms.max().unwrap_or(0.0),
            rooms: shard.rooms.points().to_vec(),
            participants: shard.participants.points().to_vec(),
        });
        rows.collect()
    }

    fn target(&mut self, name: &str) -> Option<&mut Target> {
        entry(&mut self.targets, name, TARGETS_MAX)
    }

    fn shard(&mut self, name: &str) -> Option<&mut Shard> {
        entry(&mut self.shards, name, SHARDS_MAX)
    }
}

impl Target {
    fn handle_samples(&mut self, samples: &[Sample], at_s: f64) {
        let series = [
            (&mut self.cpu, "process_cpu_seconds_total"),
            (&mut self.memory, "process_resident_memory_bytes"),
            (&mut self.packets_in, "anteroom_node_packets_in_total"),
            (&mut self.packets_out, "anteroom_node_packets_out_total"),
        ];
        for (series, name) in series {
            let values = samples.iter().filter(|sample| sample.name == name);
            let sum = values
                .map(|sample| sample.value)
                .reduce(|sum, value| sum + value);
            if let Some(sum) = sum.filter(|sum| sum.is_finite()) {
                series.push(at_s, sum);
            }
        }
    }
}

/// The sum of each shard's samples. A server without shards is one.
fn by_shard(samples: &[Sample], target: &str, names: &[&str]) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let ours = samples
        .iter()
        .filter(|sample| names.contains(&sample.name.as_str()));
    for sample in ours.filter(|sample| sample.value.is_finite()) {
        let label = sample.label("shard").or_else(|| sample.label("node_id"));
        *sums
            .entry(label.unwrap_or(target).to_owned())
            .or_insert(0.0) += sample.value;
    }
    sums
}

fn entry<'a, T: Default>(
    map: &'a mut BTreeMap<String, T>,
    name: &str,
    max: usize,
) -> Option<&'a mut T> {
    if map.len() >= max && !map.contains_key(name) {
        return None;
    }
    Some(map.entry(name.to_owned()).or_default())
}

/// One server process in a report. Curves are (seconds since the start of the run, value).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerReport {
    /// Its name or URL.
    pub name: String,
    /// CPU cores in use on the average.
    pub cpu_cores: Option<f64>,
    /// CPU cores in use.
    pub cpu: Vec<(f64, f64)>,
    /// The largest resident memory, in bytes.
    pub memory_bytes_max: Option<f64>,
    /// Resident memory, in bytes.
    pub memory_bytes: Vec<(f64, f64)>,
    /// Media packets a second that its nodes received.
    pub packets_in: Vec<(f64, f64)>,
    /// Media packets a second that its nodes sent.
    pub packets_out: Vec<(f64, f64)>,
    /// Snapshots that could not be had.
    pub failures: u64,
    /// Why the last one could not.
    pub last_failure: Option<String>,
}

/// One shard in a report. Curves are (seconds since the start of the run, value).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ShardReport {
    /// Its id.
    pub name: String,
    /// The most rooms it had.
    pub rooms_max: f64,
    /// Rooms.
    pub rooms: Vec<(f64, f64)>,
    /// Participants.
    pub participants: Vec<(f64, f64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn snapshots_become_curves() {
        let mut servers = Servers::default();
        for second in 0..3_u64 {
            let body = format!(
                "process_cpu_seconds_total {}\nprocess_resident_memory_bytes 1e6\n\
                 anteroom_node_packets_in_total{{node=\"a\"}} {}\n\
                 anteroom_node_packets_in_total{{node=\"b\"}} {}\n\
                 anteroom_shard_rooms{{shard=\"s1\"}} 3\nanteroom_shard_rooms{{shard=\"s2\"}} {}\n",
                second * 2,
                second * 100,
                second * 50,
                second,
            );
            servers.handle_scrape("up", &body, second * S).unwrap();
        }
        let report = &servers.report()[0];
        assert_eq!(
            (report.cpu_cores, report.memory_bytes_max),
            (Some(2.0), Some(1e6))
        );
        assert_eq!(report.packets_in, [(1.0, 150.0), (2.0, 150.0)]);
        assert!(report.packets_out.is_empty());
        let shards = servers.shards();
        let rooms: Vec<_> = shards
            .iter()
            .map(|s| (s.name.as_str(), s.rooms_max))
            .collect();
        assert_eq!(rooms, [("s1", 3.0), ("s2", 2.0)]);
    }

    #[test]
    fn a_livekit_server_is_one_shard() {
        let mut servers = Servers::default();
        let body = "livekit_room_total{node_id=\"ND_1\",node_type=\"SERVER\"} 4\n";
        servers.handle_scrape("http://a", body, S).unwrap();
        servers
            .handle_scrape("http://b", "livekit_room_total 2\n", S)
            .unwrap();
        let names: Vec<_> = servers
            .shards()
            .into_iter()
            .map(|shard| shard.name)
            .collect();
        assert_eq!(names, ["ND_1", "http://b"]);
    }

    #[test]
    fn what_cannot_be_read_is_counted_with_its_cause() {
        let mut servers = Servers::default();
        assert!(servers.handle_scrape("up", "<html>", 0).is_err());
        servers.handle_failure("up", "connection refused");
        let report = &servers.report()[0];
        assert_eq!(report.failures, 2);
        assert_eq!(report.last_failure.as_deref(), Some("connection refused"));
        assert_eq!(report.cpu_cores, None);
    }

    #[test]
    fn servers_and_shards_are_bounded() {
        let mut servers = Servers::default();
        for number in 0..300 {
            let body = format!("anteroom_shard_rooms{{shard=\"s{number}\"}} 1\n");
            servers
                .handle_scrape(&format!("t{number}"), &body, 0)
                .unwrap();
        }
        assert_eq!(
            (servers.report().len(), servers.shards().len()),
            (TARGETS_MAX, SHARDS_MAX)
        );
    }
}
