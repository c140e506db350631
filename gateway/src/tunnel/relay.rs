//! Bytes of an open WebSocket, both ways, without a look into them.
//!
//! A socket at rest owns no buffer: what is read passes through the stack.

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::{Error, ErrorType, Result};
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

/// How much is read at once, and at most held for a side that does not take it.
const READ_BYTES: usize = 16 * 1024;
/// How long the second side may go on after the first has ended. A closing handshake is one frame.
const HALF_CLOSED: Duration = Duration::from_secs(5);

/// Limits of an open WebSocket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longest silence on either side.
    pub(super) idle: Duration,
    /// Longest wait for a write on either side.
    pub(super) write: Duration,
}

/// One way: from whom to whom.
struct Way<R, W> {
    reader: R,
    writer: W,
    reads_from: Side,
    writes_to: Side,
    limits: Limits,
}

/// Relays until both sides have ended, or one has failed. `early` is what the client has said.
pub(super) async fn relay(
    client: Stream,
    mut shard: TcpStream,
    early: BytesMut,
    limits: Limits,
) -> Result<()> {
    let (client_reader, client_writer) = tokio::io::split(client);
    let (shard_reader, shard_writer) = shard.split();
    let up = Way {
        reader: client_reader,
        writer: shard_writer,
        reads_from: Side::Client,
        writes_to: Side::Shard,
        limits,
    };
    let down = Way {
        reader: shard_reader,
        writer: client_writer,
        reads_from: Side::Shard,
        writes_to: Side::Client,
        limits,
    };
    let held = early.to_vec();
    drop(early);
    let mut up = pin!(up.run(held));
    let mut down = pin!(down.run(Vec::new()));
    // Dropping a way closes its sockets: a failure on one side ends the other.
    tokio::select! {
        result = &mut up => {
            result?;
            timeout(HALF_CLOSED, down).await.unwrap_or(Ok(()))
        }
        result = &mut down => {
            result?;
            timeout(HALF_CLOSED, up).await.unwrap_or(Ok(()))
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Way<R, W> {
    /// Relays until the reader ends, and says so to the writer.
    async fn run(mut self, mut held: Vec<u8>) -> Result<()> {
        loop {
            if !held.is_empty() {
                self.write(&held).await?;
            }
            held = self.read().await?;
            if held.is_empty() {
                break;
            }
        }
        // Who is gone already need not be told.
        let _ = timeout(self.limits.write, self.writer.shutdown()).await;
        Ok(())
    }

    /// The next bytes, none at the end.
    async fn read(&mut self) -> Result<Vec<u8>> {
        let read = timeout(self.limits.idle, read_some(&mut self.reader)).await;
        self.reads_from
            .blame(read, ErrorType::ReadTimedout, ErrorType::ReadError)
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        let written = timeout(self.limits.write, written).await;
        self.writes_to
            .blame(written, ErrorType::WriteTimedout, ErrorType::WriteError)
    }
}

/// Whose socket it is.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Shard,
}

impl Side {
    fn blame<T>(
        self,
        result: std::result::Result<io::Result<T>, Elapsed>,
        late: ErrorType,
        broken: ErrorType,
    ) -> Result<T> {
        let error = match result {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => Error::because(broken, "relay", error),
            Err(_) => Error::new(late),
        };
        Err(match self {
            Self::Client => error.into_down(),
            Self::Shard => error.into_up(),
        })
    }
}

/// Reads by way of the stack: nothing is allocated while nothing comes.
async fn read_some<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().to_vec()))
    })
    .await
}
