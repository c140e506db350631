//! WebSocket messages to and fro: the next when the last one is back.

use crate::crew::{Shape, measure};
use crate::frame::Ping;
use crate::rooms::Rooms;
use crate::tally::Tally;
use crate::target::{Target, TargetArgs, Wire};
use crate::{sockets, talk};
use bytes::BytesMut;
use clap::Args;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What to send.
#[derive(Debug, Args)]
pub(crate) struct MessagesArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    shape: Shape,
    /// Bytes of a message, without its header.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// How long.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
}

/// Measures and reports; `done` counts echoes, each of which passed the proxy twice.
pub(crate) fn run(args: &MessagesArgs) -> anyhow::Result<()> {
    let target = Target::new(&args.target)?;
    let rooms = Arc::new(Rooms::new());
    let length = Duration::from_secs_f64(args.seconds);
    let bytes = args.bytes;
    let measured = measure(
        args.shape,
        |number| {
            let (target, rooms) = (target.clone(), Arc::clone(&rooms));
            async move {
                let mut wire = sockets::open(&target, &rooms, number).await?;
                let (mut ping, mut buffer) = (Ping::new(bytes), BytesMut::new());
                sockets::exchange(&mut wire, &mut ping, &mut buffer).await?;
                Ok((wire, ping, buffer))
            }
        },
        |socket| play(socket, Instant::now() + length),
    )?;
    talk::result(measured.to_json())
}

async fn play(socket: (Wire, Ping, BytesMut), until: Instant) -> Tally {
    let (mut wire, mut ping, mut buffer) = socket;
    let mut tally = Tally::default();
    while Instant::now() < until {
        if !tally.count(sockets::exchange(&mut wire, &mut ping, &mut buffer).await) {
            break;
        }
    }
    tally
}
