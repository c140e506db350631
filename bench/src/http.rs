//! Keep-alive requests, each as soon as the last one of its connection is answered.

use crate::answer::{Then, take_greeting};
use crate::crew::{Shape, measure};
use crate::rooms::Rooms;
use crate::talk;
use crate::tally::Tally;
use crate::target::{Target, TargetArgs, Wire};
use bytes::BytesMut;
use clap::Args;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How far apart in the list of rooms two requests of a connection are: no divisor of their number.
const STRIDE: usize = 7;
/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;

/// What to ask.
#[derive(Debug, Args)]
pub(crate) struct HttpArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    shape: Shape,
    /// How long.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Processor time to waste before each request, µs: a generator that cannot keep up.
    #[arg(long, default_value_t = 0)]
    waste_us: u64,
}

/// Measures and reports.
pub(crate) fn run(args: &HttpArgs) -> anyhow::Result<()> {
    let target = Target::new(&args.target)?;
    let rooms = Arc::new(Rooms::new());
    let length = Duration::from_secs_f64(args.seconds);
    let waste = Duration::from_micros(args.waste_us);
    let measured = measure(
        args.shape,
        |number| {
            let (target, rooms) = (target.clone(), Arc::clone(&rooms));
            async move {
                let mut client = Client::open(&target, rooms, number).await?;
                client.exchange().await?;
                Ok(client)
            }
        },
        |client: Client| client.run(Instant::now() + length, waste),
    )?;
    talk::result(measured.to_json())
}

/// One kept connection.
pub(crate) struct Client {
    wire: Wire,
    buffer: BytesMut,
    rooms: Arc<Rooms>,
    room: usize,
}

impl Client {
    pub(crate) async fn open(
        target: &Target,
        rooms: Arc<Rooms>,
        room: usize,
    ) -> Result<Self, String> {
        Ok(Self {
            wire: target.connect().await?,
            buffer: BytesMut::with_capacity(READ_BYTES),
            rooms,
            room,
        })
    }

    async fn run(mut self, until: Instant, waste: Duration) -> Tally {
        let mut tally = Tally::default();
        loop {
            let now = Instant::now();
            if now >= until {
                break;
            }
            while now.elapsed() < waste {
                std::hint::spin_loop();
            }
            let then = self.exchange().await;
            let closed = then == Ok(Then::Close);
            if !tally.count(then) {
                break;
            }
            if closed {
                tally.count::<()>(Err("a connection was not kept".to_owned()));
                break;
            }
        }
        tally
    }

    /// One request and its answer.
    pub(crate) async fn exchange(&mut self) -> Result<Then, String> {
        self.room += STRIDE;
        let room = self.rooms.get(self.room)?;
        let sent = async {
            self.wire.write_all(&room.request).await?;
            self.wire.flush().await
        };
        sent.await.map_err(|error| format!("sending: {error}"))?;
        loop {
            self.buffer.reserve(READ_BYTES);
            match self.wire.read_buf(&mut self.buffer).await {
                Ok(0) => return Err("closed instead of an answer".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("reading: {error}")),
            }
            if let Some(then) = take_greeting(&mut self.buffer, room)? {
                return Ok(then);
            }
        }
    }
}
