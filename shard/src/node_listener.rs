//! Where nodes of other processes attach.

use proto::context::ClusterKey;
use proto::link::ShardEnd;
use proto::rpc::NodeLinkService;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

/// A node that is silent at the transport for this long after a ping is gone. Less would give up nodes of a
/// machine that is overloaded for a moment, and with them all who are there.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_millis(2_500);
/// Pings at the transport.
const KEEPALIVE_INTERVAL: Duration = Duration::from_millis(500);

/// Serves attaching nodes on `listener` until `stop`.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(
    listener: TcpListener,
    cluster: ClusterKey,
    attached: mpsc::Sender<ShardEnd>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let serving = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(NodeLinkService::new(cluster, attached))
        .serve_with_incoming(TcpListenerStream::new(listener));
    // Links are streams without an end: waiting for them would wait for ever.
    tokio::select! {
        result = serving => result,
        () = stop.cancelled() => Ok(()),
    }
}
