//! A network between two relays, on loopback: it delays, loses, and carries packets of some size only.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Their name.
pub(crate) const THREADS: &str = "net";
const BUFFER_BYTES: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// One way.
    pub(crate) delay: Duration,
    /// Of 1, each way.
    pub(crate) loss: f64,
    /// Longest UDP payload.
    pub(crate) mtu: usize,
}

impl Network {
    pub(crate) const PERFECT: Self = Self {
        delay: Duration::ZERO,
        loss: 0.0,
        mtu: usize::MAX,
    };
}

/// Runs until it is dropped.
pub(crate) struct Forwarder {
    /// Where the one who connects finds the other one.
    pub(crate) front: SocketAddr,
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
}

struct State {
    /// Who has connected.
    near: Mutex<Option<SocketAddr>>,
    far: SocketAddr,
    cut: AtomicBool,
    end: AtomicBool,
    lost: AtomicUsize,
}

type Packet = (Instant, Vec<u8>);

impl Forwarder {
    pub(crate) fn new(far: SocketAddr, network: Network, seed: u64) -> Self {
        let [front, back] = [(); 2].map(|()| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(LOOK)).unwrap();
            let options = socket2::SockRef::from(&socket);
            options.set_recv_buffer_size(BUFFER_BYTES).unwrap();
            options.set_send_buffer_size(BUFFER_BYTES).unwrap();
            Arc::new(socket)
        });
        let state = Arc::new(State {
            near: Mutex::new(None),
            far,
            cut: AtomicBool::new(false),
            end: AtomicBool::new(false),
            lost: AtomicUsize::new(0),
        });
        let mut threads = Vec::new();
        for (from, to, is_front) in [(&front, &back, true), (&back, &front, false)] {
            let (queue, packets) = channel();
            let (state_in, state_out) = (state.clone(), state.clone());
            let (from, to) = (from.clone(), to.clone());
            let random = StdRng::seed_from_u64(seed + u64::from(is_front));
            threads.push(spawn(move || {
                state_in.receive(&from, &queue, network, random, is_front);
            }));
            threads.push(spawn(move || state_out.send(&to, &packets, is_front)));
        }
        Self {
            front: front.local_addr().unwrap(),
            state,
            threads,
        }
    }

    /// Carries nothing from now on, or everything again.
    pub(crate) fn cut(&self, is_cut: bool) {
        self.state.cut.store(is_cut, Ordering::Relaxed);
    }

    /// Packets lost by chance or for their size, both ways.
    pub(crate) fn lost(&self) -> usize {
        self.state.lost.load(Ordering::Relaxed)
    }
}

fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let builder = std::thread::Builder::new().name(THREADS.to_owned());
    builder.spawn(work).unwrap()
}

impl State {
    fn receive(
        &self,
        from: &UdpSocket,
        queue: &Sender<Packet>,
        network: Network,
        mut random: StdRng,
        is_front: bool,
    ) {
        let mut buffer = [0; 65_536];
        while !self.end.load(Ordering::Relaxed) {
            let Ok((length, source)) = from.recv_from(&mut buffer) else {
                continue;
            };
            if is_front {
                *self.near.lock().unwrap() = Some(source);
            }
            if length > network.mtu || random.random_bool(network.loss) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            } else if !self.cut.load(Ordering::Relaxed) {
                let _ = queue.send((Instant::now() + network.delay, buffer[..length].to_vec()));
            }
        }
    }

    fn send(&self, to: &UdpSocket, packets: &Receiver<Packet>, is_front: bool) {
        // Ends with the receiving thread.
        while let Ok((due, packet)) = packets.recv() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let near = *self.near.lock().unwrap();
            let target = if is_front { Some(self.far) } else { near };
            if let Some(target) = target {
                let _ = to.send_to(&packet, target);
            }
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.state.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
