//! The directory's door for other processes: one unary call.
//!
//! Generic over the messages, which belong to the ownership protocol and are not ours.

use super::codec::JsonCodec;
use super::{CALL_TIMEOUT, MESSAGE_BYTES_MAX, RpcError, authenticate, call_error, channel, signed};
use crate::context::ClusterKey;
use futures::future::BoxFuture;
use http::uri::PathAndQuery;
use serde::{Serialize, de::DeserializeOwned};
use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

const SERVICE: &str = "anteroom.v1.Directory";
const METHOD: &str = "/anteroom.v1.Directory/Call";

/// The calling side, used by shards.
pub struct DirectoryClient<Req, Rep> {
    channel: Channel,
    address: String,
    peer: String,
    cluster: ClusterKey,
    messages: PhantomData<fn(Req) -> Rep>,
}

impl<Req, Rep> DirectoryClient<Req, Rep>
where
    Req: Serialize + Send + Sync + 'static,
    Rep: DeserializeOwned + Send + Sync + 'static,
{
    /// A client of the directory at `address` (`http://host:port`); connects at the first call.
    /// `peer` says who we are, such as `shard/s1`.
    ///
    /// # Errors
    /// [`RpcError::Address`] if the address is unusable. Must be called inside a tokio runtime.
    pub fn new(address: &str, peer: String, cluster: ClusterKey) -> Result<Self, RpcError> {
        Ok(Self {
            channel: channel(address)?,
            address: address.to_owned(),
            peer,
            cluster,
            messages: PhantomData,
        })
    }

    /// One request, one reply, within a second. After an error the outcome is unknown.
    ///
    /// # Errors
    /// See [`RpcError`].
    pub async fn call(&self, request: Req) -> Result<Rep, RpcError> {
        let attempt = tokio::time::timeout(CALL_TIMEOUT, self.attempt(request));
        let result = attempt
            .await
            .unwrap_or_else(|_| Err(Status::deadline_exceeded("timeout")));
        result.map_err(|status| call_error(&self.address, status))
    }

    async fn attempt(&self, request: Req) -> Result<Rep, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let request = signed(request, &self.cluster, &self.peer);
        let path = PathAndQuery::from_static(METHOD);
        let response = grpc
            .unary(request, path, JsonCodec::<Req, Rep>::new())
            .await?;
        Ok(response.into_inner())
    }
}

type Handler<Req, Rep> = dyn Fn(Req) -> BoxFuture<'static, Rep> + Send + Sync;

/// The answering side, served by the gateway.
pub struct DirectoryService<Req, Rep> {
    handler: Arc<Handler<Req, Rep>>,
    cluster: ClusterKey,
}

impl<Req, Rep> DirectoryService<Req, Rep> {
    /// Answers authenticated calls with `handler`.
    pub fn new<F, Fut>(cluster: ClusterKey, handler: F) -> Self
    where
        F: Fn(Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Rep> + Send + 'static,
    {
        Self {
            handler: Arc::new(move |request| Box::pin(handler(request))),
            cluster,
        }
    }
}

impl<Req, Rep> Clone for DirectoryService<Req, Rep> {
    fn clone(&self) -> Self {
        Self {
            handler: Arc::clone(&self.handler),
            cluster: self.cluster.clone(),
        }
    }
}

impl<Req, Rep> NamedService for DirectoryService<Req, Rep> {
    const NAME: &'static str = SERVICE;
}

impl<Req, Rep> tower::Service<http::Request<Body>> for DirectoryService<Req, Rep>
where
    Req: DeserializeOwned + Send + 'static,
    Rep: Serialize + Send + 'static,
{
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
            let mut grpc = tonic::server::Grpc::new(JsonCodec::<Rep, Req>::new())
                .max_decoding_message_size(MESSAGE_BYTES_MAX);
            let answer = tower::service_fn(move |request: Request<Req>| {
                let service = service.clone();
                async move {
                    authenticate(request.metadata(), &service.cluster)?;
                    Ok(Response::new((service.handler)(request.into_inner()).await))
                }
            });
            Ok(grpc.unary(answer, request).await)
        })
    }
}
