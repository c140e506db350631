//! A way to the node that carries datagrams.

use super::line::dial;
use super::pipe::{Frames, Pipe};
use super::relay::{self, broken, udp_to};
use super::tls::Trust;
use crate::core::report::Hop;
use crate::core::sdp::IceSide;
use crate::core::stun::{Answer, answer, check};
use crate::core::turn::{Login, TurnUrl, from_channel, into_channel};
use crate::core::verdict::ways::{Checked, WayFailure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// After which a check is sent again.
const REPEAT: Duration = Duration::from_millis(300);
/// Checks that are answered: the shortest round trip counts, the first one has a cold start.
const CHECKS: usize = 3;

/// How a node may be reached.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) hop: Hop,
    /// The node's own address.
    pub(super) node: SocketAddr,
    /// The relay in between.
    pub(super) turn: Option<TurnUrl>,
}

impl Way {
    /// For people.
    pub(super) fn subject(&self) -> String {
        match &self.turn {
            Some(url) => url.text.clone(),
            None => self.node.to_string(),
        }
    }

    /// To which packets are sent from here.
    pub(super) fn port(&self) -> u16 {
        self.turn.as_ref().map_or(self.node.port(), |url| url.port)
    }
}

/// A way that is open.
pub(super) struct Carrier {
    pipe: Pipe,
    is_relayed: bool,
}

impl Carrier {
    /// Opens it; whether the node is at its end is another question.
    pub(super) async fn open(
        way: &Way,
        login: &Login,
        trust: &Result<Trust, String>,
        within: Duration,
    ) -> Result<Self, WayFailure> {
        let pipe = match (&way.turn, way.hop) {
            (Some(url), _) => relay::open(url, login, way.node, trust, within).await?,
            (None, Hop::IceTcp) => {
                let stream = dial(way.node, within).await.map_err(WayFailure::Dial)?;
                Pipe::stream(Box::new(stream), Frames::Ice)
            }
            (None, _) => {
                let socket = udp_to(way.node).await.map_err(|error| broken(&error))?;
                Pipe::Datagrams(socket)
            }
        };
        Ok(Self {
            pipe,
            is_relayed: way.turn.is_some(),
        })
    }

    pub(super) async fn send(&mut self, datagram: &[u8]) -> Result<(), WayFailure> {
        let sent = if self.is_relayed {
            let framed = into_channel(datagram, self.pipe.is_stream());
            self.pipe.send(&framed).await
        } else {
            self.pipe.send(datagram).await
        };
        sent.map_err(|error| broken(&error))
    }

    /// The next datagram of the node's. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, WayFailure> {
        loop {
            let bytes = self.pipe.next().await.map_err(|error| broken(&error))?;
            if !self.is_relayed {
                return Ok(bytes);
            }
            if let Some(datagram) = from_channel(&bytes) {
                return Ok(datagram.to_vec());
            }
        }
    }

    /// Asks the node whether it is there, as ICE does.
    pub(super) async fn check(
        &mut self,
        node: &IceSide,
        ours: &str,
        within: Duration,
    ) -> Result<Checked, WayFailure> {
        let until = Instant::now() + within;
        let mut best: Option<Checked> = None;
        for _ in 0..CHECKS {
            let checked = self.check_until(node, ours, until).await;
            best = match (best, checked) {
                (None, Ok(Some(checked))) => Some(checked),
                (None, Ok(None)) => return Err(WayFailure::Silent(within)),
                (None, Err(failure)) => return Err(failure),
                (Some(best), Ok(Some(checked))) if checked.rtt < best.rtt => Some(checked),
                (best, _) => best,
            };
        }
        best.ok_or(WayFailure::Silent(within))
    }

    async fn check_until(
        &mut self,
        node: &IceSide,
        ours: &str,
        until: Instant,
    ) -> Result<Option<Checked>, WayFailure> {
        let mut asked = Vec::new();
        while Instant::now() < until {
            let made = check(node, ours);
            let unusable = || WayFailure::Broken("the node's credentials are unusable".to_owned());
            let (transaction, request) = made.ok_or_else(unusable)?;
            asked.push((transaction, Instant::now()));
            self.send(&request).await?;
            if let Ok(checked) = timeout(REPEAT, self.answered(&asked)).await {
                return checked.map(Some);
            }
        }
        Ok(None)
    }

    async fn answered(
        &mut self,
        asked: &[(stun_types::message::TransactionId, Instant)],
    ) -> Result<Checked, WayFailure> {
        loop {
            let bytes = self.next().await?;
            let Some((transaction, answer)) = answer(&bytes) else {
                continue;
            };
            let of_it = asked.iter().find(|(of, _)| *of == transaction);
            let Some((_, at)) = of_it else { continue };
            return match answer {
                Answer::Seen(seen) => Ok(Checked {
                    rtt: at.elapsed(),
                    seen,
                }),
                Answer::Refused(code) => Err(WayFailure::Check(code)),
            };
        }
    }
}
