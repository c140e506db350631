//! Where to connect, taken apart from URLs: no I/O here.

use crate::config::SecretText;
use crate::error::ConfigError;
use redis::{ConnectionAddr, IntoConnectionInfo};
use std::fmt;

/// How the server that has our keys is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// It is `Target::master`.
    Single,
    /// These Sentinels know its address.
    Sentinel {
        name: String,
        sentinels: Vec<Server>,
    },
    /// Any of these nodes knows which one has our slot.
    Cluster { seeds: Vec<Server> },
}

/// Everything about the place of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) route: Route,
    /// How to speak to the master. Its address counts for `Route::Single` only.
    pub(crate) master: Server,
}

/// One address and how to log in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<SecretText>,
    pub(crate) db: i64,
}

impl Target {
    pub(crate) fn single(master: Server) -> Self {
        Self {
            route: Route::Single,
            master,
        }
    }

    pub(crate) fn uses_tls(&self) -> bool {
        self.master.tls
    }

    /// The master at an address that a Sentinel or a cluster node named.
    pub(crate) fn master_at(&self, host: String, port: u16) -> Server {
        Server {
            host,
            port,
            ..self.master.clone()
        }
    }
}

impl Server {
    /// Reads a URL. `field` is its name in the file; the URL itself is in no error, for its password.
    pub(crate) fn parse(field: &'static str, url: &str) -> Result<Self, ConfigError> {
        let wrong = |cause: &str| ConfigError::Url {
            field,
            cause: cause.to_owned(),
        };
        let scheme = url.split_once("://").map(|(scheme, _)| scheme);
        if !matches!(scheme, Some("redis" | "rediss" | "valkey" | "valkeys")) {
            return Err(wrong("it begins with neither `redis://` nor `rediss://`"));
        }
        if url.contains('#') {
            return Err(wrong(
                "it has a `#`; write one in a password as %23, and give a private authority's \
                 certificate in `tls.ca`",
            ));
        }
        let info = url.into_connection_info().map_err(|error| {
            // The crate's texts for URLs repeat no part of them but this one.
            let detail = error.to_string();
            wrong(match detail.contains("database") {
                true => "what follows the host is no database number",
                false => "no host could be read; write special characters of a password as %XX",
            })
        })?;
        let (host, port, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port, false),
            ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port, true),
            _ => return Err(wrong("it names no host")),
        };
        let login = info.redis_settings();
        if login.username().is_some() && login.password().is_none() {
            return Err(ConfigError::UserWithoutPassword);
        }
        Ok(Self {
            host,
            port,
            tls,
            user: login.username().map(str::to_owned),
            password: login.password().map(SecretText::new),
            db: login.db(),
        })
    }

    pub(crate) fn has_login_of(&self, other: &Self) -> bool {
        self.user == other.user && self.password == other.password
    }
}

/// `host:port`, never the login.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
