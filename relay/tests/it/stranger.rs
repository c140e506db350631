//! One who speaks QUIC, and knows of the relay what it has read about it.

use proto::context::{ClusterKey, RelayClaim, RelayRole};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::node::{any_port, id};

const ALPN: &[u8] = b"anteroom-relay/1";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Connects to all, and lets all connect. Must be called inside a runtime.
pub(crate) fn stranger() -> Endpoint {
    let made = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.into()], key.into())
        .unwrap();
    server.alpn_protocols = vec![ALPN.to_vec()];
    let server = QuicServerConfig::try_from(server).unwrap();
    let server = quinn::ServerConfig::with_crypto(Arc::new(server));
    let mut endpoint = Endpoint::server(server, any_port()).unwrap();
    endpoint.set_default_client_config(client(&[ALPN]));
    endpoint
}

pub(crate) fn client(protocols: &[&[u8]]) -> ClientConfig {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    let crypto = QuicClientConfig::try_from(config).unwrap();
    let mut client = ClientConfig::new(Arc::new(crypto));
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(10_000))));
    client.transport_config(Arc::new(transport));
    client
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

pub(crate) async fn connect(endpoint: &Endpoint, to: SocketAddr) -> Connection {
    endpoint.connect(to, "anything").unwrap().await.unwrap()
}

/// As the relay exports it.
pub(crate) fn binding(connection: &Connection) -> [u8; 32] {
    let mut binding = [0; 32];
    connection
        .export_keying_material(&mut binding, b"EXPORTER-anteroom-relay", &[])
        .unwrap();
    binding
}

/// As one who knows `secret` says it.
pub(crate) fn hello(
    secret: &str,
    role: RelayRole,
    [from, to]: [&str; 2],
    connection: &Connection,
) -> Vec<u8> {
    let proof = ClusterKey::new(secret).unwrap().relay_proof(&RelayClaim {
        role,
        prover: &id(from),
        verifier: &id(to),
        binding: &binding(connection),
    });
    let mut body = Vec::new();
    for name in [from, to] {
        body.push(u8::try_from(name.len()).unwrap());
        body.extend(name.as_bytes());
    }
    body.extend(proof);
    let mut hello = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    hello.extend(body);
    hello
}

/// A hello and its length as they came.
pub(crate) async fn read_hello(receive: &mut quinn::RecvStream) -> Vec<u8> {
    let mut hello = vec![0; 2];
    receive.read_exact(&mut hello).await.unwrap();
    let length = usize::from(u16::from_be_bytes([hello[0], hello[1]]));
    hello.resize(2 + length, 0);
    receive.read_exact(&mut hello[2..]).await.unwrap();
    hello
}
