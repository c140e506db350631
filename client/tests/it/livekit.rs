//! The same clients against LiveKit's own server, where it is there: `scripts/peers livekit`, or
//! `LIVEKIT_SERVER=/path/to/livekit-server`.

use crate::guest::{Guest, both_hear, until};
use crate::resuming::{go_on, will_resume};
use crate::world::PATIENCE;
use client::{AccessToken, ConnectOptions, Fidelity, Kind, PeerMode};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// LiveKit wants 32 characters.
const SECRET: &str = "secret-of-a-server-on-loopback-only";

struct LiveKit {
    address: SocketAddr,
    process: Child,
}

impl LiveKit {
    /// `None`: this machine has none, which is said.
    async fn start() -> Option<Self> {
        let Some(binary) = binary() else {
            eprintln!("skipped: there is no LiveKit server; run scripts/peers livekit");
            return None;
        };
        let free = |port: std::io::Result<SocketAddr>| port.unwrap().port();
        let local = (Ipv4Addr::LOCALHOST, 0);
        let port = free(TcpListener::bind(local).and_then(|socket| socket.local_addr()));
        let udp = free(UdpSocket::bind(local).and_then(|socket| socket.local_addr()));
        let config = format!(
            "{{port: {port}, bind_addresses: [127.0.0.1], keys: {{devkey: {SECRET}}}, \
             logging: {{level: error}}, rtc: {{udp_port: {udp}, tcp_port: 0, node_ip: 127.0.0.1, \
             use_external_ip: false, enable_loopback_candidate: true, \
             ips: {{includes: [127.0.0.1/32]}}}}}}"
        );
        let process = Command::new(&binary)
            .args(["--config-body", &config])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(start.elapsed() < PATIENCE, "the LiveKit server listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Some(Self { address, process })
    }

    fn options(&self, identity: &str, mode: PeerMode) -> ConnectOptions {
        let token = AccessToken::new("standup", identity).sign("devkey", SECRET);
        let mut options = ConnectOptions::new(format!("ws://{}", self.address), token.unwrap());
        options.session.mode = mode;
        // What is asked for is what is tested.
        options.fallback = false;
        will_resume(&mut options);
        options
    }

    async fn join(&self, name: &'static str, mode: PeerMode) -> Guest {
        Guest::join_with(name, self.options(name, mode)).await
    }

    async fn stop(mut self) {
        self.process.kill().await.expect("the server ends");
    }
}

fn binary() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/livekit-server");
    let named = std::env::var_os("LIVEKIT_SERVER").map(PathBuf::from);
    named.or_else(|| built.exists().then_some(built))
}

/// Two who hear, see and write to each other.
async fn meet(server: &LiveKit, modes: [PeerMode; 2]) -> [Guest; 2] {
    let mut ann = server.join("ann", modes[0]).await;
    let mut bob = server.join("bob", modes[1]).await;
    ann.publish().await;
    bob.publish().await;
    until("both hear each other", [&mut ann, &mut bob], both_hear).await;
    // With two connections the first attempt opens the channel.
    ann.chant = Some(b"hello");
    let told = |guests: &[&mut Guest; 2]| {
        let told = ("ann".to_owned(), b"hello".to_vec());
        guests[1].seen.messages.contains(&told)
    };
    until("bob reads the message", [&mut ann, &mut bob], told).await;
    ann.chant = None;
    [ann, bob]
}

#[tokio::test]
async fn clients_with_one_connection_meet_on_livekits_server() {
    let Some(server) = LiveKit::start().await else {
        return;
    };
    let [mut ann, mut bob] = meet(&server, [PeerMode::Single; 2]).await;
    go_on(&mut ann, &mut bob).await;
    // A third finds who is there.
    let mut options = server.options("cat", PeerMode::Single);
    options.session.fidelity = Fidelity::Counting;
    let mut cat = Guest::join_with("cat", options).await;
    let hears_all = |guests: &[&mut Guest; 3]| {
        let heard = |name, kind| guests[2].heard(name, kind) > 5;
        let both = |name| heard(name, Kind::Audio) && heard(name, Kind::Video);
        both("ann") && both("bob")
    };
    until("cat hears both", [&mut ann, &mut bob, &mut cat], hears_all).await;
    ann.client.close().await.expect("it ends in time");
    let left = |guests: &[&mut Guest; 2]| guests[0].seen.left.contains(&"ann".to_owned());
    until("ann has left", [&mut bob, &mut cat], left).await;
    server.stop().await;
}

#[tokio::test]
async fn clients_with_two_connections_meet_on_livekits_server() {
    let Some(server) = LiveKit::start().await else {
        return;
    };
    let [mut ann, mut bob] = meet(&server, [PeerMode::Dual; 2]).await;
    go_on(&mut ann, &mut bob).await;
    server.stop().await;
}

#[tokio::test]
async fn one_connection_and_two_meet_on_livekits_server() {
    let Some(server) = LiveKit::start().await else {
        return;
    };
    meet(&server, [PeerMode::Single, PeerMode::Dual]).await;
    server.stop().await;
}
