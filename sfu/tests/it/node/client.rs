//! A client as a browser would be: full ICE, offers, plays Opus frames, counts what it hears.

use proto::id::ParticipantSid;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::ChannelId;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive, TcpType, Transmit};
use str0m::{Candidate, Event, Input, Output, Rtc};

const FRAME_EVERY: Duration = Duration::from_millis(20);

/// How a client reaches the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    Udp,
    UdpV6,
    Tcp,
}

pub(super) struct Client {
    pub(super) sid: ParticipantSid,
    rtc: Rtc,
    wire: Wire,
    pending: Option<SdpPendingOffer>,
    offers: u32,
    microphone: Option<Mid>,
    next_frame: Instant,
    started: Instant,
    channels: BTreeMap<String, ChannelId>,
    messages: Vec<Vec<u8>>,
    pub(super) connected: bool,
    /// Frames heard.
    pub(super) samples: usize,
}

impl Client {
    pub(super) fn new(sid: ParticipantSid, via: Via, tcp: SocketAddr) -> Self {
        let now = Instant::now();
        let mut rtc = Rtc::builder().build(now);
        let wire = Wire::new(via, tcp);
        rtc.add_local_candidate(wire.candidate()).unwrap();
        Self {
            sid,
            rtc,
            wire,
            pending: None,
            offers: 0,
            microphone: None,
            next_frame: now,
            started: now,
            channels: BTreeMap::new(),
            messages: Vec::new(),
            connected: false,
            samples: 0,
        }
    }

    /// An offer with this many new receiving audio sections; the first one brings the data channel,
    /// and the microphone if there is a name for it.
    pub(super) fn offer(&mut self, cid: Option<&str>, sections: u32) -> (u32, String) {
        let mut change = self.rtc.sdp_api();
        if self.offers == 0 {
            change.add_channel("_reliable".to_owned());
            if let Some(cid) = cid {
                let (stream, track) = (Some("stream".to_owned()), Some(cid.to_owned()));
                let kind = MediaKind::Audio;
                let mid = change.add_media(kind, Direction::SendOnly, stream, track, None);
                self.microphone = Some(mid);
            }
        }
        for _ in 0..sections {
            change.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = change.apply().expect("something to offer");
        self.pending = Some(pending);
        self.offers += 1;
        (self.offers, offer.to_sdp_string())
    }

    pub(super) fn is_negotiating(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn answer(&mut self, sdp: &str) {
        let answer = SdpAnswer::from_sdp_string(sdp).expect("the answer parses");
        let pending = self.pending.take().expect("an offer is open");
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .expect("the answer fits");
    }

    pub(super) fn channel(&self, label: &str) -> Option<ChannelId> {
        self.channels.get(label).copied()
    }

    pub(super) fn send(&mut self, label: &str, message: &[u8]) {
        let id = self.channel(label).expect("the channel is open");
        let mut channel = self.rtc.channel(id).expect("the channel is open");
        channel.write(true, message).expect("written");
    }

    /// Whether a message contains these bytes.
    pub(super) fn has_read(&self, part: &[u8]) -> bool {
        let contains = |message: &Vec<u8>| message.windows(part.len()).any(|bytes| bytes == part);
        self.messages.iter().any(contains)
    }

    /// Everything that is to be done now.
    pub(super) fn step(&mut self) {
        let mut buffer = [0; 2000];
        while let Some(length) = self.wire.receive(&mut buffer) {
            let now = Instant::now();
            let (proto, remote, local) =
                (self.wire.protocol(), self.wire.last_from, self.wire.local);
            if let Ok(input) = Receive::new(proto, remote, local, &buffer[..length]) {
                self.rtc.handle_input(Input::Receive(now, input)).unwrap();
                self.drain();
            }
        }
        self.rtc
            .handle_input(Input::Timeout(Instant::now()))
            .unwrap();
        self.drain();
        self.play();
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => self.wire.send(&transmit),
                Output::Event(event) => self.handle_event(event),
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::ChannelOpen(id, label) => {
                self.channels.insert(label, id);
            }
            Event::ChannelData(data) => self.messages.push(data.data),
            Event::MediaData(_) => self.samples += 1,
            _ => {}
        }
    }

    fn play(&mut self) {
        let now = Instant::now();
        let Some(mid) = self.microphone else { return };
        if !self.connected || now < self.next_frame {
            return;
        }
        self.next_frame = now + FRAME_EVERY;
        let Some(writer) = self.rtc.writer(mid) else {
            return;
        };
        let opus = writer
            .payload_params()
            .find(|params| params.spec().codec == Codec::Opus);
        let Some(pt) = opus.map(|params| params.pt()) else {
            return;
        };
        let time = MediaTime::from(now - self.started);
        writer.write(pt, now, time, vec![0xfc; 60]).unwrap();
        self.drain();
    }
}

/// One socket to the node.
struct Wire {
    socket: Socket,
    local: SocketAddr,
    last_from: SocketAddr,
}

enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, unread: Vec<u8> },
}

impl Wire {
    fn new(via: Via, tcp: SocketAddr) -> Self {
        let udp = |address: &str| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_nonblocking(true).unwrap();
            (socket.local_addr().unwrap(), Socket::Udp(socket))
        };
        let (local, socket) = match via {
            Via::Udp => udp("127.0.0.1:0"),
            Via::UdpV6 => udp("[::1]:0"),
            Via::Tcp => {
                let stream = TcpStream::connect(tcp).unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_nonblocking(true).unwrap();
                let unread = Vec::new();
                (stream.local_addr().unwrap(), Socket::Tcp { stream, unread })
            }
        };
        Self {
            socket,
            local,
            last_from: tcp,
        }
    }

    fn protocol(&self) -> Protocol {
        match self.socket {
            Socket::Udp(_) => Protocol::Udp,
            Socket::Tcp { .. } => Protocol::Tcp,
        }
    }

    fn candidate(&self) -> Candidate {
        let built = match self.socket {
            Socket::Udp(_) => Candidate::builder().udp().host(self.local).build(),
            Socket::Tcp { .. } => {
                let active = Candidate::builder()
                    .tcp()
                    .host(self.local)
                    .tcptype(TcpType::Active);
                active.build()
            }
        };
        built.unwrap()
    }

    fn send(&mut self, transmit: &Transmit) {
        match &mut self.socket {
            // The node may be gone at the end of a test.
            Socket::Udp(socket) => drop(socket.send_to(&transmit.contents, transmit.destination)),
            Socket::Tcp { stream, .. } => {
                let length = u16::try_from(transmit.contents.len()).unwrap();
                let mut frame = length.to_be_bytes().to_vec();
                frame.extend_from_slice(&transmit.contents);
                // Little is sent, so it always fits the kernel's buffer.
                drop(stream.write_all(&frame));
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match &mut self.socket {
            Socket::Udp(socket) => {
                let (length, from) = socket.recv_from(buffer).ok()?;
                self.last_from = from;
                Some(length)
            }
            Socket::Tcp { stream, unread } => {
                let mut chunk = [0; 4096];
                match stream.read(&mut chunk) {
                    Ok(length) => unread.extend_from_slice(&chunk[..length]),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => return None,
                }
                let length = usize::from(u16::from_be_bytes(*unread.first_chunk::<2>()?));
                let frame = unread.get(2..2 + length)?;
                buffer[..length].copy_from_slice(frame);
                unread.drain(..2 + length);
                Some(length)
            }
        }
    }
}
