//! TLS: what fits, and what does not.

use crate::certificates::{Authority, write};
use crate::server::{RedisServer, free_port};
use crate::{mistake, outcome};
use directory::RedisConfig;

/// A server that speaks TLS on its port, with a certificate for `name`.
struct TlsServer {
    server: RedisServer,
    port: u16,
    authority: Authority,
}

fn tls_server(name: &str, clients: &str) -> TlsServer {
    let authority = Authority::new();
    let port = free_port();
    let tls_port = port.to_string();
    let options = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        "{folder}/cert.pem",
        "--tls-key-file",
        "{folder}/key.pem",
        "--tls-ca-cert-file",
        "{folder}/ca.pem",
        "--tls-auth-clients",
        clients,
    ];
    let server = RedisServer::prepared(&options, |folder, _| authority.fill(folder, name));
    TlsServer {
        server,
        port,
        authority,
    }
}

impl TlsServer {
    fn config(&self, scheme: &str, host: &str) -> RedisConfig {
        RedisConfig::at(format!("{scheme}://{host}:{}", self.port))
    }

    fn trusting(&self, host: &str) -> RedisConfig {
        let mut config = self.config("rediss", host);
        config.tls.ca = Some(self.server.folder().join("ca.pem"));
        config
    }
}

#[tokio::test]
async fn a_trusted_certificate_is_taken() {
    let server = tls_server("localhost", "no");
    assert_eq!(outcome(&server.trusting("localhost")).await, Ok(()));
}

#[tokio::test]
async fn an_unknown_authority_is_named_as_the_cause() {
    let server = tls_server("localhost", "no");
    let text = mistake(&server.config("rediss", "localhost")).await;
    assert!(text.contains("no TLS session"), "{text}");
    assert!(text.contains("UnknownIssuer"), "{text}");
    assert!(text.contains("set `tls.ca`"), "{text}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let server = tls_server("redis.example.org", "no");
    let text = mistake(&server.trusting("localhost")).await;
    assert!(text.contains("no TLS session"), "{text}");
    assert!(text.contains("redis.example.org"), "{text}");
}

#[tokio::test]
async fn tls_and_plain_text_do_not_meet() {
    let plain = RedisServer::start();
    let text = mistake(&RedisConfig::at(format!(
        "rediss://localhost:{}",
        plain.port
    )))
    .await;
    assert!(text.contains("no TLS session"), "{text}");
    assert!(text.contains("use redis://"), "{text}");
    let server = tls_server("localhost", "no");
    let text = mistake(&server.config("redis", "localhost")).await;
    assert!(text.contains("use rediss://"), "{text}");
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_one() {
    let server = tls_server("localhost", "yes");
    let mut config = server.trusting("localhost");
    let text = mistake(&config).await;
    assert!(text.contains("set `tls.cert`"), "{text}");
    let (certificate, key) = server.authority.sign("anteroom");
    let folder = server.server.folder();
    config.tls.cert = Some(write(folder, "client.pem", &certificate));
    config.tls.key = Some(write(folder, "client-key.pem", &key));
    assert_eq!(outcome(&config).await, Ok(()));
}

#[tokio::test]
async fn a_certificate_file_that_cannot_be_used_is_named() {
    let server = tls_server("localhost", "no");
    let mut config = server.trusting("localhost");
    config.tls.ca = Some(server.server.folder().join("none.pem"));
    let text = mistake(&config).await;
    assert!(text.contains("none.pem: No such file"), "{text}");
    config.tls.ca = Some(write(
        server.server.folder(),
        "bad.pem",
        "not a certificate",
    ));
    let text = mistake(&config).await;
    assert!(text.contains("`tls.ca`"), "{text}");
    assert!(text.contains("bad.pem: no certificate"), "{text}");
    config.tls.ca = None;
    config.tls.cert = Some(server.server.folder().join("cert.pem"));
    config.tls.key = Some(write(server.server.folder(), "bad.pem", "not a key"));
    let text = mistake(&config).await;
    assert!(text.contains("`tls.key`"), "{text}");
}
