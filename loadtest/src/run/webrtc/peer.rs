//! A peer connection of the `webrtc` crate that only receives.

use async_trait::async_trait;
use client::{ServerUrl, lk};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use tokio::sync::mpsc;
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceCandidateInit, RTCPeerConnectionState, RTCSessionDescription, Registry,
    register_default_interceptors,
};
use webrtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};

/// News that wait. There is one for each track; beyond, the newest are dropped: the track is not
/// counted.
const NEWS_MAX: usize = 1024;
/// Sections of the first offer at most, of each kind.
const SECTIONS_MAX: u32 = 8;

/// What happened to a connection.
pub(super) enum PeerNews {
    /// A track arrives.
    Track(Arc<dyn TrackRemote>),
    /// It is over.
    Failed,
}

/// One connection.
pub(super) struct Peer {
    connection: Arc<dyn PeerConnection>,
    news: mpsc::Receiver<PeerNews>,
    /// Of the newest offer.
    id: u32,
    /// An offer is in flight.
    pending: bool,
    /// Sections that the server wants, once the offer in flight is answered.
    wanted: Option<(u32, u32)>,
}

impl Peer {
    /// With so many sections for each of sound and picture in its first offer.
    pub(super) async fn new(server: &ServerUrl, sections: u32) -> Result<Self, String> {
        let (sender, news) = mpsc::channel(NEWS_MAX);
        let mut media = MediaEngine::default();
        media.register_default_codecs().map_err(text)?;
        let registry = register_default_interceptors(Registry::new(), &mut media).map_err(text)?;
        let ip = local_ip(server).map_err(|error| format!("no way to the server: {error}"))?;
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Listener(sender)))
            .with_udp_addrs(vec![std::net::SocketAddr::from((ip, 0))])
            .build()
            .await
            .map_err(text)?;
        let peer = Self {
            connection: Arc::new(connection),
            news,
            id: 0,
            pending: false,
            wanted: None,
        };
        let sections = sections.clamp(1, SECTIONS_MAX);
        peer.add_sections(sections, sections).await?;
        Ok(peer)
    }

    async fn add_sections(&self, audio: u32, video: u32) -> Result<(), String> {
        for (kind, count) in [(RtpCodecKind::Audio, audio), (RtpCodecKind::Video, video)] {
            for _ in 0..count {
                let init = RTCRtpTransceiverInit {
                    direction: RTCRtpTransceiverDirection::Recvonly,
                    ..RTCRtpTransceiverInit::default()
                };
                let added = self
                    .connection
                    .add_transceiver_from_kind(kind, Some(init))
                    .await;
                added.map_err(text)?;
            }
        }
        Ok(())
    }

    /// The next offer, with so many further sections.
    pub(super) async fn offer(
        &mut self,
        audio: u32,
        video: u32,
    ) -> Result<lk::SessionDescription, String> {
        self.add_sections(audio, video).await?;
        let offer = self.connection.create_offer(None).await.map_err(text)?;
        let sdp = offer.sdp.clone();
        self.connection
            .set_local_description(offer)
            .await
            .map_err(text)?;
        self.id += 1;
        self.pending = true;
        Ok(lk::SessionDescription {
            r#type: "offer".to_owned(),
            sdp,
            id: self.id,
            ..lk::SessionDescription::default()
        })
    }

    pub(super) async fn handle_answer(&mut self, sdp: String) -> Result<(), String> {
        self.pending = false;
        let answer = RTCSessionDescription::answer(sdp).map_err(text)?;
        self.connection
            .set_remote_description(answer)
            .await
            .map_err(text)
    }

    /// The server wants further sections. True: offer them now; else they wait.
    pub(super) fn want(&mut self, audio: u32, video: u32) -> bool {
        if self.pending {
            self.wanted = Some((audio, video));
        }
        !self.pending
    }

    /// What waited.
    pub(super) fn take_wanted(&mut self) -> Option<(u32, u32)> {
        self.wanted.take()
    }

    /// An address of the server's, as JSON. What cannot be read is of no use.
    pub(super) async fn handle_candidate(&self, json: &str) {
        let init = serde_json::from_str::<RTCIceCandidateInit>(json);
        if let Ok(init) = init
            && let Err(error) = self.connection.add_ice_candidate(init).await
        {
            tracing::debug!("an address of the server's cannot be used: {error}");
        }
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> PeerNews {
        self.news.recv().await.unwrap_or(PeerNews::Failed)
    }

    pub(super) async fn close(&self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!("a peer connection did not close: {error}");
        }
    }
}

struct Listener(mpsc::Sender<PeerNews>);

impl Listener {
    fn tell(&self, news: PeerNews) {
        if self.0.try_send(news).is_err() {
            tracing::debug!("news of a peer connection are dropped");
        }
    }
}

#[async_trait]
impl PeerConnectionEventHandler for Listener {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Failed {
            self.tell(PeerNews::Failed);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        self.tell(PeerNews::Track(track));
    }
}

/// The address of this machine from which the server is reached. Nothing is sent.
fn local_ip(server: &ServerUrl) -> std::io::Result<IpAddr> {
    use std::net::ToSocketAddrs as _;
    let remote = (server.host(), server.port()).to_socket_addrs()?.next();
    let remote = remote.ok_or_else(|| std::io::Error::other("the name has no address"))?;
    let any: IpAddr = if remote.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let probe = std::net::UdpSocket::bind((any, 0))?;
    probe.connect(remote)?;
    Ok(probe.local_addr()?.ip())
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn text(error: webrtc::error::Error) -> String {
    format!("the webrtc crate says: {error}")
}
