//! Names to addresses, of both families.

use crate::core::target::Target;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The addresses of the deployment's name, each once.
pub(super) async fn addresses(target: &Target, within: Duration) -> Result<Vec<IpAddr>, String> {
    if let Some(ip) = target.literal() {
        return Ok(vec![ip]);
    }
    let found = lookup(&target.host, target.port, within).await?;
    let mut addresses = Vec::new();
    for address in found {
        if !addresses.contains(&address.ip()) {
            addresses.push(address.ip());
        }
    }
    Ok(addresses)
}

/// What the system's resolver says.
pub(super) async fn lookup(
    host: &str,
    port: u16,
    within: Duration,
) -> Result<Vec<SocketAddr>, String> {
    let asking = tokio::time::timeout(within, tokio::net::lookup_host((host, port)));
    match asking.await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", within.as_secs_f32())),
    }
}
