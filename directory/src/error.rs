//! What can be wrong with the configuration or with the server, each with its cause and its fix. No
//! text here has a secret in it: addresses are `host:port`.

use thiserror::Error;

/// The `redis:` section cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// None of the three ways.
    #[error("no address: set one of `url`, `sentinel` or `cluster`")]
    NoAddress,
    /// More than one of them.
    #[error("`url`, `sentinel` and `cluster` exclude each other: keep the one you mean")]
    ManyAddresses,
    /// Not a URL of Redis.
    #[error("`{field}`: {cause}; the form is redis://[user:password@]host[:port][/db]")]
    Url {
        /// Where.
        field: &'static str,
        /// Why, without the URL.
        cause: String,
    },
    /// A login without password.
    #[error("a user without a password: add the password, or remove the user")]
    UserWithoutPassword,
    /// `sentinel.master` is empty.
    #[error(
        "`sentinel.master` is empty: set the name that `sentinel monitor NAME ...` gives the master"
    )]
    NoMaster,
    /// `sentinel.urls` is empty.
    #[error("`sentinel.urls` is empty: list the Sentinels, usual port 26379")]
    NoSentinels,
    /// A database number in a Sentinel's URL.
    #[error(
        "a URL in `sentinel.urls` has a database number: Sentinels have none, set `sentinel.db`"
    )]
    SentinelDatabase,
    /// A database number in a cluster's URL.
    #[error("a URL in `cluster` has a database number: a cluster has only database 0, remove it")]
    ClusterDatabase,
    /// Different logins in `cluster`.
    #[error("the URLs in `cluster` have different users or passwords: make them equal")]
    ClusterLogins,
    /// Some with TLS, some without.
    #[error("`{field}` mixes redis:// and rediss://: use the same for all")]
    MixedTls {
        /// Where.
        field: &'static str,
    },
    /// A list too long.
    #[error("`{field}` has more than {max} URLs: a few are enough, the rest is found from them")]
    TooManyAddresses {
        /// Where.
        field: &'static str,
        /// The limit.
        max: usize,
    },
    /// The prefix would break the hash tag.
    #[error("`prefix` needs 1 to {bytes_max} letters, digits, `.`, `_` or `-`")]
    Prefix {
        /// The limit.
        bytes_max: usize,
    },
    /// A timeout that does not fit the lease.
    #[error("`{field}` is {value}: use {min} to {max}, a lease lives for 3000 ms")]
    Timeout {
        /// Which.
        field: &'static str,
        /// What it is.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Too many replicas.
    #[error("`replicas` is {value}: at most {max}; the number of replicas you have")]
    Replicas {
        /// What it is.
        value: u32,
        /// The limit.
        max: u32,
    },
    /// The wait for replicas does not fit into a call.
    #[error("`replicas_timeout_ms` is {value}: use 1 to less than call_timeout_ms ({call_ms})")]
    ReplicasTimeout {
        /// What it is.
        value: u64,
        /// `call_timeout_ms`.
        call_ms: u64,
    },
    /// Certificates, and no TLS.
    #[error("`tls` has certificates, but the URLs say redis://: use rediss://, or remove `tls`")]
    CertificatesWithoutTls,
    /// One of `tls.cert` and `tls.key`.
    #[error("`tls.cert` and `tls.key` belong together: set both or none")]
    HalfClientCertificate,
    /// A certificate file that cannot be used.
    #[error("`tls.{field}`, {path}: {cause}")]
    CertificateFile {
        /// Which.
        field: &'static str,
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
}

/// Redis cannot serve as the directory: at start, or later while a call was made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartError {
    /// The configuration.
    #[error("redis: {0}")]
    Config(#[from] ConfigError),
    /// No connection, or it broke.
    #[error(
        "redis at {address} cannot be reached: {cause}; check that it runs, the address, and the \
         firewall"
    )]
    Unreachable {
        /// `host:port`.
        address: String,
        /// As the operating system says it.
        cause: String,
    },
    /// The server took the connection and hung up, or said something that is not Redis' language.
    #[error(
        "redis at {address} ended the connection at the first command ({cause}), or is no Redis: if \
         it listens with TLS there, use rediss://; if it asks clients for certificates, set \
         `tls.cert` and `tls.key`"
    )]
    HungUp {
        /// `host:port`.
        address: String,
        /// As the operating system says it.
        cause: String,
    },
    /// No TLS session.
    #[error(
        "redis at {address}: no TLS session: {cause}; if it listens without TLS use redis://, for \
         a private authority set `tls.ca`, and the URL must have a name that is in the certificate"
    )]
    Tls {
        /// `host:port`.
        address: String,
        /// As the TLS library says it.
        cause: String,
    },
    /// It wants a password and has got none.
    #[error("redis at {address} wants a password: put user and password into the URL")]
    NoPassword {
        /// `host:port`.
        address: String,
    },
    /// User or password wrong.
    #[error("redis at {address} refuses user or password ({cause}): correct them")]
    WrongPassword {
        /// `host:port`.
        address: String,
        /// As Redis says it.
        cause: String,
    },
    /// The user may not do what is needed.
    #[error(
        "redis at {address}: the user may not do enough ({cause}); allow it the keys and commands: \
         {}, with your `prefix` in the braces",
        crate::script::acl_rule()
    )]
    Forbidden {
        /// `host:port`.
        address: String,
        /// As Redis says it.
        cause: String,
    },
    /// A replica.
    #[error(
        "redis at {address} is a replica: give the master's address, or use `sentinel` to follow it"
    )]
    Replica {
        /// `host:port`.
        address: String,
    },
    /// Keys could be evicted.
    #[error(
        "redis at {address} has maxmemory-policy {policy}, which may throw live rooms' owners away: \
         set `maxmemory-policy noeviction` (or a volatile-* one), or use a Redis of its own"
    )]
    Evicts {
        /// `host:port`.
        address: String,
        /// The policy.
        policy: String,
    },
    /// Too old.
    #[error("redis at {address} is version {version}: 6.2 or newer is needed")]
    Old {
        /// `host:port`.
        address: String,
        /// What it says.
        version: String,
    },
    /// `url`, but it is a cluster node.
    #[error("redis at {address} is a node of a cluster: use `cluster: [...]` instead of `url`")]
    IsCluster {
        /// `host:port`.
        address: String,
    },
    /// `cluster`, but it is none.
    #[error("redis at {address} is not in cluster mode: use `url` instead of `cluster`")]
    NoCluster {
        /// `host:port`.
        address: String,
    },
    /// The cluster does not serve our slot.
    #[error("redis cluster: no node has slot {slot} ({cause}); check `redis-cli --cluster check`")]
    ClusterDown {
        /// Slot of all our keys.
        slot: u16,
        /// What was seen.
        cause: String,
    },
    /// A Sentinel where a Redis should be.
    #[error(
        "redis at {address} is a Sentinel: name it in `sentinel.urls`, with `sentinel.master`, \
         instead of `url`"
    )]
    IsSentinel {
        /// `host:port`.
        address: String,
    },
    /// The Sentinels have no such master.
    #[error(
        "the Sentinel at {address} knows no master `{name}`: correct `sentinel.master`; \
         `SENTINEL MASTERS` lists the names"
    )]
    UnknownMaster {
        /// `host:port` of the Sentinel.
        address: String,
        /// The name.
        name: String,
    },
    /// Not enough replicas.
    #[error(
        "redis at {address}: only {have} of {want} replicas have it; check the replicas, or lower \
         `replicas`"
    )]
    Replicas {
        /// `host:port`.
        address: String,
        /// How many have the write.
        have: u64,
        /// `replicas`.
        want: u32,
    },
    /// Any other refusal.
    #[error("redis at {address} refuses: {cause}")]
    Refused {
        /// `host:port`.
        address: String,
        /// As Redis says it.
        cause: String,
    },
    /// No answer in time.
    #[error("redis at {address} did not answer within {ms} ms")]
    Timeout {
        /// `host:port`.
        address: String,
        /// How long was waited.
        ms: u64,
    },
}

impl StartError {
    /// Whether trying again some time later can help without anybody changing anything. A program
    /// that starts together with its Redis waits for these.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::ClusterDown { .. }
            | Self::Replicas { .. } => true,
            Self::Refused { cause, .. } => [
                "LOADING",
                "MASTERDOWN",
                "TRYAGAIN",
                "CLUSTERDOWN",
                "MISCONF",
                "OOM",
            ]
            .iter()
            .any(|code| cause.starts_with(code)),
            _ => false,
        }
    }
}
