//! The shard under test and clients for it.

use affinity::directory::{
    Directory, DirectoryFuture, DirectoryIncarnation, DirectoryLimits, DirectoryUnreachable, Drain,
    Epoch, Holder, Incarnation, MemoryDirectory, Renewal, Request,
};
use affinity::{RoomCase, ShardId, ShardState};
use futures::{SinkExt as _, StreamExt as _};
use livekit_protocol::{SignalRequest, SignalResponse, signal_request, signal_response};
use prost::Message as _;
use proto::context::{CONTEXT_HEADER, ClusterKey, RoomContext};
use proto::id::{NodeId, ParticipantSid};
use proto::link::{NodeEnd, ShardEnd, pair};
use proto::media::{CarriedMedia, MEDIA_PROTOCOL, NodeCommand, NodeEvent, PeerMode, ToWorker};
use proto::token::{ApiKeys, Claims, VideoGrant};
use shard::{Config, Deps, ReadyHandle, Shard, ShardError, Stop, WebConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_util::sync::CancellationToken;

/// Nothing on loopback takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const DIRECTORY: u64 = 77;

pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A directory in this process.
pub(crate) struct TestDirectory {
    memory: Mutex<MemoryDirectory>,
    /// Nobody reaches it.
    pub(crate) cut: AtomicBool,
}

impl TestDirectory {
    pub(crate) fn new() -> Self {
        let mut memory = MemoryDirectory::new(
            DirectoryIncarnation(DIRECTORY),
            Epoch(0),
            false,
            DirectoryLimits::default(),
            Instant::now(),
        );
        let active = |id: &str| affinity::Shard {
            id: ShardId::new(id),
            url: String::new(),
            weight: 1,
            state: ShardState::Active,
        };
        let announce = Request::Announce {
            gateway: "g1".to_owned(),
            topology: vec![active("s1"), active("s2")],
        };
        memory.handle_request(announce, Instant::now());
        Self {
            memory: Mutex::new(memory),
            cut: AtomicBool::new(false),
        }
    }

    /// The topology of the gateways.
    pub(crate) fn announce(&self, shards: &[(&str, SocketAddr)]) {
        let shard = |(id, address): &(&str, SocketAddr)| affinity::Shard {
            id: ShardId::new(*id),
            url: format!("http://{address}"),
            weight: 1,
            state: ShardState::Active,
        };
        self.say(Request::Announce {
            gateway: "g1".to_owned(),
            topology: shards.iter().map(shard).collect(),
        });
    }

    /// An operator's order.
    pub(crate) fn drain(&self, shard: &str, deadline_unix_ms: Option<u64>) {
        let drain = deadline_unix_ms.map(|at| Drain {
            deadline_unix_ms: Some(at),
        });
        let shard = ShardId::new(shard);
        self.say(Request::SetDrain { shard, drain });
    }

    fn say(&self, request: Request) {
        let mut memory = self.memory.lock().unwrap();
        memory.handle_request(request, Instant::now());
    }

    pub(crate) fn owner(&self, room: &str) -> Option<String> {
        let room = affinity::RoomKey::from_claim(room, RoomCase::Sensitive).unwrap();
        let mut memory = self.memory.lock().unwrap();
        memory.expire(Instant::now());
        memory
            .owner(&room)
            .map(|binding| binding.shard.as_str().to_owned())
    }

    /// Waits until nobody owns the room.
    pub(crate) async fn given_back(&self, room: &str) {
        let start = Instant::now();
        while self.owner(room).is_some() {
            assert!(start.elapsed() < PATIENCE, "{room} is still owned");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Another shard claims a room.
    pub(crate) fn claim_for(&self, shard: &str, room: &str) {
        let holder = Holder {
            shard: ShardId::new(shard),
            incarnation: Incarnation(4711),
            directory: Some(DirectoryIncarnation(DIRECTORY)),
        };
        let room = affinity::RoomKey::from_claim(room, RoomCase::Sensitive).unwrap();
        let mut memory = self.memory.lock().unwrap();
        let renew = Request::Renew {
            holder: holder.clone(),
            renewal: Renewal {
                seq: 1,
                ..Renewal::default()
            },
        };
        memory.handle_request(renew, Instant::now());
        memory.handle_request(
            Request::Claim {
                holder,
                room,
                knows: 0,
            },
            Instant::now(),
        );
    }
}

impl Directory for TestDirectory {
    fn call(&self, request: Request) -> DirectoryFuture<'_> {
        if self.cut.load(Ordering::Relaxed) {
            let error = DirectoryUnreachable("cut".into());
            return Box::pin(std::future::ready(Err(error)));
        }
        let reply = self
            .memory
            .lock()
            .unwrap()
            .handle_request(request, Instant::now());
        Box::pin(std::future::ready(Ok(reply)))
    }
}

pub(crate) struct TestShard {
    pub(crate) id: String,
    pub(crate) address: SocketAddr,
    pub(crate) internal: Option<SocketAddr>,
    pub(crate) directory: Arc<TestDirectory>,
    pub(crate) cluster: ClusterKey,
    pub(crate) keys: ApiKeys,
    /// What the scripted node was told.
    pub(crate) commands: mpsc::UnboundedReceiver<NodeCommand>,
    pub(crate) node: Option<JoinHandle<()>>,
    pub(crate) node_sink: mpsc::Sender<ShardEnd>,
    pub(crate) ready: ReadyHandle,
    pub(crate) stop: CancellationToken,
    /// The first signal of an operator.
    pub(crate) leave: CancellationToken,
    pub(crate) running: JoinHandle<Result<(), ShardError>>,
}

pub(crate) struct Options {
    pub(crate) id: String,
    pub(crate) node: bool,
    pub(crate) internal: bool,
    pub(crate) web: WebConfig,
    /// In place of one of its own.
    pub(crate) directory: Option<Arc<dyn Directory>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            id: "s1".to_owned(),
            node: true,
            internal: false,
            web: WebConfig {
                enabled: true,
                tokens: true,
            },
            directory: None,
        }
    }
}

pub(crate) async fn start() -> TestShard {
    start_with(Options::default()).await
}

pub(crate) async fn start_with(options: Options) -> TestShard {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config {
        id: options.id.clone(),
        listen: any,
        internal: options.internal.then_some(any),
        web: options.web,
        departure_timeout_s: 1,
        ..Config::default()
    };
    let secrets = BTreeMap::from([("devkey".to_owned(), "secret".to_owned())]);
    let keys = ApiKeys::new(secrets).unwrap();
    let cluster = ClusterKey::new("cluster").unwrap();
    let directory = Arc::new(TestDirectory::new());
    let deps = Deps {
        keys: keys.clone(),
        cluster: cluster.clone(),
        rooms: RoomCase::Sensitive,
        directory: options
            .directory
            .unwrap_or_else(|| Arc::clone(&directory) as Arc<dyn Directory>),
    };
    let shard = Shard::bind(config, deps).await.unwrap();
    let (address, internal) = (shard.address(), shard.internal_address());
    let (ready, node_sink) = (shard.readiness(), shard.node_sink());
    let (heard, commands) = mpsc::unbounded_channel();
    let node = if options.node {
        let (shard_end, node_end) = pair();
        node_sink.send(shard_end).await.unwrap();
        Some(tokio::spawn(scripted_node("n1", node_end, heard)))
    } else {
        None
    };
    let stop = CancellationToken::new();
    let leave = CancellationToken::new();
    let running = tokio::spawn(shard.run(Stop {
        now: stop.clone(),
        when_empty: leave.clone(),
    }));
    TestShard {
        id: options.id,
        address,
        internal,
        directory,
        cluster,
        keys,
        commands,
        node,
        node_sink,
        ready,
        stop,
        leave,
        running,
    }
}

/// Answers every offer and, for two peer connections, offers at once.
pub(crate) async fn scripted_node(
    name: &str,
    end: NodeEnd,
    heard: mpsc::UnboundedSender<NodeCommand>,
) {
    let NodeEnd {
        mut commands,
        events,
    } = end;
    let hello = NodeEvent::Hello {
        node: NodeId::new(name),
        protocol: MEDIA_PROTOCOL,
        turn: None,
        workers: 1,
        relay: None,
    };
    events.send(hello).await.unwrap();
    let mut here = BTreeSet::new();
    while let Some(ToWorker { command, .. }) = commands.recv().await {
        let said = answers(&command, &mut here);
        let _ = heard.send(command);
        for event in said {
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// What the scripted node says to a command.
fn answers(command: &NodeCommand, here: &mut BTreeSet<ParticipantSid>) -> Vec<NodeEvent> {
    match command {
        NodeCommand::AddParticipant(new) => {
            here.insert(new.participant.clone());
            let offer = NodeEvent::Offer {
                participant: new.participant.clone(),
                offer_id: 1,
                sdp: "v=0\r\nfrom the node".into(),
                mid_to_track: BTreeMap::new(),
            };
            Vec::from_iter((new.mode == PeerMode::Dual).then_some(offer))
        }
        NodeCommand::Adopt { participant, .. } => {
            here.insert(participant.participant.clone());
            Vec::new()
        }
        NodeCommand::RemoveParticipant { participant } => {
            here.remove(participant);
            Vec::new()
        }
        NodeCommand::Offer {
            participant,
            offer_id,
            sdp,
            ..
        } if sdp.contains("s=refuse me") => vec![NodeEvent::Refused {
            participant: participant.clone(),
            offer_id: *offer_id,
            reason: "as it was told".into(),
        }],
        NodeCommand::Offer {
            participant,
            offer_id,
            sdp,
            ..
        } => vec![
            NodeEvent::Answer {
                participant: participant.clone(),
                offer_id: *offer_id,
                sdp: answer_to(*offer_id, sdp),
                mid_to_track: BTreeMap::new(),
            },
            NodeEvent::Connected {
                participant: participant.clone(),
            },
        ],
        NodeCommand::Publish(track) if track.cid == "bound" => vec![NodeEvent::TrackBound {
            participant: track.participant.clone(),
            track: track.track.clone(),
            mid: "0".into(),
            mime: "video/VP8".into(),
        }],
        NodeCommand::PrepareResume { participant } => vec![NodeEvent::ResumeReady {
            participant: participant.clone(),
            last_data_sequence: 7,
        }],
        NodeCommand::Export { room } => vec![NodeEvent::Exported {
            room: room.clone(),
            worker: 0,
            media: here.iter().map(carried).collect(),
            data: Vec::new(),
        }],
        NodeCommand::Detach { participant } => vec![NodeEvent::Detached {
            participant: participant.clone(),
            media: Box::new(carried(participant)),
            data: Vec::new(),
        }],
        _ => Vec::new(),
    }
}

/// Another ICE session for each offer.
fn answer_to(offer_id: u32, sdp: &str) -> String {
    let port = if sdp.contains("s=reject all") { 0 } else { 9 };
    format!(
        "v=0\r\nanswer\r\nm=video {port} UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:node{offer_id}\r\n\
         a=ice-pwd:of the node\r\na=mid:0\r\n"
    )
}

fn carried(participant: &ParticipantSid) -> CarriedMedia {
    CarriedMedia {
        participant: participant.clone(),
        sections: Vec::new(),
        streams: Vec::new(),
        channels: Vec::new(),
        last_data_sequence: 0,
        joined_after: Default::default(),
    }
}

impl TestShard {
    /// Waits until the shard is ready, or until it is not and says `cause`.
    pub(crate) async fn ready_is(&self, expected: Result<(), &str>) {
        let start = Instant::now();
        loop {
            let state = self.ready.state();
            let reached = match (&state, expected) {
                (Ok(()), Ok(())) => true,
                (Err(why), Err(cause)) => why.contains(cause),
                _ => false,
            };
            if reached {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{state:?} is not {expected:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn claims(&self, room: &str, identity: &str) -> Claims {
        Claims {
            iss: "devkey".into(),
            sub: identity.into(),
            exp: now_s() + 600,
            video: VideoGrant {
                room: room.into(),
                room_join: true,
                ..VideoGrant::default()
            },
            ..Claims::default()
        }
    }

    pub(crate) fn token(&self, room: &str, identity: &str) -> String {
        self.keys.mint(&self.claims(room, identity)).unwrap()
    }

    pub(crate) fn statement(&self, room: Option<&str>) -> RoomContext {
        RoomContext {
            room: room.map(str::to_owned),
            shard: self.id.clone(),
            directory: DIRECTORY,
            generation: 1,
            client: "192.0.2.1".into(),
            expires_ms: (now_s() + 10) * 1000,
        }
    }

    pub(crate) fn context(&self, room: Option<&str>) -> String {
        self.cluster.sign(&self.statement(room))
    }

    /// A request as the gateway would forward it.
    pub(crate) async fn request(&self, method: &str, target: &str, room: Option<&str>) -> Answer {
        self.request_with(method, target, &[(CONTEXT_HEADER, &self.context(room))], "")
            .await
    }

    pub(crate) async fn get(&self, target: &str, room: &str) -> Answer {
        self.request("GET", target, Some(room)).await
    }

    pub(crate) async fn request_with(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = format!("{method} {target} HTTP/1.1\r\nhost: shard\r\n");
        request += &format!("connection: close\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        request += &format!("\r\n{body}");
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        read.expect("an answer in time").unwrap();
        Answer::parse(&String::from_utf8_lossy(&bytes))
    }

    /// Opens a WebSocket.
    pub(crate) async fn open(&self, target: &str, room: &str) -> Result<Client, Answer> {
        self.open_with(target, &self.context(Some(room))).await
    }

    pub(crate) async fn open_with(&self, target: &str, context: &str) -> Result<Client, Answer> {
        use tokio_tungstenite::tungstenite::Error;
        use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
        let url = format!("ws://{}{target}", self.address);
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert(CONTEXT_HEADER, context.parse().unwrap());
        let stream = TcpStream::connect(self.address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Client { socket }),
            Err(Error::Http(response)) => Err(Answer::from_response(&response)),
            Err(error) => panic!("{error}"),
        }
    }

    /// Joins on `/rtc/v1` and swallows the join response.
    pub(crate) async fn join(&self, room: &str, identity: &str) -> Client {
        self.join_as(room, identity).await.0
    }

    /// The same, and says who it is.
    pub(crate) async fn join_as(&self, room: &str, identity: &str) -> (Client, String) {
        let target = format!("/rtc/v1?access_token={}", self.token(room, identity));
        let mut client = self.open(&target, room).await.expect("a WebSocket");
        match client.next().await {
            signal_response::Message::Join(join) => {
                let sid = join.participant.unwrap_or_default().sid;
                (client, sid)
            }
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for TestShard {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("headers");
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            status,
            headers: lines.map(header).collect(),
            body: body.to_owned(),
        }
    }

    fn from_response(response: &http::Response<Option<Vec<u8>>>) -> Self {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let body = response.body().clone().unwrap_or_default();
        Self {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(header).collect(),
            body: String::from_utf8(body).unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A signalling client.
pub(crate) struct Client {
    pub(crate) socket: WebSocketStream<TcpStream>,
}

impl Client {
    pub(crate) async fn frame(&mut self) -> Message {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match frame
                .expect("a frame in time")
                .expect("an open connection")
                .unwrap()
            {
                Message::Ping(_) | Message::Pong(_) => {}
                frame => return frame,
            }
        }
    }

    /// The next signalling message.
    pub(crate) async fn next(&mut self) -> signal_response::Message {
        let response = match self.frame().await {
            Message::Binary(bytes) => SignalResponse::decode(bytes).unwrap(),
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        };
        response.message.expect("a message")
    }

    /// The next message that `wanted` accepts.
    pub(crate) async fn next_where<T>(
        &mut self,
        wanted: impl Fn(signal_response::Message) -> Option<T>,
    ) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn send(&mut self, message: signal_request::Message) {
        let bytes = SignalRequest {
            message: Some(message),
        }
        .encode_to_vec();
        self.socket
            .send(Message::Binary(bytes.into()))
            .await
            .unwrap();
    }

    /// Still served?
    pub(crate) async fn ping(&mut self) {
        self.send(signal_request::Message::Ping(1)).await;
        let pong = |message| match message {
            signal_response::Message::Pong(at) => Some(at),
            _ => None,
        };
        assert!(self.next_where(pong).await > 0);
    }

    /// The close frame, whatever comes before it.
    pub(crate) async fn closed(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(frame) = self.frame().await {
                return frame.expect("a code");
            }
        }
    }
}
