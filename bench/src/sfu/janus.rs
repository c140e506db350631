//! Joins a Janus' videoroom by its JSON over a WebSocket: one session with a handle for each peer
//! connection.

use super::plain::Plain;
use super::wire::Wire;
use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Publishers that a room takes.
const PUBLISHERS_MAX: u32 = 1000;

/// A connected Janus.
pub(crate) struct Janus {
    /// Requests follow each other: answers need not be told apart.
    line: Mutex<Line>,
    /// Names and ids of the publishers of a room.
    feeds: RefCell<HashMap<u32, Vec<(String, u64)>>>,
}

struct Line {
    socket: WebSocketStream<TcpStream>,
    session: Option<u64>,
    requests: u64,
}

impl Janus {
    /// Connects, and makes rooms 1 to `rooms`.
    pub(crate) async fn connect(address: SocketAddr, rooms: u32) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let mut request = format!("ws://{address}/").into_client_request()?;
        let protocol = "janus-protocol".parse()?;
        request
            .headers_mut()
            .insert("sec-websocket-protocol", protocol);
        let (socket, _) = tokio_tungstenite::client_async_with_config(
            request,
            stream,
            Some(super::websocket_config()),
        )
        .await
        .context("open Janus' WebSocket")?;
        let mut line = Line {
            socket,
            session: None,
            requests: 0,
        };
        line.session = Some(id_of(&line.ask(json!({ "janus": "create" })).await?)?);
        let handle = line.attach().await?;
        for room in 1..=rooms {
            let create = json!({
                "request": "create", "room": room, "publishers": PUBLISHERS_MAX, "videocodec": "vp8",
            });
            line.tell(handle, create, None).await?;
        }
        Ok(Self {
            line: Mutex::new(line),
            feeds: RefCell::default(),
        })
    }

    /// Publishes one video.
    pub(crate) async fn publish(
        &self,
        ip: IpAddr,
        room: u32,
        name: &str,
    ) -> anyhow::Result<(Box<Plain>, Wire)> {
        let wire = Wire::bind(ip)?;
        let mut plain = Box::new(Plain::new(wire.local(), true, Instant::now())?);
        let offer = json!({ "type": "offer", "sdp": plain.offer_to_send()? });
        let mut line = self.line.lock().await;
        let handle = line.attach().await?;
        let join = json!({
            "request": "joinandconfigure", "ptype": "publisher", "room": room, "display": name,
        });
        let joined = line.tell(handle, join, Some(offer)).await?;
        plain.accept_answer(sdp_of(&joined)?, Instant::now())?;
        let id = joined["plugindata"]["data"]["id"].as_u64();
        let id = id.context("Janus gave the publisher no id")?;
        let mut feeds = self.feeds.borrow_mut();
        feeds.entry(room).or_default().push((name.to_owned(), id));
        Ok((plain, wire))
    }

    /// Receives the videos of all others in the room.
    pub(crate) async fn subscribe(
        &self,
        ip: IpAddr,
        room: u32,
        name: &str,
        decrypts: bool,
    ) -> anyhow::Result<(Box<Plain>, Wire)> {
        let wire = Wire::bind(ip)?;
        let mut plain = Box::new(Plain::new(wire.local(), decrypts, Instant::now())?);
        let streams: Vec<Value> = self
            .feeds
            .borrow()
            .get(&room)
            .into_iter()
            .flatten()
            .filter(|(publisher, _)| publisher != name)
            .map(|(_, id)| json!({ "feed": id }))
            .collect();
        let mut line = self.line.lock().await;
        let handle = line.attach().await?;
        let join = json!({
            "request": "join", "ptype": "subscriber", "room": room, "streams": streams,
        });
        let attached = line.tell(handle, join, None).await?;
        let answer = plain.answer(sdp_of(&attached)?, Instant::now())?;
        let answer = json!({ "type": "answer", "sdp": answer });
        let start = json!({ "request": "start" });
        line.tell(handle, start, Some(answer)).await?;
        Ok((plain, wire))
    }
}

impl Line {
    async fn attach(&mut self) -> anyhow::Result<u64> {
        let attach = json!({ "janus": "attach", "plugin": "janus.plugin.videoroom" });
        id_of(&self.ask(attach).await?)
    }

    /// Something for the plugin behind a handle.
    async fn tell(
        &mut self,
        handle: u64,
        body: Value,
        jsep: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut message = json!({ "janus": "message", "handle_id": handle, "body": body });
        if let Some(jsep) = jsep {
            message["jsep"] = jsep;
        }
        let answer = self.ask(message).await?;
        match answer["plugindata"]["data"]["error"].as_str() {
            Some(error) => bail!("Janus' videoroom: {error}"),
            None => Ok(answer),
        }
    }

    async fn ask(&mut self, mut message: Value) -> anyhow::Result<Value> {
        self.requests += 1;
        let transaction = self.requests.to_string();
        message["transaction"] = json!(transaction);
        if let Some(session) = self.session {
            message["session_id"] = json!(session);
        }
        let text = Message::text(message.to_string());
        self.socket.send(text).await.context("speak to Janus")?;
        tokio::time::timeout(ANSWER_TIMEOUT, self.answer_to(&transaction))
            .await
            .context("Janus did not answer in time")?
    }

    /// What concerns others is skipped: what becomes of connections is seen in their media.
    async fn answer_to(&mut self, transaction: &str) -> anyhow::Result<Value> {
        loop {
            let message = self.socket.next().await.context("Janus closed it")?;
            let Message::Text(text) = message.context("hear Janus")? else {
                continue;
            };
            let said: Value = serde_json::from_str(text.as_str()).context("read Janus' JSON")?;
            if said["transaction"] != transaction || said["janus"] == "ack" {
                continue;
            }
            if said["janus"] == "error" {
                bail!("Janus: {}", said["error"]["reason"]);
            }
            return Ok(said);
        }
    }
}

fn id_of(answer: &Value) -> anyhow::Result<u64> {
    answer["data"]["id"].as_u64().context("Janus gave no id")
}

fn sdp_of(answer: &Value) -> anyhow::Result<&str> {
    let sdp = answer["jsep"]["sdp"].as_str();
    sdp.with_context(|| format!("Janus gave no description: {answer}"))
}
