//! What the types can't say: relations between values. Mistakes are placed by a second, lenient
//! reading of the file that keeps positions.

use super::{ConfigError, File};
use gateway::Loaded;
use proto::token::ApiKeys;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::path::Path;

/// The version of the format that this program reads.
const VERSION: u32 = 1;

/// Where things stand in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Places {
    version: Option<Spanned<serde_json::Value>>,
    keys: Option<Spanned<serde_json::Value>>,
    cluster: Option<Spanned<serde_json::Value>>,
    directory: Option<Spanned<serde_json::Value>>,
    admin: Option<Spanned<serde_json::Value>>,
    telemetry: Option<Spanned<serde_json::Value>>,
    gateway: Option<Spanned<GatewayPlaces>>,
    shard: Option<Spanned<serde_json::Value>>,
    node: Option<Spanned<serde_json::Value>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct GatewayPlaces {
    shards: Vec<Spanned<serde_json::Value>>,
}

type Place = Option<(u64, u64)>;

fn place<T>(spanned: Option<&Spanned<T>>) -> Place {
    spanned.map(|spanned| (spanned.referenced.line(), spanned.referenced.column()))
}

/// Refuses a file that could not be run.
pub(super) fn validate(path: &Path, text: &str, file: &File) -> Result<(), ConfigError> {
    let places: Places = serde_saphyr::from_str(text).unwrap_or_default();
    check(file, &places).map_err(|(place, message)| ConfigError {
        path: path.to_owned(),
        place,
        message,
    })
}

fn check(file: &File, places: &Places) -> Result<(), (Place, String)> {
    if file.version != VERSION {
        let message = format!("this program reads version {VERSION}, not {}", file.version);
        return Err((place(places.version.as_ref()), message));
    }
    ApiKeys::new(file.keys.clone())
        .map_err(|error| (place(places.keys.as_ref()), error.to_string()))?;
    check_common(file, places)?;
    check_directory(file, places)?;
    check_telemetry(file, places)?;
    check_gateway(file, places)?;
    check_roles(file, places)?;
    if let Some(admin) = file.admin.listen.filter(|admin| !admin.ip().is_loopback()) {
        let message = format!(
            "admin.listen {admin} is not loopback: the admin API has no login yet, so put it on \
             127.0.0.1 and reach it through SSH or a proxy that authenticates"
        );
        return Err((place(places.admin.as_ref()), message));
    }
    if let Some(shard) = &file.shard {
        shard
            .validate()
            .map_err(|error| (place(places.shard.as_ref()), error.to_string()))?;
    }
    if let Some(node) = &file.node {
        node.validate()
            .map_err(|error| (place(places.node.as_ref()), error.to_string()))?;
    }
    check_listeners(file, places)
}

fn check_common(file: &File, places: &Places) -> Result<(), (Place, String)> {
    let serves_clients = file.gateway.is_some() || file.shard.is_some();
    if serves_clients && file.keys.is_empty() {
        let message = "no API keys: add `keys: {name: secret}`, nobody can join without one";
        return Err((place(places.keys.as_ref()), message.to_owned()));
    }
    if (serves_clients || file.node.is_some()) && file.cluster.secret.is_empty() {
        let message = "cluster.secret is missing: the same random text in every program's file";
        return Err((place(places.cluster.as_ref()), message.to_owned()));
    }
    Ok(())
}

/// Where traces go.
fn check_telemetry(file: &File, places: &Places) -> Result<(), (Place, String)> {
    let Some(otlp) = &file.telemetry.otlp else {
        return Ok(());
    };
    let at = place(places.telemetry.as_ref());
    let address = otlp.endpoint.parse::<http::Uri>().ok();
    let is_http = address.is_some_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some() && uri.query().is_none()
    });
    if !is_http {
        let message = format!(
            "telemetry.otlp.endpoint '{}' is not taken: write http://host:port of a collector's OTLP/HTTP \
             receiver, such as http://127.0.0.1:4318; for TLS, let a collector nearby send on",
            otlp.endpoint
        );
        return Err((at, message));
    }
    if !(0.0..=1.0).contains(&otlp.sample) {
        let message = format!("telemetry.otlp.sample {} is not 0.0 to 1.0", otlp.sample);
        return Err((at, message));
    }
    Ok(())
}

/// The shared directory.
fn check_directory(file: &File, places: &Places) -> Result<(), (Place, String)> {
    let at = || place(places.directory.as_ref());
    let Some(directory) = &file.directory else {
        return Ok(());
    };
    let Some(redis) = &directory.redis else {
        let message = "directory is empty: set directory.redis, or remove the section";
        return Err((at(), message.to_owned()));
    };
    let internal = file.gateway.as_ref().and_then(|gateway| gateway.internal);
    if let Some(address) = internal {
        let message = format!(
            "gateway.internal {address} is the door to a directory in the gateway's memory, and the \
             section `directory` is one that all share: remove gateway.internal"
        );
        return Err((place(places.gateway.as_ref()), message));
    }
    redis
        .validate()
        .map_err(|error| (at(), format!("directory.redis: {error}")))
}

/// Whom a role must be able to reach.
fn check_roles(file: &File, places: &Places) -> Result<(), (Place, String)> {
    if let Some(shard) = &file.shard {
        let message = match (&shard.directory, &file.directory) {
            (None, None) => {
                "shard.directory is missing: name the gateway's internal listener, such as \
                 http://127.0.0.1:7891, or give all programs the same section `directory`"
            }
            (Some(_), Some(_)) => {
                "shard.directory is a directory in a gateway's memory, and the section \
                 `directory` is one that all share: keep the one you mean"
            }
            (Some(_), None) | (None, Some(_)) => "",
        };
        if !message.is_empty() {
            return Err((place(places.shard.as_ref()), message.to_owned()));
        }
    }
    let has_shard_here = file.shard.as_ref().is_some_and(|shard| shard.nodes > 0);
    if !has_shard_here && file.node.as_ref().is_some_and(|node| node.shard.is_none()) {
        let message = "node.shard is missing: name the shard's internal listener, such as \
                       http://127.0.0.1:7911";
        return Err((place(places.node.as_ref()), message.to_owned()));
    }
    Ok(())
}

/// Builds the topology without running it. Where that fails, the first shard that makes it fail is
/// the one to name.
fn check_gateway(file: &File, places: &Places) -> Result<(), (Place, String)> {
    let Some(config) = &file.gateway else {
        return Ok(());
    };
    let keys = ApiKeys::new(file.keys.clone()).unwrap_or_default();
    let fails_with = |count: usize| {
        let mut config = config.clone();
        config.shards.truncate(count);
        let loaded = Loaded {
            config,
            keys: keys.clone(),
            rooms: file.rooms.case.into(),
        };
        gateway::routing(&loaded).err()
    };
    let all = config.shards.len();
    let Some(error) = fails_with(all) else {
        return Ok(());
    };
    let culprit = (1..=all)
        .find(|count| fails_with(*count).is_some())
        .unwrap_or(all);
    let shards = places
        .gateway
        .as_ref()
        .map(|gateway| gateway.value.shards.as_slice());
    let shard = shards.and_then(|shards| shards.get(culprit.saturating_sub(1)));
    let at = place(shard).or_else(|| place(places.gateway.as_ref()));
    Err((at, error.to_string()))
}

/// Two listeners on one address: the second would fail at start, with a poorer message.
fn check_listeners(file: &File, places: &Places) -> Result<(), (Place, String)> {
    let at_gateway = place(places.gateway.as_ref());
    let at_shard = place(places.shard.as_ref());
    let mut listeners: Vec<(&str, String, Place)> = Vec::new();
    if let Some(gateway) = &file.gateway {
        for listen in &gateway.listen {
            listeners.push(("gateway.listen", listen.address.clone(), at_gateway));
        }
        let sni = gateway.sni.as_ref().map(|sni| sni.listen.clone());
        listeners.extend(sni.map(|address| ("gateway.sni.listen", address, at_gateway)));
        let internal = gateway.internal.map(|address| address.to_string());
        listeners.extend(internal.map(|address| ("gateway.internal", address, at_gateway)));
    }
    if let Some(shard) = &file.shard {
        listeners.push(("shard.listen", shard.listen.to_string(), at_shard));
        let internal = shard.internal.map(|address| address.to_string());
        listeners.extend(internal.map(|address| ("shard.internal", address, at_shard)));
    }
    let admin = file.admin.listen.map(|address| address.to_string());
    listeners.extend(admin.map(|address| ("admin.listen", address, place(places.admin.as_ref()))));

    let mut taken = Vec::new();
    for (key, address, at) in listeners {
        if !address.ends_with(":0") && taken.contains(&address) {
            return Err((at, format!("{key}: {address} is used twice in this file")));
        }
        taken.push(address);
    }
    Ok(())
}
