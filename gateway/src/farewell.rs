//! The last word to a client on a connection that is then closed.

use pingora::protocols::Stream;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How much is read at once.
const READ_BYTES: usize = 4 * 1024;
/// After the last word the rest of the request is read and dropped for this long, so that the client
/// reads the answer before it learns of the closed connection.
const LINGER: Duration = Duration::from_millis(500);
/// Most that is read and dropped, bytes.
const LINGER_BYTES: usize = 256 * 1024;

/// Says `answer` and ends the connection.
pub(crate) async fn say(stream: &mut Stream, answer: &[u8]) {
    let farewell = async {
        stream.write_all(answer).await?;
        stream.flush().await?;
        end(stream).await
    };
    // A client that does not listen any more needs no farewell.
    let _ = tokio::time::timeout(LINGER, farewell).await;
}

/// Ends the connection after an answer.
pub(crate) async fn close(stream: &mut Stream) {
    let _ = tokio::time::timeout(LINGER, end(stream)).await;
}

async fn end(stream: &mut Stream) -> std::io::Result<()> {
    tokio::io::AsyncWriteExt::shutdown(stream).await?;
    let mut dropped = 0;
    let mut scratch = [0; READ_BYTES];
    while dropped < LINGER_BYTES {
        match stream.read(&mut scratch).await? {
            0 => break,
            read => dropped += read,
        }
    }
    Ok(())
}
