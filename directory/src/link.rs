//! One connection to one server: opening it, logging in, one command at a time or several in a row.
//!
//! Owns: the translation of every failure into a [`StartError`]. Must not: open a second
//! connection, or repeat a command.

use crate::config::{SecretText, TlsConfig};
use crate::error::{ConfigError, StartError};
use crate::target::Server;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind,
    TlsCertificates, Value,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Requests of one process that wait for this connection. More wait in their callers, whose calls
/// then time out: Redis is not keeping up.
const REQUESTS_MAX: usize = 1_024;

/// A connection, logged in. Clones share it; it closes with the last one.
#[derive(Clone)]
pub(crate) struct Link {
    connection: MultiplexedConnection,
    address: String,
}

/// How far a connection has come: the same error means different mistakes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Connect,
    /// No answer has come on this connection yet.
    First,
    Later,
}

impl Link {
    /// Connects and logs in. Takes at most `timeout`.
    pub(crate) async fn open(
        server: &Server,
        tls: &TlsConfig,
        timeout: Duration,
    ) -> Result<Self, StartError> {
        let opening = Self::open_slowly(server, tls);
        match tokio::time::timeout(timeout, opening).await {
            Ok(outcome) => outcome,
            Err(_) => Err(silent(server, timeout)),
        }
    }

    async fn open_slowly(server: &Server, tls: &TlsConfig) -> Result<Self, StartError> {
        let address = server.to_string();
        let client = client(server, tls).await?;
        // The caller has the timeouts. Login is ours too: the crate hides what the server says.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_concurrency_limit(REQUESTS_MAX);
        let connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| explain(&address, Stage::Connect, &error))?;
        let link = Self {
            connection,
            address,
        };
        link.log_in(server).await?;
        Ok(link)
    }

    async fn log_in(&self, server: &Server) -> Result<(), StartError> {
        if let Some(password) = &server.password {
            let mut auth = redis::cmd("AUTH");
            if let Some(user) = &server.user {
                auth.arg(user);
            }
            auth.arg(SecretText::expose(password));
            self.run(&auth, Stage::First).await?;
        }
        if server.db != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(server.db);
            self.run(&select, Stage::First).await?;
        }
        Ok(())
    }

    /// `host:port` of the server.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// One command. No timeout: the caller has one for all it does.
    pub(crate) async fn run(&self, command: &Cmd, stage: Stage) -> Result<Value, StartError> {
        let value = self.connection.clone().send_packed_command(command).await;
        value
            .and_then(Value::extract_error)
            .map_err(|error| explain(&self.address, stage, &error))
    }

    /// Several commands in a row, the answer of each. Other requests can get in between.
    pub(crate) async fn run_all(
        &self,
        commands: &Pipeline,
        stage: Stage,
    ) -> Result<Vec<Value>, StartError> {
        let values = self
            .connection
            .clone()
            .send_packed_commands(commands, 0, commands.len())
            .await;
        values
            .and_then(|values| values.into_iter().map(Value::extract_error).collect())
            .map_err(|error| explain(&self.address, stage, &error))
    }

    /// As [`Self::run`], but the server's own error stays apart, by its code.
    pub(crate) async fn try_run(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.connection
            .clone()
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error)
    }
}

/// A Redis without TLS takes the first message of TLS for the beginning of a long command, and waits.
fn silent(server: &Server, timeout: Duration) -> StartError {
    let address = server.to_string();
    let cause = format!("nothing within {} ms", timeout.as_millis());
    if server.tls {
        StartError::Tls { address, cause }
    } else {
        StartError::Unreachable { address, cause }
    }
}

async fn client(server: &Server, tls: &TlsConfig) -> Result<Client, StartError> {
    let unusable = |error: RedisError| StartError::Refused {
        address: server.to_string(),
        cause: error.to_string(),
    };
    if !server.tls {
        let plain = ConnectionAddr::Tcp(server.host.clone(), server.port);
        return Client::open(quiet(plain).map_err(unusable)?).map_err(unusable);
    }
    install_crypto_provider();
    let certificates = certificates(tls).await?;
    let address = ConnectionAddr::TcpTls {
        host: server.host.clone(),
        port: server.port,
        insecure: false,
        tls_params: None,
    };
    let info = quiet(address).map_err(unusable)?;
    // The certificates have been looked at: what is left is the key.
    Client::build_with_tls(info, certificates)
        .map_err(|error| bad_file("key", tls.key.as_deref(), error.to_string()))
}

/// Nothing is sent that we did not ask for: the first answer tells what kind of server this is.
fn quiet(address: ConnectionAddr) -> Result<ConnectionInfo, RedisError> {
    let info = address.into_connection_info()?;
    let settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    // Requests are small, and somebody waits for each.
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(info.set_redis_settings(settings).set_tcp_settings(tcp))
}

/// Read at each connection, so that renewed files are taken without a restart.
async fn certificates(tls: &TlsConfig) -> Result<TlsCertificates, StartError> {
    let root_cert = read_certificates("ca", tls.ca.as_deref()).await?;
    let client_cert = read_certificates("cert", tls.cert.as_deref()).await?;
    let client_key = read("key", tls.key.as_deref()).await?;
    let client_tls = client_cert
        .zip(client_key)
        .map(|(client_cert, client_key)| ClientTlsConfig {
            client_cert,
            client_key,
        });
    Ok(TlsCertificates {
        client_tls,
        root_cert,
    })
}

/// A file without any certificate would be taken for an authority that signed nothing.
async fn read_certificates(
    field: &'static str,
    path: Option<&Path>,
) -> Result<Option<Vec<u8>>, StartError> {
    let bytes = read(field, path).await?;
    if let Some(bytes) = &bytes
        && !matches!(CertificateDer::pem_slice_iter(bytes).next(), Some(Ok(_)))
    {
        return Err(bad_file(
            field,
            path,
            "no certificate in PEM form".to_owned(),
        ));
    }
    Ok(bytes)
}

async fn read(field: &'static str, path: Option<&Path>) -> Result<Option<Vec<u8>>, StartError> {
    let Some(path) = path else {
        return Ok(None);
    };
    match tokio::fs::read(path).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => Err(bad_file(field, Some(path), error.to_string())),
    }
}

fn bad_file(field: &'static str, path: Option<&Path>, cause: String) -> StartError {
    let path = path.map(|path| path.display().to_string());
    StartError::Config(ConfigError::CertificateFile {
        field,
        path: path.unwrap_or_default(),
        cause,
    })
}

/// Programs install their provider first thing. A test or a tool that did not would panic in rustls.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Lost the race: somebody else's is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// What an error of the library means for the operator.
pub(crate) fn explain(address: &str, stage: Stage, error: &RedisError) -> StartError {
    let address = address.to_owned();
    let cause = text_of(error);
    if let Some(code) = error.code() {
        return explain_refusal(address, code, cause);
    }
    match (error.kind(), stage) {
        (ErrorKind::Io, _) if is_tls(error) => StartError::Tls { address, cause },
        (ErrorKind::Io, Stage::First) if !error.is_connection_refusal() => {
            StartError::HungUp { address, cause }
        }
        (ErrorKind::Io, _) => StartError::Unreachable { address, cause },
        // Bytes that are no answer of Redis.
        (ErrorKind::Parse, _) => StartError::Refused {
            address,
            cause: format!("this is no Redis: {cause}"),
        },
        _ => StartError::Refused { address, cause },
    }
}

fn explain_refusal(address: String, code: &str, cause: String) -> StartError {
    // Inside a script, the code of the failed command is in the text.
    let says = |word: &str| code == word || cause.contains(word);
    if says("NOAUTH") {
        StartError::NoPassword { address }
    } else if says("WRONGPASS") || cause.contains("AUTH") && cause.contains("without any password")
    {
        StartError::WrongPassword { address, cause }
    } else if says("NOPERM") || cause.contains("can't run this command") {
        StartError::Forbidden { address, cause }
    } else if says("READONLY") {
        StartError::Replica { address }
    } else {
        StartError::Refused { address, cause }
    }
}

/// rustls reports through `std::io::Error`, which the library keeps in an `Arc`.
fn is_tls(error: &RedisError) -> bool {
    type Shared = Arc<dyn std::error::Error + Send + Sync>;
    error
        .source()
        .and_then(|kept| kept.downcast_ref::<Shared>())
        .and_then(|kept| kept.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// The server's own words where there are any.
fn text_of(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

/// Whether the script is not there (never loaded, or the server was restarted): it was not run.
pub(crate) fn is_no_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
