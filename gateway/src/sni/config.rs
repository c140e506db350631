//! Section `gateway.sni`.

use crate::config::is_host_and_port;
use crate::tls::matches_name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most routes: a few names of a few nodes.
const ROUTES_MAX: usize = 256;

/// A TLS port that is shared by name: each connection is passed on, undecrypted, to the upstream of the
/// name (SNI) that its client asks for. For TURN over TLS and HTTPS on port 443.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SniConfig {
    /// `host:port`, such as `0.0.0.0:443`. A change in this section needs a restart.
    pub listen: String,
    /// Who has which name. The first that fits counts.
    pub routes: Vec<SniRoute>,
    /// `host:port` for all other names and clients that name none: the HTTPS address of
    /// `gateway.listen`. Left out: such connections are closed.
    #[serde(default)]
    pub default: Option<String>,
}

/// Who has some names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SniRoute {
    /// Names, such as `turn.example.org` or `*.turn.example.org`.
    pub names: Vec<String>,
    /// `host:port` of the TLS port that they lead to: a node's `turn.tls_port`.
    pub upstream: String,
}

impl SniConfig {
    /// # Errors
    /// A text that names the field and the fix.
    pub(crate) fn check(&self) -> Result<(), String> {
        let address = |field: &str, address: &str| match is_host_and_port(address) {
            true => Ok(()),
            false => Err(format!(
                "gateway.sni.{field} '{address}' is not of the form host:port, such as 0.0.0.0:443"
            )),
        };
        address("listen", &self.listen)?;
        if let Some(default) = &self.default {
            address("default", default)?;
        }
        if self.routes.len() > ROUTES_MAX {
            return Err(format!("gateway.sni.routes: {ROUTES_MAX} is the most"));
        }
        for route in &self.routes {
            address("routes.upstream", &route.upstream)?;
            let bad = route.names.iter().find(|name| !is_pattern(name));
            if let Some(bad) = bad {
                return Err(format!(
                    "gateway.sni.routes: '{bad}' is no name: write turn.example.org or \
                     *.example.org"
                ));
            }
            if route.names.is_empty() {
                let upstream = &route.upstream;
                return Err(format!(
                    "gateway.sni.routes '{upstream}': names is empty: name at least one, or use \
                     `default`"
                ));
            }
        }
        Ok(())
    }

    /// Whom a connection is passed to.
    pub(super) fn upstream(&self, name: Option<&str>) -> Option<&str> {
        let of = |name: &str| {
            let fits =
                |route: &&SniRoute| route.names.iter().any(|known| matches_name(known, name));
            self.routes.iter().find(fits)
        };
        let route = name.and_then(of).map(|route| route.upstream.as_str());
        route.or(self.default.as_deref())
    }
}

fn is_pattern(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !name.is_empty() && name.len() <= 253 && name.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SniConfig {
        let route = |name: &str, upstream: &str| SniRoute {
            names: vec![name.to_owned()],
            upstream: upstream.to_owned(),
        };
        SniConfig {
            listen: "0.0.0.0:443".to_owned(),
            routes: vec![
                route("turn.example.org", "10.0.0.1:5349"),
                route("*.turn.example.org", "10.0.0.2:5349"),
            ],
            default: Some("127.0.0.1:8443".to_owned()),
        }
    }

    #[test]
    fn names_lead_to_their_upstream_and_all_others_to_the_default() {
        let mut config = config();
        let default = Some("127.0.0.1:8443");
        assert_eq!(
            config.upstream(Some("TURN.example.org")),
            Some("10.0.0.1:5349")
        );
        assert_eq!(
            config.upstream(Some("n2.turn.example.org")),
            Some("10.0.0.2:5349")
        );
        assert_eq!(config.upstream(Some("meet.example.org")), default);
        assert_eq!(config.upstream(None), default);
        config.default = None;
        assert_eq!(config.upstream(Some("meet.example.org")), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(config().check(), Ok(()));
        let wrong = |change: fn(&mut SniConfig)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert!(wrong(|c| c.listen = "443".to_owned()).contains("sni.listen"));
        assert!(wrong(|c| c.default = Some("a".to_owned())).contains("sni.default"));
        assert!(wrong(|c| c.routes[0].upstream = String::new()).contains("upstream"));
        assert!(wrong(|c| c.routes[0].names.clear()).contains("names is empty"));
        assert!(wrong(|c| c.routes[0].names = vec!["a b".to_owned()]).contains("'a b'"));
    }
}
