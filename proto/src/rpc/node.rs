//! The shard's door for its nodes: one stream each way, for as long as the node belongs to the pool.

use super::codec::JsonCodec;
use super::{CALL_TIMEOUT, MESSAGE_BYTES_MAX, RpcError, authenticate, call_error, channel, signed};
use crate::context::ClusterKey;
use crate::link::{LINK_QUEUE_MESSAGES, NodeEnd, ShardEnd, pair};
use crate::media::{NodeEvent, ToWorker};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use http::uri::PathAndQuery;
use std::convert::Infallible;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};

const SERVICE: &str = "anteroom.v1.NodeLink";
const METHOD: &str = "/anteroom.v1.NodeLink/Attach";

/// Attaches to the shard at `address` (`http://host:port`) as `peer` (such as `node/n1`).
///
/// The returned end closes when the connection does; the caller attaches again.
///
/// # Errors
/// See [`RpcError`].
pub async fn connect_node(
    address: &str,
    peer: &str,
    cluster: &ClusterKey,
) -> Result<NodeEnd, RpcError> {
    let attempt = tokio::time::timeout(CALL_TIMEOUT * 2, attach(address, peer, cluster));
    let timed_out = || call_error(address, Status::deadline_exceeded("timeout"));
    attempt.await.unwrap_or_else(|_| Err(timed_out()))
}

async fn attach(address: &str, peer: &str, cluster: &ClusterKey) -> Result<NodeEnd, RpcError> {
    let failed = |status| call_error(address, status);
    let mut grpc =
        tonic::client::Grpc::new(channel(address)?).max_decoding_message_size(MESSAGE_BYTES_MAX);
    grpc.ready()
        .await
        .map_err(|error| failed(Status::unavailable(error.to_string())))?;

    let (event_tx, event_rx) = mpsc::channel::<NodeEvent>(LINK_QUEUE_MESSAGES);
    let request = signed(ReceiverStream::new(event_rx), cluster, peer);
    let codec = JsonCodec::<NodeEvent, ToWorker>::new();
    let response = grpc
        .streaming(request, PathAndQuery::from_static(METHOD), codec)
        .await
        .map_err(failed)?;

    let (command_tx, command_rx) = mpsc::channel(LINK_QUEUE_MESSAGES);
    tokio::spawn(pump(response.into_inner(), command_tx));
    Ok(NodeEnd {
        commands: command_rx,
        events: event_tx,
    })
}

/// Moves messages from the connection into a queue until either side is gone.
async fn pump<T>(mut from: Streaming<T>, to: mpsc::Sender<T>) {
    loop {
        tokio::select! {
            message = from.message() => match message {
                Ok(Some(message)) => if to.send(message).await.is_err() { return },
                Ok(None) | Err(_) => return,
            },
            () = to.closed() => return,
        }
    }
}

/// The answering side, served by the shard: every node that attaches comes out of the channel given
/// to [`NodeLinkService::new`].
#[derive(Clone)]
pub struct NodeLinkService {
    cluster: ClusterKey,
    attached: mpsc::Sender<ShardEnd>,
}

impl NodeLinkService {
    /// Hands each attached node's [`ShardEnd`] to `attached`.
    pub fn new(cluster: ClusterKey, attached: mpsc::Sender<ShardEnd>) -> Self {
        Self { cluster, attached }
    }

    async fn attach(
        self,
        request: Request<Streaming<NodeEvent>>,
    ) -> Result<Response<BoxStream<'static, Result<ToWorker, Status>>>, Status> {
        authenticate(request.metadata(), &self.cluster)?;
        let (shard_end, node_end) = pair();
        let NodeEnd { commands, events } = node_end;
        tokio::spawn(pump(request.into_inner(), events));
        self.attached
            .send(shard_end)
            .await
            .map_err(|_| Status::unavailable("the shard is shutting down"))?;
        Ok(Response::new(ReceiverStream::new(commands).map(Ok).boxed()))
    }
}

impl NamedService for NodeLinkService {
    const NAME: &'static str = SERVICE;
}

impl tower::Service<http::Request<Body>> for NodeLinkService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != METHOD {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(JsonCodec::<ToWorker, NodeEvent>::new())
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            let answer = tower::service_fn(move |request| service.clone().attach(request));
            Ok(grpc.streaming(answer, request).await)
        })
    }
}
