//! Certificates: by name, and swapped while connections stay.

use crate::support::{FakeShard, TestGateway, config};
use gateway::{CertificateConfig, Config, ListenConfig, TlsConfig};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("anteroom-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes a fresh certificate for `name` and returns it.
fn issue(folder: &Path, name: &str) -> CertificateDer<'static> {
    let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let file = name.replace('*', "any");
    std::fs::write(folder.join(format!("{file}.crt")), issued.cert.pem()).unwrap();
    std::fs::write(
        folder.join(format!("{file}.key")),
        issued.signing_key.serialize_pem(),
    )
    .unwrap();
    issued.cert.der().clone()
}

fn certificate(folder: &Path, file: &str) -> CertificateConfig {
    CertificateConfig {
        cert: folder.join(format!("{file}.crt")),
        key: folder.join(format!("{file}.key")),
        names: Vec::new(),
    }
}

fn tls_config(folder: &Path, shard: &FakeShard) -> Config {
    let mut config = config(vec![shard.config()]);
    config.listen = vec![ListenConfig {
        address: "127.0.0.1:0".to_owned(),
        tls: Some(TlsConfig {
            certificates: vec![
                certificate(folder, "a.test"),
                certificate(folder, "any.b.test"),
            ],
        }),
    }];
    config
}

fn connect(
    address: SocketAddr,
    name: &str,
    trusted: &[&CertificateDer<'static>],
    protocols: &[&[u8]],
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add((*certificate).clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(connection, TcpStream::connect(address).unwrap())
}

/// One request on an open connection; the answer's first line and the certificate shown.
fn ask(
    stream: &mut StreamOwned<ClientConnection, TcpStream>,
) -> std::io::Result<(String, CertificateDer<'static>)> {
    stream.write_all(b"GET /standup HTTP/1.1\r\nhost: a\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut byte = [0; 1];
    while !answer.ends_with(b"\r\n\r\ns1") {
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
    }
    let shown = stream.conn.peer_certificates().unwrap()[0]
        .clone()
        .into_owned();
    let text = String::from_utf8_lossy(&answer).into_owned();
    Ok((text.lines().next().unwrap().to_owned(), shown))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_chosen_by_name_and_swapped_at_a_reload() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new("tls");
    let a = issue(&folder.0, "a.test");
    let b = issue(&folder.0, "*.b.test");
    let shard = FakeShard::start("s1").await;
    let gateway = TestGateway::start(tls_config(&folder.0, &shard));
    let address = gateway.address;
    tokio::task::spawn_blocking(move || {
        let mut to_a = connect(address, "a.test", &[&a, &b], &[b"http/1.1"]);
        let (status, shown) = ask(&mut to_a).unwrap();
        assert_eq!((status.as_str(), &shown), ("HTTP/1.1 200 OK", &a));
        let mut to_b = connect(address, "x.b.test", &[&a, &b], &[]);
        assert_eq!(ask(&mut to_b).unwrap().1, b);
        // A name that nobody has gets the first one.
        assert!(ask(&mut connect(address, "c.test", &[&a, &b], &[])).is_err());

        let mut http2 = connect(address, "a.test", &[&a], &[b"h2", b"http/1.1"]);
        http2.conn.complete_io(&mut http2.sock).unwrap();
        assert_eq!(http2.conn.alpn_protocol(), Some(&b"h2"[..]));

        // A broken pair: the running one stays.
        std::fs::write(folder.0.join("a.test.crt"), "garbage").unwrap();
        let error = gateway.reload().unwrap_err();
        assert!(error.contains("a.test.crt"), "{error}");
        assert_eq!(
            ask(&mut connect(address, "a.test", &[&a], &[])).unwrap().1,
            a
        );

        let renewed = issue(&folder.0, "a.test");
        assert_ne!(renewed, a);
        gateway.reload().unwrap();
        let fresh = ask(&mut connect(address, "a.test", &[&renewed], &[])).unwrap();
        assert_eq!(fresh.1, renewed);
        assert_eq!(ask(&mut to_a).unwrap().1, a, "an open connection goes on");
    })
    .await
    .unwrap();
    let seen = shard.seen().pop().unwrap();
    assert_eq!(seen.headers["x-forwarded-proto"], "https");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_goes_through_tls_in_both_directions() {
    let folder = Folder::new("tls-websocket");
    let a = issue(&folder.0, "a.test");
    issue(&folder.0, "*.b.test");
    let shard = FakeShard::start("s1").await;
    let gateway = TestGateway::start(tls_config(&folder.0, &shard));
    let address = gateway.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = connect(address, "a.test", &[&a], &[b"http/1.1"]);
        let handshake = b"GET /r/standup/rtc HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
            upgrade: websocket\r\nsec-websocket-version: 13\r\n\
            sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        stream.write_all(handshake).unwrap();
        // A final text frame with an all-zero mask (RFC 6455 section 5.2).
        stream.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
        let mut heard = Vec::new();
        let mut byte = [0; 1];
        while !heard.ends_with(b"\r\n\r\n\x81\x02s1\x81\x02hi") {
            stream.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
        assert!(heard.starts_with(b"HTTP/1.1 101 "));
    })
    .await
    .unwrap();
    let seen = shard.seen().pop().unwrap();
    assert_eq!(seen.headers["x-forwarded-proto"], "https");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_gone_from_the_file_keeps_its_own_certificate() {
    let folder = Folder::new("tls-gone");
    let a = issue(&folder.0, "a.test");
    issue(&folder.0, "other.test");
    let shard = FakeShard::start("s1").await;
    let mut both = config(vec![shard.config()]);
    both.listen = [("127.0.0.1:0", "a.test"), ("localhost:0", "other.test")]
        .map(|(address, file)| ListenConfig {
            address: address.to_owned(),
            tls: Some(TlsConfig {
                certificates: vec![certificate(&folder.0, file)],
            }),
        })
        .into();
    let gateway = TestGateway::start(both);
    let mut second_only = gateway.config.clone();
    second_only.listen.remove(0);
    let report = gateway.reload_with(&second_only).unwrap();
    assert_eq!(report.needs_restart, ["gateway.listen"]);
    let address = gateway.address;
    tokio::task::spawn_blocking(move || {
        let mut stream = connect(address, "a.test", &[&a], &[b"http/1.1"]);
        assert_eq!(ask(&mut stream).unwrap().1, a);
    })
    .await
    .unwrap();
}

#[test]
fn a_check_of_the_files_finds_what_a_start_would() {
    let folder = Folder::new("tls-check");
    issue(&folder.0, "a.test");
    issue(&folder.0, "b.test");
    let with = |cert: &str, key: &str| {
        let certificate = CertificateConfig {
            cert: folder.0.join(cert),
            key: folder.0.join(key),
            names: Vec::new(),
        };
        let mut config = Config::default();
        config.listen[0].tls = Some(TlsConfig {
            certificates: vec![certificate],
        });
        gateway::check_files(&config)
    };
    assert_eq!(gateway::check_files(&Config::default()), Ok(()));
    assert_eq!(with("a.test.crt", "a.test.key"), Ok(()));
    let error = with("a.test.crt", "b.test.key").unwrap_err();
    assert!(error.contains("do not fit together"), "{error}");
    assert!(error.contains("gateway.listen '127.0.0.1:7880'"), "{error}");
    let error = with("a.test.crt", "none.key").unwrap_err();
    assert!(error.contains("none.key"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_handshake_is_let_go() {
    let folder = Folder::new("tls-slow");
    issue(&folder.0, "a.test");
    issue(&folder.0, "*.b.test");
    let shard = FakeShard::start("s1").await;
    let mut config = tls_config(&folder.0, &shard);
    config.tls_handshake_ms = 300;
    let gateway = TestGateway::start(config);
    let mut tcp = tokio::net::TcpStream::connect(gateway.address)
        .await
        .unwrap();
    let mut byte = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut tcp, &mut byte);
    let read = tokio::time::timeout(std::time::Duration::from_secs(5), read).await;
    assert!(matches!(read, Ok(Ok(0) | Err(_))), "{read:?}");
}
