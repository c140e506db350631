//! The servers, by the protocols that they speak: who joins, and with what.

use super::janus::Janus;
use super::livekit::{LiveKit, Signal, Ticket};
use super::media::Media;
use super::whip::Whip;
use super::wire::Wire;
use super::{Protocol, SfuArgs};
use anyhow::Context as _;
use std::net::IpAddr;
use std::time::Instant;

/// A place in a room. With LiveKit one takes part on one connection; others have one for sending and
/// one for receiving, which are two seats.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    /// From 1.
    pub(crate) room: u32,
    /// Those of one participant have the same.
    pub(crate) name: String,
    /// Sends a video.
    pub(crate) sends: bool,
    /// Receives so many.
    pub(crate) hears: u32,
    /// Decrypts what it receives.
    pub(crate) decrypts: bool,
    /// Differs from seat to seat.
    pub(crate) number: u64,
}

/// Media, the socket for it, and signalling if it goes on.
pub(crate) type Joined = (Media, Wire, Option<Signal>);

enum Kind {
    LiveKit(LiveKit),
    Whip(Whip),
    Janus(Box<Janus>),
}

/// A server.
pub(crate) struct Server {
    kind: Kind,
    ip: IpAddr,
}

impl Server {
    /// Gets in touch, if that is needed before anybody joins.
    pub(crate) async fn new(args: &SfuArgs) -> anyhow::Result<Self> {
        let address = || args.to.parse().context("--to has no address");
        let kind = match args.protocol {
            Protocol::Livekit => Kind::LiveKit(LiveKit {
                url: args.to.clone(),
                key: args.key.clone(),
                secret: args.secret.clone(),
            }),
            Protocol::Whip => Kind::Whip(Whip {
                address: address()?,
            }),
            Protocol::Janus => {
                let server = Janus::connect(address()?, args.rooms).await?;
                Kind::Janus(Box::new(server))
            }
        };
        Ok(Self {
            kind,
            ip: args.bind,
        })
    }

    /// One participant sends and receives on one connection.
    pub(crate) fn joins_once(&self) -> bool {
        matches!(self.kind, Kind::LiveKit(_))
    }

    /// Joins. Media is connected later.
    pub(crate) async fn join(&self, seat: &Seat) -> anyhow::Result<Joined> {
        let told = || format!("{} of room {}", seat.name, seat.room);
        self.join_as(seat).await.with_context(told)
    }

    async fn join_as(&self, seat: &Seat) -> anyhow::Result<Joined> {
        let (ip, name, decrypts) = (self.ip, seat.name.as_str(), seat.decrypts);
        let room = format!("room-{}", seat.room);
        let (plain, wire) = match &self.kind {
            Kind::LiveKit(server) => {
                let ticket = Ticket {
                    room,
                    identity: name.to_owned(),
                    videos: seat.hears,
                    decrypts,
                    seed: seat.number,
                };
                let (session, signal, wire) = server.join(ip, &ticket).await?;
                let media = Media::live_kit(session, seat.sends, Instant::now());
                return Ok((media, wire, Some(signal)));
            }
            Kind::Whip(server) if seat.sends => server.publish(ip, &room, name).await?,
            Kind::Whip(server) => {
                let videos = seat.hears as usize;
                server.subscribe(ip, &room, name, videos, decrypts).await?
            }
            Kind::Janus(server) if seat.sends => server.publish(ip, seat.room, name).await?,
            Kind::Janus(server) => server.subscribe(ip, seat.room, name, decrypts).await?,
        };
        Ok((Media::Plain(plain), wire, None))
    }
}
