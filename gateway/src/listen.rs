//! Listening sockets, taken before anything is started.
//!
//! Pingora binds when its services run, and panics where it cannot. Sockets are therefore bound
//! here, where there is somebody to tell, and handed to Pingora as if inherited.

use crate::edge::Edge;
use crate::error::GatewayError;
use async_trait::async_trait;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service;
use pingora::services::listening::Service as ListeningService;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd as _;

/// Takes `address`.
pub(crate) fn bind(address: &str, field: &'static str) -> Result<TcpListener, GatewayError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| GatewayError::Bind {
        address: address.to_owned(),
        field,
        source,
    })
}

pub(crate) fn local_address(
    listener: &TcpListener,
    field: &'static str,
) -> Result<SocketAddr, GatewayError> {
    listener.local_addr().map_err(|source| GatewayError::Bind {
        address: field.to_owned(),
        field,
        source,
    })
}

/// A service on a socket that is bound already.
pub(crate) struct BoundService {
    inner: ListeningService<Edge>,
    listener: Option<TcpListener>,
    address: String,
}

impl BoundService {
    pub(crate) fn new(listener: TcpListener, address: SocketAddr, edge: Edge) -> Self {
        let address = address.to_string();
        let mut inner = ListeningService::new(format!("gateway {address}"), edge);
        inner.add_tcp(&address);
        Self {
            inner,
            listener: Some(listener),
            address,
        }
    }
}

#[async_trait]
impl Service for BoundService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let (Some(fds), Some(listener)) = (&fds, self.listener.take()) {
            fds.lock().add(self.address.clone(), listener.into_raw_fd());
        }
        Service::start_service(&mut self.inner, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        Service::name(&self.inner)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Some(vec![self.address.clone()])
    }
}
