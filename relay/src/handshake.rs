//! Who is at the other end? Both say so on the first stream, and prove that they know the cluster's
//! secret. The proof is bound to this TLS session: heard here, it is worth nothing elsewhere.

use crate::close::Close;
use crate::hello::{self, HELLO_MAX, Hello, HelloError, LENGTH_BYTES};
use crate::shared::Shared;
use proto::context::{RelayClaim, RelayRole};
use proto::id::NodeId;
use quinn::{
    Connection, ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, VarInt,
    WriteError,
};
use std::time::Duration;
use thiserror::Error;

/// From the first packet to the proof.
pub(crate) const AUTHENTICATION_LIMIT: Duration = Duration::from_secs(2);
/// What the binding is exported for.
const BINDING_LABEL: &[u8] = b"EXPORTER-anteroom-relay";
const BINDING_BYTES: usize = 32;

/// Why a peer is not believed, or is not there.
#[derive(Debug, Error)]
pub(crate) enum HandshakeError {
    #[error("cannot connect: {0}")]
    Connect(#[from] quinn::ConnectError),
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Read(#[from] ReadExactError),
    #[error("{0}")]
    Write(#[from] WriteError),
    #[error("{0}")]
    Hello(#[from] HelloError),
    #[error("the TLS session gives no key material")]
    NoBinding,
    #[error("takes us for node {0}")]
    Mistaken(NodeId),
    #[error("node {0} is no peer of ours")]
    Unknown(NodeId),
    #[error("node {0} is at this address")]
    SomebodyElse(NodeId),
    #[error("node {0} knows another cluster secret")]
    Proof(NodeId),
    #[error("it refuses us: are we its peer, and is its cluster secret ours?")]
    RefusesUs,
    #[error("no proof within {} s", AUTHENTICATION_LIMIT.as_secs())]
    Late,
}

impl HandshakeError {
    /// Whether somebody is there who is not to be let in, as opposed to nobody being there.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Connection(_) | Self::Write(_) => false,
            Self::RefusesUs | Self::Late => false,
            Self::Read(error) => !matches!(
                error,
                ReadExactError::ReadError(ReadError::ConnectionLost(_))
            ),
            Self::NoBinding | Self::Hello(_) | Self::Mistaken(_) => true,
            Self::Unknown(_) | Self::SomebodyElse(_) | Self::Proof(_) => true,
        }
    }
}

/// Runs within the time limit.
pub(crate) async fn in_time<T>(
    work: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    let outcome = tokio::time::timeout(AUTHENTICATION_LIMIT, work).await;
    outcome.unwrap_or(Err(HandshakeError::Late))
}

/// The connecting end: proves first, then expects the proof of `peer`.
pub(crate) async fn connect(
    connection: &Connection,
    shared: &Shared,
    peer: &NodeId,
) -> Result<(), HandshakeError> {
    let binding = binding(connection)?;
    let (mut send, mut receive) = connection.open_bi().await?;
    say(&mut send, shared, peer, RelayRole::Connecting, &binding).await?;
    let hello = hear(&mut receive).await.map_err(|error| {
        let refused = connection.close_reason().is_some_and(is_refused);
        if refused {
            HandshakeError::RefusesUs
        } else {
            error
        }
    })?;
    if hello.from != *peer {
        return Err(HandshakeError::SomebodyElse(hello.from));
    }
    check(&hello, shared, RelayRole::Accepting, &binding)
}

/// The accepting end: says nothing to one who proves nothing, or is not `expected`.
pub(crate) async fn accept(
    connection: &Connection,
    shared: &Shared,
    expected: impl FnOnce(&NodeId) -> bool,
) -> Result<NodeId, HandshakeError> {
    let binding = binding(connection)?;
    let (mut send, mut receive) = connection.accept_bi().await?;
    let hello = hear(&mut receive).await?;
    check(&hello, shared, RelayRole::Connecting, &binding)?;
    if !expected(&hello.from) {
        return Err(HandshakeError::Unknown(hello.from));
    }
    let role = RelayRole::Accepting;
    say(&mut send, shared, &hello.from, role, &binding).await?;
    Ok(hello.from)
}

fn is_refused(reason: ConnectionError) -> bool {
    let code = VarInt::from_u32(Close::Refused as u32);
    matches!(reason, ConnectionError::ApplicationClosed(close) if close.error_code == code)
}

fn binding(connection: &Connection) -> Result<[u8; BINDING_BYTES], HandshakeError> {
    let mut binding = [0; BINDING_BYTES];
    let exported = connection.export_keying_material(&mut binding, BINDING_LABEL, &[]);
    exported.map_err(|_| HandshakeError::NoBinding)?;
    Ok(binding)
}

async fn say(
    send: &mut SendStream,
    shared: &Shared,
    to: &NodeId,
    role: RelayRole,
    binding: &[u8],
) -> Result<(), HandshakeError> {
    let claim = RelayClaim {
        role,
        prover: &shared.node,
        verifier: to,
        binding,
    };
    let hello = Hello {
        from: shared.node.clone(),
        to: to.clone(),
        proof: shared.key.relay_proof(&claim),
    };
    send.write_all(&hello.encode()?).await?;
    // Fails only if it was finished before.
    let _ = send.finish();
    Ok(())
}

async fn hear(receive: &mut RecvStream) -> Result<Hello, HandshakeError> {
    let mut front = [0; LENGTH_BYTES];
    receive.read_exact(&mut front).await?;
    let length = hello::length(front)?;
    let mut bytes = [0; HELLO_MAX];
    let body = bytes.get_mut(..length).ok_or(HelloError::Long)?;
    receive.read_exact(body).await?;
    Ok(Hello::decode(body)?)
}

/// Whether this hello is for us and its proof good.
fn check(
    hello: &Hello,
    shared: &Shared,
    role: RelayRole,
    binding: &[u8],
) -> Result<(), HandshakeError> {
    let claim = RelayClaim {
        role,
        prover: &hello.from,
        verifier: &hello.to,
        binding,
    };
    if !shared.key.is_relay_proof(&claim, &hello.proof) {
        return Err(HandshakeError::Proof(hello.from.clone()));
    }
    if hello.to != shared.node {
        return Err(HandshakeError::Mistaken(hello.to.clone()));
    }
    Ok(())
}
