//! The machine's own limit for forwarding media: every packet encrypted (AES-128-GCM), and handed to
//! the kernel alone or eight at once (UDP GSO). No server can do with less, but for what it leaves out.
//!
//! Once as fast as it goes to a few receivers, where all stays in the processor's cache; and once as a
//! camera makes it do for a crowd: each receiver has a key of its own and gets a frame 30 times a second,
//! and in between everything gets cold.
//!
//! Two processes, so that each can be bound to a processor of its own: `limit-sink` receives, `limit`
//! sends.

use crate::talk;
use anyhow::{Context as _, anyhow, ensure};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use clap::Args;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};
use serde_json::json;
use std::fs;
use std::io::{ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A datagram, bytes: header, payload, authentication tag.
const PACKET_BYTES: usize = 1200;
const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Datagrams that the kernel is given at once.
const RUN: usize = 8;
/// Receivers that stay in the cache.
const FEW: usize = 64;
/// From frame to frame of the camera.
const FRAME: Duration = Duration::from_micros(33_333);
/// Longest run that is received, bytes.
const BUFFER_BYTES: usize = 64 * 1024;
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How often the sink looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Addresses of the sink, in turns; each stands for a subscriber.
    #[arg(long, value_delimiter = ',')]
    to: Vec<SocketAddr>,
    /// How long, for each way.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// How many sockets receive.
#[derive(Debug, Args)]
pub(crate) struct SinkArgs {
    #[arg(long, default_value_t = 64)]
    sockets: usize,
}

/// Receives until told to stop, then says how much it was.
pub(crate) fn sink(args: &SinkArgs) -> anyhow::Result<()> {
    let sockets: anyhow::Result<Vec<_>> = (0..args.sockets).map(|_| bound()).collect();
    let sockets = sockets?;
    let addresses: Result<Vec<_>, _> = sockets.iter().map(UdpSocket::local_addr).collect();
    let (over, received) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    talk::say(&json!({ "event": "listening", "addresses": addresses? }))?;
    let drain = {
        let (over, received) = (Arc::clone(&over), Arc::clone(&received));
        thread::spawn(move || drain(&sockets, &over, &received))
    };
    talk::wait()?;
    over.store(true, Ordering::Relaxed);
    let drained = drain.join().map_err(|_| anyhow!("the sink panicked"))?;
    drained?;
    talk::result(json!({ "received": received.load(Ordering::Relaxed) }))
}

fn bound() -> anyhow::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("bind to loopback")?;
    // Less is no reason not to go on.
    let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket2::SockRef::from(&socket).set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn drain(sockets: &[UdpSocket], over: &AtomicBool, received: &AtomicU64) -> anyhow::Result<()> {
    let states: Result<Vec<_>, _> = sockets
        .iter()
        .map(|socket| UdpSocketState::new(socket.into()))
        .collect();
    let states = states.context("set up the sockets")?;
    let mut bytes = vec![0; BUFFER_BYTES];
    let mut metas = [RecvMeta::default()];
    let mut idle_since = Instant::now();
    while !over.load(Ordering::Relaxed) || idle_since.elapsed() < LOOK_EVERY {
        let mut any = false;
        for (socket, state) in sockets.iter().zip(&states) {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            while let Ok(1..) = state.recv(socket.into(), &mut slices, &mut metas) {
                let [meta] = metas;
                let count = meta.len.div_ceil(meta.stride.max(1));
                received.fetch_add(count as u64, Ordering::Relaxed);
                any = true;
            }
        }
        if any {
            idle_since = Instant::now();
        } else {
            thread::sleep(Duration::from_micros(500));
        }
    }
    Ok(())
}

/// Measures both ways, and says what a packet costs, µs of CPU.
pub(crate) fn run(args: &LimitArgs) -> anyhow::Result<()> {
    ensure!(!args.to.is_empty(), "--to has no address");
    let mut sender = Sender::new(args.to.len())?;
    let length = Duration::from_secs_f64(args.seconds);
    let few = args.to.get(..FEW).unwrap_or(&args.to);
    let alone = sender.measure(few, 1, length, Duration::ZERO)?;
    let runs = sender.measure(few, RUN, length, Duration::ZERO)?;
    let frames = sender.measure(&args.to, RUN, length, FRAME)?;
    talk::result(json!({
        "packet_bytes": PACKET_BYTES,
        "sendto_us": alone.us(),
        "gso_us": runs.us(),
        "frames_us": frames.us(),
        "sent": alone.packets + runs.packets + frames.packets,
        "refused": alone.refused + runs.refused + frames.refused,
    }))
}

struct Sender {
    socket: UdpSocket,
    state: UdpSocketState,
    /// One for each receiver.
    keys: Vec<LessSafeKey>,
    payload: Vec<u8>,
    run: Vec<u8>,
    nonce: u64,
}

#[derive(Debug, Default)]
struct Sent {
    packets: u64,
    refused: u64,
    cpu: Duration,
}

impl Sent {
    fn us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.packets.max(1) as f64
    }
}

impl Sender {
    fn new(receivers: usize) -> anyhow::Result<Self> {
        let socket = bound()?;
        let state = UdpSocketState::new((&socket).into())?;
        let most = state.max_gso_segments();
        ensure!(
            most >= RUN,
            "the kernel takes runs of {most} datagrams at most"
        );
        let key = |_| {
            let key = UnboundKey::new(&AES_128_GCM, &[7; 16]).map_err(|_| anyhow!("no key"))?;
            Ok(LessSafeKey::new(key))
        };
        let keys: anyhow::Result<_> = (0..receivers).map(key).collect();
        Ok(Self {
            socket,
            state,
            keys: keys?,
            payload: vec![0xab; PACKET_BYTES - HEADER_BYTES - TAG_BYTES],
            run: Vec::with_capacity(RUN * PACKET_BYTES),
            nonce: 0,
        })
    }

    /// A run to each, again and again; `every`: from one round to the next.
    fn measure(
        &mut self,
        to: &[SocketAddr],
        run: usize,
        length: Duration,
        every: Duration,
    ) -> anyhow::Result<Sent> {
        let mut sent = Sent::default();
        let (until, before) = (Instant::now() + length, cpu()?);
        let mut next = Instant::now();
        while Instant::now() < until {
            next += every;
            for (receiver, destination) in to.iter().enumerate() {
                self.run.clear();
                for _ in 0..run {
                    self.seal(receiver)?;
                }
                sent.refused += u64::from(!self.send(*destination)?);
                sent.packets += run as u64;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        sent.cpu = cpu()?.saturating_sub(before);
        Ok(sent)
    }

    /// Header, payload and tag of one packet behind those of the run.
    fn seal(&mut self, receiver: usize) -> anyhow::Result<()> {
        let key = self
            .keys
            .get(receiver)
            .context("a receiver without a key")?;
        self.nonce += 1;
        let counter = self.nonce.to_be_bytes();
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&counter);
        let mut header = [0x80; HEADER_BYTES];
        header[4..].copy_from_slice(&counter);
        let start = self.run.len() + HEADER_BYTES;
        self.run.extend_from_slice(&header);
        self.run.extend_from_slice(&self.payload);
        let payload = self.run.get_mut(start..).unwrap_or_default();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(header), payload)
            .map_err(|_| anyhow!("cannot encrypt"))?;
        self.run.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// False: the kernel did not take it.
    fn send(&self, destination: SocketAddr) -> anyhow::Result<bool> {
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: &self.run,
            segment_size: (self.run.len() > PACKET_BYTES).then_some(PACKET_BYTES),
            src_ip: None,
        };
        match self.state.try_send((&self.socket).into(), &transmit) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("send"),
        }
    }
}

/// CPU time of this thread.
fn cpu() -> anyhow::Result<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").context("read the CPU time")?;
    let ns = text.split_whitespace().next().unwrap_or_default();
    Ok(Duration::from_nanos(
        ns.parse().context("read the CPU time")?,
    ))
}
