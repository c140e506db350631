//! TURN: an address of the relay's, and a channel to the node.

use super::line::{dial, failure};
use super::pipe::{Frames, Pipe};
use super::resolve::lookup;
use super::tls::{self, Trust};
use crate::core::report::Hop;
use crate::core::turn::{Login, Reply, TurnUrl, reply};
use crate::core::verdict::reach::{DialFailure, TlsFailure};
use crate::core::verdict::ways::WayFailure;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use stun_types::message::{StunWriteError, TransactionId};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout, timeout_at};

/// After which a request is sent again, where it may have been lost.
const REPEAT: Duration = Duration::from_millis(400);
/// Challenges that are answered: one for the credentials, one for a newer nonce.
const CHALLENGES_MAX: u32 = 3;

/// A connection to the server, with a channel to `node`.
pub(super) async fn open(
    url: &TurnUrl,
    login: &Login,
    node: SocketAddr,
    trust: &Result<Trust, String>,
    within: Duration,
) -> Result<Pipe, WayFailure> {
    let addresses = lookup(&url.host, url.port, within).await;
    let addresses = addresses.map_err(WayFailure::Name)?;
    // The one that a relay on one address has.
    let v4 = addresses.iter().find(|address| address.is_ipv4());
    let server = v4.or(addresses.first());
    let server = *server.ok_or_else(|| WayFailure::Name("it has no address".to_owned()))?;
    let mut pipe = connect(url, server, trust, within).await?;
    let mut login = login.clone();
    let until = Instant::now() + within;
    let mut exchange = Exchange {
        pipe: &mut pipe,
        login: &mut login,
        until,
        within,
    };
    exchange
        .ask("an address", |login| login.allocate(node))
        .await?;
    exchange
        .ask("the way to the node", |login| login.bind(node))
        .await?;
    Ok(pipe)
}

async fn connect(
    url: &TurnUrl,
    server: SocketAddr,
    trust: &Result<Trust, String>,
    within: Duration,
) -> Result<Pipe, WayFailure> {
    if url.hop == Hop::TurnUdp {
        let socket = udp_to(server).await;
        return socket
            .map(Pipe::Datagrams)
            .map_err(|error| WayFailure::Dial(failure(&error)));
    }
    let stream = dial(server, within).await.map_err(WayFailure::Dial)?;
    if url.hop == Hop::TurnTcp {
        return Ok(Pipe::stream(Box::new(stream), Frames::Turn));
    }
    let trust = trust
        .as_ref()
        .map_err(|cause| WayFailure::Tls(cause.clone()))?;
    let dialled = tls::connect(trust, &url.host, stream, within).await;
    match dialled.outcome {
        Ok(stream) => Ok(Pipe::stream(Box::new(stream), Frames::Turn)),
        Err(failure) => Err(WayFailure::Tls(words(&url.host, &failure))),
    }
}

fn words(host: &str, failure: &TlsFailure) -> String {
    match failure {
        TlsFailure::Name(names) => format!(
            "its certificate is for {}, not for {host}",
            names.join(", ")
        ),
        TlsFailure::Expired(_) => "its certificate has ended".to_owned(),
        TlsFailure::NotYet => "its certificate is not valid yet".to_owned(),
        TlsFailure::UnknownIssuer => "nobody here trusts its certificate".to_owned(),
        TlsFailure::NoTls => "it does not speak TLS".to_owned(),
        TlsFailure::Late(after) => format!("nothing within {} s", after.as_secs_f32()),
        TlsFailure::Other(cause) => cause.clone(),
    }
}

/// A socket that hears only `remote`.
pub(super) async fn udp_to(remote: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: SocketAddr = if remote.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(remote).await?;
    Ok(socket)
}

struct Exchange<'a> {
    pipe: &'a mut Pipe,
    login: &'a mut Login,
    until: Instant,
    within: Duration,
}

impl Exchange<'_> {
    /// Asks until there is an answer, and once more with credentials.
    async fn ask(
        &mut self,
        what: &'static str,
        make: impl Fn(&Login) -> Result<(TransactionId, Vec<u8>), StunWriteError>,
    ) -> Result<Option<SocketAddr>, WayFailure> {
        for _ in 0..CHALLENGES_MAX {
            let request = make(self.login);
            let (transaction, request) =
                request.map_err(|error| WayFailure::Broken(error.to_string()))?;
            match self.answer(transaction, &request).await? {
                Reply::Done(relayed) => return Ok(relayed),
                Reply::Refused { code, reason } => {
                    return Err(WayFailure::TurnRefused { what, code, reason });
                }
                Reply::Challenge { realm, nonce } => {
                    if !self.login.take(realm, nonce) {
                        break;
                    }
                }
            }
        }
        let reason = "the credentials are not taken".to_owned();
        let code = 401;
        Err(WayFailure::TurnRefused { what, code, reason })
    }

    async fn answer(
        &mut self,
        transaction: TransactionId,
        request: &[u8],
    ) -> Result<Reply, WayFailure> {
        let mut is_sent = false;
        loop {
            // A stream loses nothing.
            if !is_sent || !self.pipe.is_stream() {
                self.pipe
                    .send(request)
                    .await
                    .map_err(|error| broken(&error))?;
                is_sent = true;
            }
            if let Ok(found) = timeout(REPEAT, self.read(transaction)).await {
                return found;
            }
            if Instant::now() >= self.until {
                return Err(WayFailure::TurnSilent(self.within));
            }
        }
    }

    async fn read(&mut self, transaction: TransactionId) -> Result<Reply, WayFailure> {
        let reading = async {
            loop {
                let bytes = self.pipe.next().await.map_err(|error| broken(&error))?;
                match reply(&bytes) {
                    Some((of, reply)) if of == transaction => return Ok(reply),
                    _ => {}
                }
            }
        };
        let late = WayFailure::TurnSilent(self.within);
        timeout_at(self.until, reading).await.unwrap_or(Err(late))
    }
}

/// Why nothing goes through it any more.
pub(super) fn broken(error: &std::io::Error) -> WayFailure {
    match failure(error) {
        DialFailure::Refused => WayFailure::Dial(DialFailure::Refused),
        _ if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            WayFailure::Broken("the other side closed it".to_owned())
        }
        other => WayFailure::Broken(other.cause()),
    }
}
