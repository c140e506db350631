//! Bytes of an open WebSocket, both ways, without a look into them.
//!
//! A socket at rest owns no buffer: what is read passes through the stack to the other side at once,
//! and only what that side does not take is kept. One timer serves all limits; bytes that pass do not
//! touch it.

#[cfg(test)]
mod tests;

use bytes::{Buf as _, BytesMut};
use pingora::protocols::Stream;
use pingora::{Error, ErrorType, Result};
use std::future::{Future as _, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

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

/// Relays until both sides have ended, or one has failed. `early` is what the client has said.
pub(super) async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: Stream,
    mut shard: S,
    early: BytesMut,
    limits: Limits,
) -> Result<()> {
    let now = Instant::now();
    let mut up = Way::new(Side::Client, Side::Shard, &early, now);
    let mut down = Way::new(Side::Shard, Side::Client, &[], now);
    drop(early);
    let mut alarm = pin!(sleep_until(now + limits.idle));
    // Leaving drops both sockets: a failure on one side ends the other.
    poll_fn(|cx| {
        loop {
            let now = Instant::now();
            let up_ended = up.poll(&mut client, &mut shard, cx, now)?.is_ready();
            let down_ended = down.poll(&mut shard, &mut client, cx, now)?.is_ready();
            let due = match (up_ended, down_ended) {
                (true, true) => return Poll::Ready(Ok(())),
                (true, false) => up.since + HALF_CLOSED,
                (false, true) => down.since + HALF_CLOSED,
                (false, false) => up.due(limits).min(down.due(limits)),
            };
            if now >= due {
                return Poll::Ready(match (up_ended, down_ended) {
                    (false, false) => overdue([&up, &down], limits, now),
                    _ => Ok(()),
                });
            }
            if alarm.as_mut().poll(cx).is_pending() {
                // It rings too early, never too late.
                if due >= alarm.deadline() {
                    return Poll::Pending;
                }
            }
            alarm.as_mut().reset(due);
        }
    })
    .await
}

fn overdue(ways: [&Way; 2], limits: Limits, now: Instant) -> Result<()> {
    let late = ways.into_iter().find(|way| now >= way.due(limits));
    late.map_or(Ok(()), |way| Err(way.too_late()))
}

/// One way: from whom to whom.
struct Way {
    reads_from: Side,
    writes_to: Side,
    stage: Stage,
    /// When that began.
    since: Instant,
    /// What the other side has not taken yet.
    held: BytesMut,
}

/// What a way waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Read,
    Write,
    Flush,
    /// The reader has ended, and the writer is told.
    Close,
    Ended,
}

impl Way {
    fn new(reads_from: Side, writes_to: Side, held: &[u8], now: Instant) -> Self {
        Self {
            reads_from,
            writes_to,
            stage: Stage::Write,
            since: now,
            held: BytesMut::from(held),
        }
    }

    fn enter(&mut self, stage: Stage, now: Instant) {
        self.stage = stage;
        self.since = now;
    }

    /// When its patience ends.
    fn due(&self, limits: Limits) -> Instant {
        self.since
            + match self.stage {
                Stage::Read => limits.idle,
                Stage::Write | Stage::Flush | Stage::Close | Stage::Ended => limits.write,
            }
    }

    fn too_late(&self) -> Box<Error> {
        match self.stage {
            Stage::Read => self.reads_from.blame(Error::new(ErrorType::ReadTimedout)),
            _ => self.writes_to.blame(Error::new(ErrorType::WriteTimedout)),
        }
    }

    /// Relays as much as goes; ready when the reader has ended and the writer was told.
    fn poll<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            match self.stage {
                Stage::Read => {
                    let passed = ready!(self.poll_pass(reader, writer, cx));
                    let ended = passed.map_err(|error| self.reads_from.broken_reading(error))?;
                    self.enter(if ended { Stage::Close } else { Stage::Write }, now);
                }
                Stage::Write => {
                    let written = ready!(self.poll_write(writer, cx));
                    written.map_err(|error| self.writes_to.broken_writing(error))?;
                    self.stage = Stage::Flush;
                }
                Stage::Flush => {
                    let flushed = ready!(Pin::new(&mut *writer).poll_flush(cx));
                    flushed.map_err(|error| self.writes_to.broken_writing(error))?;
                    self.enter(Stage::Read, now);
                }
                Stage::Close => {
                    // Who is gone already need not be told.
                    let _ = ready!(Pin::new(&mut *writer).poll_shutdown(cx));
                    self.enter(Stage::Ended, now);
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Reads by way of the stack, and keeps what the writer does not take at once. True at the end.
    fn poll_pass<R, W>(
        &mut self,
        reader: &mut R,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut scratch);
        ready!(Pin::new(reader).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Ok(true));
        }
        // An error comes again when the rest is written.
        let taken = match Pin::new(writer).poll_write(cx, bytes) {
            Poll::Ready(Ok(taken)) => taken,
            Poll::Ready(Err(_)) | Poll::Pending => 0,
        };
        let rest = bytes.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            self.held = BytesMut::from(rest);
        }
        Poll::Ready(Ok(false))
    }

    /// Writes what is held.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let taken = ready!(Pin::new(&mut *writer).poll_write(cx, &self.held))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(taken);
        }
        // A socket at rest owns no buffer.
        self.held = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// Whose socket it is.
#[derive(Clone, Copy)]
enum Side {
    Client,
    Shard,
}

impl Side {
    fn broken_reading(self, error: io::Error) -> Box<Error> {
        self.blame(Error::because(ErrorType::ReadError, "relay", error))
    }

    fn broken_writing(self, error: io::Error) -> Box<Error> {
        self.blame(Error::because(ErrorType::WriteError, "relay", error))
    }

    fn blame(self, error: Box<Error>) -> Box<Error> {
        match self {
            Self::Client => error.into_down(),
            Self::Shard => error.into_up(),
        }
    }
}
