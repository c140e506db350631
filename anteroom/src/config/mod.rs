//! The configuration file: one YAML file, a section per role.

mod error;
mod load;
mod validate;

pub(crate) use error::ConfigError;
pub(crate) use load::{load, load_with};

use affinity::RoomCase;
use proto::context::ClusterKey;
use proto::token::ApiKeys;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Anteroom's configuration. Every program reads the common part and its own section.
///
/// `${NAME}` anywhere in the file is replaced by the environment variable; `ANTEROOM__A__B=value`
/// overrides `a.b`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Version of this format: 1.
    pub(crate) version: u32,
    /// API keys and their secrets: they sign access tokens (HS256). Use at least 32 characters.
    #[serde(default)]
    pub(crate) keys: BTreeMap<String, String>,
    /// What the programs of one deployment share.
    #[serde(default)]
    pub(crate) cluster: Cluster,
    /// Who owns which room, shared by all gateways and shards. Absent: the only gateway keeps it in
    /// its memory.
    #[serde(default)]
    pub(crate) directory: Option<Directory>,
    /// How room names are read.
    #[serde(default)]
    pub(crate) rooms: Rooms,
    /// The operators' listener.
    #[serde(default)]
    pub(crate) admin: Admin,
    /// What is told of the programs beyond logs and metrics.
    #[serde(default)]
    pub(crate) telemetry: Telemetry,
    /// The edge proxy.
    pub(crate) gateway: Option<gateway::Config>,
    /// Signalling and rooms.
    pub(crate) shard: Option<shard::Config>,
    /// A media server.
    pub(crate) node: Option<sfu::Config>,
}

/// What the programs of one deployment share.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cluster {
    /// Proves to each other that gateway, shards and nodes belong together. The same everywhere.
    pub(crate) secret: String,
}

/// Who owns which room.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Directory {
    /// In Redis or Valkey.
    pub(crate) redis: Option<directory::RedisConfig>,
}

/// How room names are read.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Rooms {
    /// `sensitive` (as LiveKit) or `fold`: `Standup` and `standup` are then one room.
    pub(crate) case: Case,
}

/// Whether case matters in room names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Case {
    /// As LiveKit.
    #[default]
    Sensitive,
    /// Names are folded to lower case.
    Fold,
}

impl From<Case> for RoomCase {
    fn from(case: Case) -> Self {
        match case {
            Case::Sensitive => Self::Sensitive,
            Case::Fold => Self::Fold,
        }
    }
}

/// The operators' listener.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Admin {
    /// Address of `/livez /readyz /metrics /v1/...`; absent: no admin listener. Loopback only.
    pub(crate) listen: Option<SocketAddr>,
}

/// What is told of the programs beyond logs and metrics.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Telemetry {
    /// Traces of joins for an OpenTelemetry collector. Absent: none. A change takes a restart.
    pub(crate) otlp: Option<Otlp>,
}

/// Traces for an OpenTelemetry collector.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    /// Address of the collector's OTLP/HTTP receiver, without path: `http://127.0.0.1:4318`. No TLS: run a
    /// collector on the machine or in the private network, and let that send on.
    pub(crate) endpoint: String,
    /// Share of the joins that are traced, 0.0 to 1.0. The gateway decides, the shards follow it.
    #[serde(default = "all")]
    pub(crate) sample: f64,
}

fn all() -> f64 {
    1.0
}

impl File {
    /// The cluster secret as a key. Present in every validated file.
    pub(crate) fn cluster_key(&self) -> anyhow::Result<ClusterKey> {
        ClusterKey::new(&self.cluster.secret)
            .ok_or_else(|| anyhow::anyhow!("cluster.secret is empty: set the same one everywhere"))
    }

    /// The API keys.
    pub(crate) fn api_keys(&self) -> anyhow::Result<ApiKeys> {
        Ok(ApiKeys::new(self.keys.clone())?)
    }
}
