//! The server on real sockets: datagrams, TCP and TLS.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod client;

use client::{Client, Way, echo};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use turn_server::core::RelayAddress;
use turn_server::{Config, Running, Sockets, Start, TurnServer};

/// How long something may take that takes some milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
const SECRET: &str = "a secret of some length";

struct Server {
    running: Running,
    udp: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
    folder: Folder,
}

impl Server {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let folder = Folder::new();
        let (certificate, key) = folder.certificate("turn.example.org");
        let mut config = Config {
            secret: Some(SECRET.to_owned()),
            certificate: Some(certificate),
            key: Some(key),
            allow_peers: vec!["127.0.0.1".parse().unwrap()],
            relay_ports: "43000-43999".parse().unwrap(),
            ..Config::default()
        };
        change(&mut config);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        udp.set_nonblocking(true).unwrap();
        let [tcp, tls] = [(); 2].map(|()| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        });
        let ip = "127.0.0.1".parse().unwrap();
        let (udp_at, tcp_at) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let tls_at = tls.local_addr().unwrap();
        let server = TurnServer::new(Start {
            config: &config,
            sockets: Sockets {
                udp: vec![udp],
                tcp: vec![tcp],
                tls: vec![tls],
            },
            addresses: vec![RelayAddress { base: ip, told: ip }],
            media: Vec::new(),
        });
        Self {
            running: server.unwrap().start().unwrap(),
            udp: udp_at,
            tcp: tcp_at,
            tls: tls_at,
            folder,
        }
    }

    fn client(&self, way: Way) -> Client {
        let address = match way {
            Way::Udp => self.udp,
            Way::Tcp => self.tcp,
            Way::Tls => self.tls,
        };
        Client::new(way, address, SECRET)
    }

    /// Waits for a figure.
    fn until(&self, what: &str, is_so: impl Fn(&turn_server::Figures) -> bool) {
        let figures = self.running.figures();
        let began = Instant::now();
        while !is_so(&figures.borrow()) {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}", figures.borrow());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A folder of this test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("turn-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (certificate, key) = (self.0.join("turn.pem"), self.0.join("turn.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (certificate, key)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn data_goes_both_ways_over_each_transport_and_the_port_is_given_back() {
    let server = Server::new(|_| {});
    let peer = echo();
    for (made, way) in (1..).zip([Way::Udp, Way::Tcp, Way::Tls]) {
        let mut client = server.client(way);
        let relayed = client.allocate().unwrap();
        assert!((43_000..44_000).contains(&relayed.port()), "{relayed}");
        client.bind(0x4000, peer).unwrap();
        for length in [0, 1, 2, 3, 4, 1_200] {
            let sent = vec![7; length];
            client.send(0x4000, &sent);
            assert_eq!(client.receive(), (0x4000, sent), "{way:?}");
        }
        assert!(UdpSocket::bind(relayed).is_err(), "the port is in use");
        if way == Way::Udp {
            client.refresh(0).unwrap();
        }
        drop(client);
        let began = Instant::now();
        while UdpSocket::bind(relayed).is_err() {
            assert!(began.elapsed() < PATIENCE, "{way:?}: still bound");
            std::thread::sleep(Duration::from_millis(20));
        }
        server.until("the allocation ends", |f| {
            f.allocated == made && f.allocations == 0
        });
    }
    server.until("connections end", |f| f.connections == 0);
}

#[test]
fn strangers_and_denied_peers_get_a_code() {
    let server = Server::new(|config| config.allocations_per_user = 1);
    let mut client = server.client(Way::Udp);
    client.allocate().unwrap();
    assert_eq!(
        client.bind(0x4000, "127.0.0.2:53".parse().unwrap()),
        Err(403)
    );
    assert_eq!(
        client.bind(0x4000, "169.254.169.254:80".parse().unwrap()),
        Err(403)
    );
    assert_eq!(server.client(Way::Tcp).allocate(), Err(486));
    let mut stranger = Client::new(Way::Tcp, server.tcp, "another secret");
    assert_eq!(stranger.allocate(), Err(401));
}

#[test]
fn a_stream_that_speaks_something_else_is_closed() {
    let server = Server::new(|_| {});
    assert!(client::is_closed_after(
        server.tcp,
        b"GET / HTTP/1.1\r\n\r\n"
    ));
    assert!(client::is_closed_after(
        server.tls,
        b"GET / HTTP/1.1\r\n\r\n"
    ));
}

#[test]
fn one_address_does_not_take_all_connections() {
    let server = Server::new(|config| config.allocations_per_ip = 2);
    let kept: Vec<_> = (0..2).map(|_| server.client(Way::Tcp)).collect();
    server.until("both are there", |f| f.connections == 2);
    assert!(client::is_closed_after(server.tcp, b""));
    drop(kept);
}

#[test]
fn a_renewed_certificate_is_shown_to_those_who_come_later() {
    let server = Server::new(|_| {});
    let before = server.client(Way::Tls).certificate();
    // One half alone fits nothing: the old pair stays.
    std::fs::write(server.folder.0.join("turn.key"), "no key").unwrap();
    assert_eq!(server.client(Way::Tls).certificate(), before);
    server.folder.certificate("renewed.example.org");
    let began = Instant::now();
    while server.client(Way::Tls).certificate() == before {
        assert!(began.elapsed() < 2 * PATIENCE, "never renewed");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn a_server_that_is_dropped_gives_its_ports_back() {
    let server = Server::new(|_| {});
    let (udp, tcp) = (server.udp, server.tcp);
    drop(server);
    let began = Instant::now();
    while UdpSocket::bind(udp).is_err() || TcpListener::bind(tcp).is_err() {
        assert!(began.elapsed() < PATIENCE, "still bound");
        std::thread::sleep(Duration::from_millis(20));
    }
}
