//! What is checked before a program starts to rely on a Redis.

use crate::connect::Facts;
use crate::connector::Current;
use crate::error::StartError;
use crate::link::Stage;
use crate::script;
use redis::Value;

/// The oldest version with all that the scripts need.
const VERSION_MIN: (u32, u32) = (6, 2);

/// The server that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// `host:port`.
    pub address: String,
    /// `Redis` or `Valkey`.
    pub product: &'static str,
    /// As it says itself.
    pub version: String,
    /// Replicas that are connected to it.
    pub replicas: u64,
}

/// Whether this server can be the directory. Leaves nothing behind.
pub(crate) async fn check(
    current: &Current,
    prefix: &str,
    replicas: u32,
) -> Result<ServerInfo, StartError> {
    let facts = &current.facts;
    let address = current.link.address().to_owned();
    if version_of(&facts.version).is_none_or(|version| version < VERSION_MIN) {
        let version = facts.version.clone();
        return Err(StartError::Old { address, version });
    }
    if let Some(error) = eviction(&address, facts) {
        return Err(error);
    }
    check_permissions(current, prefix).await?;
    if facts.replicas < u64::from(replicas) {
        return Err(StartError::Replicas {
            address,
            have: facts.replicas,
            want: replicas,
        });
    }
    if replicas == 0 && facts.replicas > 0 {
        tracing::warn!(
            address,
            "redis: it has replicas, and `redis.replicas` is 0: after a fail-over a master that was \
             cut off can go on granting; set it to their number"
        );
    }
    Ok(ServerInfo {
        address,
        product: facts.product,
        version: facts.version.clone(),
        replicas: facts.replicas,
    })
}

/// Our keys have no expiry: `volatile-*` leaves them alone, `allkeys-*` does not.
pub(crate) fn eviction(address: &str, facts: &Facts) -> Option<StartError> {
    facts
        .policy
        .starts_with("allkeys")
        .then(|| StartError::Evicts {
            address: address.to_owned(),
            policy: facts.policy.clone(),
        })
}

async fn check_permissions(current: &Current, prefix: &str) -> Result<(), StartError> {
    let mut probe = redis::cmd("EVAL");
    probe
        .arg(script::PROBE)
        .arg(1)
        .arg(format!("{{{prefix}}}:probe"))
        .arg("1");
    let mut wait = redis::cmd("WAIT");
    wait.arg(0).arg(1);
    for command in [probe, wait] {
        let _: Value = current.link.run(&command, Stage::Later).await?;
    }
    // What is only needed once a script is known: the answer `NOSCRIPT` says that it is allowed.
    let mut by_hash = redis::cmd("EVALSHA");
    by_hash.arg("0".repeat(40)).arg(0);
    match current.link.run(&by_hash, Stage::Later).await {
        Err(error @ StartError::Forbidden { .. }) => Err(error),
        _ => Ok(()),
    }
}

fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version_of("10.0.1") > Some(VERSION_MIN));
        assert!(version_of("6.2.14") == Some(VERSION_MIN));
        assert!(version_of("6.0.9") < Some(VERSION_MIN));
        assert_eq!(version_of("unstable"), None);
    }

    #[test]
    fn only_policies_that_touch_keys_without_expiry_are_refused() {
        let with = |policy: &str| Facts {
            policy: policy.to_owned(),
            ..Facts::default()
        };
        for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
            assert!(eviction("a:1", &with(policy)).is_some(), "{policy}");
        }
        for policy in ["noeviction", "volatile-lru", "volatile-ttl", ""] {
            assert!(eviction("a:1", &with(policy)).is_none(), "{policy}");
        }
    }
}
