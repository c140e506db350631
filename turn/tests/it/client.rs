//! A small TURN client that waits for each answer.

use proto::turn::{TurnCredentials, TurnSecret};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use stun_types::attribute::{ErrorCode, Nonce, Realm, Username};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageIntegrityCredentials,
    MessageWriteVec, Method,
};
use stun_types::prelude::{AttributeWrite, MessageWrite as _, MessageWriteExt as _};
use turn_types::attribute::{
    ChannelNumber, Lifetime, RequestedTransport, XorPeerAddress, XorRelayedAddress,
};
use turn_types::message::{ALLOCATE, CHANNEL_BIND, REFRESH};

const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Udp,
    Tcp,
    Tls,
}

enum Socket {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub(crate) struct Client {
    socket: Socket,
    user: TurnCredentials,
    realm: String,
    nonce: String,
}

/// The error code of an answer.
type Outcome<T> = Result<T, u16>;

impl Client {
    pub(crate) fn new(way: Way, server: SocketAddr, secret: &str) -> Self {
        let unix = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap();
        let secret = TurnSecret::new(secret).unwrap();
        Self {
            socket: Socket::new(way, server),
            user: secret.issue("PA_test", unix.as_secs() + 600),
            realm: String::new(),
            nonce: String::new(),
        }
    }

    pub(crate) fn allocate(&mut self) -> Outcome<SocketAddr> {
        let udp = RequestedTransport::new(RequestedTransport::UDP);
        let challenge = self.ask(ALLOCATE, &[&udp], None);
        let message = Message::from_bytes(&challenge).unwrap();
        message
            .attribute::<Realm>()
            .unwrap()
            .realm()
            .clone_into(&mut self.realm);
        message
            .attribute::<Nonce>()
            .unwrap()
            .nonce()
            .clone_into(&mut self.nonce);
        let answer = self.ask(ALLOCATE, &[&udp], None);
        let message = success(&answer)?;
        let relayed = message.attribute::<XorRelayedAddress>().unwrap();
        Ok(relayed.addr(message.transaction_id()))
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) -> Outcome<()> {
        let answer = self.ask(CHANNEL_BIND, &[&ChannelNumber::new(number)], Some(peer));
        success(&answer).map(drop)
    }

    pub(crate) fn refresh(&mut self, seconds: u32) -> Outcome<()> {
        let answer = self.ask(REFRESH, &[&Lifetime::new(seconds)], None);
        success(&answer).map(drop)
    }

    pub(crate) fn send(&mut self, number: u16, data: &[u8]) {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        if !matches!(self.socket, Socket::Udp(_)) {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        self.socket.send(&bytes);
    }

    pub(crate) fn receive(&mut self) -> (u16, Vec<u8>) {
        let bytes = self.socket.receive();
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        (
            u16::from_be_bytes([bytes[0], bytes[1]]),
            bytes[4..4 + length].to_vec(),
        )
    }

    /// What the server has shown.
    pub(crate) fn certificate(&mut self) -> Vec<u8> {
        let Socket::Tls(stream) = &mut self.socket else {
            panic!("no TLS");
        };
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    fn ask(
        &mut self,
        method: Method,
        attributes: &[&dyn AttributeWrite],
        peer: Option<SocketAddr>,
    ) -> Vec<u8> {
        let mut message = Message::builder_request(method, MessageWriteVec::new());
        for attribute in attributes {
            message.add_attribute(*attribute).unwrap();
        }
        if let Some(peer) = peer {
            let peer = XorPeerAddress::new(peer, message.transaction_id());
            message.add_attribute(&peer).unwrap();
        }
        if !self.nonce.is_empty() {
            message
                .add_attribute(&Username::new(&self.user.username).unwrap())
                .unwrap();
            message
                .add_attribute(&Realm::new(&self.realm).unwrap())
                .unwrap();
            message
                .add_attribute(&Nonce::new(&self.nonce).unwrap())
                .unwrap();
            let (name, password) = (self.user.username.clone(), self.user.password.clone());
            let key = LongTermKeyCredentials::new(name, password, self.realm.clone());
            let key = MessageIntegrityCredentials::from(key);
            message
                .add_message_integrity(&key, IntegrityAlgorithm::Sha1)
                .unwrap();
        }
        self.socket.send(&message.finish());
        self.socket.receive()
    }
}

fn success(answer: &[u8]) -> Outcome<Message<'_>> {
    let message = Message::from_bytes(answer).unwrap();
    match message.attribute::<ErrorCode>() {
        Ok(error) => Err(error.code()),
        Err(_) => Ok(message),
    }
}

impl Socket {
    fn new(way: Way, server: SocketAddr) -> Self {
        let connect = || {
            let stream = TcpStream::connect(server).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream
        };
        match way {
            Way::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                socket.set_read_timeout(Some(TIMEOUT)).unwrap();
                socket.connect(server).unwrap();
                Self::Udp(socket)
            }
            Way::Tcp => Self::Tcp(connect()),
            Way::Tls => Self::Tls(Box::new(StreamOwned::new(tls(), connect()))),
        }
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop).unwrap(),
            Self::Tcp(stream) => stream.write_all(bytes).unwrap(),
            Self::Tls(stream) => stream.write_all(bytes).unwrap(),
        }
    }

    /// One message.
    fn receive(&mut self) -> Vec<u8> {
        match self {
            Self::Udp(socket) => {
                let mut bytes = vec![0; 4_096];
                let length = socket.recv(&mut bytes).unwrap();
                bytes.truncate(length);
                bytes
            }
            Self::Tcp(stream) => frame(stream),
            Self::Tls(stream) => frame(stream),
        }
    }
}

fn frame(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).unwrap();
    let body = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let is_stun = bytes[0] >> 6 == 0;
    let rest = if is_stun {
        16 + body
    } else {
        body.next_multiple_of(4)
    };
    bytes.resize(4 + rest, 0);
    stream.read_exact(&mut bytes[4..]).unwrap();
    bytes
}

fn tls() -> ClientConnection {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("turn.example.org").unwrap();
    ClientConnection::new(Arc::new(config), name).unwrap()
}

/// Tests look at the certificate themselves.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A peer that sends everything back, for as long as the process lives.
pub(crate) fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
    address
}

/// Whether the server ends a connection over what it hears; well before it would end a silent one.
pub(crate) fn is_closed_after(server: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(server).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(4)))
        .unwrap();
    stream.write_all(bytes).unwrap();
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}
